"""The loop: what it asks, how it ends, and what a beam finds that greed does not."""

import pytest
from lynx import CONTEXT, HUNTS, QUESTION, QUIET, chance, solver, trace

from fmcompress.errors import ConfigError, TraceError
from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.reasoning import (
    Answer,
    FixedSteps,
    LanguageModelHalter,
    LanguageModelInferrer,
    LanguageModelValue,
    ScoringSelector,
    Selected,
    SelectionInference,
    TrainedPrompts,
    read_trace,
)

PROMPTS = TrainedPrompts()


def reasoner(model, steps=5, halter=None, select=2, **options):
    halter = halter or LanguageModelHalter(model, PROMPTS)
    selector = ScoringSelector(model, PROMPTS, select)
    return SelectionInference(selector, LanguageModelInferrer(model, PROMPTS), halter, steps, **options)


def test_two_steps_lead_to_the_answer():
    found = reasoner(solver()).run(CONTEXT, QUESTION, ("yes", "no"))
    assert (found.state, found.answer, found.reason) == ("answered", "yes", "the halter answered after step 2")
    assert [(step.selection, step.inference) for step in found.steps] == [
        (step.selection, step.inference) for step in trace().steps
    ]
    assert [step.score for step in found.steps] == [-1.0, -1.0]
    assert dict(found.scores) == {"yes": -0.5, "no": -4.0, "not yet": -4.0}
    assert read_trace(found.to_json()) == found


def test_the_inference_prompt_holds_nothing_but_the_selection():
    model = solver()
    reasoner(model).run(CONTEXT, QUESTION, ("yes", "no"))
    asked = [call.texts[0] for call in model.calls if call.kind == "generate"]
    assert asked == [
        "infer: Milo is a lynx and Every lynx is quiet. Therefore",
        "infer: Milo is quiet and Quiet animals hunt. Therefore",
    ]
    assert not any(CONTEXT[1].rstrip(".") in prompt or QUESTION in prompt for prompt in asked)


@pytest.mark.parametrize("seed", range(8))
def test_an_unselected_statement_never_changes_the_inference(seed):
    """The same selection, whatever else is known: the inferrer is deterministic and sees nothing of it."""
    inferred = {}
    for others in ((), ("Tara is a gull.",), ("Tara is an owl.", "Nobody knows.")):
        model, context = chance(seed), (*CONTEXT, *others)
        inferrer = LanguageModelInferrer(model, PROMPTS)
        run = SelectionInference(Fixed((0, 2)), inferrer, FixedSteps(1), 1).run(context, QUESTION)
        inferred[others] = run.steps[0].inference
        assert {call.texts for call in model.calls} == {("infer: Milo is a lynx and Every lynx is quiet. Therefore",)}
    assert len(set(inferred.values())) == 1


class Fixed:
    """Selects the same, whatever there is."""

    def __init__(self, *turns):
        self.turns = turns

    def select(self, statements, question):
        return Selected(self.turns[min(len(statements) - len(CONTEXT), len(self.turns) - 1)])


class Says:
    """Infers what it is told to, in turn."""

    def __init__(self, *texts):
        self.texts = list(texts)

    def infer(self, sentences):
        return self.texts.pop(0)


class Never:
    def halt(self, question, inferences, choices):
        return None


def ended(selector, inferrer, halter=None, steps=3, **options):
    found = SelectionInference(selector, inferrer, halter or Never(), steps, **options).run(CONTEXT, QUESTION)
    assert found.answer == "unknown" or found.state == "answered"
    return found.state, found.reason, len(found.steps)


