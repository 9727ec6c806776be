"""A teacher is asked once for each row; what it says is parsed, voted on, filtered, and never lost."""

import pytest

from fmcompress.distillation.completions import parse
from fmcompress.distillation.examples import Example
from fmcompress.distillation.prompts import Template, read_template, template_of
from fmcompress.distillation.rationales import Asking, ask_teacher, keep_right, summary
from fmcompress.distillation.raw_data import read_data
from fmcompress.distillation.tasks import TASKS, choices_of, task
from fmcompress.errors import ConfigError, LanguageModelError
from fmcompress.language_model import FileLanguageModel, ScriptedLanguageModel

SVAMP = task("svamp")
SHORT = Template("Solve {input} {now}:")


def examples(count=40, split="train"):
    return [Example(f"{n} and {n}", f"( {n}.0 + {n}.0 )", "by a person", split=split) for n in range(count)]


def solve(prompt):
    number = int(prompt.split()[1])
    return "I am lost." if number == 3 else f" Add {number}. The answer is ({number} + {max(number, 2)})."


def solved_exemplars(known):
    """(input, completion) of a template's solved examples."""
    blocks = template_of(known).text.split("\n\n")[1:-1]
    return [tuple(block.removeprefix("Q: ").split("\nA: ")) for block in blocks]


@pytest.mark.parametrize("name", ["cqa", "svamp", "esnli", "gsm8k"])
def test_solved_examples_parse_as_the_task_has_it(name):
    known = task(name)
    solved = solved_exemplars(known)
    assert len(solved) >= 3
    for asked, completion in solved:
        found = parse(completion, known)
        assert found.unparsed is None
        assert found.rationale
        assert known.flaw(found.label, asked) is None
        assert name != "cqa" or len(choices_of(asked)) == 5
        assert name != "esnli" or asked.startswith("Premise: ")


@pytest.mark.parametrize(("name", "folder"), [("cqa", "distilling-step-by-step/cqa"), ("esnli", "esnli"),
                                              ("svamp", "distilling-step-by-step/svamp"), ("gsm8k", "gsm8k")])  # fmt: skip
def test_solved_examples_are_not_from_the_data(shared_data, name, folder):
    if not (shared_data / folder).is_dir():
        pytest.skip(f"no data: {shared_data / folder} is not there.")
    inputs = {one.input.split("\nAnswer")[0].casefold() for one in read_data(task(name), shared_data / folder).examples}
    for asked, _ in solved_exemplars(task(name)):
        assert asked.split("\nAnswer")[0].casefold() not in inputs


def test_templates(tmp_path):
    assert SHORT.prompt("{input} {x}") == "Solve {input} {x} {now}:"
    assert all(template_of(one).prompt("XX").count("XX") == 1 for one in TASKS.values())
    (tmp_path / "t.txt").write_text("Q: {input}\nA:\n")
    assert read_template(tmp_path / "t.txt") == Template("Q: {input}\nA:")
    for bad in ("Q:", "{input}{input}"):
        (tmp_path / "t.txt").write_text(bad)
        with pytest.raises(ConfigError, match=r"t\.txt: prompt: expected one \{input\}, got [02]"):
            read_template(tmp_path / "t.txt")


def test_what_a_teacher_says_takes_the_place_of_what_was_there():
    model, seen = ScriptedLanguageModel(solve), []
    found = ask_teacher(
        examples(), SVAMP, model, template=SHORT, progress=lambda done, total: seen.append((done, total))
    )
    assert model.calls[0].texts[1] == "Solve 1 and 1 {now}:"
    assert (model.calls[0].settings.stop, model.calls[0].settings.max_tokens) == (("Q:",), 256)
    assert found[5] == Example("5 and 5", "( 5.0 + 5.0 )", "Add 5.", "(5 + 5)", "train", solve("Solve 5"))
    assert found[3] == Example("3 and 3", "( 3.0 + 3.0 )", split="train", completion="I am lost.", unparsed="no answer")
    assert seen == [(0, 40), (16, 40), (32, 40), (40, 40)]
    assert summary(found) == {"rows": 40, "with_rationale": 39, "with_teacher_label": 39, "unparsed": 1}


