"""Evaluations count rightly, validate every trace and tell it; the command, from bAbI's file to the picture."""

import json

import pytest
from helpers import invoke

from fmcompress.errors import LanguageModelError, TraceError
from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.reasoning import UNKNOWN, Problem, Selected, SelectionInference, TrainedPrompts
from fmcompress.reasoning.build import Options, build
from fmcompress.reasoning.counting import CountingLanguageModel
from fmcompress.reasoning.evaluation import depth_of, evaluate, is_right, same_answer
from fmcompress.reasoning.evaluation_rendering import accuracy_table, plot_accuracy, trace_lines
from fmcompress.reasoning.oracle import OracleHalter, OracleInferrer, oracle
from fmcompress.reasoning.problems import generate

PROBLEMS = generate(60, seed=21)
BABI = "1 Mice are afraid of wolves.\n2 Gertrude is a mouse.\n3 What is gertrude afraid of?\twolf\t2 1\n"


def test_an_oracle_is_right_within_its_steps_and_no_further():
    whole, shallow = evaluate(oracle(6), PROBLEMS), evaluate(oracle(2), PROBLEMS)
    assert whole.accuracy == 1.0
    assert whole.as_dict()["sound_inferences"] == 1.0
    assert list(whole.asked) == ["1", "2", "3", "4", "5", UNKNOWN]
    facts = shallow.as_dict()["groups"]
    assert [facts[depth]["accuracy"] for depth in ("1", "2", "3", "4", "5", UNKNOWN)] == [1, 1, 0, 0, 0, 1]
    assert shallow.traces == sum(shallow.states.values()) == 60
    assert len(shallow.answers) == 60


def test_wrong_inferences_are_counted_and_wrong_selections_raise():
    class Guess(OracleInferrer):
        def infer(self, sentences):
            return "Max is a wumpus."

    class Elsewhere:
        def select(self, statements, question):
            return Selected((len(statements),))

    from fmcompress.reasoning.oracle import OracleSelector

    found = evaluate(SelectionInference(OracleSelector(), Guess(), OracleHalter(), 1), PROBLEMS[:6])
    assert (found.checked, found.sound, found.traces) == (6, 0, 6)
    with pytest.raises(TraceError, match="expected numbers of statements"):
        evaluate(SelectionInference(Elsewhere(), OracleInferrer(), OracleHalter()), PROBLEMS[:1])


def test_calls_and_tokens_are_counted():
    model = ScriptedLanguageModel(lambda prompt: "Max is big.", lambda prefix, text: -float(len(text)))
    counting = CountingLanguageModel(model)
    problem = Problem(("Max is a cat.", "Cats are big."), "Is Max big?", "true", ("true", "false"), 1, ())
    method = build("selection-inference", counting, TrainedPrompts(), Options(steps=1))
    found = evaluate(method, [problem], counting=counting)
    assert found.counts == {"generations": 1, "words": 3, "prefixes": 3, "continuations": 6, "tokens": 14}
    assert found.accuracy == 1.0
    told = "\n".join(trace_lines({"steps": found}))
    assert "1 traces, all valid" in told
    assert "1 of 1 inferences follow" in told
    assert "6 continuations of 14 tokens scored after 3 prefixes" in told


def test_depths_are_found_where_none_is_given():
    context = ("Max is a cat.", "Cats are lions.", "Lions are big.")
    assert depth_of(Problem(context, "Is Max big?", "true")) == "2"
    assert depth_of(Problem(context, "Is Max a cat?", "true")) == "0"
    assert depth_of(Problem(context, "Is Max big?", "false")) == "?"  # the chainer finds another answer
    assert depth_of(Problem(("It rains.",), "Why?", "so")) == "?"
    assert depth_of(Problem(context, "Is Max red?", UNKNOWN)) == UNKNOWN


def test_answers_that_are_the_same():
    assert same_answer("The Kitchen.", "kitchen")
    assert same_answer("a wolf", "wolf")
    assert not same_answer("wolves", "wolf")
    assert not same_answer("", "wolf")


def test_an_open_question_may_be_answered_by_a_statement():
    said = {"What is emily afraid of?": "Emily is afraid of wolves.", "Where is John?": "John is in the wolf."}
    for question, statement in said.items():
        assert is_right(statement, Problem(("A.",), question, "wolf"))
        assert not is_right(statement, Problem(("A.",), question, "wolf", ("wolf", "cat")))
        assert not is_right(statement, Problem(("A.",), question, "mouse"))


def test_groups_stand_in_the_order_of_their_numbers():
    problems = [Problem(("Max is big.",), "Is Max big?", "true", name=name) for name in ("15", "2", "x", "1")]
    found = evaluate(oracle(), problems, group=lambda problem: f"task {problem.name}")
    assert list(found.asked) == ["task 1", "task 2", "task 15", "task x"]
    table = accuracy_table({"oracle": found})
    assert (table.columns[0].header, [str(cell) for cell in table.columns[0].cells][:2]) == ("", ["task 1", "task 2"])


