"""The experiment on digits, shortened, what its parts share, and what the docs tell of it."""

import importlib
import json
import math
import re
import sys

import pytest
import torch
from helpers import ROOT

EXAMPLE = ROOT / "examples" / "ratatouille"
DIAGNOSTICS = {  # what a row of the docs is called -> its key, what it is multiplied by, and its form
    "barrier on validation, mean over pairs": ("barrier_valid_mean", 100, "{:.2f}"),
    "barrier on validation, largest": ("barrier_valid_max", 100, "{:.2f}"),
    "barrier on the domain left out, mean over pairs": ("barrier_test_mean", 100, "{:.2f}"),
    "barrier on the domain left out, largest": ("barrier_test_max", 100, "{:.2f}"),
    "ratio-error": ("ratio_error", 1, "{:.2f}"),
    "average of all ten, less the mean of single runs": ("average_minus_mean", 100, "{:+.2f}"),
    "average of all ten, less their ensemble": ("average_minus_ensemble", 100, "{:+.2f}"),
    "distance of a run from the average": ("distance", 1, "{:.2f}"),
    "largest gap of a probability, average to ensemble": ("gap", 1, "{:.3f}"),
    "order of that gap in the distance": ("order", 1, "{:.2f}"),
}


PAGES = [path for path in sorted((ROOT / "docs").glob("*.md")) if "Ratatouille (uniform)" in path.read_text()]


@pytest.fixture(scope="module")
def modules():
    pytest.importorskip("sklearn")
    sys.path.insert(0, str(EXAMPLE))
    return tuple(importlib.import_module(name) for name in ("domains", "kitchen", "tasting", "leave_one_out"))


@pytest.fixture(scope="module")
def short_settings(modules):
    return modules[1].Settings(pretraining=(60, 2e-3), auxiliary=(10, 1e-3), probe=(20, 5e-3), target=10)


def test_no_image_is_in_two_parts(modules, monkeypatch):
    domains, _, _, leave = modules
    monkeypatch.setattr(domains, "_styled", lambda style, images, labels, generator: domains._grey(images))

    def tagged(count, first):  # an image of its number alone
        return (first + torch.arange(count).float())[:, None, None].expand(-1, 14, 14), torch.arange(count) % 10

    found = domains.material(tagged(1000, 0), tagged(300, 1000), seed=3, rows=150)

    def tags(part):
        return set(part.images.reshape(len(part.labels), -1)[:, 0].int().tolist())

    parts = [tags(found.pretraining), *map(tags, found.domains.values())]
    shared = set.union(*map(tags, found.auxiliary.values()))
    assert [len(part) for part in parts] == [200, 150, 150, 150, 150, 150]
    assert len(shared) == 200
    assert len(set.union(*parts, shared)) == sum(map(len, parts)) + len(shared)
    for held_out in domains.DOMAINS:
        train, valid, test = map(tags, leave.split(found, held_out))
        assert (len(train), len(valid), test) == (4 * 120, 4 * 30, tags(found.domains[held_out]))
        assert not train & valid
        assert not test & (train | valid | shared | tags(found.pretraining))


def test_auxiliary_tasks_ask_what_they_say(modules):
    digits = torch.arange(10)
    asked = {name: ask(digits).tolist() for name, (ask, _) in modules[0].TASKS.items()}
    assert asked == {
        "parity": [0, 1] * 5,
        "five-or-more": [0] * 5 + [1] * 5,
        "holes": [1, 0, 0, 0, 0, 0, 1, 0, 2, 1],
        "modulo-three": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0],
    }
    assert all(max(asked[name]) + 1 == classes for name, (_, classes) in modules[0].TASKS.items())


def test_a_probe_trains_the_head_alone_and_a_run_is_a_function_of_its_job(modules, short_settings):
    from fmcompress.ratatouille import Job

    domains, kitchen, _, leave = modules
    found = domains.material(None, domains.read_scans(), 0, 200)
    train, valid, _ = leave.split(found, "noisy")
    cook = kitchen.Cook(found, train, valid, short_settings, {})
    body = {name: one for name, one in kitchen.network({}, 10).state_dict().items() if name.startswith("body")}
    probed = cook.train(body, Job("probe", "target", "pretrained", 0, 5))
    assert all(torch.equal(probed[name], one) for name, one in body.items())
    jobs = [Job("target", "target", "pretrained", number, seed) for number, seed in ((0, 1), (0, 1), (1, 2))]
    runs = [cook.train({name: one.clone() for name, one in probed.items()}, job)["body.0.weight"] for job in jobs]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_run_fills_a_table_and_goes_on_where_it_stopped(modules, short_settings, tmp_path):
    _, _, tasting, leave = modules
    out = tmp_path / "results.json"
    results = leave.run(None, out, [0], short_settings, 3, rows=200)
    assert [one["held_out"] for one in results["cells"]] == ["clean", "rotated", "coloured", "noisy"]
    for one in results["cells"]:
        assert one["accuracy"].keys() == leave.ROWS.keys()
        best = max(one["validation"]["erm"], one["validation"]["inter-training"])
        assert one["validation"]["soup"] >= one["validation"]["erm"]
        assert max(one["validation"]["soup"], one["validation"]["ratatouille-greedy"]) >= best
        assert one["chosen"]["diwa"] == one["chosen"]["ratatouille"] == 3
        assert all(len(family["pairs"]) == 3 for family in one["families"].values())
    row = results["table"][list(leave.ROWS).index("ratatouille")]
    assert row["mean"]["average"] == pytest.approx(sum(o["accuracy"]["ratatouille"] for o in results["cells"]) / 4)
    before = out.read_bytes()
    assert leave.run(None, out, [0], short_settings, 3, rows=200)["cells"] == json.loads(before)["cells"]
    assert out.read_bytes() == before  # nothing was missing
    with pytest.raises(SystemExit, match="other settings"):
        leave.run(None, out, [0], short_settings, 4, rows=200)
    tasting.draw(results["cells"], tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "ratatouille-barriers.png", "ratatouille-diversity.png", "ratatouille-lines.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--runs", "2"], "at least 1 of --seeds and 3 of --runs"), (["--data", "nowhere"], "nowhere has no t10k-images")],
)
def test_options_that_do_not_fit_are_told_before_any_work(modules, monkeypatch, capsys, options, message):
    monkeypatch.setattr(sys, "argv", ["leave_one_out.py", *options])
    with pytest.raises(SystemExit):
        modules[3].main()
    assert message in capsys.readouterr().err


