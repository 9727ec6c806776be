"""What `fmcompress report` reads, draws and refuses; tests/test_report_page.py opens it in a browser."""

import errno
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import folder_bytes, invoke, make_checkpoint, make_text, run_prune
from report_cases import HOSTILE, KINDS, Page, comparison, record, records, write_run

from fmcompress.checkpoint.layout import MEASURED
from fmcompress.divergence import Comparison
from fmcompress.page import page_of, read_run
from fmcompress.page.tables import method_of, warnings

FIGURES = ("Error per layer", "Zeros per layer", "Time per layer", "Memory over time", "Perplexity against size")


def page(folder: Path, told: Comparison | None = None) -> Page:
    return Page(page_of([read_run(folder)], told))


def test_all_figures_and_numbers(tmp_path: Path) -> None:
    seen = page(write_run(tmp_path / "out", records(3), notes=["a note"]), comparison("dense", "out"))
    for title in FIGURES:
        assert title in seen.text
    assert seen.count("svg") == len(FIGURES) + 1  # and KL divergence
    assert seen.count("svg") == seen.count("figure")
    # a dot a layer for errors and zeros, and one a model for perplexity and KL
    assert seen.count("circle") == 2 * 12 + 2 + 1
    assert seen.count("rect") == 12 * 3 + 1  # calibrate, factor, solve; write once
    assert seen.text.count("model.layers.2.mlp.down_proj.weight") >= 4
    for fact in ("50.00 %", "16.00", "600.0 MiB", "a note", "512 calibration tokens", "AVX2 kernels", *KINDS):
        assert fact in seen.text
    assert seen.count("tr") == 1 + 12 + 1 + 2


def test_reconstruction_has_a_plot_and_a_phase(tmp_path: Path) -> None:
    layers = [{**layer, "block_error": 0.01, "block_error_before": 0.03} for layer in records(3)]
    folder = write_run(tmp_path / "out", layers)
    *events, end = (folder / MEASURED).read_text().splitlines()
    trained = json.dumps({"at_s": json.loads(end)["at_s"] - 0.25, "block": 0, "trained": True})
    (folder / MEASURED).write_text("\n".join([*events, trained, end]) + "\n")
    seen = page(folder)
    assert "Error per block" in seen.text
    assert "block 2, reconstructed: 0.01" in seen.text
    assert "model.layers.2.mlp.down_proj.weight: reconstruct 1.750 s" in seen.text
    assert "model.layers.2.mlp.down_proj.weight: write 0.250 s" in seen.text
    assert "Error per block" not in page(write_run(tmp_path / "plain", records(3))).text


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    text = page_of([read_run(write_run(tmp_path / "out", records(2)))], comparison("dense", "out"))
    seen = Page(text)
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert not {name for name, _ in seen.elements} & {"link", "img", "iframe", "object", "a", "image", "use", "base"}
    assert not [key for _, found in seen.elements for key in found if key in ("src", "href", "style", "xlink:href")]
    (policy,) = [found["content"] for _, found in seen.elements if found.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_strings_of_a_stranger_stay_text(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "out<b>", [record(HOSTILE, dead_columns=3, damping=1.0), record("x")], notes=[HOSTILE],
        native=HOSTILE, torch=HOSTILE, format=HOSTILE, config={"method": HOSTILE, "damping": 0.01, HOSTILE: HOSTILE},
    )  # fmt: skip
    text = page_of([read_run(folder)], comparison(HOSTILE, "b"))
    text.encode()  # no half a character
    seen = Page(text)
    assert (seen.count("script"), seen.count("img"), seen.count("b")) == (1, 0, 6)  # the numbers of six cards
    assert not [key for _, found in seen.elements for key in found if key.startswith("on")]
    assert seen.text.count("<script>alert(1)</script>") >= 8
    assert "alert" not in seen.raw
    assert not {"\u202e", "\x1b", "\ud800"} & set(text)
    assert "\\x1b[2J" in text


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    layers = [{**record(f"l.{n}.a.weight", tokens=0), "loss": None, "relative_error": None} for n in range(2)]
    seen = page(write_run(tmp_path / "out", layers, measured=False))
    assert seen.count("svg") == 1  # the zeros
    assert seen.count("figure") == len(FIGURES)
    for reason in ("looked at no data", "No times were kept", "No memory was kept", "Add --dense MODEL --text"):
        assert reason in seen.text


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [record("only")],
        [record("a", relative_error=0.0), record("b", relative_error=math.nan), record("c", relative_error=math.inf)],
        [record("a", relative_error=1e-12), record("b", relative_error=1e12)],
        [record(f"l.{n}.k{n}.weight") for n in range(40)],  # as many kinds
        [record("l.0.a"), record("l.0.a"), record("l.999999.a")],
        [record("a", rows=0, cols=0, zeros=0, sparsity=0.0), record("b", sparsity=1e18)],
    ],
    ids=["none", "one", "no number", "far apart", "kinds", "twice", "empty"],
)
@pytest.mark.parametrize("measured", [True, False])
def test_odd_runs_are_drawn(tmp_path: Path, layers: list[dict[str, Any]], measured: bool) -> None:
    text = page_of([read_run(write_run(tmp_path / "out", layers, measured=measured))])
    assert "nan" not in {word.strip('"') for word in text.split()}
    assert Page(text).open == []


def test_many_layers_share_bars(tmp_path: Path) -> None:
    seen = page(write_run(tmp_path / "out", records(150)))
    assert "Time per block" in seen.text
    assert seen.count("rect") == 150 * 3 + 1


