"""fmcompress recover: interrupted it ends with the same bytes, one line for what cannot be done, and real weights."""

import json
import lzma
import signal
import time

import pytest
from helpers import folder_bytes, invoke, make_text, start_cli
from recover_cases import assert_masks_intact, checkpoint, pruned

OPTIONS = [
    "--steps", 12, "--batch-size", 2, "--sequence-length", 32, "--max-windows", 12, "--learning-rate", 3e-3,
    "--valid-every", 2, "--save-every", 2,
]  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    text = make_text(folder / "text.txt", 4000)
    dense = checkpoint(folder / "dense")
    return dense, pruned(dense, folder / "pruned"), pruned(dense, folder / "packed", format="packed"), text


def command(places, out, *more, packed=False):
    dense, sparse, small, text = places
    return ["recover", small if packed else sparse, out, "--teacher", dense, "--text", text, *OPTIONS, *more]


def test_it_tells_what_it_did(places, tmp_path, capsys):
    told = invoke(capsys, *command(places, tmp_path / "a", "--json", "--plot", tmp_path / "a.png"))
    assert told.code == 0, told.stderr
    facts = json.loads(told.stdout)
    assert {"perplexity", "regained", "best_step", "pruned", "cpu_s", "notes"} <= facts.keys()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    line = invoke(capsys, *command(places, tmp_path / "b"))
    assert line.code == 0
    assert f"{facts['pruned']:,} zeros kept" in line.stdout
    assert "step 12 of 12" in line.stderr
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")
    assert invoke(capsys, *command(places, tmp_path / "c", "--quiet")).stderr == ""


@pytest.mark.parametrize("packed", [False, True])
def test_interrupted_it_goes_on_to_the_same_bytes(places, tmp_path, capsys, monkeypatch, packed):
    from fmcompress.cli.watch import TrainingProgress

    whole, out = tmp_path / "whole", tmp_path / "out"
    assert invoke(capsys, *command(places, whole, packed=packed)).code == 0
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "stop", lambda self: bool(asked.append(1)) or len(asked) == 7)
        stopped = invoke(capsys, *command(places, out, packed=packed))
    assert stopped.code == 130
    assert "step 7 of 12 is kept" in stopped.stderr
    assert not out.exists()
    refused = invoke(capsys, *command(places, out, packed=packed))
    assert refused.code == 2
    assert "--resume" in refused.stderr
    other = invoke(capsys, *command(places, out, "--resume", "--seed", 5, packed=packed))
    assert other.code == 2
    assert "seed" in other.stderr
    on = invoke(capsys, *command(places, out, "--resume", packed=packed))
    assert on.code == 0, on.stderr
    assert "resuming: 7 of 12" in on.stderr
    assert folder_bytes(out) == folder_bytes(whole)
    again = invoke(capsys, *command(places, out, "--resume", packed=packed))
    assert again.code == 0
    assert "nothing left to do" in again.stdout


def test_ctrl_c_keeps_a_step(places, tmp_path):
    """In a process of its own, at whatever step it is by then."""
    out = tmp_path / "out"
    process = start_cli(*command(places, out, "--steps", 100_000, "--save-every", 1, "--valid-every", 1_000))
    begin = time.monotonic()
    while not list(tmp_path.glob("out.partial/step-*")) and time.monotonic() - begin < 100 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130, stderr
    assert "is kept. The same command with --resume goes on" in stderr
    assert not out.exists()


def test_a_dry_run_writes_nothing(places, tmp_path, capsys):
    told = invoke(capsys, *command(places, tmp_path / "out", "--dry-run"))
    assert told.code == 0, told.stderr
    assert "12 steps" in told.stdout
    plan = json.loads(invoke(capsys, *command(places, tmp_path / "out", "--dry-run", "--json")).stdout)
    assert plan["steps"] == 12
    assert plan["seconds"] > 0
    assert plan["peak_bytes"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--teacher-weight", 2], "teacher-weight"),
        (["--temperature", 0], "temperature"),
        (["--logits", "none.safetensors"], "expected one of the two"),
        (["--teacher", "nowhere"], "no such folder"),
        (["--text", "none.txt"], "no such file"),
        (["--valid", "none.txt"], "no such file"),
        (["--plot", "loss.gif"], ".png"),
        (["--include", "("], "regular expression"),
        (["--max-windows", 1], "hold out"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(places, tmp_path, capsys, change, told):
    line = command(places, tmp_path / "out")
    if change[0] in line:
        line[line.index(change[0]) + 1] = change[1]
    else:
        line += change
    result = invoke(capsys, *line)
    assert result.code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_teacher_is_asked_for(places, tmp_path, capsys):
    _, sparse, _, text = places
    result = invoke(capsys, "recover", sparse, tmp_path / "out", "--text", text)
    assert result.code == 2
    assert "Give --teacher DENSE" in result.stderr


def test_more_than_the_memory_is_told_before_anything_is_loaded(places, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fmcompress.distillation.recover_plan.available_bytes", lambda: 1000)
    result = invoke(capsys, *command(places, tmp_path / "out"))
    assert result.code == 2
    assert "--logits" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_trained_model_pruned_to_2_of_4_regains_half_of_what_it_lost(shared_data, tmp_path, capsys):
    """A short form of examples/recover: 40 steps on stories that nothing else here has seen."""
    with lzma.open(shared_data / "tinystories-sample" / "tiny_stories.txt.xz", "rt", encoding="utf-8") as file:
        stories = file.read().replace("\n", " ")
    bounds = {"calibration": (0, 60_000), "train": (100_000, 700_000), "valid": (700_000, 720_000)}
    bounds["test"] = (750_000, 775_000)
    for name, (begin, end) in bounds.items():
        (tmp_path / f"{name}.txt").write_text(stories[begin:end])
    model, sparse, out = shared_data / "checkpoints" / "babyllama105", tmp_path / "pruned", tmp_path / "out"
    text = {name: tmp_path / f"{name}.txt" for name in bounds}
    prune = ["prune", model, sparse, "--pattern", "2:4", "--calibration", text["calibration"], "--sequence-length", 256]
    assert invoke(capsys, *prune).code == 0
    line = ["recover", sparse, out, "--teacher", model, "--text", text["train"], "--valid", text["valid"]]
    told = invoke(capsys, *line, "--sequence-length", 128, "--steps", 80, "--valid-every", 40)
    assert told.code == 0, told.stderr
    compared = invoke(capsys, "eval", model, sparse, out, "--compare", "--text", text["test"], "--json",
                      "--sequence-length", 128)  # fmt: skip
    dense, lost, regained = (each["perplexity"] for each in json.loads(compared.stdout)["models"])
    assert (lost - regained) / (lost - dense) > 0.5
    assert_masks_intact(sparse, out)
