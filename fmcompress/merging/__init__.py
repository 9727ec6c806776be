"""Averages and task vectors of checkpoints, streamed: any architecture, by tensor name, in little memory."""
