"""Distilling step-by-step beside three baselines, from nothing on two cores: accuracy against training examples.

    python examples/distill/step_by_step.py --data ../shared/data --out results.json --plot results.png

An arm is a task, a method, a fraction of the training examples and a seed: a new T5 of 0.1 to 0.3 million parameters,
trained for as many steps as any other arm of its task, and asked for the labels of the test split. Arms run in two
processes of one thread; those that are in --out already are kept. Settings were chosen on seed 10, on the split
"valid".
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

from curve import plot_results
from lessons import LESSONS, Lesson

from fmcompress.distillation.evaluation import answers_of, prompts_in, report_of
from fmcompress.distillation.examples import read_examples, write_examples
from fmcompress.distillation.methods import METHODS
from fmcompress.distillation.options import TrainOptions
from fmcompress.distillation.run import train_student
from fmcompress.distillation.tasks import task
from fmcompress.files import write_json
from fmcompress.language_model import TransformersLanguageModel

FRACTIONS, SEEDS, WORKERS = (0.1, 0.3, 1.0), (0, 1, 2), 2


@dataclass(frozen=True)
class Arm:
    """One training."""

    lesson: str
    method: str
    fraction: float
    seed: int

    def options(self, steps: int | None = None) -> TrainOptions:
        """The lesson's settings; the last step is kept, so that no arm chooses more than another."""
        settings = LESSONS[self.lesson].settings
        return TrainOptions(
            **{**settings, "steps": steps or settings["steps"], "save_every": steps or settings["steps"]},
            method=self.method, fraction=self.fraction, seed=self.seed, select="last", new="t5",
        )  # fmt: skip


def run_arm(arm: Arm, data: Path, steps: int | None = None) -> dict[str, Any]:
    """Train, ask and tell: accuracy on test, what was learned from, and seconds of the processor."""
    begin, options = time.process_time(), arm.options(steps)
    with tempfile.TemporaryDirectory() as folder:
        facts = train_student(data, Path(folder) / "student", options, device="cpu")
        prompts, _ = prompts_in(Path(folder) / "student")
        asked = TransformersLanguageModel(Path(folder) / "student", device="cpu", batch=100)
        test = [one for one in read_examples(data) if one.split == "test"]
        report = report_of(
            list(answers_of(asked, test, task(options.task), prompts, max_tokens=LESSONS[arm.lesson].room))
        )
    return {
        **asdict(arm), "accuracy": report["accuracy"], "unparsed": report["unparsed"], "tested": report["examples"],
        "counts": facts["counts"], "steps": facts["steps"], "examples_seen": facts["steps"] * options.batch_size,
        "losses": facts["losses"], "processor_s": round(time.process_time() - begin, 1),
    }  # fmt: skip


def table(arms: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each task, fraction and method: mean and standard deviation over seeds."""
    keys = sorted({(one["lesson"], one["fraction"], METHODS.index(one["method"])) for one in arms})
    for lesson, fraction, number in keys:
        some = [
            one
            for one in arms
            if (one["lesson"], one["fraction"], one["method"]) == (lesson, fraction, METHODS[number])
        ]
        found = [one["accuracy"] for one in some]
        yield {
            "lesson": lesson, "method": METHODS[number], "fraction": fraction, "seeds": len(found),
            "examples": some[0]["counts"]["examples"], "mean": statistics.mean(found),
            "sd": statistics.stdev(found) if len(found) > 1 else 0.0,
        }  # fmt: skip


def prepare(lesson: Lesson, given: Path, folder: Path, teacher_steps: int | None = None) -> tuple[Path, dict[str, Any]]:
    """The lesson's examples as a file, and what is known of its teacher."""
    examples, teacher = lesson.examples(given, teacher_steps)
    path = folder / f"{lesson.name}.jsonl"
    write_examples(path, examples)
    return path, teacher


def run(
    given: Path, out: Path, lessons: list[str], seeds: list[int], steps: int | None, workers: int
) -> dict[str, Any]:
    """Do the arms that are missing in OUT. Returns what stands there."""
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"teachers": {}, "arms": []}
    done = {(one["lesson"], one["method"], one["fraction"], one["seed"]) for one in results["arms"]}
    arms = [Arm(lesson, m, f, s) for lesson in lessons for s in seeds for f in FRACTIONS for m in METHODS]
    missing = [arm for arm in arms if tuple(asdict(arm).values()) not in done]
    begin = time.time()
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        files = {}
        for lesson in sorted({arm.lesson for arm in missing}):
            files[lesson], teacher = prepare(LESSONS[lesson], given, Path(name), steps)
            results["teachers"][lesson] = teacher
            results.setdefault("settings", {})[lesson] = LESSONS[lesson].settings
        waiting = [pool.submit(run_arm, arm, files[arm.lesson], steps) for arm in missing]
        for number, done_arm in enumerate(as_completed(waiting), 1):
            record = done_arm.result()
            results["arms"].append(record)
            results["arms"].sort(
                key=lambda one: (one["lesson"], one["seed"], one["fraction"], METHODS.index(one["method"]))
            )
            results["table"] = list(table(results["arms"]))
            write_json(out, results)
            told = " ".join(
                str(record[key]) for key in ("lesson", "method", "fraction", "seed", "accuracy", "processor_s")
            )
            print(f"{number} of {len(missing)}, {time.time() - begin:.0f} s: {told}", file=sys.stderr, flush=True)
    return {**results, "table": list(table(results["arms"]))}


def main() -> None:
    """Run, print the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="with esnli/")
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--lessons", nargs="+", default=list(LESSONS), choices=list(LESSONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, help="in the place of the settings', to try things out")
    parser.add_argument("--workers", type=int, default=WORKERS)
    given = parser.parse_args()
    results = run(given.data, given.out, given.lessons, given.seeds, given.steps, given.workers)
    for row in results["table"]:
        told = f"{100 * row['mean']:.1f} ± {100 * row['sd']:.1f} %"
        print(f"{row['lesson']:14} {row['examples']:6} examples  {row['method']:22} {told}  ({row['seeds']} seeds)")
    if given.plot:
        plot_results(results["table"], given.plot)


if __name__ == "__main__":
    main()
