"""Options that the commands of `fmcompress reason` share: the model, its prompts and the method."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ...reasoning.build import Method, Options

LanguageModel = Annotated[
    str | None,
    typer.Option(
        help="FOLDER (FOLDER#chat for its chat template), http(s)://HOST/v1/completions#MODEL, ANSWERS.jsonl."
    ),
]
PromptsOf = Annotated[
    str, typer.Option("--prompts", help="few-shot, trained (for a model trained on them), or FILE.yaml of examples.")
]
MethodName = Annotated[
    Literal["selection-inference", "direct", "chain-of-thought", "self-consistency"],
    typer.Option("--method", help="Selection-Inference, or a baseline."),
]
Steps = Annotated[int, typer.Option(min=1, help="The most steps; with --halt fixed exactly so many.")]
Select = Annotated[int, typer.Option(min=1, help="The most statements of a step.")]
Enough = Annotated[bool, typer.Option("--enough", help="Let a step have fewer statements where the model says so.")]
Labels = Annotated[bool, typer.Option("--labels", help="Score labels (sen 3) in the place of statements.")]
Beam = Annotated[int, typer.Option(min=1, help="Traces that are kept; 1 is greedy.")]
Value = Annotated[bool, typer.Option("--value", help="Rank the beam by the model's verdict, correct or incorrect.")]
Least = Annotated[int, typer.Option(min=1, help="With --enough: as many as a step has at least.")]
Halt = Annotated[Literal["model", "fixed"], typer.Option(help="Who says that enough is known.")]
Repeat = Annotated[bool, typer.Option("--repeat", help="Go on after a step that said nothing new.")]
Normalise = Annotated[Literal["sum", "mean"], typer.Option(help="Of log probabilities over a text's tokens.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Of a chain of thought.")]
Samples = Annotated[int, typer.Option(min=1, help="Chains of self-consistency.")]
Temperature = Annotated[float, typer.Option(help="At which these are drawn.")]
Seed = Annotated[int, typer.Option(help="With which these are drawn.")]


def method_of(
    name: str, language_model: str | None, prompts: str, options: "Options", device: str, dtype: str
) -> "Method":
    """A method over the model that a spec names. Raises ConfigError where there is none, before anything is loaded."""
    from ...errors import ConfigError
    from ...language_model import language_model as opened
    from ...reasoning.build import build
    from ...reasoning.few_shot import read_prompts
    from ..watch import quiet_transformers

    if language_model is None:
        raise ConfigError("--language-model: who is to reason? Give a folder, an address or a file of answers.")
    asked = read_prompts(prompts)
    quiet_transformers()
    return build(name, opened(language_model, device=device, dtype=dtype), asked, options)