def test_warnings(tmp_path: Path) -> None:
    layers = [
        record("quiet"),
        record("damped", damping=0.1),
        record("dead", dead_columns=4),
        record("deader", dead_columns=9),
        record("starved", tokens=31),
        record("no data", tokens=0),
    ]
    run = read_run(write_run(tmp_path / "out", layers))
    few, raised, dead = warnings(run)
    assert few.startswith("31 calibration tokens are fewer than the columns of starved")
    assert raised == "Damping was raised, up to 0.1, in damped."
    assert "2 layers, such as dead; the most, 9 of 32, in deader" in dead
    assert page(tmp_path / "out").count("td", class_="warn") == 4
    assert warnings(read_run(write_run(tmp_path / "fine", records(1)))) == []


def test_methods_by_name(tmp_path: Path) -> None:
    for number, (config, name) in enumerate(
        [
            ({"method": "sparsegpt", "sparsity": 0.5, "bits": 4}, "sparsegpt 50 % + 4 bits"),
            ({"method": "wanda", "pattern": "2:4", "refit": True}, "wanda 2:4 + refit"),
            ({"method": "gptq", "bits": 3}, "gptq 3 bits"),
            ({"method": "admm", "sparsity": 0.5, "reconstruct": 100}, "admm 50 % + reconstruct 100"),
            ({"method": "sparsegpt", "masks": "a/folder"}, "given masks"),
            ({}, ""),
        ]
    ):
        assert method_of(read_run(write_run(tmp_path / str(number), [], config=config))) == name


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, records(1))) for name in ("first", "second")]
    seen = Page(page_of(runs, comparison("dense", "first", "second")))
    assert seen.count("svg") == 2 * 4 + 2
    assert [seen.text.count(f"{name}") > 2 for name in ("first", "second")] == [True, True]
    assert seen.count("table", class_="sortable") == 2


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("report")
    make_checkpoint(home / "model")
    make_text(home / "text.txt", 5_000)
    run_prune(home / "model", home / "out", home / "text.txt", sparsity=0.5)
    run_prune(home / "model", home / "packed", home / "text.txt", pattern="2:4", format="packed")
    return home


def test_command(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = folder_bytes(home)
    file = tmp_path / "a.html"
    outcome = invoke(capsys, "report", home / "out", "-o", file)
    assert (outcome.code, outcome.stdout) == (0, f"{file}: 1 run. Open it in a browser.\n"), outcome.stderr
    once = file.read_bytes()
    told = json.loads(invoke(capsys, "report", home / "out", "-o", file, "--json").stdout)  # its own page is replaced
    assert told == {"report": str(file), "runs": [str(home / "out")], "bytes": len(once)}
    assert file.read_bytes() == once
    assert folder_bytes(home) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_command_evaluates(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [home / "out", home / "packed"]
    shared = ["--text", home / "text.txt", "--sequence-length", 64, "--max-windows", 2]
    assert invoke(capsys, "report", *runs, "--dense", home / "model", *shared, "-o", tmp_path / "a.html").code == 0
    printed = invoke(capsys, "eval", "--compare", home / "model", *runs, *shared, "--json").stdout
    (tmp_path / "results.json").write_text(printed)
    assert invoke(capsys, "report", *runs, "--eval", tmp_path / "results.json", "-o", tmp_path / "b.html").code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert f"{json.loads(printed)['models'][2]['kl_mean']:.5f}" in Page((tmp_path / "a.html").read_text()).text


def test_command_in_a_folder(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home / "out", tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert invoke(capsys, "report", ".", "-o", "../r.html").code == 0
    assert "here" in Page((tmp_path / "r.html").read_text()).text


def test_full_disk(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that was there stays."""
    file = tmp_path / "a.html"
    assert invoke(capsys, "report", home / "out", "-o", file).code == 0
    before, real = folder_bytes(tmp_path), Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        real(path, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    outcome = invoke(capsys, "report", home / "packed", "-o", file)
    assert (outcome.code, outcome.stderr) == (
        2,
        f"error: {file}: cannot be written (the disk is full). Make room or choose another place.\n",
    )
    assert folder_bytes(tmp_path) == before


REFUSED: dict[str, tuple[list[object], str]] = {
    "no run": (["{home}/model"], "holds no fmcompress.json. Give the folder that fmcompress prune or quantize wrote"),
    "nowhere": (["{home}/nowhere"], "nowhere: holds no fmcompress.json"),
    "a file": (["{home}/text.txt"], "holds no fmcompress.json"),
    "text alone": (["{home}/out", "--text", "{home}/text.txt"], "--dense and --text go together"),
    "dense alone": (["{home}/out", "--dense", "{home}/model"], "--dense and --text go together"),
    "results": (["{home}/out", "--eval", "{home}/text.txt"], "holds no comparison"),
    "no results": (["{home}/out", "--eval", "{home}/none.json"], "none.json: cannot be read"),
    "output": (["{home}/out", "-o", "{home}/no/where.html"], "cannot be written"),
    "output is a folder": (["{home}/out", "-o", "{home}/out"], "cannot be written"),
    "output is not ours": (["{home}/out", "-o", "{home}/text.txt"], "is there and is no page of fmcompress"),
    "both": (
        ["{home}/out", "--dense", "{home}/model", "--text", "{home}/text.txt", "--eval", "{home}/text.txt"],
        "Give one of them",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    arguments, message = REFUSED[case]
    before = folder_bytes(home)
    given = [str(argument).format(home=home) for argument in arguments]
    outcome = invoke(capsys, "report", "-o", tmp_path / "report.html", *given)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert len(outcome.stderr.splitlines()) == 1
    assert message in outcome.stderr
    assert not list(tmp_path.iterdir())
    assert folder_bytes(home) == before
