"""A whole run: what it writes, what it leaves alone, what it reports."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, DEMO, Silent, folder_bytes, linears, make_checkpoint, make_text, run_prune, streamed

from fmcompress.calibration import cut_windows, load_tokenizer, sample_windows, token_stream
from fmcompress.checkpoint import Checkpoint, obeys
from fmcompress.config import PruneConfig
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.evaluation import evaluate
from fmcompress.pipeline import compress_checkpoint, prepare
from fmcompress.pruning import Unstructured
from fmcompress.workspace import FACTS

PRUNED = "_proj.weight"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    return make_checkpoint(home / "model", blocks=3, hidden=64, shards=3, dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def text(home: Path) -> Path:
    return make_text(home / "text.txt")


@pytest.fixture(scope="module")
def halved(home: Path, model: Path, text: Path) -> tuple[Path, dict[str, Any]]:
    """The plain run at 50 %, which many tests look at."""
    return home / "halved", run_prune(model, home / "halved", text, sparsity=0.5)


def test_layout_and_untouched_tensors_are_byte_for_byte_equal(model: Path, halved: tuple[Path, dict[str, Any]]) -> None:
    before, after = folder_bytes(model), folder_bytes(halved[0])
    assert after.keys() - before.keys() == {FACTS}
    assert before.keys() <= after.keys()
    source, written = Checkpoint(model), Checkpoint(halved[0])
    shards = {path.name for path in source.shards}
    assert len(shards) >= 2
    assert all(after[name] == before[name] for name in before if name not in shards)
    assert "quantization_config" not in json.loads(after["config.json"])
    pruned = {record["tensor"] for record in halved[1]["layers"]}
    for name, entry in source.tensors.items():
        other = written.tensors[name]
        assert (entry.path.name, entry.offset, entry.dtype) == (other.path.name, other.offset, other.dtype)
        assert written.read(name).equal(source.read(name)) == (name not in pruned)
    for shard in shards:  # headers, and everything between tensors
        begin = 8 + int.from_bytes(before[shard][:8], "little")
        assert before[shard][:begin] == after[shard][:begin]
        assert len(before[shard]) == len(after[shard])
    assert not halved[0].with_name("halved.partial").exists()


def test_output_loads_and_runs(halved: tuple[Path, dict[str, Any]]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, info = AutoModelForCausalLM.from_pretrained(halved[0], output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.dtype == torch.bfloat16
    ids = AutoTokenizer.from_pretrained(halved[0])("Some text", return_tensors="pt")["input_ids"]
    assert torch.isfinite(model(input_ids=ids).logits).all()
    state = model.state_dict()
    for record in halved[1]["layers"]:
        assert (
            int((state[record["tensor"]] == 0).sum()) == record["zeros"] == (record["rows"] * record["cols"] + 1) // 2
        )


def test_records_and_facts(model: Path, halved: tuple[Path, dict[str, Any]]) -> None:
    out, facts = halved
    written = json.loads((out / FACTS).read_text())
    assert {**facts, **written} == facts
    assert facts.keys() - written.keys() == {"out", "seconds", "peak_memory_bytes", "ranks", "exchange_seconds"}
    chosen = {name for name in Checkpoint(model).tensors if name.endswith(PRUNED)}
    assert [record["tensor"] for record in facts["layers"]] == sorted(
        (record["tensor"] for record in facts["layers"]), key=lambda name: int(name.split(".")[2])
    )
    assert {record["tensor"] for record in facts["layers"]} == chosen
    assert facts["weights"] == sum(Checkpoint(model).read(name).numel() for name in chosen)
    assert facts["sparsity"] == facts["zeros"] / facts["weights"] == 0.5
    assert (facts["calibration_sequences"], facts["calibration_tokens"]) == (16, 16 * 64)
    assert facts["config"] == PruneConfig(sparsity=0.5, sequence_length=64, samples=16).model_dump()
    assert all(0 < record["relative_error"] < 1 and record["tokens"] == 1024 for record in facts["layers"])


def first_block_errors(model: Path, out: Path, text: Path) -> dict[str, float]:
    """|X (W - V)^T|^2 / |X W^T|^2 of the first block, X from the unpruned model, in float64."""
    windows = sample_windows(cut_windows(token_stream(load_tokenizer(model), text), 64, ""), 16, 0)
    source, written, walker = Checkpoint(model), Checkpoint(out), streamed(model)
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad(), walker.loaded(0) as block:
        for name, layer in linears(block).items():
            layer.register_forward_hook(
                lambda _, args, __, name=name: seen.update({name: args[0].flatten(0, 1).double()})
            )
        walker.run_block(0, block, walker.embed(windows))
    errors = {}
    for name, inputs in seen.items():
        tensor = f"model.layers.0.{name}.weight"
        before, after = source.read(tensor).double(), written.read(tensor).double()
        errors[tensor] = float((inputs @ (after - before).T).square().sum() / (inputs @ before.T).square().sum())
    return errors


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=["half", "2:4"])
def test_reported_error_is_the_measured_one(tmp_path: Path, text: Path, options: dict[str, Any]) -> None:
    # float32, so that the rounding of the written weights is no part of the difference
    model = make_checkpoint(tmp_path / "model", hidden=64)
    facts = run_prune(model, tmp_path / "out", text, **options)
    errors = first_block_errors(model, tmp_path / "out", text)
    records = {record["tensor"]: record for record in facts["layers"] if ".layers.0." in record["tensor"]}
    assert errors.keys() == records.keys()
    for tensor, error in errors.items():
        assert records[tensor]["relative_error"] == pytest.approx(error, rel=0.02), tensor


def count_zeros(out: Path, record: dict[str, Any]) -> torch.Tensor:
    """Zeros per row."""
    return (Checkpoint(out).read(record["tensor"]) == 0).sum(1)


def test_two_of_four(tmp_path: Path, model: Path, text: Path) -> None:
    facts = run_prune(model, tmp_path / "out", text, pattern="2:4")
    for record in facts["layers"]:
        tensor = Checkpoint(tmp_path / "out").read(record["tensor"])
        assert obeys(tensor, 2, 4)
        assert int((tensor == 0).sum()) == record["zeros"] == tensor.numel() // 2
        assert (record["keep"], record["group"]) == (2, 4)


@pytest.mark.parametrize(
    ("scope", "sparsity"), [("block", 0.0), ("block", 0.61), ("row", 0.3), ("layer", 0.61), ("layer", 1.0)]
)
def test_exact_sparsity_in_every_scope(tmp_path: Path, model: Path, text: Path, scope: str, sparsity: float) -> None:
    facts = run_prune(
        model, tmp_path / "out", text, sparsity=sparsity, mask_scope=scope, include=r"\.0\.", block_size=48
    )
    assert len(facts["layers"]) == 7
    for record in facts["layers"]:
        zeros, target = count_zeros(tmp_path / "out", record), Unstructured(sparsity, scope)
        assert int(zeros.sum()) == record["zeros"] == target.zeros(record["rows"], record["cols"])
        if scope == "row":
            assert len(set(zeros.tolist())) == 1


@pytest.mark.parametrize("options", [{"sparsity": 0.37}, {"sparsity": 0.37, "mask_scope": "row"}, {"pattern": "1:4"}])
def test_magnitude_needs_no_text_and_keeps_the_largest(tmp_path: Path, model: Path, options: dict[str, Any]) -> None:
    facts = run_prune(model, tmp_path / "out", None, method="magnitude", **options)
    assert facts["calibration_tokens"] == 0
    for record in facts["layers"]:
        before, after = Checkpoint(model).read(record["tensor"]), Checkpoint(tmp_path / "out").read(record["tensor"])
        kept = after != 0
        assert int((~kept).sum()) == record["zeros"]
        assert after[kept].equal(before[kept])
        assert "relative_error" not in record
        if options == {"sparsity": 0.37}:
            assert before[kept].abs().min() >= before[~kept].abs().max()


def test_include_and_exclude(tmp_path: Path, model: Path, text: Path) -> None:
    facts = run_prune(
        model, tmp_path / "out", text, sparsity=0.5, include="mlp|layers.2", exclude=r"down_proj|[kv]_proj"
    )
    expected = {f"model.layers.{index}.mlp.{part}_proj.weight" for index in range(3) for part in ("gate", "up")}
    expected |= {f"model.layers.2.self_attn.{part}_proj.weight" for part in "qo"}
    assert {record["tensor"] for record in facts["layers"]} == expected
    source, written = Checkpoint(model), Checkpoint(tmp_path / "out")
    assert {name for name in source.tensors if not source.read(name).equal(written.read(name))} == expected


def test_true_sequential(tmp_path: Path, model: Path, text: Path, halved: tuple[Path, dict[str, Any]]) -> None:
    run_prune(model, tmp_path / "out", text, sparsity=0.5, true_sequential=True)
    plain, sequential = Checkpoint(halved[0]), Checkpoint(tmp_path / "out")
    first = "model.layers.0.self_attn.q_proj.weight"  # nothing before it is pruned
    assert plain.read(first).equal(sequential.read(first))
    later = "model.layers.0.mlp.down_proj.weight"
    assert not plain.read(later).equal(sequential.read(later))
    assert int((sequential.read(later) == 0).sum()) == sequential.read(later).numel() // 2


def test_later_blocks_see_the_pruned_ones(
    tmp_path: Path, model: Path, text: Path, halved: tuple[Path, dict[str, Any]]
) -> None:
    run_prune(model, tmp_path / "out", text, sparsity=0.5, include=r"layers\.2\.")
    name = "model.layers.2.self_attn.q_proj.weight"
    assert not Checkpoint(tmp_path / "out").read(name).equal(Checkpoint(halved[0]).read(name))


@pytest.mark.parametrize(
    "options", [{"sparsity": 0.5}, {"pattern": "4:8", "true_sequential": True}], ids=["half", "4:8"]
)
def test_two_runs_write_the_same_bytes(tmp_path: Path, model: Path, text: Path, options: dict[str, Any]) -> None:
    run_prune(model, tmp_path / "a", text, **options)
    run_prune(model, tmp_path / "b", text, **options)
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")


def test_seed_and_samples_choose_the_text(
    tmp_path: Path, model: Path, text: Path, halved: tuple[Path, dict[str, Any]]
) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    for other in ({"seed": 1}, {"samples": 8}):
        out = tmp_path / str(other)
        run_prune(model, out, text, sparsity=0.5, **other)
        assert not Checkpoint(out).read(name).equal(Checkpoint(halved[0]).read(name))


def test_a_short_text_is_noted(tmp_path: Path, model: Path) -> None:
    config = PruneConfig(sparsity=0.5, sequence_length=64, samples=500)
    job, observer = prepare(model, config, make_text(tmp_path / "short.txt", 3000), CPU), Silent()
    assert job.plan.tokens == job.windows.numel()
    compress_checkpoint(job, tmp_path / "out", observer)
    assert any("fewer than the 500 asked for" in note for note in observer.notes)


def test_plan_is_what_the_run_does(model: Path, text: Path, halved: tuple[Path, dict[str, Any]]) -> None:
    job = prepare(model, PruneConfig(sparsity=0.5, sequence_length=64, samples=16), text, CPU)
    facts, plan = halved[1], job.plan
    assert (plan.weights, plan.zeros, plan.tokens) == (facts["weights"], facts["zeros"], facts["calibration_tokens"])
    assert (plan.layers, plan.blocks) == (len(facts["layers"]), 3)
    assert plan.output_bytes == Checkpoint(model).total_bytes
    assert plan.peak_bytes > 0
    assert plan.hessian_bytes == 4 * (3 * 64**2 + 128**2)


def test_a_pruned_model_can_be_pruned_again(tmp_path: Path, text: Path, halved: tuple[Path, dict[str, Any]]) -> None:
    facts = run_prune(halved[0], tmp_path / "out", text, sparsity=0.75)
    assert facts["sparsity"] == 0.75


def change_tensor(folder: Path, name: str, value: float) -> None:
    from safetensors.torch import load_file, save_file

    path = Checkpoint(folder).tensors[name].path
    tensors = load_file(path)
    tensors[name].view(-1)[3] = value
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.2.mlp.up_proj.weight", "lm_head.weight"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite(tmp_path: Path, model: Path, text: Path, name: str, value: float) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    change_tensor(broken, name, value)
    with pytest.raises(CheckpointError, match=f"{name}: holds inf or NaN"):
        run_prune(broken, tmp_path / "out", text, sparsity=0.5)
    assert {path.name for path in tmp_path.iterdir()} == {"broken"}


def test_quantized_weights_are_refused(tmp_path: Path, model: Path, text: Path) -> None:
    from safetensors.torch import load_file, save_file

    name = "model.layers.0.mlp.up_proj.weight"
    odd = Path(shutil.copytree(model, tmp_path / "odd"))
    path = Checkpoint(odd).tensors[name].path
    tensors = load_file(path)
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="float8_e4m3fn weights cannot be solved"):
        run_prune(odd, tmp_path / "out", text, sparsity=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "2:7"}, r"model\.layers\.0\.self_attn\.q_proj\.weight: pattern 2:7"),
        ({"sparsity": 0.5, "include": "nothing"}, "no linear layers matched"),
        ({"sparsity": 0.5, "exclude": "("}, "--exclude: .* is no regular expression"),
    ],
)
def test_prepare_refuses(model: Path, text: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(model, PruneConfig(**options), text, CPU)


def test_blocks_without_linear_layers(model: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmcompress.calibration.places._solvable", lambda module: {})
    with pytest.raises(ConfigError, match=r"the blocks of LlamaForCausalLM hold none, but Linear, .*Only linear"):
        prepare(model, PruneConfig(sparsity=0.5), text, CPU)


def test_a_shard_vanishes_while_it_runs(tmp_path: Path, text: Path) -> None:
    model = make_checkpoint(tmp_path / "model", shards=3)
    job = prepare(model, PruneConfig(sparsity=0.5, sequence_length=64, samples=4), text, CPU)
    gone = job.streamed.checkpoint.shards[-1]
    gone.unlink()
    with pytest.raises(CheckpointError, match=f"{gone.name}: cannot be read"):
        job.streamed.checkpoint.read("model.norm.weight")


@pytest.fixture(scope="module")
def perplexity(home: Path) -> Callable[[Path], float]:
    held = make_text(home / "held.txt", 12_000, "heldout")
    return lambda folder: evaluate(folder, held, 256, CPU).perplexity


def test_loses_less_than_magnitude_on_the_demo(tmp_path: Path, perplexity: Callable[[Path], float]) -> None:
    model, text = DEMO / "model", make_text(tmp_path / "text.txt", 30_000)
    run_prune(model, tmp_path / "magnitude", None, method="magnitude", sparsity=0.5)
    run_prune(model, tmp_path / "sparsegpt", text, sparsity=0.5, sequence_length=256, samples=16)
    dense, solved, cut = (perplexity(path) for path in (model, tmp_path / "sparsegpt", tmp_path / "magnitude"))
    assert dense < solved < cut
    assert solved - dense < 0.7 * (cut - dense)


def test_perplexity_is_that_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    text = make_text(tmp_path / "held.txt", 8_000, "heldout")
    result = evaluate(DEMO / "model", text, 128, CPU)
    model = AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32).eval()
    windows = cut_windows(token_stream(load_tokenizer(DEMO / "model"), text), 128, "")
    with torch.no_grad():
        loss = float(model(input_ids=windows, labels=windows, use_cache=False).loss)
    assert result.nats_per_token == pytest.approx(loss, rel=1e-4)
    assert (result.windows, result.predicted_tokens) == (len(windows), len(windows) * 127)
    assert evaluate(DEMO / "model", text, 128, CPU, max_windows=2).windows == 2
    assert evaluate(DEMO / "model", text, 10_000, CPU).sequence_length == 512
