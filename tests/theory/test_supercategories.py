"""The example over real CLIP text embeddings: what it measures, and that the docs have what was measured."""

import json
import sys

import pytest
from helpers import ROOT

sys.path.append(str(ROOT / "examples" / "theory"))
import supercategories
from supercategories import (
    SUPERCATEGORIES,
    TWINS,
    VOCABULARIES,
    by_hierarchy,
    names_of,
    one_vocabulary,
    similarities,
    table,
    tasks_of,
)  # fmt: skip

RESULTS = json.loads((ROOT / "examples" / "theory" / "results.json").read_text(encoding="utf-8"))
MEANINGLESS = ("parity of its place", "parity of its length")


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "clip-text-embeddings"


def test_every_name_has_one_supercategory(folder):
    names = [name for some in SUPERCATEGORIES.values() for name in some.split(", ")]
    assert sorted(names) == sorted(names_of(folder, "coco80"))
    assert {name: int(labels.numbers.sum()) for name, labels in tasks_of(names_of(folder, "coco80")).items()} == {
        "vehicle": 8, "outdoor": 5, "animal": 10, "accessory": 5, "sports": 10, "kitchen": 7, "food": 10, "furniture": 6,
        "electronic": 6, "appliance": 5, "indoor": 7, "parity of its place": 40, "parity of its length": 37,
    }  # fmt: skip


def test_all_four_verdicts_on_real_embeddings(folder):
    pytest.importorskip("sklearn")
    found = one_vocabulary(folder, "coco80", 1, 2, ("animal", "kitchen", "parity of its place"))
    tasks = found["tasks"]
    assert {name: task["verdict"] for name, task in tasks.items()} == {
        "animal": "one prompt", "kitchen": "k prompts", "parity of its place": "fine-tuning",
        f"animal, {TWINS[0]} = {TWINS[1]}": "nothing",
    }  # fmt: skip
    kept = RESULTS["vocabularies"]["coco80"]["tasks"]
    for name, task in tasks.items():
        for key in ("prompts", "positives", "separable", "rank", "least_wrong"):
            assert task[key] == kept[name][key]
        for key in ("error", "auc", "accuracy"):
            assert task[key] == pytest.approx(kept[name][key], abs=1e-6)
    assert sum(found["random_sets_of_ten"].values()) == 2


def test_names_that_stand_there_twice_are_prompts_once(folder):
    scores = similarities(folder, "openimages500")
    assert len(scores.prompts) == len(set(scores.prompts)) == 498
    for name in ("Bench", "Zebra"):
        row = scores.objects.index(name.lower())
        assert scores.values[row, scores.prompts.index(name)] > 0.99


def test_the_hierarchy_is_as_it_was_kept():
    assert by_hierarchy() == RESULTS["hierarchy"]
    assert [one["verdict"] for one in by_hierarchy().values()] == [
        "one prompt",
        "k prompts",
        "k prompts",
        "fine-tuning",
    ]


def test_docs_have_what_was_measured():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert tuple(RESULTS["vocabularies"]) == VOCABULARIES
    for line in table(RESULTS).splitlines():
        assert line in text
    for name, found in RESULTS["vocabularies"].items():
        random = found["random_sets_of_ten"]
        solved = random["one prompt"] + random["k prompts"]
        assert sum(random.values()) == RESULTS["controls"] == 20
        assert f"{solved} of 20 with {name}'s {found['prompts']}" in text
        assert random["one prompt"] == 0  # as the docs say
        assert all(found["tasks"][task]["verdict"] == "fine-tuning" for task in MEANINGLESS)
    groups = [
        (name, found["tasks"][name]["unseen"])
        for found in RESULTS["vocabularies"].values()
        for name in SUPERCATEGORIES.keys() - {"person"}
    ]
    ahead = sum(unseen["probe"]["mean"] > unseen["prompt"]["mean"] for _, unseen in groups)
    assert f"the probe is ahead of one prompt in {ahead} of {len(groups)}" in text
    for name, unseen in groups:
        if name == "indoor":  # neither beats the commoner label
            assert max(unseen["probe"]["mean"], unseen["prompt"]["mean"]) <= unseen["majority"]
    for task, low, high in (("parity of its place", 36, 50), ("parity of its length", 49, 62)):
        unseen = [found["tasks"][task]["unseen"] for found in RESULTS["vocabularies"].values()]
        shares = [100 * one[kind]["mean"] for one in unseen for kind in ("prompt", "probe")]
        assert low <= min(shares) <= max(shares) <= high
        assert f"{min(shares):.0f} to {max(shares):.0f} %" in text
    own = RESULTS["vocabularies"]["openimages500"]["tasks"]["animal"]["own_name"]
    assert f"`{own['name']}` itself has an AUC of {own['auc']:.3f}" in text
    assert supercategories.VOCABULARIES[0] == "coco80"
