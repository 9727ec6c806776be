"""Classification by description: what of it is exact, and its controls, over random and over real embeddings."""

import hashlib
from itertools import chain

import numpy as np
import pytest

from fmcompress.clip import class_embeddings, normalised, predict
from fmcompress.clip.descriptions import DescriptionClassifier
from fmcompress.clip.descriptors import read_descriptors
from fmcompress.clip.waffle import Control, description_report, scrambled, swapped, waffle
from fmcompress.errors import ConfigError

DIM = 24
BIRDS = {
    "hen": ["a red comb", "wings", "often brown"],
    "owl": ["a round face"],
    "goose": ["webbed feet", "a long neck"],
}


def seed_of(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


class Encoder:
    """A row for each text, the same one always; counts what it is asked."""

    def __init__(self, dtype=np.float64):
        self.dtype, self.asked = dtype, []

    def __call__(self, texts):
        self.asked += list(texts)
        rows = [np.random.default_rng(seed_of(text)).standard_normal(DIM) for text in texts]
        return normalised(np.stack(rows)).astype(self.dtype)


def images(rows=50, seed=0):
    return normalised(np.random.default_rng(seed).standard_normal((rows, DIM)))


def brute_force(descriptors, aggregate):
    """Scores as the paper has them: a similarity for each descriptor, then one number of them."""
    return np.stack([
        aggregate(images() @ Encoder()([f"{name}, {clause}" for clause in clauses]).T, 1)
        for name, clauses in {
            "hen": ["which is a red comb", "which has wings", "which often brown"],
            "owl": ["which is a round face"],
            "goose": ["which has webbed feet", "which is a long neck"],
        }.items()
    ], 1)  # fmt: skip


@pytest.mark.parametrize("agg", ["mean", "max", "sum"])
@pytest.mark.parametrize("chunk", [7, 8192])
def test_scores_are_the_papers(agg, chunk):
    clf = DescriptionClassifier(BIRDS, agg=agg).fit(Encoder())
    expected = brute_force(BIRDS, getattr(np, agg))
    assert abs(clf.scores(images(), chunk_rows=chunk) - expected).max() < 1e-12
    assert (clf.predict(images(), chunk_rows=chunk) == expected.argmax(1)).all()


def test_the_mean_is_a_linear_classifier():
    clf = DescriptionClassifier(BIRDS).fit(Encoder(np.float32))
    parts = np.split(clf.text, clf.starts[1:])
    weights = np.stack([part.mean(axis=0) for part in parts])
    assert abs(clf.scores(images().astype(np.float32)) - images() @ weights.T).max() < 1e-6
    assert clf.scores(images().astype(np.float32)).dtype == np.float32
    prompts = {"hen": clf.texts[:3], "owl": clf.texts[3:4], "goose": clf.texts[4:]}
    ensemble = DescriptionClassifier(BIRDS, renormalize=True).fit(Encoder())
    assert np.allclose(ensemble.weights, class_embeddings(list(BIRDS), prompts, Encoder()), atol=1e-12)


def test_names_alone_are_the_classifier_of_names():
    clf = DescriptionClassifier({"hen": [], "snowy_owl": []}, empty="name").fit(Encoder())
    assert clf.texts == ["hen", "snowy owl"]
    assert (clf.predict(images()) == predict(images(), Encoder()(["hen", "snowy owl"]))).all()


def test_what_changes_nothing():
    plain = {agg: DescriptionClassifier(BIRDS, agg=agg).fit(Encoder()).scores(images()) for agg in ("mean", "max")}
    twice = DescriptionClassifier({**BIRDS, "hen": [*BIRDS["hen"], "wings"]}, agg="max").fit(Encoder())
    assert (twice.scores(images()) == plain["max"]).all()
    turned = DescriptionClassifier({name: some[::-1] for name, some in BIRDS.items()}).fit(Encoder())
    assert abs(turned.scores(images()) - plain["mean"]).max() < 1e-14
    other = DescriptionClassifier(dict(reversed(BIRDS.items()))).fit(Encoder())
    first = DescriptionClassifier(BIRDS).fit(Encoder())
    names = [first.classes[number] for number in first.predict(images())]
    assert [other.classes[number] for number in other.predict(images())] == names


@pytest.mark.parametrize("options", [{}, {"agg": "max"}, {"agg": "sum"}, {"renormalize": True}])
def test_an_explanation_averages_to_its_score(options):
    clf = DescriptionClassifier(BIRDS, **options).fit(Encoder())
    scores = clf.scores(images())
    for row in range(5):
        found = clf.explain(images()[row], ["pred", "true", "name", "owl"], true="goose")
        assert [one.kind for one in found] == ["pred", "true", "name", "asked"]
        assert [one.name for one in found[1::2]] == ["goose", "owl"]
        assert found[0].name == clf.classes[scores[row].argmax()]
        for one in found:
            values = [value for _, value in one.parts]
            assert values == sorted(values, reverse=True)
            aggregate = {"max": max, "sum": sum}.get(options.get("agg"), lambda v: sum(v) / len(v))
            assert one.score == pytest.approx(aggregate(values), abs=1e-15)
            assert one.score == pytest.approx(scores[row, clf.classes.index(one.name)], abs=1e-12)


def test_an_explanation_in_words():
    clf = DescriptionClassifier({**BIRDS, "owl": []}, empty="name").fit(Encoder())
    hen, owl = clf.explain(images()[0], ["hen", "owl"])
    parts = dict(hen.parts)
    best = max(parts, key=parts.get)
    clauses = {"a red comb": "it is a red comb", "wings": "it has wings", "often brown": "it often brown"}
    assert hen.sentence(1) == f"For a hen ({hen.score:.3f}): {clauses[best]} ({parts[best]:.3f})"
    assert owl.sentence() == f"For an owl ({owl.score:.3f}), of which nothing but its name is known"
    pred, true = clf.explain(images()[0], ["pred", "true"], true="goose")
    assert pred.sentence().startswith(f"I saw a{'n' * (pred.name == 'owl')} {pred.name} ({pred.score:.3f})")
    assert true.sentence().startswith("The label says a goose (")
    assert true.sentence().count(", it ") == 1
    goose = clf.edit("hen", add=[]).explain(clf.text[5], ["pred"])[0]
    assert goose.sentence(1) == f"I saw a goose ({goose.score:.3f}) because it is a long neck (1.000)"


def test_articles():
    clf = DescriptionClassifier({"one": [], "unicycle": [], "ice_bear": [], "zebra": []}, empty="name").fit(Encoder())
    said = [one.sentence().split(" (")[0] for one in clf.explain(images()[0], clf.classes)]
    assert said == ["For a one", "For a unicycle", "For an ice bear", "For a zebra"]


def test_edit_embeds_only_what_is_new():
    encoder = Encoder()
    clf = DescriptionClassifier(BIRDS).fit(encoder)
    encoder.asked.clear()
    other = clf.edit("hen", add=["a beak"], drop=["wings"])
    assert encoder.asked == ["hen, which is a beak"]
    assert other.descriptors["hen"] == ["a red comb", "often brown", "a beak"]
    assert clf.descriptors["hen"] == BIRDS["hen"]
    back = other.edit("hen", add=["wings"], drop=["a beak"])
    assert abs(back.scores(images()) - clf.scores(images())).max() < 1e-14
    for wrong in (("duck", [], []), ("hen", [], ["fins"])):
        with pytest.raises(ConfigError, match="edit"):
            clf.edit(*wrong)
    with pytest.raises(ConfigError, match="1 of 3 classes have none: owl"):
        clf.edit("owl", drop=["a round face"])


def test_controls_keep_the_numbers_and_lose_the_meaning():
    noise = waffle(BIRDS, pairs=4, seed=1)
    assert noise["hen"] == noise["owl"]
    assert len(noise["hen"]) == 8
    words = {word for some in BIRDS.values() for one in some for word in one.split()}
    assert all(set(text.split()) <= words for text in noise["hen"][::2])
    assert not any(set(text.split()) & words for text in noise["hen"][1::2])
    assert {len(text.split()) for text in noise["hen"]} == {2}  # 13 words in 6 descriptors
    assert waffle(BIRDS, 4, 1) == noise != waffle(BIRDS, 4, 2)
    for seed in range(8):
        moved = swapped(BIRDS, seed)
        assert sorted(moved.values()) == sorted(BIRDS.values())
        assert all(moved[name] != BIRDS[name] for name in BIRDS)
        dealt = scrambled(BIRDS, seed)
        assert [len(some) for some in dealt.values()] == [3, 1, 2]
        assert sorted(chain(*dealt.values())) == sorted(chain(*BIRDS.values()))
    for wrong in (lambda: waffle({"a": []}), lambda: swapped({"a": ["x"]}), lambda: waffle(BIRDS, 0)):
        with pytest.raises(ConfigError, match=r"waffle|swapped"):
            wrong()


def test_a_report_has_the_control_beside_the_result():
    """Images that are what their descriptors say: noise in their place must be worse, and names alone, too."""
    rng, encoder = np.random.default_rng(0), Encoder()
    clf = DescriptionClassifier(BIRDS).fit(encoder)
    labels = rng.integers(0, 3, 300)
    rows = normalised(clf.weights[labels] + 0.1 * rng.standard_normal((300, DIM)))
    report = description_report(rows, labels, clf, encoder, controls=["waffle", "swapped", "scrambled"], seeds=3)
    assert report.described > 0.9
    assert [len(control.accuracies) for control in report.controls] == [3, 3, 3]
    assert max(control.mean for control in report.controls) < report.described - 0.2
    assert report.described == (clf.predict(rows) == labels).mean()
    assert report.names == (predict(rows, encoder([f"a photo of a {n}." for n in BIRDS])) == labels).mean()
    told = report.as_dict()
    assert told["controls"][0]["sd"] == pytest.approx(np.std(report.controls[0].accuracies, ddof=1))
    assert Control("waffle", (0.5,)).sd == 0
    for wrong in ({"controls": ["x"]}, {"seeds": 0}):
        with pytest.raises(ConfigError, match="control"):
            description_report(rows, labels, clf, encoder, **wrong)
    with pytest.raises(ConfigError, match="labels: expected 300"):
        description_report(rows, labels[1:], clf, encoder)


def test_wrong_input():
    for wrong in ({"agg": "median"}, {"agg": "max", "renormalize": True}, {"template": "x"}, {"grammar": "x"}):
        with pytest.raises(ConfigError):
            DescriptionClassifier(BIRDS, **wrong)
    with pytest.raises(ConfigError, match="at least one class"):
        DescriptionClassifier({})
    clf = DescriptionClassifier(BIRDS)
    with pytest.raises(ConfigError, match="Call fit"):
        clf.predict(images())
    clf.fit(Encoder())
    with pytest.raises(ConfigError, match="24 columns"):
        clf.predict(np.eye(3))
    with pytest.raises(ConfigError, match="length 1"):
        clf.scores(2 * images())
    for name in ("true", "duck"):
        with pytest.raises(ConfigError, match="one of the classes, got"):
            clf.explain(images()[0], [name])
    with pytest.raises(ConfigError, match="expected 6 rows, got 5"):
        DescriptionClassifier(BIRDS).fit(lambda texts: Encoder()(texts)[1:])


def test_real_text_embeddings_find_their_namesakes(shared_data):
    """A vocabulary as the classes, another as the images: each name that both have is its own nearest."""
    folder = shared_data / "clip-text-embeddings"
    rows = {
        name: normalised(np.load(folder / f"{name}_vitb32.npy").astype(np.float32)) for name in ("coco80", "objects365")
    }
    names = {name: (folder / f"{name}_names.txt").read_text().splitlines() for name in rows}
    known = dict(zip(names["objects365"], rows["objects365"], strict=True))
    classes = {name: [] for name in names["objects365"]}
    clf = DescriptionClassifier(classes, empty="name")
    clf.fit(lambda texts: np.stack([known[text] for text in texts]))
    lower = {name.lower(): number for number, name in enumerate(classes)}
    both = [number for number, name in enumerate(names["coco80"]) if name.lower() in lower]
    found = clf.predict(rows["coco80"][both])
    assert len(both) >= 60
    right = [lower[names["coco80"][number].lower()] == one for number, one in zip(both, found, strict=True)]
    assert all(right)


def test_all_of_imagenet(shared_data):
    descriptors = read_descriptors(shared_data / "clip-descriptors" / "descriptors_imagenet.json")
    clf = DescriptionClassifier(descriptors, agg="max").fit(Encoder())
    assert (len(clf.texts), clf.scores(images()).shape) == (5800, (50, 1000))
    assert waffle(descriptors)["tench"] == waffle(descriptors)["hen"]
