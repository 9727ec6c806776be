"""Retrieval, captions and answers of a tiny OmniVL model, dense and packed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omnivl_folder import CAPTIONS, make_media, save_model
from PIL import Image

from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.vision_language.omnivl.answering import answer, notes_of
from fmcompress.vision_language.omnivl.captioning import write_captions
from fmcompress.vision_language.omnivl.loaded import Medium, OmniVL, find_media, media_of
from fmcompress.vision_language.omnivl.retrieval import recall, score


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    save_model(folder / "model")
    make_media(folder / "data")
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> OmniVL:
    return OmniVL(home / "model", batch_size=4)


@pytest.fixture(scope="module")
def media(home: Path) -> list[Medium]:
    """Of images and videos in turn."""
    found = find_media(home / "data")
    assert [one.video for one in found[:4]] == [True, False, True, False]
    assert len(found) == 36
    return found


def test_batches_change_nothing(home: Path, model: OmniVL, media: list[Medium]) -> None:
    alone = OmniVL(home / "model", batch_size=1)
    np.testing.assert_allclose(model.embed_media(media[:7]), alone.embed_media(media[:7]), atol=1e-6)
    np.testing.assert_allclose(model.embed_texts(CAPTIONS), alone.embed_texts(CAPTIONS), atol=1e-6)
    assert write_captions(model, media[:5]) == write_captions(alone, media[:5])
    assert write_captions(model, media[:5], beams=3) == write_captions(alone, media[:5], beams=3)
    drawn = {"temperature": 1.0, "seed": 3}
    assert write_captions(model, media[:5], **drawn) == write_captions(alone, media[:5], **drawn)
    said = {"questions": ["what colour?"] * 5, "answers": ["red", "the green one", "blue"]}
    for one, two in zip(answer(model, media[:5], **said), answer(alone, media[:5], **said), strict=True):
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)


def test_padding_of_questions_is_not_looked_at(
    model: OmniVL, media: list[Medium], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by what is written nor by what is ranked: noise in its place changes nothing."""
    asked = ["up?", "is it the red square?", "a"]
    free, ranked = ({"max_tokens": 6}, {"answers": ["red", "blue"]})
    plain = [answer(model, media[:3], asked, **some) for some in (free, ranked)]
    fuse = model.model.fuse

    def noisy(ids: torch.Tensor, mask: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        noise = 100 * torch.randn(32, generator=torch.Generator().manual_seed(0))
        return torch.where(mask[:, :, None] == 1, fuse(ids, mask, seen), noise)

    monkeypatch.setattr(model.model, "fuse", noisy)
    assert [answer(model, media[:3], asked, **some) for some in (free, ranked)] == plain


def test_scores_add_the_matching_probability_of_the_best(model: OmniVL, media: list[Medium]) -> None:
    """Held against the whole model's own forward, pair by pair."""
    some, top = media[:6], 2
    found = score(model, CAPTIONS, some, rerank=top)
    plain = score(model, CAPTIONS, some)
    np.testing.assert_array_equal(plain.text_to_media, found.cosines)
    for text, caption in enumerate(CAPTIONS):
        best = np.argsort(-found.cosines[text], kind="stable")[:top]
        for place, medium in enumerate(some):
            pixels = model.inputs.pixels([medium.path], 8 if medium.video else None)
            ids, mask = model.inputs.tokens([caption])
            with torch.no_grad():
                said = model.model(pixels, ids, mask)
            cosine = float(said.image_embeds[0] @ said.text_embeds[0])
            chance = float(said.matching_logits.softmax(-1)[0, 1])
            assert found.cosines[text, place] == pytest.approx(cosine, abs=1e-5)
            want = cosine + chance * (place in best)
            assert found.text_to_media[text, place] == pytest.approx(want, abs=1e-5)
    outside = np.delete(found.text_to_media[0], np.argsort(-found.cosines[0], kind="stable")[:top])
    assert found.text_to_media[0].max() > outside.max()
    changed = (found.media_to_text != found.cosines.T).sum(axis=1)
    assert (changed == top).all()
    everything = score(model, CAPTIONS, some, rerank=99)
    np.testing.assert_allclose(everything.media_to_text, everything.text_to_media.T, atol=1e-6)


def test_recall_counts_the_best_right_answer() -> None:
    scores = np.array([[0.9, 0.8, 0.1], [0.5, 0.5, 0.5], [0.3, 0.2, 0.1]])
    right = np.array([[0, 1, 1], [0, 1, 0], [1, 0, 0]], bool)
    found = recall(scores, right, at=(1, 2, 3))
    assert found.at == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3), 3: 1.0}
    assert (found.queries, found.median_rank) == (3, 2.0)  # ranks 2, 3 (equal scores do not help), 1
    order = np.random.default_rng(0).permutation(3)
    assert recall(scores[:, order], right[:, order], at=(1, 2, 3)) == found
    with pytest.raises(ConfigError, match="a right answer for each query"):
        recall(scores, np.zeros_like(right))
    with pytest.raises(ConfigError, match=r"expected \[3, 3\]"):
        recall(scores, right[:2])


def test_greedy_captions_are_those_of_the_model(model: OmniVL, media: list[Medium]) -> None:
    image = next(one for one in media if not one.video)
    (caption,) = write_captions(model, [image], max_tokens=6)
    with torch.no_grad():
        ids = model.model.generate(model.inputs.pixels([image.path]), max_new_tokens=6, do_sample=False)
    assert caption == model.inputs.decode(ids)[0]
    (begun,) = write_captions(model, [image], prompt="a red", max_tokens=4)
    assert begun.startswith("a red")


