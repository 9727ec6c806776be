"""What tests of `fmcompress schedule` share: files that it takes, and what a refusal looks like."""

import re

NETWORK = """
devices: {Oregon: 4, Tokyo: 4}
inside: {delay_ms: 1, bandwidth_gbps: 10}
between: {delay_ms: 50, bandwidth_gbps: 0.5}
flops_per_s: 1e13
memory_gb: 16
"""
WORKLOAD = """
stages: 2
replicas: 3
activation_bytes: 1e8
gradient_bytes: 2e8
micro_batches: 4
flops: 1e13
state_bytes: 8e9
"""
EVERY_FILE = {"network.yaml", "workload.yaml"}


def files(home):
    return {path.name for path in home.iterdir()}


def refused(outcome, message, code=2):
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
    assert re.search(message, outcome.stderr), outcome.stderr
