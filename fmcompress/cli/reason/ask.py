"""fmcompress reason."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import arguments as shared
from . import arguments as opt
from . import reason_app

if TYPE_CHECKING:
    from ...reasoning.baselines import Reply
    from ...reasoning.trace import Trace


@reason_app.callback(invoke_without_command=True)
def reason(
    command: typer.Context,
    context: Annotated[
        Path | None, typer.Option(help="Text of statements: one a line, or prose whose sentences count.")
    ] = None,
    question: Annotated[str | None, typer.Option("--question", "-q", help="About them.")] = None,
    choices: Annotated[
        str | None, typer.Option(help="What is to be chosen from: yes,no, or a file, .txt one a line or .json.")
    ] = None,
    language_model: opt.LanguageModel = None,
    prompts: opt.PromptsOf = "few-shot",
    method: opt.MethodName = "selection-inference",
    explain: Annotated[bool, typer.Option("--explain", help="Show the steps, and what the answer rests on.")] = False,
    steps: opt.Steps = 5,
    select: opt.Select = 2,
    enough: opt.Enough = False,
    least: opt.Least = 2,
    labels: opt.Labels = False,
    beam: opt.Beam = 1,
    value: opt.Value = False,
    halt: opt.Halt = "model",
    repeat: opt.Repeat = False,
    normalise: opt.Normalise = "sum",
    max_tokens: opt.MaxTokens = 200,
    samples: opt.Samples = 8,
    temperature: opt.Temperature = 0.7,
    seed: opt.Seed = 0,
    plot: shared.Plot = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The trace, to write as JSON.")] = None,
    device: shared.Device = "auto",
    dtype: shared.RunDtype = "auto",
    force: shared.Replace = False,
    json: shared.Json = False,
) -> None:
    """Answer a question about statements, by steps that show what they were drawn from."""
    if command.invoked_subcommand:
        return
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...reasoning.build import Options
    from ...reasoning.statements import read_statements

    refuse_existing(force, output, plot)
    if context is None or not (question or "").strip():
        raise ConfigError("--context, --question: expected both. Give a file of statements and a question about them.")
    if plot and method != "selection-inference":
        raise ConfigError(f"--plot: draws a trace, and {method} leaves none. Leave it out.")
    options = Options(
        steps, select, enough, least, labels, beam, value, halt, not repeat, normalise, max_tokens, samples,
        temperature, seed,
    )  # fmt: skip
    statements, wanted = read_statements(context), _choices(choices)
    chosen = opt.method_of(method, language_model, prompts, options, device, dtype)
    _tell(chosen.run(statements, str(question), wanted), explain, json, plot, output)


def _tell(found: "Trace | Reply", explain: bool, json: bool, plot: Path | None, output: Path | None) -> None:
    from ...files import write_json
    from ...reasoning.rendering import reply_lines, trace_lines
    from ...reasoning.trace import Trace
    from ...report import out, print_json

    if output:
        write_json(output, found.as_dict())
    if plot and isinstance(found, Trace):
        from ...reasoning.picture import plot_trace

        plot_trace(found, plot)
    if json:
        print_json(found.as_dict())
        return
    for line in trace_lines(found, explain) if isinstance(found, Trace) else reply_lines(found, explain):
        out.print(line, soft_wrap=True, markup=False, highlight=False)


def _choices(given: str | None) -> tuple[str, ...]:
    """Answers of a file, or of a list with commas."""
    from ...clip.lists import read_names
    from ...errors import ConfigError

    if given is None:
        return ()
    if Path(given).suffix in (".txt", ".json"):
        return tuple(read_names(given))
    found = tuple(one.strip() for one in given.split(",") if one.strip())
    if len(found) < 2 or len(set(found)) < len(found):
        raise ConfigError(f"--choices: expected different answers between commas, or a file of them, got {given!r}.")
    return found