def test_beams_find_a_likelier_text_than_greed(model: OmniVL, media: list[Medium]) -> None:
    """What four beams write has at least the mean log-likelihood a token of the greedy text, of nearly all."""
    better = []
    for _, seen in model.seen(media[:12]):
        told = []
        for beams in (1, 4):
            ids = model.model.write(seen.last_hidden_state, num_beams=beams, max_new_tokens=3, do_sample=False)
            with torch.no_grad():
                logits = model.model.predict_tokens(ids, None, seen.last_hidden_state)[:, :-1].log_softmax(-1)
            real = ids[:, 1:] != model.inputs.config.text_config.pad_token_id
            likelihoods = logits.gather(-1, ids[:, 1:, None]).squeeze(-1) * real
            told.append(likelihoods.sum(-1) / real.sum(-1))
        better += (told[1] >= told[0] - 1e-5).tolist()
    assert sum(better) >= 10


def test_drawn_captions_follow_the_seed_and_move_no_global_generator(model: OmniVL, media: list[Medium]) -> None:
    before = torch.random.get_rng_state()
    one, two = (write_captions(model, media[:4], temperature=2.0, top_p=1.0, seed=seed) for seed in (0, 0))
    other = write_captions(model, media[:4], temperature=2.0, top_p=1.0, seed=1)
    assert one == two != other
    assert torch.equal(before, torch.random.get_rng_state())
    cold = write_captions(model, media[:4], temperature=1e-4, top_p=1.0)
    assert cold == write_captions(model, media[:4])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 0}, "beams"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top p"),
        ({"beams": 2, "temperature": 1.0}, "Leave one of them out"),
        ({"prompt": "word " * 99}, "leaves no room"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_settings_that_do_not_fit(model: OmniVL, media: list[Medium], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_captions(model, media[:1], **settings)


def test_answers_are_ranked_by_their_log_likelihood(model: OmniVL, media: list[Medium]) -> None:
    answers, question = ["red", "the blue one", "a"], "what colour is the square?"
    found = answer(model, media[:3], [question] * 3, answers=answers)
    for medium, one in zip(media, found, strict=False):
        pixels = model.inputs.pixels([medium.path], 8 if medium.video else None)
        ids, mask = model.inputs.tokens([question])
        for text, got in zip(answers, one.scores, strict=True):
            said, real = model.inputs.tokens([text])
            with torch.no_grad():
                fused = model.model.fuse(ids, mask, model.model.visual_encoder(pixels).last_hidden_state)
                told = model.model.predict_tokens(said, real, fused, mask)[:, :-1].log_softmax(-1)
            assert got == pytest.approx(float(told.gather(-1, said[:, 1:, None]).sum()), abs=1e-3)
        assert one.text == answers[int(np.argmax(one.scores))]
    free = answer(model, media[:3], [question] * 3, max_tokens=3)
    assert all(isinstance(one.text, str) and one.scores == () for one in free)
    with pytest.raises(ConfigError, match="expected 3, one each"):
        answer(model, media[:3], [question])
    with pytest.raises(ConfigError, match="different ones"):
        answer(model, media[:1], [question], answers=["a", "a"])


def test_a_model_that_never_saw_questions_says_so(home: Path) -> None:
    model = OmniVL(home / "model")
    assert notes_of(model) == []
    model.inputs.config.trained_on = ["captions", "labels"]
    assert "never on questions" in notes_of(model)[0]
    model.inputs.config.trained_on = ["captions", "questions"]
    assert notes_of(model) == []


def test_a_packed_model_does_all_of_it(home: Path, tmp_path: Path, model: OmniVL, media: list[Medium]) -> None:
    from helpers import CPU, Silent

    from fmcompress.config import PruneConfig
    from fmcompress.formats.unpack import unpack_checkpoint
    from fmcompress.pipeline import compress_checkpoint, prepare

    config = PruneConfig(sparsity=0.5, format="packed")
    compress_checkpoint(prepare(home / "model", config, home / "data" / "videos.jsonl", CPU), tmp_path / "p", Silent())
    unpack_checkpoint(tmp_path / "p", tmp_path / "dense")
    packed, dense = OmniVL(tmp_path / "p"), OmniVL(tmp_path / "dense")
    np.testing.assert_allclose(packed.embed_media(media[:4]), dense.embed_media(media[:4]), atol=1e-4)
    assert not np.allclose(packed.embed_media(media[:4]), model.embed_media(media[:4]), atol=1e-3)
    assert write_captions(packed, media[:2], max_tokens=5) == write_captions(dense, media[:2], max_tokens=5)
    one, two = (answer(each, media[:2], ["what?"] * 2, answers=["red", "blue"]) for each in (packed, dense))
    np.testing.assert_allclose([a.scores for a in one], [a.scores for a in two], atol=1e-3)


def test_media_that_are_not_there(home: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.png: no such file"):
        media_of([tmp_path / "none.png"])
    with pytest.raises(CalibrationError, match="holds no images"):
        find_media(tmp_path)
    film = [Image.new("RGB", (4, 4), (grey, 0, 0)) for grey in (0, 99)]
    film[0].save(tmp_path / "a.apng", format="PNG", save_all=True, append_images=film[1:])
    assert find_media(tmp_path) == [Medium(tmp_path / "a.apng", True)]
    with pytest.raises(ConfigError, match="no such folder"):
        OmniVL(tmp_path / "nothing")
