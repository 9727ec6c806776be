"""Where a training grows: OUT.partial with its log and its last checkpoint, until OUT appears by one rename."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..checkpoint import copy_file, sync, write_error
from ..errors import CheckpointError, ConfigError
from ..files import write_json
from ..journal import check_same_run
from ..workspace import locked

FACTS = "fmcompress-training.json"  # in OUT: options and last losses
LOG = "fmcompress-training.jsonl"  # in OUT: a line a step
RUN, MODEL, STATE, REPLACED, FORCED = "run.json", "model", "step-", "replaced", "forced"
SCRATCH = "scratch"  # what writing the model needs meanwhile
State = dict[str, dict[str, Tensor]]
Record = dict[str, Any]


class TrainingFolder:
    """The folders of one training.

    out      the finished model, which is not there before the end
    partial  beside it: run.json, which tells what is trained, a log, the model's folder as it will be, and step-N with
             the tensors of all that goes on from step N
    scratch  in it, for whoever needs room to write the model; goes with it

    Raises ConfigError for an OUT that is in use, where no folder can be made, or that is left from another run.
    """

    def __init__(self, out: Path, *, resume: bool, force: bool) -> None:
        self.out, self.resume, self.force = out.resolve(), resume, force
        self.partial = self.out.parent / f"{self.out.name}.partial"
        self.model, self.log, self.scratch = self.partial / MODEL, self.partial / LOG, self.partial / SCRATCH
        if resume and force:
            raise ConfigError("--resume goes on with a training and --force forgets it: give one of them.")
        if not self.out.parent.is_dir():
            raise ConfigError(f"OUT: {self.out.parent} is no folder. Create it first.")
        if self.out.exists() and not self.finished:
            self._check_replaceable()
        if self.partial.exists():
            self._check_partial()

    @property
    def finished(self) -> bool:
        """Whether --resume finds that nothing is left to do."""
        return self.resume and (self.out / FACTS).is_file() and not self.model.exists()

    def _check_replaceable(self) -> None:
        if not self.out.is_dir():
            raise ConfigError(f"OUT: {self.out} is a file. Choose another name.")
        if not any(self.out.iterdir()):
            return
        if not (self.force or (self.resume and (self.partial / FORCED).exists())):
            raise ConfigError(f"OUT: {self.out} is not empty. Choose another folder, or --force to replace it.")
        if not (self.out / "config.json").exists():
            raise ConfigError(f"OUT: {self.out} holds no model, so --force leaves it alone. Remove it yourself.")

    def _check_partial(self) -> None:
        ours = {RUN, LOG, MODEL, REPLACED, FORCED, SCRATCH}
        names = {path.name for path in self.partial.iterdir()} if self.partial.is_dir() else {"a file"}
        if any(name not in ours and not name.startswith((STATE, f"{RUN}.")) for name in names):
            raise ConfigError(f"OUT: {self.partial} is in the way, and not of an interrupted training. Move it.")
        with locked(self.partial):
            pass
        if not (self.resume or self.force):
            raise ConfigError(
                f"OUT: {self.partial} is left from an interrupted training. Add --resume to go on, --force to start "
                "anew."
            )

    def check_finished(self, fingerprint: Record) -> Record:
        """The facts of OUT. Raises ConfigError if it is of other options."""
        facts = _read_json(self.out / FACTS)
        check_same_run(dict(facts.get("fingerprint", {})), fingerprint)
        shutil.rmtree(self.partial, ignore_errors=True)
        return facts

    @contextlib.contextmanager
    def open(self, fingerprint: Record) -> Iterator[bool]:
        """Hold the folder for a training; gives whether there is something to go on with.

        Raises ConfigError if another process is at work on it, or what is to go on has other options.
        """
        try:
            self.partial.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(self.partial, error) from None
        with locked(self.partial):
            begun = self.resume and (self.partial / RUN).is_file() and bool(self._states())
            if begun:
                check_same_run(_read_json(self.partial / RUN), fingerprint)
            else:
                for path in self.partial.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                self.model.mkdir()
                if self.force:  # so that --resume may replace OUT, too
                    (self.partial / FORCED).touch()
                write_json(self.partial / RUN, fingerprint)
            yield begun

    def discard_if_empty(self) -> None:
        """Forget a training that failed before its first checkpoint."""
        if not self._states():
            shutil.rmtree(self.partial, ignore_errors=True)

    def save(self, step: int, state: State) -> None:
        """Write a checkpoint, whole or not at all; older ones go when it is there. Raises DiskError."""
        folder, growing = self.partial / f"{STATE}{step}", self.partial / f"{STATE}{step}.partial"
        try:
            shutil.rmtree(growing, ignore_errors=True)
            growing.mkdir()
            for name, tensors in state.items():
                path = growing / f"{name}.safetensors"
                save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, path)
                sync(path)
            sync(growing)
            if folder.exists():  # of the same step: nothing has changed
                shutil.rmtree(growing)
            else:
                growing.rename(folder)
            sync(self.partial)
        except OSError as error:
            raise write_error(folder, error) from None
        except SafetensorError as error:
            raise CheckpointError(f"{folder}: cannot be written ({error}). Make room.") from None
        for number in self._states():
            if number != step:
                shutil.rmtree(self.partial / f"{STATE}{number}", ignore_errors=True)

    def load(self) -> tuple[int, State]:
        """The last checkpoint: its step and what was saved then. The log is cut behind it. Raises CheckpointError."""
        step = max(self._states())
        folder = self.partial / f"{STATE}{step}"
        try:
            state = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder}: cannot be read ({error}). Start anew with --force.") from None
        kept = [record for record in read_log(self.log) if record["step"] <= step]
        with self.log.open("w") as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)
        return step, state

    def finish_model(self, write: Callable[[Path], object]) -> None:
        """Let write(folder) write the finished model over the one that the training began with.

        Each file appears whole: a training that was stopped here goes on from either.
        """
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        write(self.scratch)
        for path in sorted(self.scratch.iterdir()):
            sync(path)
            os.replace(path, self.model / path.name)

    def publish(self, facts: Record) -> None:
        """Let OUT appear: the model's folder with the log and the facts in it."""
        copy_file(self.log, self.model / LOG)
        write_json(self.model / FACTS, facts)
        mode = (self.model / FACTS).stat().st_mode  # that of any new file: weights are written for their owner alone
        for path in self.model.iterdir():
            path.chmod(mode)
            sync(path)
        sync(self.model)
        if self.out.is_dir() and any(self.out.iterdir()):
            os.rename(self.out, self.partial / REPLACED)
        os.rename(self.model, self.out)
        sync(self.out.parent)
        shutil.rmtree(self.partial)

    def _states(self) -> list[int]:
        names = [path.name.removeprefix(STATE) for path in self.partial.glob(f"{STATE}*")]
        return [int(name) for name in names if name.isdigit()]


def read_log(path: Path) -> list[Record]:
    """The records of a training, a step each; a line that a kill cut short is left out."""
    records = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                records.append(dict(json.loads(line)))
            except ValueError:
                continue
    return records


def read_facts(folder: Path) -> Record:
    """What a finished training tells of itself. Raises ConfigError if it does not."""
    return _read_json(folder / FACTS)


def _read_json(path: Path) -> Record:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        raise ConfigError(f"{path}: does not tell which training wrote it. Use --force to start anew.") from None
