"""Few-shot prompts: worked examples before the case at hand, also a person's own."""

import pytest
from lynx import CONTEXT, QUESTION

from fmcompress.errors import ConfigError
from fmcompress.reasoning import FewShotPrompts, Problem, Step, Trace, TrainedPrompts, read_prompts
from fmcompress.reasoning.exemplars import EXEMPLARS

ONE = Problem(("Ada is a cat.", "Cats purr."), "Does Ada purr?", "yes", proof=(Step((0, 1), "Ada purrs."),))


def test_each_prompt_is_an_example_and_the_case():
    some = FewShotPrompts([ONE])
    example = "Statements: Ada is a cat. Cats purr.\nQuestion: Does Ada purr?\n"
    case = "Statements: A. B.\nQuestion: Q?\n"
    assert some.selection(["A.", "B."], "Q?", ["B."]) == (
        f"{example}We know that Ada is a cat and Cats purr and nothing more.\n\n{case}We know that B and"
    )
    assert some.inference(["A.", "B."]) == "Ada is a cat and Cats purr. Therefore, Ada purrs.\n\nA and B. Therefore,"
    assert some.halting("Q?", ["A.", "B."]) == (
        "Question: Does Ada purr?\nWe know that Ada purrs.\nThe answer is yes.\n\n"
        "Question: Q?\nWe know that B.\nThe answer is"
    )
    assert some.direct(["A.", "B."], "Q?") == f"{example}Answer: The answer is yes.\n\n{case}Answer: The answer is"
    assert some.chain(["A.", "B."], "Q?") == (
        f"{example}Answer: Ada is a cat and Cats purr. Therefore, Ada purrs. The answer is yes.\n\n{case}Answer:"
    )
    assert some.value("Q?", [["A."], ["B."]], ["C.", "D."]).endswith(
        "Question: Q?\nStep: B. Therefore, D.\nThis step is"
    )


def test_earlier_steps_are_not_yet_an_answer_and_others_inferences_are_incorrect():
    some = FewShotPrompts()
    halts, judged = some.halting("Q?", ["A."]), some.value("Q?", [["A."]], ["B."])
    assert halts.count("not yet") == sum(len(one.proof) - 1 for one in EXEMPLARS) > 0
    assert judged.count("is correct.") == judged.count("is incorrect.") == len(EXEMPLARS)


def test_the_inference_prompt_sees_no_context():
    texts = [some.inference(CONTEXT[:1]) for some in (FewShotPrompts([ONE]), TrainedPrompts())]
    assert not any(other in text for text in texts for other in (CONTEXT[1], CONTEXT[2], QUESTION))


def test_own_examples_hold():
    for one in EXEMPLARS:
        Trace(one.context, one.question, one.proof, one.answer, "answered").validate()


YAML = """
- context: [Ada is a cat., Cats purr.]
  question: Does Ada purr?
  steps:
  - {selection: [0, 1], inference: Ada purrs.}
  answer: "yes"
"""


def test_a_persons_examples_are_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(YAML)
    assert read_prompts(str(path)).direct(["A."], "Q?") == FewShotPrompts([ONE]).direct(["A."], "Q?")
    assert isinstance(read_prompts("trained"), TrainedPrompts)
    assert read_prompts("few-shot").direct(["A."], "Q?") == FewShotPrompts().direct(["A."], "Q?")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"yes"', "yes", "example 1: answer: expected a text, got True. Put it into quotes"),
        ("[0, 1]", "[0, 2]", r"example 1: step 1: .* below 2"),
        ("[0, 1]", "[0, yes]", r"example 1: step 1: .* got True"),
        ("[0, 1]", "[2026-13-45]", "cannot be read as YAML"),
        ("[0, 1]", "[!!bool perhaps]", "cannot be read as YAML"),
        ("[0, 1]", "[!!timestamp x]", "cannot be read as YAML"),
        ("[0, 1]", "0", "example 1: steps: selection: expected a list, got 0"),
        ("  answer", "  reply", "example 1: expected context, question, steps and answer"),
        ("[Ada is a cat., Cats purr.]", "Ada", "example 1: context: expected a list"),
        ("- context", "context", "cannot be read as YAML|expected a list of examples"),
        ("inference", "says", "expected selection and inference"),
    ],
)
def test_odd_examples_are_refused(tmp_path, old, new, told):
    path = tmp_path / "mine.yml"
    path.write_text(YAML.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        read_prompts(str(path))


def test_odd_words_are_refused(tmp_path):
    for spec, told in (("mine", "expected trained, few-shot"), (str(tmp_path / "no.yaml"), "cannot be read")):
        with pytest.raises(ConfigError, match=told):
            read_prompts(spec)
    with pytest.raises(ConfigError, match="each with its proof"):
        FewShotPrompts([Problem(("A.",), "Q?", "yes")])
