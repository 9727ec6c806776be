"""The file of an allocation: what is written is read again, and anything else is refused in one clear line."""

from pathlib import Path

import pytest

from fmcompress.config import PruneConfig
from fmcompress.errors import ConfigError, DiskError
from fmcompress.options import resolve
from fmcompress.shares import Allocation, read_allocation, write_allocation


def test_there_and_back(tmp_path: Path) -> None:
    shares = {"b.weight": 2 / 3, "a.weight": 0.0, "experts[1]": 1.0}
    write_allocation(tmp_path / "a.json", Allocation(0.5, "owl", shares, {"spread": 0.1}))
    assert read_allocation(tmp_path / "a.json") == shares
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_only_the_layers_will_do(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 0.5, "b": 1}')
    assert read_allocation(tmp_path / "a.json") == {"a": 0.5, "b": 1.0}


HOSTILE = {
    "nothing": (b"", "not valid JSON"),
    "cut short": (b'{"layers": {"a": 0.5', "not valid JSON"),
    "no UTF-8": (b'{"a\xff": 0.5}', "not valid JSON"),
    "deep": (b'{"layers":' + b"[" * 100_000, "not valid JSON"),
    "a list": (b"[0.5]", "expected a JSON object"),
    "a number": (b"0.7", "expected a JSON object"),
    "empty": (b"{}", "expected a JSON object"),
    "no layers": (b'{"sparsity": 0.7, "layers": {}}', "expected a JSON object"),
    "layers of a list": (b'{"layers": [0.7]}', "expected a JSON object"),
    "text": (b'{"a": "0.5"}', "a: expected a share of zeros from 0 to 1, got '0.5'"),
    "truth": (b'{"layers": {"a": true}}', "a: expected a share .* got True"),
    "null": (b'{"a": null}', "a: expected a share .* got None"),
    "not a number": (b'{"a": NaN}', "a: expected a share .* got nan"),
    "infinite": (b'{"a": 1e999}', "a: expected a share .* got inf"),
    "too much": (b'{"a": 0.5, "b": 1.5}', "b: expected a share .* got 1.5"),
    "negative": (b'{"a": -0.1}', "a: expected a share .* got -0.1"),
    "huge": (b'{"a": 1' + b"0" * 4000 + b"}", "a: expected a share"),
    "too huge": (b'{"a": 1' + b"0" * 10_000 + b"}", "not valid JSON"),
    "long": (b'{"a": "' + b"x" * 10_000 + b'"}', "a: expected a share"),
    "twice": (b'{"layers": {"a": 0.5, "a": 0.6}}', "names 'a' twice"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes(tmp_path: Path, case: str) -> None:
    content, message = HOSTILE[case]
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as refused:
        resolve(PruneConfig, None, sparsity=0.5, allocation=tmp_path / "a.json")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400 + len(str(tmp_path))


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read \(.*\)\. Give what fmcompress allocate wrote"):
            read_allocation(path)
    with pytest.raises(DiskError, match="cannot be written"):
        write_allocation(tmp_path / "nowhere" / "a.json", Allocation(0.5, "owl", {"a": 0.5}))


@pytest.mark.parametrize("as_file", [True, False])
def test_in_yaml_as_a_file_or_as_a_mapping(tmp_path: Path, as_file: bool) -> None:
    write_allocation(tmp_path / "a.json", Allocation(0.5, "owl", {"x": 0.25}))
    given = f"'{tmp_path / 'a.json'}'" if as_file else "{x: 0.25}"
    (tmp_path / "options.yaml").write_text(f"sparsity: 0.5\nallocation: {given}\n")
    config = resolve(PruneConfig, tmp_path / "options.yaml")
    assert config.allocation == {"x": 0.25}
    assert [str(config.target(name)) for name in ("x", "y", None)] == ["25 %", "50 %", "50 %"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{x: 1.5}", "allocation: x: expected a share of zeros from 0 to 1, got 1.5"),
        ("{x: yes}", "allocation: x: expected a share"),
        ("0.5", "allocation: expected a file, or tensors and their shares of zeros, got 0.5"),
    ],
)
def test_bad_yaml(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "options.yaml").write_text(f"sparsity: 0.5\nallocation: {given}\n")
    with pytest.raises(ConfigError, match=message):
        resolve(PruneConfig, tmp_path / "options.yaml")


@pytest.mark.parametrize("options", [{"pattern": "2:4"}, {"masks": "somewhere"}])
def test_only_for_a_share_of_all_weights(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="allocation: needs --sparsity"):
        resolve(PruneConfig, None, allocation={"x": 0.5}, **options)
