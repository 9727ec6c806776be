"""What a person is told of a student."""

from typing import Any

from ...report import printable


def trained(facts: dict[str, Any]) -> str:
    """A line on a finished training."""
    if facts.get("finished_before"):
        return f"{facts['out']}: nothing left to do."
    counts, chosen, student = facts["counts"], facts["chosen"], facts["student"]
    rows = " and ".join(f"{counts[f'{part}_rows']} {part}s" for part in facts["weights"] if f"{part}_rows" in counts)
    told = [f"{facts['method']}: {facts['steps']} steps on {rows} of {counts['examples']} examples"]
    told += [f"{name} {value:.3f}" for name, value in facts["losses"].items()]
    if chosen["by"] == "valid":
        told.append(f"step {chosen['step']} chosen, {100 * chosen['accuracy']:.1f} % of valid")
    if student["zeros_kept"]:
        told.append(f"{student['zeros_kept']:,} of {student['of_weights']:,} weights stayed 0")
    return printable(f"{facts['out']}: {' · '.join(told)}")


def evaluated(model: str, report: dict[str, Any]) -> list[str]:
    """A line a split."""
    return [
        printable(
            f"{model}, {split}: {100 * of['accuracy']:.2f} % of {of['examples']} right · {of['unparsed']} unparsed"
        )
        for split, of in report["splits"].items()
    ]
