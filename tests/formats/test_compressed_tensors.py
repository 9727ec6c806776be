"""The compressed-tensors format against the library that defines it, and against transformers, which loads it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import all_bits, random_weight, run
from helpers import CPU, DEMO, folder_bytes, invoke, make_checkpoint, make_text
from torch import Tensor

from fmcompress import ops
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import QuantizeConfig
from fmcompress.errors import ConfigError
from fmcompress.formats import QuantizedCheckpoint, compressed_tensors, open_checkpoint
from fmcompress.layerwise import Grid
from fmcompress.pipeline import prepare
from fmcompress.quantization import round_to_nearest

WHY = "the format is checked against the library: pip install compressed-tensors"
PACKED = "model.layers.0.mlp.up_proj.weight_packed"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("compressed")
    make_checkpoint(home / "model", blocks=2, hidden=64, shards=2, dtype=torch.bfloat16)
    make_text(home / "text.txt", 6_000)
    return home


def logits(folder: Path, dequantize: bool = False) -> Tensor:
    """What transformers makes of a checkpoint, with nothing missing or left over.

    dequantize  on loading. Without it transformers 5.23 with compressed-tensors 0.20 refuses packed zero-points, also
                those that the library itself wrote (vllm-project/llm-compressor issue 1618)
    """
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    options = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info.values()), info
    ids = torch.randint(0, 2048, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(input_ids=ids).logits.float()


GRIDS: dict[str, dict[str, Any]] = {
    "4 g32": {"bits": 4, "group_size": 32},
    "4 row": {"bits": 4, "group_size": "row"},
    "8 g32": {"bits": 8, "group_size": 32},
    "8 row asymmetric": {"bits": 8, "group_size": "row", "symmetric": False},
    "4 g32 asymmetric": {"bits": 4, "group_size": 32, "symmetric": False},
    "4 row asymmetric": {"bits": 4, "group_size": "row", "symmetric": False},
    "3 g32": {"bits": 3, "group_size": 32},
    "half and 4 g32": {"bits": 4, "group_size": 32, "sparsity": 0.5},
    "2:4 and 4 g32 asymmetric": {"bits": 4, "group_size": 32, "pattern": "2:4", "symmetric": False},
    "4 g64 by activation": {"bits": 4, "group_size": 64, "activation_order": True},
}


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`")
@pytest.mark.parametrize("case", GRIDS)
def test_transformers_loads_what_was_solved(home: Path, tmp_path: Path, case: str) -> None:
    pytest.importorskip("compressed_tensors", reason=WHY)
    options = GRIDS[case]
    facts = run(home / "model", tmp_path / "packed", home / "text.txt", format="compressed-tensors", **options)
    run(home / "model", tmp_path / "dense", home / "text.txt", format="dense", **options)
    assert all_bits(open_checkpoint(tmp_path / "packed")) == all_bits(Checkpoint(tmp_path / "dense"))
    ours = logits(tmp_path / "packed", dequantize=not options.get("symmetric", True))
    torch.testing.assert_close(ours, logits(tmp_path / "dense"), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(ours, logits(home / "model"), rtol=1e-3, atol=1e-3)
    written = open_checkpoint(tmp_path / "packed")
    for record in facts["layers"]:
        assert int((written.read(record["tensor"]) == 0).sum()) == record["zeros"] >= 0
        if "sparsity" in options:  # pruned weights stay exactly zero; kept ones may round to it
            assert record["zeros"] >= (record["rows"] * record["cols"] + 1) // 2


def test_pruned_weights_stay_zero_in_transformers(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason=WHY)
    from transformers import AutoModelForCausalLM

    facts = run(home / "model", tmp_path / "out", home / "text.txt", bits=4, group_size=32, sparsity=0.5)
    assert facts["format"] == "compressed-tensors"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    model(input_ids=torch.arange(8)[None])  # decompresses
    state, written = model.state_dict(), open_checkpoint(tmp_path / "out")
    for record in facts["layers"]:
        assert state[record["tensor"]].equal(written.read(record["tensor"]))
        assert int((state[record["tensor"]] == 0).sum()) == record["zeros"]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(1, 1), (5, 32), (7, 33), (3, 200), (64, 128), (0, 8)])
def test_packs_as_the_library_does(bits: int, shape: tuple[int, int]) -> None:
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers", reason=WHY)
    codes = torch.randint(0, 1 << bits, shape, generator=torch.Generator().manual_seed(bits), dtype=torch.uint8)
    signed = (codes.short() - (1 << (bits - 1))).to(torch.int8)
    packed = ops.pack_codes(codes, bits).view(torch.int32)
    if len(codes):  # the library cannot reshape nothing
        assert packed.equal(helpers.pack_to_int32(signed, bits))
        assert helpers.unpack_from_int32(packed, bits, torch.Size(shape)).equal(signed)
    assert ops.unpack_codes(packed.view(torch.uint8), bits, shape[1]).equal(codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "grid", [Grid(b, s, y) for b in (2, 3, 4, 8) for s in (32, None) for y in (True, False)], ids=str
)
def test_the_library_decompresses_it(grid: Grid, dtype: torch.dtype) -> None:
    """One weight without a model, also of a number of rows that the packing of zero-points does not divide."""
    pytest.importorskip("compressed_tensors", reason=WHY)
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    result = round_to_nearest(random_weight(13, 96, dtype), grid)
    parts = compressed_tensors.encode(result)
    described = compressed_tensors.config_of(grid, ["Linear"], [])["config_groups"]["group_0"]["weights"]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**described))
    assert PackedQuantizationCompressor.decompress(dict(parts), scheme)["weight"].equal(result.weight)
    assert {*parts} == {*PackedQuantizationCompressor.compression_param_names(scheme)}
    decoded = compressed_tensors.decode("w.weight", grid, parts.__getitem__)
    assert decoded.equal(result.weight)
    assert decoded.dtype == dtype


@pytest.mark.parametrize("grid", [Grid(4, 8, s) for s in (True, False)] + [Grid(3, None, False)], ids=str)
@pytest.mark.parametrize("shape", [(0, 8), (8, 0), (0, 0)], ids=str)
def test_nothing_in_it(shape: tuple[int, int], grid: Grid) -> None:
    parts = compressed_tensors.encode(round_to_nearest(torch.zeros(shape), grid))
    assert parts["weight_packed"].dtype == torch.int32
    assert compressed_tensors.decode("w.weight", grid, parts.__getitem__).shape == shape


def test_the_library_reads_the_config(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason=WHY)
    from compressed_tensors.quantization import QuantizationConfig

    run(home / "model", tmp_path / "out", bits=4, group_size=32, method="rtn")
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    theirs = QuantizationConfig.model_validate({k: v for k, v in config.items() if k != "quant_method"})
    weights = theirs.config_groups["group_0"].weights
    assert (weights.num_bits, weights.group_size, weights.strategy) == (4, 32, "group")
    assert theirs.format == "pack-quantized"
    assert theirs.ignore == ["lm_head"]


@pytest.mark.parametrize("options", [{}, {"sparsity": 0.5, "method": "magnitude"}], ids=["rounded", "pruned too"])
def test_config_and_layout(home: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    facts = run(home / "model", tmp_path / "out", **{"method": "rtn", "bits": 4, "group_size": 32, **options})
    before = json.loads((home / "model" / "config.json").read_text())
    after = json.loads((tmp_path / "out" / "config.json").read_text())
    config = after.pop("quantization_config")
    assert after == before
    assert "sparsity_config" not in config  # vLLM refuses it, however empty
    assert config["ignore"] == ["lm_head"]
    written = open_checkpoint(tmp_path / "out")
    assert isinstance(written, QuantizedCheckpoint)
    assert written.tensors.keys() == Checkpoint(home / "model").tensors.keys()
    solved = {record["tensor"] for record in facts["layers"]}
    assert {n.removesuffix("_packed") for n in written.stored if n.endswith("_packed")} == solved
    assert written.stored[PACKED].shape == (128, 8)
    assert written.stored[PACKED].dtype == torch.int32
    source, files, copied = Checkpoint(home / "model"), folder_bytes(home / "model"), folder_bytes(tmp_path / "out")
    assert files.keys() <= copied.keys()
    assert all(copied[name] == files[name] for name in files if "token" in name)
    for name in source.tensors.keys() - solved:  # the lm_head, too
        assert written.stored[name].dtype == torch.bfloat16
        assert written.read(name).equal(source.read(name))


def test_excluded_layers_stay_dense(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason=WHY)
    options = {"bits": 4, "group_size": 32, "exclude": r"down_proj|layers\.1\.self_attn"}
    facts = run(home / "model", tmp_path / "out", home / "text.txt", **options)
    run(home / "model", tmp_path / "dense", home / "text.txt", format="dense", **options)
    assert len(facts["layers"]) == 14 - 2 - 4
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    attention = [f"model.layers.1.self_attn.{part}_proj" for part in "koqv"]
    down = [f"model.layers.{index}.mlp.down_proj" for index in range(2)]
    assert config["ignore"] == sorted(["lm_head", *down, *attention])
    torch.testing.assert_close(logits(tmp_path / "out"), logits(tmp_path / "dense"), rtol=1e-3, atol=1e-3)


def test_tied_output_layer(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason=WHY)
    model = make_checkpoint(tmp_path / "model", blocks=1, hidden=64, tie_word_embeddings=True)
    run(model, tmp_path / "out", method="rtn", group_size=32)
    run(model, tmp_path / "dense", method="rtn", group_size=32, format="dense")
    torch.testing.assert_close(logits(tmp_path / "out"), logits(tmp_path / "dense"), rtol=1e-4, atol=1e-4)


def test_experts_by_their_names_in_the_checkpoint(tmp_path: Path) -> None:
    """transformers fuses them, so the model that it builds has no such modules; it still finds and decodes them."""
    pytest.importorskip("compressed_tensors", reason=WHY)
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=2048,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    MixtralForCausalLM(config).save_pretrained(tmp_path / "model")
    facts = run(tmp_path / "model", tmp_path / "out", method="rtn", group_size=32)
    run(tmp_path / "model", tmp_path / "dense", method="rtn", group_size=32, format="dense")
    assert sum("experts" in record["tensor"] for record in facts["layers"]) == 6
    torch.testing.assert_close(logits(tmp_path / "out"), logits(tmp_path / "dense"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [48, 128])
def test_groups_must_divide_the_columns(home: Path, size: int) -> None:
    """Also groups wider than a row: the library divides by their size."""
    config = QuantizeConfig(method="rtn", group_size=size)
    with pytest.raises(
        ConfigError, match=rf"layers\.0\..*divisible by the group size {size}, got \d+.*--group-size \d+,"
    ):
        prepare(home / "model", config, None, CPU)


def test_format_of_dense_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="compressed-tensors holds quantized weights"):
        compressed_tensors.check_grid(None, {"w": 64})


def test_layers_that_are_not_linear_are_refused(tmp_path: Path) -> None:
    """Conv1D holds its weight the other way around, and no reader would find its packed form."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = make_checkpoint(tmp_path / "model", blocks=1)
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=2048, n_embd=32, n_layer=1, n_head=4, **tokens)).save_pretrained(model)
    with pytest.raises(ConfigError, match=r"c_attn\.weight: .*linear layers.*--format dense"):
        prepare(model, QuantizeConfig(method="rtn", group_size=32), None, CPU)
    run(model, tmp_path / "out", method="rtn", group_size=32, format="dense")


@pytest.mark.parametrize("command", ["quantize", "prune"])
def test_by_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    more = ["--sparsity", 0.5, "--bits", 4] if command == "prune" else []
    arguments = [home / "model", tmp_path / "out", "--calibration", home / "text.txt", "--group-size", "32", *more]
    outcome = invoke(capsys, command, *arguments, "--sequence-length", 64, "--samples", 4, "--json", "--quiet")
    assert outcome.code == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert facts["format"] == "compressed-tensors"
    assert 4 < facts["bits_per_weight"] < 4.7
    assert facts["config"]["group_size"] == 32


def test_demo_model_answers_alike(tmp_path: Path) -> None:
    """A trained model, all the way through transformers."""
    pytest.importorskip("compressed_tensors", reason=WHY)
    run(DEMO / "model", tmp_path / "out", method="rtn", bits=8, group_size=32)
    torch.testing.assert_close(logits(tmp_path / "out"), logits(DEMO / "model"), rtol=0.1, atol=0.3)
