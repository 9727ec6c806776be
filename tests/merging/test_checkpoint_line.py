"""Lines between checkpoints on disk: what is scored, the barrier and its words, nothing left behind."""

import json
from pathlib import Path

import pytest
import torch
from helpers import invoke, make_checkpoint, make_text
from merging_cases import all_tensors, random_tensors, write_model

from fmcompress.checkpoint import write_error
from fmcompress.errors import CheckpointError, ConfigError, DiskError
from fmcompress.merging.checkpoint_line import Line, checkpoint_line, spaced
from fmcompress.merging.connectivity import POINTS, along_line, barrier

WEIGHT = "model.layers.0.mlp.weight"


def mean(tensors) -> float:
    return float(tensors[WEIGHT].double().mean())


def loss_of(tensors) -> float:
    """A wall between the two models: high where the mean of a tensor is between theirs."""
    return 1 - (mean(tensors) - 0.5) ** 2


@pytest.fixture
def models(tmp_path):
    """Checkpoints that differ in one tensor, all 0 in the first and all 1 in the second."""
    tensors = random_tensors(0)
    return [
        write_model(tmp_path / name, {**tensors, WEIGHT: torch.full((130, 100), value)}, shards=2)
        for name, value in (("a", 0.0), ("b", 1.0))
    ]


def test_the_line_is_that_between_the_weights_in_memory(tmp_path, models) -> None:
    told: list[tuple[int, int, str]] = []
    (tmp_path / "scratch").mkdir()
    line = checkpoint_line(
        *models,
        lambda folder: loss_of(all_tensors(folder)),
        scratch=tmp_path / "scratch",
        progress=lambda *step: told.append(step),
    )
    a, b = map(all_tensors, models)
    assert list(line.losses) == along_line(loss_of, a, b)
    assert line.points == POINTS == spaced(11)
    assert line.barrier == pytest.approx(0.25)
    assert (told[0], told[-1]) == ((0, 11, "0"), (10, 11, "1"))
    assert not list((tmp_path / "scratch").iterdir())


def test_the_ends_are_the_models_as_they_are(models) -> None:
    seen = []

    def loss(folder) -> float:
        seen.append(folder)
        return 1.0

    checkpoint_line(*models, loss, spaced(3))
    assert [seen[0], seen[-1]] == models
    assert seen[1] not in models
    assert not seen[1].exists()


def test_between_a_model_and_itself_there_is_no_barrier(models) -> None:
    line = checkpoint_line(models[0], models[0], lambda folder: 0.1 + mean(all_tensors(folder)))
    assert line.barrier == 0
    for loss in (0.1, 1.1, 2.3, 1e9 / 7):
        assert barrier([loss] * 11) == 0  # rounding is no barrier


@pytest.mark.parametrize(
    ("losses", "best", "words"),
    [
        ((2.0, 1.5, 2.0), 0.5, "linearly connected, and 0.5 of the way the average is better than both"),
        ((1.0, 1.5, 2.0), 0.0, "averaging them is safe, but no average is better than the better one"),
        ((1.0, 1.509, 2.0), 0.0, "averaging them is safe"),
        ((1.0, 1.52, 2.0), 0.0, "not linearly connected"),
        ((1.0, float("inf"), 2.0), 0.0, "not linearly connected"),
    ],
)
def test_what_a_barrier_means_is_said(losses, best, words) -> None:
    line = Line((0.0, 0.5, 1.0), losses)
    assert line.best == best
    assert words in line.verdict


def test_models_that_do_not_fit_are_told_before_any_work(tmp_path, models) -> None:
    other = write_model(tmp_path / "other", {"w": torch.ones(2)})

    def never(folder) -> float:
        raise AssertionError("scored")

    with pytest.raises(CheckpointError):
        checkpoint_line(models[0], other, never)
    with pytest.raises(ConfigError, match="points: expected 3 or more, the two models among them, got 2"):
        spaced(2)


def test_an_error_leaves_nothing_behind(tmp_path, models) -> None:
    def loss(folder) -> float:
        if folder not in models:
            raise ConfigError("no")
        return 1.0

    (tmp_path / "scratch").mkdir()
    with pytest.raises(ConfigError, match="no"):
        checkpoint_line(*models, loss, scratch=tmp_path / "scratch")
    assert not list((tmp_path / "scratch").iterdir())

    def offline(folder) -> float:
        raise ConnectionError("the judge is away")

    with pytest.raises(ConnectionError, match="the judge is away"):  # no full disk
        checkpoint_line(*models, offline)
    with pytest.raises(DiskError):
        checkpoint_line(*models, loss, scratch=tmp_path / "nowhere")


def test_the_command_prints_the_line_and_its_meaning(tmp_path, capsys) -> None:
    from fmcompress.merging.scores import perplexity_on

    model, text = make_checkpoint(tmp_path / "model", blocks=1), make_text(tmp_path / "text.txt", 4000)
    options = ("--text", text, "--sequence-length", 32, "--max-windows", 4)
    done = invoke(capsys, "barrier", model, model, *options, "--points", 3, "--plot", tmp_path / "line.svg")
    assert done.code == 0, done.stderr
    nats = perplexity_on(text, sequence_length=32, max_windows=4, nats=True).of(model)
    assert done.stdout.splitlines()[:4] == [
        f"0.00  {nats:.4f}", f"0.50  {nats:.4f}", f"1.00  {nats:.4f}", "barrier 0.0000 nats a token",
    ]  # fmt: skip
    assert "averaging them is safe" in done.stdout
    assert (tmp_path / "line.svg").exists()
    done = invoke(capsys, "barrier", model, model, *options, "--points", 3, "--json")
    facts = json.loads(done.stdout)
    assert (facts["points"], facts["barrier"], facts["losses"]) == ([0.0, 0.5, 1.0], 0.0, [nats] * 3)
    done = invoke(capsys, "barrier", model, tmp_path / "none", *options)
    assert (done.code, done.stderr.count("\n")) == (2, 1)


def test_a_picture_stays_and_shorter_windows_are_told(tmp_path, capsys, monkeypatch) -> None:
    model, text = make_checkpoint(tmp_path / "model", blocks=1), make_text(tmp_path / "text.txt", 4000)
    plot = tmp_path / "line.svg"
    plot.write_text("mine")
    line = ("barrier", model, model, "--text", text, "--max-windows", 1, "--points", 3, "--plot", plot)
    done = invoke(capsys, *line)
    assert (done.code, plot.read_text()) == (2, "mine")
    assert "Replace it with --force" in done.stderr
    done = invoke(capsys, *line, "--sequence-length", 1_000_000, "--json", "--force")
    assert done.code == 0, done.stderr
    (note,) = json.loads(done.stdout)["notes"]
    assert note.startswith("sequence length 1000000 lowered to")
    assert note in done.stderr
    assert plot.read_text() != "mine"
    monkeypatch.setattr("fmcompress.drawing.os.access", lambda path, *_, **__: path != plot.parent)
    done = invoke(capsys, *line, "--force")
    assert (done.code, done.stdout) == (2, "")  # before any work
    assert "cannot be written to" in done.stderr


def test_an_error_of_writing_says_what_to_do() -> None:
    import errno

    for number, remedy in ((errno.ENOENT, "Create its folder"), (errno.EACCES, "permissions"), (errno.ENOSPC, "room")):
        assert remedy in str(write_error(Path("out"), OSError(number, "why")))
