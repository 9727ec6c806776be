import json

import pytest
from PIL import Image

from fmcompress.models.omnivl import OmniVLModel
from fmcompress.vision_language.omnivl.beginning import begin
from fmcompress.vision_language.omnivl.options import SIZES, TrainOptions, size_like


@pytest.mark.parametrize(("width", "name"), [(32, "tiny"), (64, "tiny"), (255, "tiny"), (256, "small"), (1024, "base")])
def test_a_model_is_trained_as_its_width_wants(width, name):
    assert size_like(width) is SIZES[name]


def test_unknown_options_are_answered_with_the_names_that_work(tmp_path):
    from fmcompress.errors import ConfigError
    from fmcompress.options import resolve

    (tmp_path / "c.yaml").write_text("imagesteps: 3\n")
    with pytest.raises(ConfigError, match=r"Known: .*, from, ") as told:
        resolve(TrainOptions, tmp_path / "c.yaml")
    assert "start" not in str(told.value)


def test_new_narrow_models_begin_with_wider_weights(tmp_path):
    model = begin(TrainOptions(), ["a red three"], tmp_path)
    assert isinstance(model, OmniVLModel)
    for weight in (
        model.visual_encoder.layers[0].attention.q_proj.weight,
        model.text_encoder.encoder.layer[0].attention.self.query.weight,
        model.visual_projection.weight,
        model.visual_encoder.position_embeddings,
    ):
        assert weight.std().item() == pytest.approx(0.125, rel=0.15)
    assert json.loads((tmp_path / "config.json").read_text())["initializer_range"] == 0.125


@pytest.mark.parametrize(("given", "momentum"), [((), 0.0), (("--bank", "8"), 0.995), (("--momentum", "0.9"), 0.9)])
def test_a_bank_brings_a_slow_second_model(tmp_path, monkeypatch, given, momentum):
    from typer.testing import CliRunner

    from fmcompress.cli import app
    from fmcompress.vision_language.omnivl import run

    seen = []
    real = run.Objective
    monkeypatch.setattr(run, "Objective", lambda *args, **options: seen.append(options) or real(*args, **options))
    for row in range(2):
        Image.new("RGB", (32, 32), (100 * row, 50, 50)).save(tmp_path / f"{row}.png")
    lines = [{"image": f"{row}.png", "text": f"picture {row}"} for row in range(2)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    command = ["omnivl", "train", str(tmp_path / "pairs.jsonl"), str(tmp_path / "out"), "--image-steps", "1", "--quiet"]
    assert CliRunner().invoke(app, [*command, *given]).exit_code == 0
    assert seen[0]["momentum"] == momentum
    facts = json.loads((tmp_path / "out" / "fmcompress-training.json").read_text())
    assert (facts["used"]["momentum"], facts["used"]["learning_rate"]) == (momentum, 1e-3)
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1  # whoever may read the config may read the weights


@pytest.mark.parametrize(
    ("given", "told"),
    [(("--plot", "nowhere/loss.png"), "there is no folder nowhere"), (("--frames", "100000"), "frames")],
)
def test_what_cannot_be_is_told_before_the_work(tmp_path, given, told):
    from typer.testing import CliRunner

    from fmcompress.cli import app

    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": "0.png", "text": "black"}))
    result = CliRunner().invoke(app, ["omnivl", "train", str(tmp_path / "pairs.jsonl"), str(tmp_path / "out"), *given])
    assert told in str(result.exception)
    assert not (tmp_path / "out.partial").exists()


def test_widths_of_both_may_be_given(tmp_path):
    model = begin(TrainOptions(vision={"hidden_size": 32}, text={"hidden_size": 32}), ["a"], tmp_path)
    assert model.config.text_config.hidden_size == 32
