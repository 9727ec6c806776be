"""Which inputs a model is calibrated with, and what is said where the wrong ones, or none, are given."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, Silent, invoke, make_text, streamed
from PIL import Image
from zoo import ZOO, Kind, calibration, make_images, save

from fmcompress.calibration import images, longest_sequence
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.errors import CalibrationError, CheckpointError, ConfigError, FmcompressError
from fmcompress.pipeline import compress_checkpoint, prepare

OPTIONS: dict[str, Any] = {"sparsity": 0.5, "sequence_length": 32, "samples": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("clip", "vit", "bert", "llama"):
        save(ZOO[name], folder / name)
    calibration(ZOO["clip"], folder)
    return folder


def run(model: Path, out: Path, text: Path | None, images: Path | None, **options: Any) -> set[str]:
    job = prepare(model, PruneConfig(**{**OPTIONS, **options}), text, CPU, images=images)
    return {record["tensor"] for record in compress_checkpoint(job, out, Silent())["layers"]}


@pytest.mark.parametrize(("tower", "kind"), [("text", "text"), ("vision", "images")])
def test_a_tower_alone_needs_its_own_input_only(home: Path, tmp_path: Path, tower: str, kind: str) -> None:
    given = {"text": home / "text.txt", "images": None} if kind == "text" else {"text": None, "images": home / "images"}
    solved = run(home / "clip", tmp_path / "out", **given, include=f"^{tower}_model")
    assert len(solved) == 12
    source, written = Checkpoint(home / "clip"), Checkpoint(tmp_path / "out")
    assert {name for name in source.tensors if not source.read(name).equal(written.read(name))} == solved


def test_a_folder_of_images_may_be_the_calibration(home: Path, tmp_path: Path) -> None:
    one = run(home / "vit", tmp_path / "one", home / "images", None)
    two = run(home / "vit", tmp_path / "two", None, home / "images")
    assert len(one) == 12
    assert one == two
    assert Checkpoint(tmp_path / "one").digest() == Checkpoint(tmp_path / "two").digest()


@pytest.mark.parametrize(
    ("model", "given", "error", "message"),
    [
        (
            "clip",
            {"text": "text.txt"},
            CalibrationError,
            r"--images: vision_model needs a folder of images, or leave it out",
        ),
        (
            "clip",
            {"images": "images"},
            CalibrationError,
            r"--calibration: text_model needs a text .*--exclude '\^text_m",
        ),
        (
            "vit",
            {"text": "text.txt"},
            CalibrationError,
            r"--images: ViTForImageClassification needs a folder of images;",
        ),
        ("vit", {}, CalibrationError, "this method needs text .*or images"),
        ("bert", {"images": "images"}, CalibrationError, "--calibration: BertForMaskedLM needs a text"),
        (
            "bert",
            {"text": "text.txt", "images": "images"},
            ConfigError,
            "images: no chosen layer looks at images. Leave",
        ),
        ("bert", {"text": "images"}, CalibrationError, "--calibration: BertForMaskedLM needs a text"),
        ("vit", {"images": "text.txt"}, CalibrationError, "text.txt: no such folder"),
        ("vit", {"images": "bert"}, CalibrationError, "bert: holds no images"),
    ],
    ids=str,
)
def test_wrong_inputs(home: Path, model: str, given: dict[str, str], error: Any, message: str) -> None:
    paths = {kind: home / name for kind, name in given.items()}
    with pytest.raises(error, match=message):
        prepare(home / model, PruneConfig(**OPTIONS), paths.get("text"), CPU, images=paths.get("images"))


def test_images_for_a_method_without_data(home: Path) -> None:
    with pytest.raises(ConfigError, match="this method looks at no data"):
        prepare(home / "vit", PruneConfig(method="magnitude", sparsity=0.5), None, CPU, images=home / "images")


def test_a_damaged_image(home: Path, tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", 2)
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:100])
    with pytest.raises(CalibrationError, match=r"0\.png: cannot be read as an image"):
        prepare(home / "vit", PruneConfig(**OPTIONS), None, CPU, images=folder)


def test_no_processor(home: Path, tmp_path: Path) -> None:
    model = save(ZOO["vit"], tmp_path / "model")
    (model / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"image processor does not load .*preprocessor_config\.json"):
        prepare(model, PruneConfig(**OPTIONS), None, CPU, images=home / "images")


def test_samples_and_seed_choose_the_images(home: Path) -> None:
    def pixels(**options: Any) -> Any:
        return prepare(home / "vit", PruneConfig(**{**OPTIONS, **options}), None, CPU, images=home / "images").images

    assert pixels().shape == (4, 3, 32, 32)
    assert pixels().equal(pixels())
    assert not pixels().equal(pixels(seed=1))
    job = prepare(home / "vit", PruneConfig(**{**OPTIONS, "samples": 9}), None, CPU, images=home / "images")
    assert any("holds 8 images, fewer than the 9 asked for" in note for note in job.notes)
    assert job.plan.tokens == 8 * 17  # 16 patches and the class token


def test_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--calibration", home / "text.txt", "--images", home / "images", "--sparsity", 0.5, "--samples", 4)
    outcome = invoke(capsys, "prune", home / "clip", tmp_path / "out", *args, "--sequence-length", 32, "--json")
    assert outcome.code == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert (facts["calibration_tokens"], facts["calibration_images"], len(facts["layers"])) == (128, 4, 24)


@pytest.mark.parametrize(("name", "longest"), [("roberta", 62), ("bert", 64), ("opt", 64), ("t5", None)])
def test_longest_sequence(tmp_path: Path, name: str, longest: int | None) -> None:
    """RoBERTa's positions begin behind the padding's, OPT's table has two more rows, T5's have no end."""
    model = save(ZOO[name], tmp_path / "model")
    assert longest_sequence(streamed(model).model) == longest
    text = make_text(tmp_path / "text.txt", 4000)
    job = prepare(model, PruneConfig(sparsity=0.5, samples=2, sequence_length=80), text, CPU)
    assert job.windows is not None
    assert job.windows.shape[1] == (longest or 80)


def test_perplexity_and_text_are_of_causal_models(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "eval", home / "bert", "--text", home / "text.txt", "--sequence-length", 32)
    assert outcome.code == 2
    assert "BertForMaskedLM predicts no next token" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    outcome = invoke(capsys, "generate", home / "bert", "--prompt", "a")
    assert outcome.code == 2
    assert "BertForMaskedLM: continues no text" in outcome.stderr


@pytest.mark.parametrize("change", ["add", "remove"])
def test_the_prefix_of_the_base_model_may_be_there_or_not(home: Path, tmp_path: Path, change: str) -> None:
    """Checkpoints saved from the base model lack it; those of a task that are loaded bare have it."""
    from safetensors.torch import load_file, save_file

    name = "bert, bare" if change == "add" else "bert"
    model = save(ZOO[name], tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    renamed = {f"bert.{n}" if change == "add" else n.removeprefix("bert."): t for n, t in tensors.items()}
    save_file(renamed, model / "model.safetensors", metadata={"format": "pt"})
    assert len(run(model, tmp_path / "out", home / "text.txt", None)) == 12


def test_a_language_model_that_also_sees(home: Path, tmp_path: Path) -> None:
    """Its language model alone is pruned with text, and has a perplexity."""
    from fmcompress.evaluation import evaluate

    seeing = Kind(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        (6, 6, 7, 7),
        {
            "text_config": {**ZOO["gemma3"].options, "model_type": "gemma3_text"},
            "vision_config": {**ZOO["vit"].options, "model_type": "siglip_vision_model"},
            "mm_tokens_per_image": 4,
        },
    )
    model = save(seeing, tmp_path / "model")
    with pytest.raises(CalibrationError, match=r"--images: model\.vision_tower needs a folder of images, or leave"):
        run(model, tmp_path / "out", home / "text.txt", None)
    assert len(run(model, tmp_path / "out", home / "text.txt", None, exclude="vision_tower")) == 14
    windows = {"sequence_length": 32, "device": CPU, "max_windows": 2}
    before, after = (evaluate(folder, home / "text.txt", **windows) for folder in (model, tmp_path / "out"))
    assert 0.5 < after.nats_per_token / before.nats_per_token < 2
    assert before.perplexity != after.perplexity


@pytest.mark.parametrize("named", [None, ["NoSuchModel"], ["BertTokenizer"]])
def test_architectures_that_name_no_model(home: Path, tmp_path: Path, named: list[str] | None) -> None:
    """Then the causal language model of that type is taken, or the bare one."""
    model = save(ZOO["llama"], tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["architectures"] = named
    (model / "config.json").write_text(json.dumps(config))
    assert type(streamed(model).model).__name__ == "LlamaForCausalLM"


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    model = save(ZOO["llama"], tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(FmcompressError, match="unknown architecture"):
        streamed(model)


def test_images_of_several_sizes_are_told_from_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"a": (4, 4), "b": (4, 6)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")

    def as_they_are(images: Image.Image, return_tensors: str) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.zeros(1, 3, images.height, images.width)}

    monkeypatch.setattr(images, "load_processor", lambda model: as_they_are)
    assert images.sample_images(tmp_path, tmp_path, 1, seed=0).shape[0] == 1
    with pytest.raises(CalibrationError, match=r"\.png: expected \[3, \d, 4\] pixels .* Give images of one size"):
        images.sample_images(tmp_path, tmp_path, 2, seed=0)
