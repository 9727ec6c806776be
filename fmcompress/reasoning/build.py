"""A method of answering by a word, put together from one language model and its options."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import ConfigError
from ..language_model import LanguageModel
from .baselines import ChainOfThought, DirectAnswering, Reply, self_consistency
from .halting import FixedSteps, LanguageModelHalter
from .inference import LanguageModelInferrer
from .loop import SelectionInference
from .prompts import Prompts
from .selection import LabelSelector, ScoringSelector
from .trace import Trace
from .value import LanguageModelValue

METHODS = ("selection-inference", "direct", "chain-of-thought", "self-consistency")
HALTS = ("model", "fixed")


class Method(Protocol):
    """What answers a question about statements."""

    def run(self, context: Sequence[str], question: str, choices: Sequence[str] = ()) -> Trace | Reply:
        """A trace of checked steps, or the reply of a baseline; both have an answer."""
        ...


@dataclass(frozen=True)
class Options:
    """Of build().

    steps       the most, or with halt "fixed" exactly so many
    select      the most statements of a step
    enough      let a step have fewer, but `least`; see ScoringSelector
    labels      score labels in the place of statements; see LabelSelector
    beam        traces that are kept
    value       rank them by the model's verdict; see LanguageModelValue
    halt        "model" or "fixed"
    dedupe      see SelectionInference
    normalise   "sum" or "mean" of log probabilities
    max_tokens  of a chain of thought
    samples     chains of self-consistency
    temperature of these
    seed        of these
    """

    steps: int = 5
    select: int = 2
    enough: bool = False
    least: int = 2
    labels: bool = False
    beam: int = 1
    value: bool = False
    halt: str = "model"
    dedupe: bool = True
    normalise: str = "sum"
    max_tokens: int = 200
    samples: int = 8
    temperature: float = 0.7
    seed: int = 0


def build(name: str, model: LanguageModel, prompts: Prompts, options: Options | None = None) -> Method:
    """One of METHODS, whose every part asks the same model. Raises ConfigError for another word or an odd option."""
    chosen = options or Options()
    if name == "direct":
        return DirectAnswering(model, prompts, normalise=chosen.normalise)
    if name == "chain-of-thought":
        return ChainOfThought(model, prompts, max_tokens=chosen.max_tokens, normalise=chosen.normalise)
    if name == "self-consistency":
        return self_consistency(
            model, prompts, samples=chosen.samples, temperature=chosen.temperature, seed=chosen.seed,
            max_tokens=chosen.max_tokens, normalise=chosen.normalise,
        )  # fmt: skip
    if name != METHODS[0]:
        raise ConfigError(f"method: expected {', '.join(METHODS)}, got {name!r}.")
    return selection_inference(model, prompts, chosen)


def selection_inference(model: LanguageModel, prompts: Prompts, options: Options) -> SelectionInference:
    """Selection-Inference with one model in all parts. Raises ConfigError."""
    kind = LabelSelector if options.labels else ScoringSelector
    selector = kind(
        model, prompts, options.select, enough=options.enough, least=options.least, normalise=options.normalise
    )
    if options.halt not in HALTS:
        raise ConfigError(f"halt: expected {' or '.join(HALTS)}, got {options.halt!r}.")
    halter: FixedSteps | LanguageModelHalter
    if options.halt == "fixed":
        halter = FixedSteps(options.steps, model, prompts, normalise=options.normalise)
    else:
        halter = LanguageModelHalter(model, prompts, normalise=options.normalise)
    value = LanguageModelValue(model, prompts) if options.value else None
    inferrer = LanguageModelInferrer(model, prompts)
    return SelectionInference(
        selector, inferrer, halter, options.steps, beam=options.beam, value=value, dedupe=options.dedupe
    )