def test_each_way_to_end_is_explicit():
    turns = Fixed((0, 2), (4, 3), (5,))
    assert ended(turns, Says("A.", "B.", "C.")) == ("unknown", "no answer within 3 steps", 3)
    assert ended(turns, Says("A.", "B.", "C."), FixedSteps(3))[:1] == ("answered",)
    assert ended(turns, Says("A.", "a")) == ("no progress", "step 2 inferred what was known already", 2)
    assert ended(turns, Says(" milo  is a lynx. ")) == ("no progress", "step 1 inferred what was known already", 1)
    assert ended(Fixed((0, 2), (2, 0)), Says("A.")) == (
        "no progress", "step 2 selected the same statements as step 1", 1,
    )  # fmt: skip
    assert ended(turns, Says("A.", " ")) == ("no progress", "step 2 inferred nothing", 1)
    assert ended(Fixed(()), Says()) == ("no progress", "step 1 selected nothing", 0)
    assert ended(turns, Says("A.", "A.", "A."), dedupe=False) == ("unknown", "no answer within 3 steps", 3)


def test_a_step_that_says_a_known_thing_may_still_be_answered():
    assert ended(Fixed((0,)), Says(CONTEXT[0]), FixedSteps(1)) == ("answered", "the halter answered after step 1", 1)


def test_a_selection_of_what_is_not_there_is_refused_before_it_is_used():
    with pytest.raises(TraceError, match=r"step 1: .* got 4"):
        ended(Fixed((4,)), Says())
    with pytest.raises(TraceError, match=r"step 1: .* got -1"):
        ended(Fixed((-1,)), Says())


def test_an_answer_that_is_no_choice_is_refused():
    class Odd:
        def halt(self, question, inferences, choices):
            return Answer("perhaps")

    with pytest.raises(TraceError, match="answer: expected one of yes, no"):
        SelectionInference(Fixed((0,)), Says("A."), Odd()).run(CONTEXT, QUESTION, ("yes", "no"))


class Offers:
    """Selections by what is known last; the best first."""

    def __init__(self, offers):
        self.offers = offers

    def select(self, statements, question):
        return self.candidates(statements, question, 1)[0]

    def candidates(self, statements, question, width):
        return [Selected(*one) for one in self.offers[statements[-1]][:width]]


class Drawn:
    def infer(self, sentences):
        known = {CONTEXT[0]: QUIET, QUIET: HUNTS, CONTEXT[1]: "Tara flies.", CONTEXT[3]: CONTEXT[3]}
        return known.get(sentences[0], f"{sentences[0]} So it is.")


class Hunting:
    def halt(self, question, inferences, choices):
        return {HUNTS: Answer("yes"), "Tara flies. So it is.": Answer("no")}.get(inferences[-1])


def test_a_beam_finds_the_trace_that_greed_misses():
    """Tara's statement is a little likelier at first, and leads nowhere; what could follow it is unlikely."""
    offers = {
        CONTEXT[-1]: [((1,), -0.4), ((0, 2), -0.5)],
        "Tara flies.": [((2,), -3.0), ((0, 3), -5.0)],
        QUIET: [((4, 3), -0.2), ((1,), -0.3)],
    }
    runs = [SelectionInference(Offers(offers), Drawn(), Hunting(), 2, beam=beam) for beam in (1, 2)]
    greedy, wide = (run.run(CONTEXT, QUESTION) for run in runs)
    assert (greedy.state, [step.inference for step in greedy.steps]) == (
        "unknown",
        ["Tara flies.", "Every lynx is quiet. So it is."],
    )
    assert (wide.state, [step.inference for step in wide.steps]) == ("answered", [QUIET, HUNTS])


def test_an_answer_wins_over_a_likelier_trace_without_one():
    offers = {CONTEXT[-1]: [((1,), -0.1), ((0, 2), -5.0)], "Tara flies.": [((2,), -0.1)], QUIET: [((4, 3), -5.0)]}
    found = SelectionInference(Offers(offers), Drawn(), Hunting(), 2, beam=2).run(CONTEXT, QUESTION)
    assert (found.state, found.answer) == ("answered", "yes")


