"""Fine-tuning of OmniVL's visual encoder: what it refuses, and what it leaves behind."""

from pathlib import Path

import pytest
import torch
from omnivl_folder import CAPTIONS, make_media, save_model

from fmcompress.errors import CalibrationError, ConfigError, DiskError
from fmcompress.models.omnivl import OmniVLForVisualClassification
from fmcompress.vision_language.omnivl.fine_tuning import FineTuning, fine_tune
from fmcompress.vision_language.omnivl.loaded import Medium, find_media

ONE = FineTuning(epochs=1, batch_size=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fine")
    save_model(folder / "model")
    save_model(folder / "dropping", hidden_dropout_prob=0.5)
    make_media(folder / "data", copies=1)
    return folder


@pytest.fixture(scope="module")
def given(home: Path) -> tuple[list[Medium], list[str]]:
    media = [one for one in find_media(home / "data") if not one.video]
    return media, [CAPTIONS[int(one.path.stem.split("-")[1])].split()[1] for one in media]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"patience": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")},
     {"weight_decay": -1.0}, {"seed": -1}],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        FineTuning(**wrong)  # type: ignore[arg-type]


def test_a_loss_without_end_writes_nothing(home: Path, tmp_path: Path, given: tuple[list[Medium], list[str]]) -> None:
    wild = FineTuning(epochs=9, batch_size=3, learning_rate=1e30)
    with pytest.raises(CalibrationError, match=r"step \d+: the loss is no finite number any more"):
        fine_tune(home / "model", tmp_path / "out", *given, options=wild)
    assert not list(tmp_path.iterdir())


def test_the_folder_appears_whole_or_not_at_all(
    home: Path, tmp_path: Path, given: tuple[list[Medium], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OmniVLForVisualClassification.save_pretrained

    def full(self: OmniVLForVisualClassification, folder: Path) -> None:
        real(self, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OmniVLForVisualClassification, "save_pretrained", full)
    with pytest.raises(DiskError, match="out: cannot be written"):
        fine_tune(home / "model", tmp_path / "out", *given, options=ONE)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="is no folder"):
        fine_tune(home / "model", tmp_path / "none" / "out", *given, options=ONE)


def test_dropout_is_drawn_by_the_seed_and_moves_no_global_generator(
    home: Path, tmp_path: Path, given: tuple[list[Medium], list[str]]
) -> None:
    before = torch.random.get_rng_state()
    found = fine_tune(home / "dropping", tmp_path / "one", *given, options=ONE)
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert fine_tune(home / "dropping", tmp_path / "two", *given, options=ONE) == found


def test_validation_without_labels_is_refused(
    home: Path, tmp_path: Path, given: tuple[list[Medium], list[str]]
) -> None:
    val = (given[0][:2], [None, "grey"])
    with pytest.raises(ConfigError, match="is no class of training"):
        fine_tune(home / "model", tmp_path / "out", *given, val=val, options=ONE)  # type: ignore[arg-type]
