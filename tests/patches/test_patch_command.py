"""fmcompress patch make, apply and show."""

import json
from pathlib import Path

import pytest
from helpers import folder_bytes, invoke, make_checkpoint
from patch_cases import tuned_copy


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("patch_command")
    tuned_copy(make_checkpoint(home / "base", hidden=64, blocks=1), home / "tuned")
    (home / "tuned" / "optimizer.pt").write_bytes(b"state")
    return home


def test_there_and_back(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = invoke(capsys, "patch", "make", home / "base", home / "tuned", tmp_path / "patch")
    assert done.code == 0
    assert "lossless" in done.stdout
    assert "left out, as no part of a checkpoint: optimizer.pt" in done.stderr
    done = invoke(capsys, "patch", "apply", home / "base", tmp_path / "patch", tmp_path / "out")
    assert done.code == 0
    assert "every hash as the patch tells" in done.stdout
    tuned = {name: data for name, data in folder_bytes(home / "tuned").items() if name != "optimizer.pt"}
    assert folder_bytes(tmp_path / "out") == tuned
    shown = invoke(capsys, "patch", "show", tmp_path / "patch")
    assert "sparse" in shown.stdout


def test_json_and_losses(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = tmp_path / "patch"
    options = ("--bits", 4, "--group-size", "row", "--density", 0.5)
    made = json.loads(invoke(capsys, "patch", "make", home / "base", home / "tuned", patch, *options, "--json").stdout)
    assert made["options"] == {"bits": 4, "group_size": "row", "density": 0.5, "rank": None, "factors": "BF16"}
    assert 0 < made["loss"]["change"] < 1
    shown = json.loads(invoke(capsys, "patch", "show", patch, "--json").stdout)
    assert {key: shown[key] for key in ("kinds", "loss", "share")} == {k: made[k] for k in ("kinds", "loss", "share")}
    assert any(each["loss"] for each in shown["each"])
    assert "of the change is lost" in invoke(capsys, "patch", "show", patch).stdout
    out = invoke(capsys, "patch", "apply", home / "base", patch, tmp_path / "out", "--json")
    assert json.loads(out.stdout)["tensors"] == made["tensors"]


def test_errors_are_one_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned = home / "base", home / "tuned"
    assert invoke(capsys, "patch", "make", base, tuned, tmp_path / "patch").code == 0
    for arguments, message in (
        (("make", base, tuned, tmp_path / "patch"), "exists. Choose another name."),
        (("make", base, tuned, tmp_path / "new", "--bits", 5), "bits: expected 2, 3, 4 or 8"),
        (("make", base, tuned, tmp_path / "new", "--bits", 4, "--group-size", "few"), "group-size: expected a number"),
        (
            ("make", base, tuned, tmp_path / "new", "--bits", 4, "--group-size", "0"),
            "group size: expected 1 to 2147483648 columns, got 0",
        ),
        (("make", base, tmp_path, tmp_path / "new"), "holds neither"),
        (("apply", tuned, tmp_path / "patch", tmp_path / "new"), "is not the one that the patch was made for"),
        (("apply", base, tuned, tmp_path / "new"), "expected the folder of a patch"),
        (("show", base), "expected the folder of a patch"),
    ):
        done = invoke(capsys, "patch", *arguments)
        assert done.code == 2, arguments
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"patch"}
