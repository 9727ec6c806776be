"""fmcompress reason evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .. import arguments as shared
from . import arguments as opt
from . import reason_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...reasoning.build import Options
    from ...reasoning.evaluation import Evaluation
    from ...reasoning.problem import Problem

Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="selection-inference, direct, chain-of-thought or self-consistency; repeat it. Default: the first two.",
    ),
]


@reason_app.command()
def evaluate(
    dataset: Annotated[Literal["babi", "proofwriter", "prontoqa", "generated"], typer.Argument()],
    data: Annotated[
        Path | None, typer.Option(help="Folder or file of the dataset; generated problems need none.")
    ] = None,
    language_model: opt.LanguageModel = None,
    prompts: opt.PromptsOf = "few-shot",
    method: Methods = None,
    task: Annotated[
        list[int] | None, typer.Option(help="Of bAbI: 1, 2, 3, 15 or 16; repeat it. Default: 15, 16.")
    ] = None,
    family: Annotated[
        list[str] | None, typer.Option(help="Of generated: ontology, attributes, fears, colours; repeat it.")
    ] = None,
    depth: Annotated[list[int] | None, typer.Option(help="Of generated: 1 to 6; repeat it. Default: 1 to 5.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Questions, of bAbI of each task, from the first on; generated: 100.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="File (.jsonl) that keeps all the model says: the same command goes on with it.")
    ] = None,
    steps: opt.Steps = 6,
    select: opt.Select = 2,
    enough: opt.Enough = False,
    least: opt.Least = 2,
    labels: opt.Labels = False,
    beam: opt.Beam = 1,
    value: opt.Value = False,
    halt: opt.Halt = "model",
    normalise: opt.Normalise = "sum",
    samples: opt.Samples = 8,
    temperature: opt.Temperature = 0.7,
    seed: opt.Seed = 0,
    plot: shared.Plot = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
    device: shared.Device = "auto",
    dtype: shared.RunDtype = "auto",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Measure how often Selection-Inference and its baselines are right, by depth; every trace is validated.

    --language-model oracle selects, infers and halts by a symbolic chainer instead of a model.
    """
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...reasoning.build import Options

    refuse_existing(force, output, plot)
    if language_model is None:
        raise ConfigError("--language-model: who is to reason? Give a folder, an address, a file of answers or oracle.")
    problems = _problems(dataset, data, task, family, depth, limit, seed)
    options = Options(
        steps, select, enough, least, labels, beam, value, halt, True, normalise, samples=samples,
        temperature=temperature, seed=seed,
    )  # fmt: skip
    chosen = method or ["selection-inference", *([] if language_model == "oracle" else ["direct"])]
    group = (lambda problem: f"task {problem.name.split('-', 1)[1].rpartition('-')[0]}") if dataset == "babi" else None
    found = _evaluated(chosen, problems, group, language_model, prompts, options, answers, device, dtype, quiet or json)
    _tell(f"{dataset}: {language_model}", found, json, plot, output)


def _problems(
    dataset: str,
    data: Path | None,
    tasks: list[int] | None,
    families: list[str] | None,
    depths: list[int] | None,
    limit: int | None,
    seed: int,
) -> "list[Problem]":
    """Those of a dataset. Raises ConfigError for options of another one."""
    from ...errors import ConfigError
    from ...reasoning.datasets import read_babi, read_prontoqa, read_proofwriter
    from ...reasoning.problems import FAMILIES, generate

    if tasks and dataset != "babi":
        raise ConfigError(f"--task: tasks are bAbI's, not those of {dataset}. Leave it out.")
    if (families or depths) and dataset != "generated":
        raise ConfigError(f"--family, --depth: of generated problems, not of {dataset}. Leave them out.")
    if dataset == "generated":
        if data:
            raise ConfigError("--data: generated problems need no data. Leave it out.")
        return generate(limit or 100, seed=seed, families=families or FAMILIES, depths=depths or (1, 2, 3, 4, 5))
    if data is None:
        raise ConfigError(f"--data: where is {dataset}? Give its folder or file.")
    if dataset == "babi" and data.is_file():
        if tasks:
            raise ConfigError("--task: a file of bAbI holds one task. Leave it out, or give the folder.")
        return read_babi(data)[:limit]
    if dataset == "babi":
        return [one for task in tasks or (15, 16) for one in read_babi(data, task)[:limit]]
    return (read_proofwriter if dataset == "proofwriter" else read_prontoqa)(data)[:limit]


def _evaluated(
    methods: list[str],
    problems: "list[Problem]",
    group: "Callable[[Problem], str] | None",
    spec: str,
    prompts: str,
    options: "Options",
    answers: Path | None,
    device: str,
    dtype: str,
    quiet: bool,
) -> "dict[str, Evaluation]":
    """An evaluation of each method, which all ask one model."""
    from ...errors import ConfigError
    from ...language_model import LanguageModel, Recorded
    from ...language_model import language_model as opened
    from ...reasoning.build import build
    from ...reasoning.counting import CountingLanguageModel
    from ...reasoning.evaluation import evaluate as evaluated
    from ...reasoning.few_shot import read_prompts
    from ...reasoning.oracle import oracle
    from ..watch import quiet_transformers, watched

    if spec == "oracle":
        if methods != ["selection-inference"] or answers:
            raise ConfigError("--language-model oracle: reasons by steps alone. Leave --method and --answers out.")
        with watched("reasoning", quiet) as progress:
            return {"selection-inference": evaluated(oracle(options.steps), problems, group=group, progress=progress)}
    asked = read_prompts(prompts)
    quiet_transformers()
    model: LanguageModel = opened(spec, device=device, dtype=dtype)
    kept: LanguageModel = Recorded(model, answers) if answers else model
    counting = {name: CountingLanguageModel(kept) for name in methods}
    built = {name: build(name, counting[name], asked, options) for name in counting}  # a wrong word before any work
    found = {}
    for name, one in built.items():
        with watched(name, quiet) as progress:
            found[name] = evaluated(one, problems, group=group, counting=counting[name], progress=progress)
    return found


def _tell(title: str, found: "dict[str, Evaluation]", json: bool, plot: Path | None, output: Path | None) -> None:
    from ...files import write_json
    from ...reasoning.evaluation_rendering import accuracy_table, plot_accuracy, trace_lines
    from ...report import out, print_json

    facts = {name: one.as_dict() for name, one in found.items()}
    if output:
        write_json(output, {name: one.as_dict() | {"answers": one.answers} for name, one in found.items()})
    if plot:
        plot_accuracy({name: one["groups"] for name, one in facts.items()}, title, plot)
    if json:
        print_json(facts)
        return
    out.print(accuracy_table(found))
    for line in trace_lines(found):
        out.print(line, soft_wrap=True, markup=False, highlight=False)