def test_the_table_is_over_seeds(modules):
    _, _, _, leave = modules
    cells = [
        {"seed": seed, "held_out": name, "accuracy": dict.fromkeys(leave.ROWS, value)}
        for seed, name, value in ((0, "a", 0.2), (0, "b", 0.4), (1, "a", 0.4), (1, "b", 0.8))
    ]
    row = next(leave.table(cells))
    assert row["mean"] == pytest.approx({"a": 0.3, "b": 0.6, "average": 0.45})
    assert row["sd"]["average"] == pytest.approx(0.15 * 2**0.5)
    cells[3]["accuracy"] = {**cells[3]["accuracy"], "erm": 0.5}
    assert leave.gain(cells, "ratatouille", "erm")["each"] == pytest.approx([0, 0.15])


@pytest.fixture(scope="module")
def measured():
    return json.loads((EXAMPLE / "results.json").read_text())


def test_docs_have_the_table_that_was_measured(modules, measured):
    domains, _, _, leave = modules
    assert len(measured["cells"]) == 5 * len(domains.DOMAINS)
    assert measured["processor_s"] <= 15 * 60
    assert measured["table"] == list(leave.table(measured["cells"]))
    (page,) = PAGES
    text = page.read_text()
    for row in measured["table"]:
        assert row["seeds"] == 5
        shown = [
            f"{100 * row['mean'][name]:.1f} ± {100 * row['sd'][name]:.1f}" for name in (*domains.DOMAINS, "average")
        ]
        assert f"| {leave.ROWS[row['method']]} | {' | '.join(shown)} |" in text
    for one in measured["gains"]:
        assert f"{100 * one['mean']:+.2f} ± {100 * one['sd']:.2f}" in text


def test_the_readme_has_the_averages_that_were_measured(modules, measured):
    text, rows = (ROOT / "README.md").read_text(), {row["method"]: row for row in measured["table"]}
    told = {
        method: f"{100 * row['mean']['average']:.1f} ± {100 * row['sd']['average']:.1f}" for method, row in rows.items()
    }
    shown = [f"| {modules[3].ROWS[method]} | {average} |" in text for method, average in told.items()]
    assert sum(shown) == 6
    assert f"a linear probe without any fine-tuning reaches {told['probe']}" in text
    leads = {(one["method"], one["over"]): one for one in measured["gains"]}
    for over in ("erm", "diwa"):
        one = leads["ratatouille", over]
        assert f"{100 * one['mean']:.2f} ± {100 * one['sd']:.2f}" in text


def test_docs_have_the_diagnostics_that_were_measured(modules, measured):
    tasting = modules[2]
    found = tasting.summary(measured["cells"])
    (page,) = PAGES
    text = page.read_text()
    assert measured["summary"] == found
    for name, (key, times, form) in DIAGNOSTICS.items():
        shown = [form.format(times * found[family][key]) for family in ("pretrained", "recycled")]
        assert f"| {name} | {' | '.join(shown)} |" in text
    assert f"r = {found['correlation']['pearson']:.2f}" in text


def in_the_docs(which, folder, monkeypatch):
    """What is left when an example in the docs has run in a folder."""
    (page,) = PAGES
    code = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)[which]
    monkeypatch.chdir(folder)
    with torch.random.fork_rng():
        found: dict[str, object] = {}
        exec(code, found)
    assert found["dishes"].keys() == {"erm", "diwa", "ratatouille"}
    return found


def test_the_example_in_the_docs_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    dishes = in_the_docs(0, tmp_path, monkeypatch)["dishes"]
    assert 0.5 < dishes["ratatouille"].validation <= 1
    assert (tmp_path / "trainings" / "recipe.json").exists()


def test_the_example_with_a_model_of_transformers_runs(tmp_path, monkeypatch):
    from transformers import LlamaForCausalLM

    found = in_the_docs(1, tmp_path, monkeypatch)
    dish = found["dishes"]["ratatouille"]
    assert dish.chosen == tuple(
        f"target-00{n}-from-{start}" for n, start in enumerate(("pretrained", "counting", "asking"))
    )
    assert dish.validation > found["validate"](found["recipe"].probe().weights) > -math.log(128)
    kept = LlamaForCausalLM.from_pretrained(tmp_path / "OUT").state_dict()
    assert all(torch.equal(kept[name], one) for name, one in dish.weights.items())
