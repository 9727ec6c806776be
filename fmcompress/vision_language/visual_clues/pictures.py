"""The images that a command is given, files and folders, and what each is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError


@dataclass(frozen=True)
class Picture:
    """An image file that can be read, its name for reports, and its width and height in pixels."""

    path: Path
    name: str
    size: tuple[int, int]


def find_pictures(given: Sequence[Path]) -> list[Picture]:
    """The images: files by their own name, those of a folder, and of folders in it, by their path in it.

    Where two are called alike, all are called by the path that leads to them. Raises ConfigError for what is not there
    or no image, and for an image that is given twice.
    """
    from ...clip.batches import as_image
    from ...clip.inputs import find_images

    found: list[tuple[Path, str]] = []
    for path in given:
        if path.is_dir():
            paths, names, _, _ = find_images(path)
            found += zip(paths, names, strict=True)
        elif path.is_file():
            found.append((path, path.name))
        else:
            raise ConfigError(f"{path}: no such file or folder. Give images, or folders of them.")
    seen: set[Path] = set()
    for path, _ in found:
        if path.resolve() in seen:
            raise ConfigError(f"{path}: is given twice. Give each image once.")
        seen.add(path.resolve())
    alike = len({name for _, name in found}) < len(found)
    return [Picture(path, str(path) if alike else name, as_image(path).size) for path, name in found]
