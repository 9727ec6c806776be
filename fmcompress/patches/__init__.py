"""What a fine-tuning changed, as a small checkpoint of its own: made, looked at, applied again to the bit."""
