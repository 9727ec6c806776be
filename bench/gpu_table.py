"""The tables of a run of gpu_check.py, from its gpu.json; of several, the later ones win.

python bench/gpu_table.py gpu.json…             as gpu.md has them
python bench/gpu_table.py --readme gpu.json…    the table of the README's section "On a GPU"; without files as not run
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_targets import COPY, TARGETS, Target, share_of_floor

REST = "the rest of it"  # of a stage that the run did not live to see
NO_GPU = "not run: no GPU was at hand"
UNITS = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")]
Found = dict[str, Any]


def read(path: Path) -> Found:
    """What a run has written; nothing where there is nothing, or something else."""
    try:
        found = json.loads(path.read_text())
        return found if is_run(found) else {}
    except (OSError, ValueError):
        return {}


def is_run(found: Any) -> bool:
    """Whether it has the form of what gpu_check.py writes."""
    try:
        rows = [row for bench in found["benches"].values() for row in bench["rows"] if bench["ceilings"] is not None]
        cells_of = [cells(row) for row in rows]
        told = [(check["stage"], check["name"], check["status"], check["note"]) for check in found["checks"]]
        return isinstance(found["rehearsal"], bool) and len(cells_of) == len(rows) and told is not None
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def merged(runs: Iterable[Found]) -> Found:
    """One out of several: a later run replaces the stages that it has, and of the benches those that it ran."""
    whole: Found = {"checks": [], "benches": {}}
    for run in runs:
        if not run:
            continue
        if whole.get("rehearsal") not in (None, run["rehearsal"]):
            whole = {"checks": [], "benches": {}}  # what was rehearsed proves nothing
        stages = {check["stage"] for check in run["checks"]} - {"bench"}
        benches = {check["name"] for check in run["checks"] if check["stage"] == "bench"}
        old = [check for check in whole["checks"] if check["stage"] not in stages]
        kept = [check for check in old if check["stage"] != "bench" or check["name"] not in benches | {REST}]
        rows = {**whole["benches"], **run["benches"]}
        whole = {**whole, **run, "checks": [*kept, *run["checks"]], "benches": rows}
    return whole


def write(found: Found, results: Path) -> None:
    """gpu.json and gpu.md, each at once or not at all."""
    for name, text in (("gpu.json", json.dumps(found, indent=1)), ("gpu.md", markdown(found))):
        partial = results / f".{name}"
        partial.write_text(text)
        partial.replace(results / name)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of Markdown; heads that end in ":" are those of numbers."""
    marks = ["---:" if head.endswith(":") else "---" for head in heads]
    lines = [[head.removesuffix(":") for head in heads], marks, *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def time_of(seconds: float | None) -> str:
    """With three digits and a unit."""
    if seconds is None:
        return ""
    unit, name = next((pair for pair in UNITS if seconds >= pair[0]), UNITS[-1])
    return f"{seconds / unit:.3g} {name}"


def cells(row: Found, rehearsal: bool = False) -> list[str]:
    """case | ours | baseline | times as fast | floors | share | target | met; a rehearsal meets nothing"""
    targets = [f"≤ {time_of(row['most_s'])}"] if row["most_s"] is not None else []
    targets += [f"≥ {row['least_speedup']:g} ×"] if row["least_speedup"] is not None else []
    targets += [f"≥ {100 * row['least_of_floor']:g} % of the floor"] if row["least_of_floor"] is not None else []
    floors = [time_of(row[name]) if row[name] else "–" for name in ("bytes_floor_s", "flops_floor_s")]
    baseline = f"{row['baseline']}: {time_of(row['baseline_s'])}" if row["baseline_s"] is not None else "–"
    times = "–" if row["speedup"] is None else f"{row['speedup']:.3g}"
    share = f"{100 * share_of_floor(row):.0f} %" if any(row[n] for n in ("bytes_floor_s", "flops_floor_s")) else "–"
    met = "rehearsed" if rehearsal else {None: "–", True: "yes", False: "**no**"}[row["met"]]
    case = f"{row['group']}: {row['case']}"
    return [case, time_of(row["seconds"]), baseline, times, " / ".join(floors), share, ", ".join(targets) or "–", met]


def rows_of(found: Found) -> list[Found]:
    """Of all benches, those with targets first, and of these the ones that miss theirs: the end may be cut."""
    rows = [row for bench in found.get("benches", {}).values() for row in bench["rows"]]
    return sorted(rows, key=lambda row: [False, True, None].index(row["met"]))


def missed(found: Found) -> list[Found]:
    """The rows that were measured and missed their target; a rehearsal has none."""
    return [] if found.get("rehearsal") else [row for row in rows_of(found) if row["met"] is False]


def markdown(found: Found, most: int | None = None) -> str:
    """Both tables; if they have more characters than `most`, notes are, and the last of the measurements."""
    facts = found.get("facts", {})
    rehearsal = found.get("rehearsal", False)
    mark = "rehearsed" if rehearsal else "measured"
    title = "A rehearsal: nothing here was measured on a GPU" if rehearsal else "The GPU back-ends"
    about = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    checks = found.get("checks", [])
    note = min(300, most // (2 * len(checks) + 1)) if most else None
    said = [
        [check["stage"], check["name"], check["status"] if check["status"] == "passed" else f"**{check['status']}**",
         f"{check['seconds']:.0f} s", check["note"][:note]]
        for check in checks
    ]  # fmt: skip
    lines = [f"# {title}", "", about, "", *table(["stage", "check", "status", "time:", "what it said"], said), ""]
    for name, bench in found.get("benches", {}).items():
        rates = ", ".join(f"{what} {rate:.3g}/s" for what, rate in bench["ceilings"].items())
        lines.append(f"{name}, ceilings {mark}: {rates}  ")
    if off := missed(found):
        lines += ["", f"{len(off)} of {sum(row['met'] is not None for row in rows_of(found))} targets were missed."]
    heads = ["case", f"ours ({mark})", "baseline", "times as fast:", "floor (bytes / operations)", "share of floor:"]
    rows = table([*heads, "target", "met"], (cells(row, rehearsal) for row in rows_of(found)))
    text = "\n".join([*lines, "", *rows]) + "\n"
    while most and len(text) > most and len(rows) > 3:
        rows.pop()
        text = "\n".join([*lines, "", *rows, "", "More rows are in gpu.md."]) + "\n"
    return text


def readme(found: Found) -> str:
    """A row for each target: floors computed, the rest measured or not run; of several measurements the worst."""
    real = {name: bench for name, bench in found.get("benches", {}).items() if not bench.get("small")}
    rows = [] if found.get("rehearsal") else rows_of({"benches": real})
    lines = table(
        ["target, on an H200", "floor (computed)", "measured", "baseline", "times as fast:", "share of floor:", "met"],
        [_target_cells(target, target.rows(rows)) for target in TARGETS],
    )
    return "\n".join(lines) + "\n"


def _target_cells(target: Target, rows: list[Found]) -> list[str]:
    kind = "bytes" if target.bytes / COPY == target.floor_s else "operations"
    floor = f"{time_of(target.floor_s)} ({kind})"
    if not rows:
        return [target.name, floor, NO_GPU, NO_GPU, "", "", "unproven"]
    row, best = min(rows, key=target.margin), max(rows, key=target.margin)
    _, ours, baseline, times, _, share, _, _ = cells(row)
    measured = f"{ours} ({row['case']})" + (
        "" if best is row else f"; best {time_of(best['seconds'])} ({best['case']})"
    )
    met = sum(target.margin(one) >= 1 for one in rows)
    said = "yes" if met == len(rows) else f"{met} of {len(rows)}" if met else "**no**"
    return [target.name, floor, measured, baseline, times, share, said]


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="gpu.json of one or more runs, the latest last")
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args()
    if not options.runs and not options.readme:
        parser.error("runs: expected one gpu.json or more. Give what gpu_check.py has written.")
    for path in options.runs:
        if not path.is_file():
            parser.error(f"{path}: no such file. Give the gpu.json of a run.")
        if not read(path):
            parser.error(f"{path}: expected what gpu_check.py writes. Give it its gpu.json.")
        if options.readme and read(path)["rehearsal"]:
            parser.error(
                f"{path}: a rehearsal, of which the README tells nothing. Give the gpu.json of a run on a GPU."
            )
    found = merged(map(read, options.runs))
    print(readme(found) if options.readme else markdown(found), end="")


if __name__ == "__main__":
    main()