def test_a_likelier_answer_is_waited_for():
    offers = {"Tara flies.": [((4,), -5.0)], CONTEXT[-1]: [((1,), -0.1), ((0, 2), -0.2)], QUIET: [((2,), -0.1)]}
    offers["Every lynx is quiet. So it is."] = [((4, 3), -0.1)]
    found = SelectionInference(Offers(offers), Drawn(), Hunting(), 3, beam=2).run(CONTEXT, QUESTION)
    assert (found.answer, len(found.steps)) == ("yes", 3)


def test_what_could_go_on_wins_over_a_likelier_trace_that_could_not():
    offers = {CONTEXT[-1]: [((3,), -0.1), ((1,), -1.0)]}
    found = SelectionInference(Offers(offers), Drawn(), Hunting(), 1, beam=2).run(CONTEXT, QUESTION)
    assert (found.state, found.steps[0].inference) == ("unknown", "Tara flies.")


def test_traces_that_could_not_go_on_take_no_place_of_others():
    offers = {
        CONTEXT[-1]: [((0, 2), -0.1), ((1,), -5.0)],
        QUIET: [((3,), -0.1), ((0,), -0.1)],
        "Tara flies.": [((2,), -1.0)],
    }
    found = SelectionInference(Offers(offers), Drawn(), Hunting(), 2, beam=2).run(CONTEXT, QUESTION)
    assert (found.state, found.steps[0].inference) == ("unknown", "Tara flies.")


def test_traces_that_know_the_same_differ_by_what_they_said_last():
    class Quiet:
        def halt(self, question, inferences, choices):
            return Answer("yes") if len(inferences) == 2 and inferences[-1] == QUIET else None

    offers = {CONTEXT[-1]: [((0, 2), -0.1), ((1,), -0.2)], QUIET: [((1,), -0.1)], "Tara flies.": [((0, 2), -0.5)]}
    found = SelectionInference(Offers(offers), Drawn(), Quiet(), 2, beam=2).run(CONTEXT, QUESTION)
    assert found.answer == "yes"


def test_a_value_outweighs_a_likelier_selection():
    def judged(prefix, text):
        if prefix.startswith("judge:"):
            return -0.1 if (text == " correct") == ("A." in prefix) else -2.5
        return {" Milo is a lynx": -1.0, " Tara is a gull": -0.5}.get(text, -9.0)

    def infer(prompt):
        return " A." if "Milo" in prompt else " B."

    model = ScriptedLanguageModel(infer, judged)
    value = LanguageModelValue(model, PROMPTS)
    assert value.value(QUESTION, [["x."]], ["A."]) == pytest.approx(2.4)
    options = {"halter": FixedSteps(1), "select": 1, "beam": 2}
    assert reasoner(model, 1, **options).run(CONTEXT, QUESTION).answer == "B."
    found = reasoner(model, 1, value=value, **options).run(CONTEXT, QUESTION)
    assert (found.answer, found.steps[0].value, found.steps[0].score) == ("A.", pytest.approx(2.4), -1.0)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_runs_of_any_model_hold_and_are_the_same_each_time(seed, beam):
    def run():
        model = chance(seed)
        value = LanguageModelValue(model, PROMPTS) if seed % 2 else None
        return reasoner(model, 4, beam=beam, value=value).run(CONTEXT, QUESTION, ("yes", "no"))

    found = run()
    found.validate()
    assert found == run()
    assert all(set(found.sentences(step)) <= set(found.statements) for step in found.steps)


def test_odd_options_are_refused():
    with pytest.raises(ConfigError, match="Fixed has no candidates"):
        SelectionInference(Fixed((0,)), Says(), Never(), beam=2)
    for options in ({"beam": 0}, {"steps": 0}):
        with pytest.raises(ConfigError, match="expected at least 1, got 0"):
            reasoner(solver(), **options)
    with pytest.raises(ConfigError, match="context: expected statements"):
        reasoner(solver()).run((), QUESTION)
    with pytest.raises(TraceError, match="statement number 1"):
        reasoner(solver()).run(("A.", "B.\nC."), QUESTION)
