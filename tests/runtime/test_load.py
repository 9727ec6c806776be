"""Checkpoints on disk that run packed: against transformers with the unpacked weights, and damaged ones."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import run
from helpers import make_checkpoint, make_text
from torch import Tensor, nn

from fmcompress.checkpoint.layout import read_header
from fmcompress.errors import CheckpointError, ConfigError, DiskError, PayloadError
from fmcompress.formats import open_checkpoint
from fmcompress.formats.unpack import unpack_checkpoint
from fmcompress.runtime import PackedLinear, load
from fmcompress.runtime.mapped import MappedTensors
from fmcompress.runtime.reader import WeightReader

RUNS: dict[str, dict[str, Any]] = {
    "50 %": {"format": "packed", "method": "magnitude", "sparsity": 0.5},
    "2:4": {"format": "packed", "method": "magnitude", "pattern": "2:4"},
    "4 bits": {"format": "packed", "method": "rtn", "bits": 4, "group_size": 32},
    "50 % + 4 bits": {"format": "packed", "sparsity": 0.5, "bits": 4, "group_size": 32, "symmetric": False},
    "compressed-tensors": {"method": "rtn", "bits": 4, "group_size": 32},
    "compressed-tensors asymmetric": {"method": "rtn", "bits": 8, "group_size": 64, "symmetric": False},
    "compressed-tensors 3 bits a row": {"method": "rtn", "bits": 3, "group_size": "row", "symmetric": False},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and for every run OUT and its dense form DENSE."""
    home = tmp_path_factory.mktemp("runtime")
    make_checkpoint(home / "model", blocks=2, hidden=64, shards=2, tie_word_embeddings=True)
    text = make_text(home / "text.txt", 6_000)
    for name, options in RUNS.items():
        needs_text = "method" not in options
        run(home / "model", home / name, text if needs_text else None, **options)
        unpack_checkpoint(home / name, home / f"{name} dense")
    return home


def reference(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def ids(count: int) -> Tensor:
    return torch.randint(2048, (1, count), generator=torch.Generator().manual_seed(count))


def packed_layers(model: nn.Module) -> list[PackedLinear]:
    return [module for module in model.modules() if isinstance(module, PackedLinear)]


@pytest.mark.parametrize("name", RUNS)
def test_logits_are_those_of_the_unpacked_model(home, name):
    model, dense = load(home / name), reference(home / f"{name} dense")
    assert len(packed_layers(model)) == 14
    with torch.no_grad():
        for count in range(1, 65):
            expected = dense(ids(count)).logits
            assert (model(ids(count)).logits - expected).abs().max() <= 5e-6 * max(1, expected.abs().max())


@pytest.mark.parametrize("name", ["50 % + 4 bits", "compressed-tensors"])
def test_generates_what_the_unpacked_model_does(home, name):
    model, dense = load(home / name), reference(home / f"{name} dense")
    options = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids(5), **options), dense.generate(ids(5), **options))


def test_compiles(home):
    model = load(home / "50 % + 4 bits")
    with torch.no_grad():
        expected = model(ids(7)).logits
        torch.testing.assert_close(torch.compile(model, backend="aot_eager")(ids(7)).logits, expected)


