"""The bridge to EleutherAI's lm-evaluation-harness (lm-eval): a checkpoint of any format as one of its models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .calibration import load_tokenizer
from .errors import ConfigError, in_one_line
from .runtime import load


def harness_model(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    batch_size: int = 8,
    max_length: int | None = None,
) -> Any:
    """A checkpoint as an `lm_eval.api.model.LM`, for lm_eval.simple_evaluate(model=...).

    path           folder of a dense, packed or compressed-tensors checkpoint; packed weights are run as they are
    device, dtype  those of fmcompress.runtime.load
    max_length     tokens of a sequence; None: what the model has positions for

    Raises ConfigError if lm-eval is not installed, and as load() does.
    """
    _lm_eval()
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = load(path, device=device, dtype=dtype), load_tokenizer(Path(path))
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=max_length, backend="causal")


def run_tasks(
    path: str | Path,
    tasks: Sequence[str],
    *,
    num_fewshot: int | None = None,
    limit: int | None = None,
    include_path: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Task -> metric -> value, as lm-eval names them.

    tasks         names that lm-eval knows; it fetches their data itself
    num_fewshot   examples in the prompt; None: the task's own number
    limit         only the first so many documents of a task
    include_path  folder with YAML files of more tasks
    options       those of harness_model

    Raises ConfigError for a task that there is not or whose data cannot be had, and as harness_model does.
    """
    lm_eval = _lm_eval()
    from lm_eval.tasks import TaskManager

    if include_path is not None and not include_path.is_dir():
        raise ConfigError(f"--include-path: {include_path} is no folder. Give one with the YAML files of tasks.")
    manager = TaskManager(include_path=None if include_path is None else str(include_path))
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown or not tasks:
        raise ConfigError(
            f"--tasks: lm-eval has no task {unknown[0] if unknown else ''!r}. Run lm-eval ls tasks for a list."
        )
    model = harness_model(path, **options)
    try:
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=list(tasks),
            num_fewshot=num_fewshot,
            limit=limit,
            task_manager=manager,
            log_samples=False,
        )
    except (OSError, ConnectionError) as error:
        raise ConfigError(f"--tasks: the data of a task cannot be had ({in_one_line(error)}).") from None
    return {task: dict(metrics) for task, metrics in found["results"].items()}


def _lm_eval() -> Any:
    try:
        import lm_eval
    except ImportError as error:
        raise ConfigError(
            f"lm-eval cannot be used ({in_one_line(error)}). Run pip install 'fmcompress[lm-eval]'."
        ) from None
    return lm_eval
