"""Selection-Inference against direct answers, with one small model that learns both from generated problems.

    python examples/reason/fictional.py --out results.json --babi ../shared/data/babi --seeds 0 1 2 --plot results.png

A seed trains a Llama of 0.2 million parameters from nothing on problems of its own, with a prefix a task: first to
write whole chains of thought, of one step and then of up to five, which is where it learns to match statements; then to
select statements, to infer from a selection, to halt, and to answer directly, with as many rows of each. Held-out
problems of depth 1 to 5, and bAbI's tasks 15 and 16, are then put to it in each way. With --model FOLDER the last
seed's model is kept, for `fmcompress reason --prompts trained --enough --select 3 --steps 6`. Settings were chosen on
seed 100.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any

import torch

from fmcompress.language_model import TransformersLanguageModel
from fmcompress.reasoning import Problem, TrainedPrompts
from fmcompress.reasoning.build import Options, build
from fmcompress.reasoning.counting import CountingLanguageModel
from fmcompress.reasoning.datasets import read_babi
from fmcompress.reasoning.evaluation import evaluate
from fmcompress.reasoning.evaluation_rendering import plot_accuracy
from fmcompress.reasoning.problems import FAMILIES, generate
from fmcompress.reasoning.training_rows import training_rows
from fmcompress.reasoning.word_tokenizer import new_word_tokenizer
from fmcompress.training.schedule import Schedule
from fmcompress.training.start import new_model
from fmcompress.training.text_objective import TextObjective
from fmcompress.training.text_rows import Row
from fmcompress.training.trainer import Trainer

PARTS = ("selection", "inference", "halt", "direct")
MIXTURE = ("ontology", "attributes", "ontology", "attributes", "fears", "colours")
METHODS = {"selection-inference": "Selection-Inference", "direct": "direct"}
OPTIONS = Options(steps=6, select=3, enough=True)
DEEP = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    depths  of its problems
    parts   of each problem that are learned
    steps   of the optimizer, each of `batch` problems
    """

    depths: tuple[int, ...]
    parts: tuple[str, ...]
    steps: int
    batch: int = 16


STAGES = (Stage((1,), ("chain",), 500), Stage(DEEP, ("chain",), 2000), Stage(DEEP, PARTS, 2500))


def rows_of(problems: Sequence[Problem], seed: int, parts: Sequence[str]) -> list[list[Row]]:
    """One step of each problem as rows: the selection whole, since a Llama reads and writes it in one."""
    drawn = Random(f"steps {seed}")
    return [training_rows(one, parts=parts, drawn=drawn, whole_selections=True, seed=seed) for one in problems]


def trained(seed: int, stages: Sequence[Stage], folder: Path, width: int = 64) -> dict[str, Any]:
    """Train a model from nothing and save it with its tokenizer; returns what can be told of it."""
    began, tokenizer = time.process_time(), new_word_tokenizer()
    model = new_model("llama", tokenizer, seed=seed, width=width, layers=4, heads=4)
    losses: dict[str, float] = {}
    for number, stage in enumerate(stages):
        problems = generate(
            stage.steps * stage.batch, seed=1000 * (seed + 1) + number, families=MIXTURE, depths=stage.depths, pairs=0
        )
        rows = rows_of(problems, seed, stage.parts)
        objective = TextObjective(
            model, tokenizer, rows, dict.fromkeys(stage.parts, 1.0), batch_size=stage.batch, micro_batch=16, seed=seed
        )

        def tell(record: dict[str, Any], parts: tuple[str, ...] = stage.parts) -> None:
            losses.update({part: record[part] for part in parts})
            if record["step"] % 100 == 0:
                told = ", ".join(f"{part} {losses[part]:.3f}" for part in parts)
                print(f"  {record['step']}: {told} ({time.process_time() - began:.0f} s of CPU)", flush=True)

        Trainer(objective, stage.steps, Schedule(learning_rate=2e-3, seed=seed)).run(tell)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "parameters": sum(one.numel() for one in model.parameters()),
        "cpu_s": round(time.process_time() - began, 1),
        "losses": {part: round(loss, 4) for part, loss in losses.items()},
    }


def problems_to_measure(questions: int, babi: Path | None, limit: int | None) -> dict[str, list[Problem]]:
    """Held-out problems by the name of their line in the table."""
    found = {
        "generated": generate(questions, seed=7, families=("ontology", "attributes"), pairs=0),
        **{family: generate(questions // 4, seed=8, families=(family,)) for family in FAMILIES[2:]},
    }
    if babi:
        found |= {f"bAbI {task}": read_babi(babi, task)[:limit] for task in (15, 16)}
    return found


def measured(folder: Path, problems: dict[str, list[Problem]], methods: Sequence[str]) -> dict[str, Any]:
    """Accuracy of each method by line of the table, and what became of the traces: all of them validated."""
    model, found = TransformersLanguageModel(folder), dict[str, Any]()
    for method in methods:
        began, counting = time.process_time(), CountingLanguageModel(model)
        reasoner = build(method, counting, TrainedPrompts(), OPTIONS)
        groups, states, traces, checked, sound = dict[str, Any](), dict[str, int](), 0, 0, 0
        for name, some in problems.items():
            one = evaluate(reasoner, some)
            facts = one.as_dict()
            if name == "generated":
                groups |= facts["groups"]
            else:
                groups[name] = {"accuracy": one.accuracy, "questions": one.asked.total()}
            for state, count in one.states.items():
                states[state] = states.get(state, 0) + count
            traces, checked, sound = traces + one.traces, checked + one.checked, sound + one.sound
        found[method] = {
            "groups": groups, "valid_traces": traces, "states": states, "checked_inferences": checked,
            "sound_inferences": sound, "asked_of_the_model": counting.counts.as_dict(),
            "cpu_s": round(time.process_time() - began, 1),
        }  # fmt: skip
    return found


def summary(seeds: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation over seeds, by method and line."""
    runs = [one["methods"] for one in seeds.values()]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for method in runs[0]:
        found[method] = {}
        for group in runs[0][method]["groups"]:
            shares = [run[method]["groups"][group]["accuracy"] for run in runs]
            spread = stdev(shares) if len(shares) > 1 else 0.0
            found[method][group] = {"accuracy": mean(shares), "sd": spread}
    return found


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """In percent, a line a group."""
    lines = [" " * 10 + "".join(f"{name:>26}" for name in found)]
    for group in next(iter(found.values())):
        cells = [f"{100 * one[group]['accuracy']:.1f} ± {100 * one[group]['sd']:.1f}" for one in found.values()]
        lines.append(f"{group:<10}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON; seeds that stand in it are kept")
    parser.add_argument("--babi", type=Path, help="folder of bAbI's test files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--questions", type=int, default=300, help="held-out generated problems")
    parser.add_argument("--limit", type=int, default=200, help="questions of each task of bAbI")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--model", type=Path, help="folder to keep the last seed's model in")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"seeds": {}}
    problems = problems_to_measure(given.questions, given.babi, given.limit)
    for seed in given.seeds:
        if str(seed) in results["seeds"]:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = given.model or Path(scratch)
            told = trained(seed, STAGES, folder)
            results["seeds"][str(seed)] = {**told, "methods": measured(folder, problems, tuple(METHODS))}
        results["summary"] = summary(results["seeds"])
        given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results["summary"]))
    if given.plot:
        named = {METHODS[name]: one for name, one in results["summary"].items()}
        plot_accuracy(named, "Right answers by steps of the shortest proof", given.plot)


if __name__ == "__main__":
    main()