def mapped_from(tensor: Tensor) -> str:
    """The file that the memory of a tensor is mapped from."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= tensor.data_ptr() < end:
            return line.split()[-1]
    return ""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
def test_weights_are_views_of_the_mapped_files(home):
    model = load(home / "50 % + 4 bits")
    for tensor in [model.model.norm.weight, *(layer.weight.codes for layer in packed_layers(model))]:
        assert mapped_from(tensor).endswith(".safetensors")
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.model.norm.weight.fill_(7.0)  # memory changes, the file does not
    assert not (load(home / "50 % + 4 bits").model.norm.weight == 7.0).any()


def test_state_dict_has_the_names_of_the_file(home):
    model = load(home / "50 % + 4 bits")
    stored = {name for path in open_checkpoint(home / "50 % + 4 bits").shards for name in read_header(path)}
    assert set(model.state_dict()) - {"lm_head.weight"} == stored  # tied: the file holds it once


def test_saving_is_refused_where_nobody_could_read_it(home, tmp_path):
    with pytest.raises(ConfigError, match="save_pretrained: transformers reads no packed weights"):
        load(home / "4 bits").save_pretrained(tmp_path / "saved")
    load(home / "model").save_pretrained(tmp_path / "saved")


def test_defaults_of_torch_do_not_matter(home):
    torch.set_default_dtype(torch.float64)
    try:
        assert load(home / "50 % + 4 bits").dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_torch_saves_and_loads_the_state(home, tmp_path):
    model = load(home / "50 % + 4 bits")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 2 * sum(t.nbytes for t in model.state_dict().values())
    other = load(home / "50 % + 4 bits")
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(other(ids(5)).logits, model(ids(5)).logits)


def test_a_dense_checkpoint_loads_as_it_is(home):
    model = load(home / "model")
    assert not packed_layers(model)
    with torch.no_grad():
        assert torch.equal(model(ids(9)).logits, reference(home / "model")(ids(9)).logits)


def test_dtypes(home, tmp_path):
    assert load(home / "4 bits", dtype="bfloat16").dtype == torch.bfloat16
    assert load(home / "4 bits", dtype=torch.bfloat16).dtype == torch.bfloat16
    make_checkpoint(tmp_path / "half", blocks=1, dtype=torch.float16)
    assert load(tmp_path / "half").dtype == torch.float32  # a CPU is slow at float16
    assert load(tmp_path / "half", dtype="float16").dtype == torch.float16
    with pytest.raises(ConfigError, match="dtype: expected auto"):
        load(home / "4 bits", dtype="int8")
    with pytest.raises(ConfigError, match="device"):
        load(home / "4 bits", device="nowhere")


def test_biases_and_other_names(tmp_path):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

    opt = OPTConfig(
        vocab_size=64, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=32, word_embed_proj_dim=32,
    )  # fmt: skip
    neox = GPTNeoXConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    torch.manual_seed(0)
    for number, model in enumerate((OPTForCausalLM(opt), GPTNeoXForCausalLM(neox))):
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
        folder, out, dense = (tmp_path / f"{number}{kind}" for kind in ("model", "out", "dense"))
        model.save_pretrained(folder)
        run(folder, out, method="rtn", bits=8, group_size=32, format="packed")
        unpack_checkpoint(out, dense)
        loaded, expected = load(out), reference(dense)
        assert len(packed_layers(loaded)) >= 8
        with torch.no_grad():
            x = torch.randint(64, (2, 9), generator=torch.Generator().manual_seed(1))
            torch.testing.assert_close(loaded(x).logits, expected(x).logits, rtol=1e-5, atol=1e-5)


# damage


def damaged(source: Path, to: Path, part: str, change: Any) -> Path:
    """A copy in which some bytes of the first tensor of that part are changed."""
    shutil.copytree(source, to)
    checkpoint = open_checkpoint(to)
    entry = next(e for name, e in sorted(checkpoint.stored.items()) if name.endswith(part))
    raw = bytearray(entry.path.read_bytes())
    here = slice(entry.offset, entry.offset + entry.size_bytes)
    raw[here] = change(bytes(raw[here]))
    entry.path.write_bytes(raw)
    return to


def flipped(raw: bytes) -> bytes:
    return bytes([raw[0] ^ 1]) + raw[1:]


@pytest.mark.parametrize("part", ["bitmask", "codes", "scale", "zero"])
def test_a_flipped_bit_is_found_and_named(home, tmp_path, part):
    folder = damaged(home / "50 % + 4 bits", tmp_path / "out", f".{part}", flipped)
    with pytest.raises(PayloadError, match=rf"model\.layers\.0\..*weight: {part}: wrong checksum"):
        load(folder)


def test_without_verify_memory_stays_safe(home, tmp_path):
    folder = damaged(home / "50 %", tmp_path / "out", ".bitmask", lambda raw: b"\xff" * len(raw))
    model = load(folder, verify=False)
    with pytest.raises(ValueError, match="do not fit the bitmask"), torch.no_grad():
        model(ids(1))


def test_what_no_checksum_tells(home, tmp_path, monkeypatch):
    """A stranger's checksum may be right and the scale no number."""
    folder = damaged(home / "4 bits", tmp_path / "out", ".scale", lambda raw: b"\x00\x00\xc0\x7f" + raw[4:])
    checkpoint = open_checkpoint(folder)
    right = {n: d.model_copy(update={"crc32": dict.fromkeys(d.crc32, -1)}) for n, d in checkpoint.descriptions.items()}
    checkpoint.descriptions = right
    monkeypatch.setattr("fmcompress.formats.packed.checksum", lambda part: -1)
    reader = WeightReader(checkpoint, MappedTensors(), verify=True)
    name = min(right)
    with pytest.raises(PayloadError, match=rf"{name}: a scale is not a positive number"):
        reader.read(name)


def test_shapes_that_config_does_not_say(home, tmp_path):
    shutil.copytree(home / "4 bits", tmp_path / "out")
    config = (tmp_path / "out" / "config.json").read_text()
    (tmp_path / "out" / "config.json").write_text(config.replace('"intermediate_size": 128', '"intermediate_size": 64'))
    with pytest.raises(CheckpointError, match=r"mlp\..*_proj\.weight: expected shape .* by config\.json"):
        load(tmp_path / "out")


def test_a_shard_that_became_shorter_while_it_was_read(home, tmp_path):
    shutil.copytree(home / "4 bits", tmp_path / "out")
    checkpoint = open_checkpoint(tmp_path / "out")
    entry = max(checkpoint.stored.values(), key=lambda e: e.offset)
    with entry.path.open("r+b") as file:
        file.truncate(entry.offset)
    with pytest.raises(DiskError, match="shorter"):
        MappedTensors().tensor(entry)
