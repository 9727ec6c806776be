"""Answers in a file, those of a model written down, a script, and the word that names one of them."""

import json
import subprocess
import sys

import pytest

from fmcompress.errors import ConfigError, LanguageModelError
from fmcompress.language_model import (
    FileLanguageModel,
    Recorded,
    Score,
    ScriptedLanguageModel,
    TransformersLanguageModel,
    language_model,
)


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_answers_are_found_by_the_prompt(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "p", "completion": "one END"}, {"prompt": "q", "completions": ["2"]})
    model = language_model(str(path))
    assert model.generate(["q", "p", "q"], stop=["END"]) == [["2"], ["one "], ["2"]]
    assert model.generate(["q"], samples=2) == [["2", "2"]]  # greedy: all the same


def test_prompts_without_an_answer_are_told_and_written(tmp_path):
    model = FileLanguageModel(write(tmp_path / "a.jsonl", {"prompt": "p", "completion": "one"}))
    for _ in range(2):  # the second time replaces, not appends
        with pytest.raises(LanguageModelError, match=r"answers 1 of 3 prompts with 1 texts each.*a\.missing\.jsonl"):
            model.generate(["p", "q", "r", "q"])
    lines = [json.loads(line) for line in model.missing_path.read_text().splitlines()]
    assert lines == [{"prompt": "q", "completions": []}, {"prompt": "r", "completions": []}]
    assert model.missing_prompts(["p"], samples=2, temperature=1.0) == ["p"]
    assert model.missing_prompts(["p"], samples=2) == []


@pytest.mark.parametrize(
    "line", ["x", "[]", '{"prompt": 1, "completions": []}', '{"prompt": "p"}', '{"prompt": "p", "completions": "x"}',
             '{"prompt": "p", "completions": [1]}', '{"prefix": "p"}', '{"prompt": "p", "completion": "x", "settings": 1}'],
)  # fmt: skip
def test_lines_that_are_no_answers(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "completion": "x"}\n' + line + "\n")
    with pytest.raises(LanguageModelError, match=r"a\.jsonl, line 2: expected a JSON object"):
        FileLanguageModel(tmp_path / "a.jsonl")


def test_recorded_asks_once_and_goes_on_where_it_was(tmp_path):
    path, answers = tmp_path / "r.jsonl", (str(n) for n in range(100))
    model = ScriptedLanguageModel(lambda prompt: [next(answers), next(answers)])
    drawn = {"temperature": 1.0, "samples": 2}
    first = Recorded(model, path).generate(["p", "q"], **drawn)
    with path.open("a") as file:
        file.write('{"prompt": "r", "comp')  # a run that was interrupted
    again = Recorded(model, path)
    assert again.generate(["q", "p", "r"], **drawn) == [first[1], first[0], ["4", "5"]]
    assert [call.texts for call in model.calls] == [("p", "q"), ("r",)]
    assert again.generate(["p"]) == [["6"]]  # other settings
    assert again.generate(["p"], seed=1) == [["8"]]
    file = FileLanguageModel(path)
    assert file.generate(["p"], **drawn) == [first[0]]  # the answer with two samples
    assert (again.name, file.name) == ("scripted", str(path))


def test_recorded_keeps_what_a_person_wrote_without_a_line_end(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"prompt": "p", "completion": "by hand"}')
    Recorded(ScriptedLanguageModel({"q": "x"}), path).generate(["q"])
    assert FileLanguageModel(path).generate(["p", "q"]) == [["by hand"], ["x"]]


def test_another_model_is_asked_again(tmp_path):
    path = tmp_path / "r.jsonl"
    for name, value in (("one", -1.0), ("two", -2.0)):
        model = Recorded(ScriptedLanguageModel(lambda p, n=name: n, lambda p, t, v=value: v, name), path)
        assert model.generate(["p"]) == [[name]]
        assert model.score("a", [" b c", " b c"]) == [Score(value, 2)] * 2
        assert model.score("a", [" b c"]) == [Score(value, 2)]
        assert [call.kind for call in model.model.calls] == ["generate", "score"]
    assert FileLanguageModel(path).score("a", [" b c"]) == [Score(-2.0, 2)]
    with pytest.raises(LanguageModelError, match="has no probability of 1 of 2 continuations"):
        FileLanguageModel(path).score("a", [" b c", " d"])


def test_a_script_hands_out_its_answers(tmp_path):
    model = ScriptedLanguageModel(["a END", "b", "c"])
    assert model.generate(["p"], samples=2, stop=["END"]) == [["a ", "b"]]
    assert model.generate(["q"]) == [["c"]]
    assert model.calls[0].settings.samples == 2
    for spent in (model, ScriptedLanguageModel({}), ScriptedLanguageModel({"p": ["x"]})):
        with pytest.raises(LanguageModelError, match="answer"):
            spent.generate(["p"], samples=2)
    with pytest.raises(LanguageModelError, match="scores nothing"):
        model.score("p", ["x"])


def test_a_folder_names_a_checkpoint(demo_model):
    assert isinstance(language_model(str(demo_model), device="cpu"), TransformersLanguageModel)
    with pytest.raises(ConfigError, match="no chat template"):
        language_model(f"{demo_model}#chat", device="cpu")


def test_words_that_name_nothing(tmp_path):
    with pytest.raises(ConfigError, match="expected a folder"):
        language_model(str(tmp_path / "none"))
    with pytest.raises(LanguageModelError, match="no such file"):
        language_model(str(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match="HOST/v1#MODEL"):
        language_model("http://127.0.0.1/v1")


def test_a_file_needs_no_transformers():
    code = "import sys; from fmcompress.language_model import FileLanguageModel, Recorded, EndpointLanguageModel"
    subprocess.run([sys.executable, "-c", code + "; assert 'transformers' not in sys.modules"], check=True)
