"""Which tasks over COCO's 80 names do prompts solve, in the space of CLIP's text embeddings?

Objects are CLIP ViT-B/32's text embeddings of COCO's 80 class names; candidate prompts those of a vocabulary's names.
Tasks: COCO's supercategories of at least two names; labels that mean nothing (parity of a name's place and length),
and as a control random sets of ten names; and animals with the rows of two names made equal. There are no images
here, and all verdicts are about these 80 rows. Beside it the same supercategories as a hierarchy, decided exactly.

    python examples/theory/supercategories.py --data FOLDER [--vocabularies coco80,lvis1203] [--seeds 5] [--controls 20]

needs clip-text-embeddings of the folder that CONTRIBUTING.md describes.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from fmcompress.theory.diagnosis import diagnose
from fmcompress.theory.findings import Diagnosis
from fmcompress.theory.hierarchy import Hierarchy
from fmcompress.theory.order_diagnosis import diagnose_order
from fmcompress.theory.score_files import Scores, scores_of_embeddings
from fmcompress.theory.separation import generalisation
from fmcompress.theory.tasks import Labels, labels_of
from fmcompress.theory.verdicts import VERDICTS

VOCABULARIES = ("coco80", "objects365", "openimages500", "lvis1203")
SUPERCATEGORIES = {
    "person": "person",
    "vehicle": "bicycle, car, motorcycle, airplane, bus, train, truck, boat",
    "outdoor": "traffic light, fire hydrant, stop sign, parking meter, bench",
    "animal": "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe",
    "accessory": "backpack, umbrella, handbag, tie, suitcase",
    "sports": "frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, "
    "tennis racket",
    "kitchen": "bottle, wine glass, cup, fork, knife, spoon, bowl",
    "food": "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake",
    "furniture": "chair, couch, potted plant, bed, dining table, toilet",
    "electronic": "tv, laptop, mouse, remote, keyboard, cell phone",
    "appliance": "microwave, oven, toaster, sink, refrigerator",
    "indoor": "book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}
TWINS = ("dog", "teddy bear")  # of which one is an animal


def names_of(data: Path, vocabulary: str) -> list[str]:
    return (data / f"{vocabulary}_names.txt").read_text(encoding="utf-8").splitlines()


def similarities(data: Path, vocabulary: str) -> Scores:
    """Cosines of COCO's names with a vocabulary's; of names that stand there twice, as Bench, the first."""
    rows = scores_of_embeddings(
        data / "coco80_vitb32.npy", data / f"{vocabulary}_vitb32.npy", data / "coco80_names.txt", normalise=True
    )
    names = names_of(data, vocabulary)
    kept = [at for at, name in enumerate(names) if names.index(name) == at]
    return Scores(rows.values[:, kept], rows.objects, tuple(names[at] for at in kept))


def tasks_of(names: Sequence[str]) -> dict[str, Labels]:
    """Label of each name, by task."""
    kind = {name: group for group, some in SUPERCATEGORIES.items() for name in some.split(", ")}
    groups = {group: [int(kind[name] == group) for name in names] for group in SUPERCATEGORIES if group != "person"}
    meaningless = {
        "parity of its place": [at % 2 for at in range(len(names))],
        "parity of its length": [len(name) % 2 for name in names],
    }
    return {name: labels_of(labels) for name, labels in {**groups, **meaningless}.items()}


def with_twins(scores: Scores) -> Scores:
    """The scores in which the first of TWINS looks as the second does."""
    values = scores.values.copy()
    one, other = map(scores.objects.index, TWINS)
    values[one] = values[other]
    return Scores(values, scores.objects, scores.prompts)


def measured(found: Diagnosis, seeds: int) -> dict[str, Any]:
    """What is kept of a diagnosis of one task: verdict, prompts, and shares on unseen names, mean and sd over seeds."""
    (task,) = found.tasks
    values = found.scores.values[found.rows]
    positive = np.array(found.labels.classes)[found.labels.numbers] == task.name
    shares = [generalisation(values, positive, seed=seed) for seed in range(seeds)]
    unseen = {
        kind: {"mean": mean(each), "sd": stdev(each) if seeds > 1 else None}
        for kind in ("prompt", "probe", "balanced")
        for each in [[getattr(share, kind) for share in shares]]
    }
    best = task.best
    return {
        "verdict": task.verdict,
        "reason": task.reason,
        "positives": task.positives,
        "prompts": [found.scores.prompts[at] for at in task.prompts],
        "fewest": task.fewest,
        "best_prompt": found.scores.prompts[best],
        "error": task.error,
        "auc": float(task.measures.auc[best]),
        "accuracy": float(task.measures.accuracy[best]),
        "errors_of_k_prompts": [step.exact.error if step.exact else None for step in task.curve],
        "separable": task.separation.separable,
        "rank": task.separation.rank,
        "least_wrong": task.collapse.least_wrong,
        "unseen": {**unseen, "nearest": shares[0].nearest, "majority": shares[0].majority},
    }


def own_name(scores: Scores, found: Diagnosis, task: str) -> dict[str, Any] | None:
    """What the prompt that is called as the task, such as Open Images' "Animal", reaches by itself."""
    at = {name.lower(): number for number, name in enumerate(scores.prompts)}.get(task)
    if at is None:
        return None
    measures = found.tasks[0].measures
    return {"name": scores.prompts[at], "auc": float(measures.auc[at]), "accuracy": float(measures.accuracy[at])}


