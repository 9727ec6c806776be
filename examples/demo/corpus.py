"""Build the demo corpus from the documentation that every CPython installation ships."""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import lzma
import pkgutil
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SKIPPED_PARTS = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__"})
SHORTEST_TRACKED_PARAGRAPH = 60
HELDOUT_PERCENT = 10
CALIBRATION_PERCENT = 10
SPLIT_SALT = "heldout"
SEPARATOR = "</s>"

DefinitionNode = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Document:
    """One named piece of the corpus: a help topic or the docstrings of one module."""

    name: str
    text: str


def clean(text: str) -> str:
    """Dedent a docstring, drop trailing blanks and squeeze runs of empty lines."""
    lines = (line.rstrip() for line in inspect.cleandoc(text.replace(SEPARATOR, "")).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def source_files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and path of every module below a folder, importing none of them."""
    for module in sorted(pkgutil.iter_modules([str(folder)]), key=lambda found: found.name):
        if module.name in SKIPPED_PARTS or (not prefix and module.name not in sys.stdlib_module_names):
            continue
        name = prefix + module.name
        path = folder / module.name / "__init__.py" if module.ispkg else folder / f"{module.name}.py"
        if path.is_file():
            yield name, path
        if module.ispkg:
            yield from source_files(folder / module.name, name + ".")


def definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, DefinitionNode]]:
    """Yield classes and functions with their qualified names, in source order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DefinitionNode):
            name = f"{prefix}.{child.name}"
            yield name, child
            yield from definitions(child, name)
        elif isinstance(child, ast.If | ast.Try):
            yield from definitions(child, prefix)


def heading(name: str, node: DefinitionNode) -> str:
    """Write the line which introduces a docstring, in the manner of help()."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {name}({bases})" if bases else f"class {name}"
    return f"{name}({ast.unparse(node.args)})"


def docstrings(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield (heading, docstring) pairs of one source file; a file that does not parse has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return
    yield f"module {name}", clean(ast.get_docstring(tree, clean=False) or "")
    for qualified, node in definitions(tree, name):
        yield heading(qualified, node), clean(ast.get_docstring(node, clean=False) or "")


class Deduplicator:
    """Remembers docstrings and longer paragraphs, so that each stands in the corpus once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def first_time(self, text: str) -> bool:
        """Say whether this text, ignoring its white space, has not been seen before."""
        key = " ".join(text.split())
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def without_repeats(self, text: str) -> str:
        """Drop the longer paragraphs which occurred earlier; topics quote each other at length."""
        paragraphs = text.split("\n\n")
        kept = [part for part in paragraphs if len(part) < SHORTEST_TRACKED_PARAGRAPH or self.first_time(part)]
        return "\n\n".join(kept).strip()


def topic_documents(seen: Deduplicator) -> Iterator[Document]:
    """Yield the language reference as help() ships it, one document a topic."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        text = seen.without_repeats(clean(topics[name]))
        if len(text) >= SHORTEST_TRACKED_PARAGRAPH:
            yield Document(f"topic {name}", text)


def module_documents(seen: Deduplicator) -> Iterator[Document]:
    """Yield the docstrings of the standard library, one document a module."""
    for name, path in source_files(Path(sysconfig.get_path("stdlib"))):
        entries = []
        for title, text in docstrings(name, path):
            # A one-line docstring is both a docstring and a paragraph: test it as a paragraph only.
            whole_is_new = len(text.split("\n\n")) == 1 and len(text) >= SHORTEST_TRACKED_PARAGRAPH
            if text and (whole_is_new or seen.first_time(text)):
                entries.append((title, seen.without_repeats(text)))
        if any(text for _, text in entries):
            yield Document(f"module {name}", "\n\n".join(f"{title}\n\n{text}" for title, text in entries if text))


def build_documents() -> list[Document]:
    """Collect the whole corpus in a fixed order."""
    seen = Deduplicator()
    return [*topic_documents(seen), *module_documents(seen)]


def bucket(document: Document, salt: str) -> int:
    """Map a document's name to 0..99, the same for every run and machine."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{document.name}".encode()).digest()[:8], "big") % 100


def is_heldout(document: Document) -> bool:
    """Say whether a whole document is kept out of training."""
    return bucket(document, SPLIT_SALT) < HELDOUT_PERCENT


def is_calibration(document: Document) -> bool:
    """Say whether a document belongs to the slice of the training text used for calibration."""
    return not is_heldout(document) and bucket(document, "calibration") < CALIBRATION_PERCENT


def join(documents: Iterable[Document]) -> str:
    """Concatenate documents, each closed by the end-of-sequence token as the tokenizer spells it."""
    return "".join(document.text + SEPARATOR for document in documents)


def write_text(path: Path, text: str) -> None:
    """Write a compressed text file whose bytes depend on the text alone."""
    path.write_bytes(lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))
    print(f"{path.name}: {len(text)} characters, {path.stat().st_size} bytes compressed")


def read_text(path: Path) -> str:
    """Read a text written by write_text."""
    return lzma.decompress(path.read_bytes()).decode("utf-8")


def main() -> None:
    """Write the calibration and held-out texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the two text files")
    folder: Path = parser.parse_args().out
    documents = build_documents()
    heldout = sum(map(is_heldout, documents))
    print(f"{len(documents)} documents, {heldout} of them held out; {len(join(documents))} characters in all")
    write_text(folder / "calibration.txt.xz", join(filter(is_calibration, documents)))
    write_text(folder / "heldout.txt.xz", join(filter(is_heldout, documents)))


if __name__ == "__main__":
    main()
