"""What a person is told of a training of OmniVL."""

from typing import Any

from ...report import printable


def summary(facts: dict[str, Any]) -> str:
    """A line on a finished training."""
    if facts.get("finished_before"):
        return f"{facts['out']}: nothing left to do."
    told = [f"{facts['steps']} steps on {facts['pairs']} pairs"]
    for kind, losses in facts["losses"].items():
        told.append(f"{kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in losses.items()))
    return printable(f"{facts['out']}: {' · '.join(told)}")


def told_of(record: dict[str, Any], steps: int) -> str:
    """A line on a step."""
    kind = "videos" if record["videos"] else "images"
    return f"step {record['step']} of {steps} · {record['stage']} stage · {kind} · loss {record['loss']:.3f}"
