"""Stages 2 and 3: what the language model is asked, which candidate is chosen, which sentences stay, and all notes."""

import json

import numpy as np
import pytest
from clue_cases import ColourEncoder, picture, unit

from fmcompress.errors import ConfigError, LanguageModelError
from fmcompress.language_model import FileLanguageModel, Recorded, ScriptedLanguageModel
from fmcompress.vision_language.visual_clues import (
    Clue,
    Description,
    Settings,
    VisualClues,
    describe,
    describe_all,
    read_prompt,
)  # fmt: skip

CLUES = VisualClues((Clue("wall"),))
TEXTS = ["green grass.", "", "red and blue.", "A red wall.  It is blue.\nIt is green.", "green grass.", " ... "]


class Encoder(ColourEncoder):
    """Remembers every text, and notes long ones."""

    def __init__(self):
        super().__init__()
        self.texts, self.notes = [], []

    def encode_text(self, texts):
        self.texts += texts
        self.notes = ["a text was cut"] if any(len(text) > 30 for text in self.texts) else []
        return super().encode_text(texts)


def run(texts=TEXTS, encoder=None, clues=CLUES, **settings):
    model = ScriptedLanguageModel(texts)
    found = describe(picture(), clues, encoder or Encoder(), model, Settings(candidates=len(texts), **settings))
    return found, model


def test_every_intermediate_is_there():
    found, model = run(threshold=0.5, score="sentences")
    call = model.calls[0]
    assert len(model.calls) == 1
    assert (call.texts, found.prompt) == ((found.prompt,), found.prompt)
    assert read_prompt(found.prompt).tags == ("wall",)
    asked = call.settings
    assert (asked.samples, asked.temperature, asked.max_tokens, asked.seed) == (6, 0.8, 100, 0)
    assert "\n\n" in asked.stop
    assert [one.text for one in found.candidates] == [
        "green grass.", "red and blue.", "A red wall. It is blue. It is green."]  # fmt: skip
    assert found.notes == ("2 of 6 candidates were empty", "1 of 6 candidates repeated another one")
    assert found.chosen == 1
    mean = unit([[250 / 2, 0, 200 / 2]])[0]
    assert found.candidates[1].score == pytest.approx(unit([[1, 0, 1]])[0] @ mean, abs=1e-3)
    assert found.candidates[2].score == pytest.approx(unit([[1, 1, 1]])[0] @ mean, abs=2e-3)
    assert found.settings["language_model"] == "scripted"
    assert found.settings["encoder"] == {"model": "colour"}
    again = Description.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again == found


def test_the_defaults_are_those_of_the_paper():
    assert Settings().generation == {
        "samples": 40, "temperature": 0.8, "top_p": 1.0, "max_tokens": 100, "seed": 0, "stop": ("\n\n", "\nClues of an image"),
    }  # fmt: skip


def test_sentences_stay_or_go_with_a_reason():
    texts = ["A red wall. It is blue. It is green. It is red and", "green."]
    found, _ = run(texts, threshold=0.5)
    assert found.chosen == 0
    assert found.paragraph == "A red wall. It is blue."
    assert [one.kept for one in found.sentences] == [True, True, False, False]
    assert "below the threshold 0.5" in found.sentences[2].reason
    assert found.sentences[3].reason == "is not finished"
    assert found.threshold == 0.5
    alone, _ = run(texts, threshold=2.0)
    assert [one.kept for one in alone.sentences] == [one is max(alone.sentences, key=score) for one in alone.sentences]
    assert "no sentence reaches the threshold 2.000" in alone.notes[0]
    whole, _ = run(texts, filtered=False, threshold=2.0)
    assert whole.paragraph == texts[0]
    assert whole.threshold is None
    only, _ = run(["It is red and"], threshold=-1.0)
    assert only.paragraph == "It is red and"  # rather than nothing


def score(one):
    return one.score


def test_the_default_threshold_is_of_all_candidates_sentences():
    found, _ = run(["A red wall. It is green.", "A red wall. It is blue."])
    sentences = ["A red wall.", "It is green.", "It is blue."]
    encoder = Encoder()
    cosines = encoder.encode_text(sentences) @ encoder.encode_images([picture()])[0]
    assert found.threshold == pytest.approx(cosines.mean() - cosines.std(), abs=1e-4)
    assert found.paragraph == "A red wall. It is blue."