def test_a_picture_takes_names_as_they_are(tmp_path):
    groups = {"$x": {r"task $\\y$": {"accuracy": 0.5}}}
    plot_accuracy(groups, r"babi: $\\z$\x1b" + "long" * 99, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_the_table_has_a_line_a_depth(tmp_path):
    table = accuracy_table({"oracle": evaluate(oracle(), PROBLEMS), "two steps": evaluate(oracle(2), PROBLEMS)})
    assert table.row_count == 7
    assert list(table.columns[3].cells)[2:4] == ["0.0 %", "0.0 %"]
    assert list(table.columns[2].cells)[-1] == "100.0 %"


def test_the_command_with_the_oracle(capsys, tmp_path):
    (tmp_path / "qa15_test.txt").write_text(BABI)
    asked = ["reason", "evaluate", "babi", "--data", tmp_path, "--task", 15, "--language-model", "oracle"]
    told = invoke(capsys, *asked, "--plot", tmp_path / "a.png", "--output", tmp_path / "a.json")
    assert told.code == 0, told.stderr
    assert "task 15" in told.stdout
    assert "1 traces, all valid; 1 answered" in told.stdout
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "a.json").read_text())["selection-inference"]["answers"] == [
        ["babi-15-0", "wolf", "wolf"]
    ]
    facts = json.loads(invoke(capsys, "reason", "evaluate", "generated", "--limit", 12, *asked[-2:], "--json").stdout)
    assert facts["selection-inference"]["accuracy"] == 1.0


def test_a_file_of_babi_is_one_task(capsys, tmp_path):
    path = tmp_path / "qa15_basic-deduction_test.txt"
    path.write_text(BABI)
    asked = ["reason", "evaluate", "babi", "--data", path, "--language-model", "oracle", "--json"]
    facts = json.loads(invoke(capsys, *asked).stdout)["selection-inference"]
    assert facts["groups"] == {"task 15": {"accuracy": 1.0, "questions": 1}}
    assert "--task: a file of bAbI holds one task" in invoke(capsys, *asked, "--task", 1).stderr


def test_a_wrong_method_is_told_before_any_work(capsys, monkeypatch):
    import fmcompress.language_model as models

    model = ScriptedLanguageModel(lambda prompt: "true")
    monkeypatch.setattr(models, "language_model", lambda spec, **_: model)
    methods = ["--method", "direct", "--method", "guess"]
    outcome = invoke(capsys, "reason", "evaluate", "generated", "--language-model", "scripted", *methods)
    assert (outcome.code, model.calls) == (2, [])
    assert "method: expected selection-inference" in outcome.stderr


def test_the_command_goes_on_with_its_answers(capsys, tmp_path, monkeypatch):
    """A model that stops in the middle is asked only for the rest, and then for nothing."""
    import fmcompress.language_model as models

    class Failing(ScriptedLanguageModel):
        def score(self, prefix, continuations):
            if left[0] == 0:
                raise LanguageModelError("scripted: stopped.")
            left[0] -= 1
            return super().score(prefix, continuations)

    left = [3]
    model = Failing(lambda prompt: "Max is big.", lambda prefix, text: -float(len(text)))
    monkeypatch.setattr(models, "language_model", lambda spec, **_: model)
    asked = [
        "reason", "evaluate", "generated", "--family", "ontology", "--limit", 4, "--prompts", "trained", "--json",
        "--language-model", "scripted", "--method", "direct", "--answers", tmp_path / "answers.jsonl",
    ]  # fmt: skip
    assert "stopped" in invoke(capsys, *asked).stderr
    left[0] = 1
    first = invoke(capsys, *asked)
    assert first.code == 0, first.stderr
    assert invoke(capsys, *asked).stdout == first.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["babi", "--language-model", "oracle"], "--data: where is babi?"),
        (["generated"], "--language-model: who is to reason?"),
        (["generated", "--task", 15, "--language-model", "oracle"], "--task: tasks are bAbI's"),
        (["generated", "--data", "x", "--language-model", "oracle"], "--data: generated problems need no data"),
        (["generated", "--family", "x", "--language-model", "oracle"], "family: expected one of"),
        (["babi", "--depth", 1, "--data", "x", "--language-model", "oracle"], "--family, --depth: of generated"),
        (["generated", "--method", "direct", "--language-model", "oracle"], "oracle: reasons by steps alone"),
        (["prontoqa", "--data", "/nowhere", "--language-model", "oracle"], "cannot be read"),
    ],
)
def test_odd_arguments_are_told_in_a_line(capsys, arguments, told):
    outcome = invoke(capsys, "reason", "evaluate", *arguments)
    assert outcome.code == 2
    assert told in outcome.stderr.replace("\n", " ")