def test_rows_that_it_is_not_asked_for_have_no_reason_of_a_person():
    before = Example("7 and 7", "14", "Add.", "(7 + 7)", "train", "Add. The answer is (7 + 7).")  # of another teacher
    some = [*examples(4), before, *examples(4, "test"), *examples(2, "valid")]
    found = ask_teacher(some, SVAMP, ScriptedLanguageModel(solve), Asking(("train", "valid"), limit=2), template=SHORT)
    assert [n for n, one in enumerate(found) if one.completion is not None] == [0, 1, 9, 10]
    assert all(one.rationale is None for one in found[2:9])
    assert [(one.input, one.label, one.split) for one in found] == [(one.input, one.label, one.split) for one in some]
    with pytest.raises(ConfigError, match="no example is of test"):
        ask_teacher(examples(5), SVAMP, ScriptedLanguageModel(solve), Asking(("test",)))


def test_a_run_that_was_stopped_goes_on(tmp_path):
    record = tmp_path / "answers.jsonl"

    def dying(prompt):
        if prompt.startswith("Solve 20 "):
            raise KeyboardInterrupt
        return solve(prompt)

    with pytest.raises(KeyboardInterrupt):
        ask_teacher(examples(), SVAMP, ScriptedLanguageModel(dying), template=SHORT, record=record)
    with record.open("a") as file:
        file.write('{"prompt": "Solve 16 ')  # killed while writing
    again = ScriptedLanguageModel(solve)
    found = ask_teacher(examples(), SVAMP, again, template=SHORT, record=record)
    assert [text for call in again.calls for text in call.texts] == [
        SHORT.prompt(f"{n} and {n}") for n in range(16, 40)
    ]
    assert found == ask_teacher(examples(), SVAMP, ScriptedLanguageModel(solve), template=SHORT)
    silent = ScriptedLanguageModel()
    assert ask_teacher(examples(), SVAMP, silent, template=SHORT, record=record) == found
    assert silent.calls == []


def test_a_file_of_answers_tells_all_that_it_lacks_at_once(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(LanguageModelError, match="answers 0 of 40 prompts"):
        ask_teacher(examples(), SVAMP, FileLanguageModel(tmp_path / "a.jsonl"), template=SHORT, record=tmp_path / "r")
    assert len((tmp_path / "a.missing.jsonl").read_text().splitlines()) == 40
    assert not (tmp_path / "r").exists()


def test_the_most_frequent_label_of_several_completions():
    drawn = Asking(temperature=0.7, samples=4)
    texts = ["Hm.", "a. The answer is (5).", "b. The answer is (1 + 1).", "c. The answer is (2.0)."]
    model = ScriptedLanguageModel(texts)
    (found,) = ask_teacher(examples(1), SVAMP, model, drawn, template=SHORT)
    assert (found.rationale, found.teacher_label, found.completion) == ("b.", "(1 + 1)", texts[2])  # equal in value
    assert model.calls[0].settings.samples == 4
    assert model.calls[0].settings.temperature == 0.7
    (found,) = ask_teacher(examples(1), SVAMP, ScriptedLanguageModel(["Hm.", "", "So.", "?"]), drawn, template=SHORT)
    assert (found.unparsed, found.completion) == ("no answer", "Hm.")


def test_reasons_for_a_wrong_label_can_be_dropped():
    found = ask_teacher(examples(5), SVAMP, ScriptedLanguageModel(solve), template=SHORT)
    kept, dropped = keep_right(found, SVAMP)
    assert dropped == 2  # 0 and 1; 3 had none
    assert [one.rationale for one in kept] == [None, None, "Add 2.", None, "Add 4."]
    assert [one.teacher_label for one in kept] == [one.teacher_label for one in found]
    unknown = [Example(**{**vars(one), "label": None}) for one in found]
    assert keep_right(unknown, SVAMP) == (unknown, 0)


@pytest.mark.parametrize(
    ("values", "told"),
    [({"splits": ("dev",)}, "split: expected one of train, valid, test, got 'dev'"), ({"limit": -1}, "limit"),
     ({"samples": 3}, "samples: without a temperature all are the same")],
)  # fmt: skip
def test_options_that_mean_nothing(values, told):
    with pytest.raises(ConfigError, match=told):
        Asking(**values)
