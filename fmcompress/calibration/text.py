"""Text from files, and windows of tokens from text."""

import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import CalibrationError, CheckpointError, ConfigError, in_one_line

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
ENDINGS = ".txt, .jsonl, and either with .gz or .xz"


def check_text(path: Path | None) -> str:
    """The kind of a text file, .txt or .jsonl. Raises CalibrationError if there is none of that name and ending."""
    if path is None:
        raise CalibrationError(
            f"--calibration: this method needs text ({ENDINGS}), or images for a model of those; --method magnitude "
            "and rtn need neither."
        )
    kind = path.with_suffix("").suffix if path.suffix in _OPENERS else path.suffix
    if kind not in (".txt", ".jsonl"):
        raise CalibrationError(f"{path}: expected a file ending in {ENDINGS}.")
    if not path.is_file():
        raise CalibrationError(f"{path}: no such file. Give a text file ({ENDINGS}).")
    return kind


def read_documents(path: Path) -> Iterator[str]:
    """The documents of a file: all of a .txt file is one, each line of a .jsonl file holds one in its "text".

    Raises CalibrationError if the file is missing, has another ending, or does not parse.
    """
    kind = check_text(path)
    try:
        with _OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            yield from [file.read()] if kind == ".txt" else _json_lines(path, file)
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error) as error:
        raise CalibrationError(f"{path}: cannot be read as UTF-8 text ({error}).") from None


def _json_lines(path: Path, file: IO[str]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CalibrationError(f'{path}, line {number}: expected a JSON object with a "text" field.') from None
        if not isinstance(text, str):
            raise CalibrationError(f'{path}, line {number}: expected "text" to be a string.')
        yield text


def load_tokenizer(folder: Path) -> Any:
    """The checkpoint's own tokenizer. Raises CheckpointError if there is none that loads offline."""
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        reason = in_one_line(str(error).strip() or type(error).__name__)
        raise CheckpointError(
            f"{folder}: its tokenizer does not load ({reason}). Copy the files of its tokenizer, such as "
            "tokenizer.json and tokenizer_config.json, from the original model into the folder."
        ) from None


def encode_prompt(tokenizer: Any, text: str, *, chat: bool = False) -> Tensor:
    """A prompt as tokens [1, length], with the special tokens that the tokenizer adds, or in its chat template.

    Raises ConfigError if nothing is left of it, or if there is no template.
    """
    if chat:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError("--chat: the tokenizer has no chat template. Leave --chat out.")
        turns = [{"role": "user", "content": text}]
        tokens = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=True)
    else:
        tokens = tokenizer(text)
    if not tokens["input_ids"]:
        raise ConfigError("prompt: holds no tokens. Give some text.")
    return torch.tensor([tokens["input_ids"]], dtype=torch.int64)


def token_stream(tokenizer: Any, path: Path, at_most: int | None = None) -> Tensor:
    """The tokens of a file as one int64 stream, without special tokens but for the end token between documents.

    at_most  stop reading when there are so many; then long documents are cut at ends of lines before they are
             tokenised, so that time and memory follow the tokens wanted, not the size of the file
    """
    between = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    stream: list[int] = []
    for document in read_documents(path):
        if stream:
            stream.extend(between)
        for piece in [document] if at_most is None else _pieces(document):
            stream.extend(tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"])
            if at_most is not None and len(stream) >= at_most:
                return torch.tensor(stream[:at_most], dtype=torch.int64)
    return torch.tensor(stream, dtype=torch.int64)


def _pieces(document: str, characters: int = 1 << 18) -> Iterator[str]:
    """A document in parts of about so many characters, cut after a line's end where there is one."""
    begin = 0
    while begin < len(document):
        end = begin + characters
        newline = document.rfind("\n", begin, end) + 1
        if newline > begin and end < len(document):
            end = newline
        yield document[begin:end]
        begin = end


def cut_windows(stream: Tensor, length: int, where: str) -> Tensor:
    """Non-overlapping windows [count, length] of a stream; the rest at its end is dropped.

    Raises CalibrationError if the stream is shorter than one window.
    """
    if len(stream) < length:
        raise CalibrationError(
            f"{where}: {len(stream)} tokens, shorter than one sequence of {length}. "
            "Give more text or a lower --sequence-length."
        )
    return stream[: len(stream) // length * length].view(-1, length)


def sample_windows(windows: Tensor, count: int, seed: int) -> Tensor:
    """At most `count` of the windows, drawn without replacement by a generator of that seed, in the order drawn."""
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed))
    return windows[order[:count]]