def one_vocabulary(data: Path, vocabulary: str, seeds: int, controls: int, only: Sequence[str] = ()) -> dict[str, Any]:
    """All tasks with the names of a vocabulary as prompts."""
    scores = similarities(data, vocabulary)
    tasks: dict[str, Any] = {}
    for name, labels in tasks_of(scores.objects).items():
        if not only or name in only:
            found = diagnose(scores, labels)
            tasks[name] = {**measured(found, seeds), "own_name": own_name(scores, found, name)}
    animals = tasks_of(scores.objects)["animal"]
    tasks[f"animal, {TWINS[0]} = {TWINS[1]}"] = measured(diagnose(with_twins(scores), animals), seeds)
    random = Counter(
        diagnose(scores, labels_of(np.random.default_rng(seed).permutation(animals.numbers).tolist())).verdict
        for seed in range(controls)
    )
    return {
        "prompts": len(scores.prompts),
        "tasks": tasks,
        "random_sets_of_ten": {verdict: random[verdict] for verdict in VERDICTS},
    }


def by_hierarchy() -> dict[str, Any]:
    """Tasks over name < supercategory < thing: one prompt, several, and one that is against the hierarchy."""
    edges = [(name, group) for group, some in SUPERCATEGORIES.items() for name in some.split(", ") if name != group]
    order = Hierarchy.from_edges([*edges, *((group, "thing") for group in SUPERCATEGORIES)])
    below = {group: {name for name, of in edges if of == group} for group in SUPERCATEGORIES}
    tasks = {
        "animal": below["animal"],
        "kitchen or food": below["kitchen"] | below["food"],
        "cutlery": {"fork", "knife", "spoon"},
        "animal, but no dog": {"animal", *below["animal"]} - {"dog"},
    }
    found = {}
    for name, some in tasks.items():
        labels = [int(one in some) if one in some or one not in SUPERCATEGORIES else -1 for one in order.objects]
        (task,) = diagnose_order(order, labels_of(labels)).tasks
        found[name] = {"verdict": task.verdict, "prompts": list(task.prompts), "reason": task.reason}
    return found


def table(results: Mapping[str, Any]) -> str:
    """Rows of a Markdown table: a line a task, what solves it with each vocabulary's names as prompts."""
    lines = []
    vocabularies = results["vocabularies"]
    for task in next(iter(vocabularies.values()))["tasks"]:
        cells = []
        for found in vocabularies.values():
            one = found["tasks"][task]
            told = f"{len(one['prompts'])} prompts" if one["verdict"] == "k prompts" else one["verdict"]
            probe = one["unseen"]["probe"]
            cells.append(f"{told}; {100 * one['unseen']['prompt']['mean']:.1f} / {100 * probe['mean']:.1f}")
        majority = 100 * one["unseen"]["majority"]
        lines.append(f"| {task} ({one['positives']}) | {' | '.join(cells)} | {majority:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Run all vocabularies and write what was found, after each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("FMCOMPRESS_DATA", Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--vocabularies", default=",".join(VOCABULARIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--controls", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    options = parser.parse_args()
    results: dict[str, Any] = {"seeds": options.seeds, "controls": options.controls, "hierarchy": by_hierarchy()}
    results["vocabularies"] = {}
    for vocabulary in options.vocabularies.split(","):
        folder = options.data / "clip-text-embeddings"
        results["vocabularies"][vocabulary] = one_vocabulary(folder, vocabulary, options.seeds, options.controls)
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