def test_scores_of_paragraphs_and_of_sentences_differ():
    encoder = Encoder()
    text = "A red red wall. It is blue."
    whole, _ = run([text], encoder)
    assert text in encoder.texts
    encoder = Encoder()
    parts, _ = run([text], encoder, score="sentences")
    assert text not in encoder.texts
    vectors = encoder.encode_text(["A red red wall.", "It is blue."]).mean(0)
    expected = vectors @ encoder.encode_images([picture()])[0] / np.linalg.norm(vectors)
    assert parts.candidates[0].score == pytest.approx(float(expected), abs=1e-5)
    assert abs(parts.candidates[0].score - whole.candidates[0].score) > 0.01


def test_a_story_begins_with_the_words_it_goes_on_from():
    found, model = run([" it is red.", " "], style="story")
    assert model.calls[0].texts[0].endswith("In the picture,")
    assert [one.text for one in found.candidates] == ["In the picture, it is red."]


def test_a_sentence_that_is_not_finished_goes_and_one_that_stands_alone_is_told():
    more, _ = run(["It is red. It is also bl"], threshold=-1)
    assert [(one.text, one.reason) for one in more.sentences if not one.kept] == [("It is also bl", "is not finished")]
    assert more.notes == ()
    alone, _ = run(["It is also bl"], threshold=-1)
    assert alone.paragraph == "It is also bl"
    assert any("not finished" in note and "--max-tokens" in note for note in alone.notes)


def test_what_is_cut_is_told():
    assert run(["red."])[0].notes == ()
    encoder, text = Encoder(), "red red red red red red red red red."
    assert run([text], encoder)[0].notes == ("so far, a text was cut",)
    assert run([text], encoder)[0].notes == ()  # told already


def test_nothing_written_is_an_error():
    with pytest.raises(LanguageModelError, match=r"wrote 2 empty candidates for .*style story"):
        run(["", "\n"])
    with pytest.raises(ConfigError, match="clues: expected tags"):
        run(clues=VisualClues())


@pytest.mark.parametrize(
    ("options", "told"),
    [({"candidates": 0}, "samples"), ({"temperature": -1}, "temperature"), ({"score": "x"}, "score: expected one of"),
     ({"style": "poem"}, "style: expected one of"),
     ({"threshold": float("nan")}, "threshold: expected a number"), ({"top_p": 0}, "top_p")],
)  # fmt: skip
def test_settings_that_mean_nothing(options, told):
    with pytest.raises(ConfigError, match=told):
        Settings(**options)


def test_several_images_go_on_where_they_were(tmp_path):
    clues = [CLUES, VisualClues((Clue("sky"),))]
    settings = Settings(candidates=2)
    model = ScriptedLanguageModel(["red.", "blue."])
    record = Recorded(model, tmp_path / "a.jsonl")
    with pytest.raises(LanguageModelError, match="has 0 of 2 answers"):
        describe_all([picture()] * 2, clues, Encoder(), record, settings, names=["a", "b"])
    more = ScriptedLanguageModel(["green.", "red blue."])
    steps = []
    again = Recorded(more, tmp_path / "a.jsonl")
    found = describe_all(
        [picture()] * 2, clues, Encoder(), again, settings, names=["a", "b"], progress=lambda *at: steps.append(at)
    )
    assert len(more.calls) == 1
    assert [one.paragraph for one in found] == ["red.", "red blue."]
    assert steps == [(0, 2), (1, 2), (2, 2)]
    (tmp_path / "none.jsonl").write_text("")
    file = FileLanguageModel(tmp_path / "none.jsonl")
    with pytest.raises(LanguageModelError, match="answers 0 of 2 prompts"):  # all at once
        describe_all([picture()] * 2, clues, Encoder(), file, settings)
    with pytest.raises(ConfigError, match="as many as images"):
        describe_all([picture()], clues, Encoder(), file, settings)


@pytest.mark.parametrize("broken", [{}, {"image": "x"}, None, {"chosen": 9}, {"sentences": [{}]}, {"clues": {"x": 1}},
                                    {"threshold": 10**400}, {"chosen": float("inf")}])  # fmt: skip
def test_other_facts_are_no_description(broken):
    facts = run()[0].as_dict()
    given = {**facts, **broken} if broken and "image" not in broken else broken
    with pytest.raises(ConfigError):
        Description.from_dict(given)
