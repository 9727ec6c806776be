"""Images and videos from files, as frames of pixels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration.images import ENDINGS, find_images, read_image
from .errors import CalibrationError, ConfigError, FmcompressError, in_one_line

Frames = NDArray[np.uint8]
ANIMATED = (".gif", ".webp", ".png", ".apng")  # files of Pillow's that may hold several frames
CONTAINERS = (".mp4", ".avi", ".mov", ".mkv", ".webm")  # which PyAV decodes
MOST_PIXELS = 1 << 28  # of all frames that are kept of a file: 0.8 GB


def is_video(path: str | Path) -> bool:
    """Whether read_media() finds frames in time: a folder, a .npy file, a container, or an animated picture.

    Raises CalibrationError if a picture that may be animated cannot be read.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in (".npy", *CONTAINERS):
        return True
    if path.suffix.lower() not in ANIMATED:
        return False
    with _opened(path) as image:
        return getattr(image, "n_frames", 1) > 1


def frame_numbers(count: int, frames: int) -> list[int]:
    """Which `frames` of `count` frames are taken: those in the middle of equal parts of the time.

    Number i is floor((i + 1/2) count / frames). Of 1 it is the middle one; where fewer are there than asked for, they
    are repeated evenly.
    """
    return [(2 * number + 1) * count // (2 * frames) for number in range(frames)]


def read_media(path: str | Path, frames: int = 1) -> Frames:
    """Frames [frames, height, width, 3] uint8 of an image or a video, chosen by frame_numbers().

    path    an image, whose frames are equal; an animated .gif, .webp or .png; a folder of images, frames by the order
            of their names; .npy [time, height, width, 3] uint8; or .mp4, .avi, .mov, .mkv or .webm by PyAV
    frames  of 1 gives the image, or the video's frame in the middle

    Transparency is dropped. Pillow's limit of an image's size holds, and that of MOST_PIXELS for all frames together.
    Raises CalibrationError, which names the file, if it cannot be read, ConfigError if it takes PyAV.
    """
    path = Path(path)
    if frames < 1:
        raise ConfigError(f"frames: expected 1 at least, got {frames}.")
    kind = path.suffix.lower()
    if path.is_dir():
        return _of_folder(path, frames)
    if not path.exists():
        raise CalibrationError(f"{path}: no such file. Give an image, a video or a folder of frames.")
    read = _reader(kind)
    if read is None:
        raise CalibrationError(
            f"{path}: expected an image ({', '.join(ENDINGS)}) or a video (a folder, .npy, {', '.join(CONTAINERS)})."
        )
    return read(path, frames)


def _reader(kind: str) -> Callable[[Path, int], Frames] | None:
    if kind == ".npy":
        return _of_array
    if kind in CONTAINERS:
        return _of_container
    if kind in ANIMATED:
        return _of_animation
    return _of_image if kind in ENDINGS else None


def _of_image(path: Path, frames: int) -> Frames:
    return _stacked(path, [np.asarray(read_image(path))] * frames)


def _of_folder(folder: Path, frames: int) -> Frames:
    found = find_images(folder)
    chosen = [found[number] for number in frame_numbers(len(found), frames)]
    with _opened(chosen[0]) as image:
        _check_size(folder, frames, *image.size)
    pixels: dict[Path, Any] = {}
    for path in dict.fromkeys(chosen):
        one = pixels[path] = np.asarray(read_image(path))
        if one.shape != pixels[chosen[0]].shape:
            raise CalibrationError(
                f"{path}: expected {_size(pixels[chosen[0]])} pixels as of {chosen[0].name}, got {_size(one)}. "
                "Give frames of one size."
            )
    return _stacked(folder, [pixels[path] for path in chosen])


def _of_array(path: Path, frames: int) -> Frames:
    try:
        video = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a stranger's header fails in many ways
        raise CalibrationError(f"{path}: cannot be read as an array ({in_one_line(error)}).") from None
    if not isinstance(video, np.ndarray):  # NumPy opens an .npz by its content, whatever its name is
        raise CalibrationError(f"{path}: expected one array, got an archive of several.")
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[3] != 3 or not video.size:
        raise CalibrationError(
            f"{path}: expected [time, height, width, 3] uint8, got {list(video.shape)} {video.dtype}."
        )
    return _stacked(path, [video[number] for number in frame_numbers(len(video), frames)])


def _of_animation(path: Path, frames: int) -> Frames:
    with _opened(path) as image:
        wanted = frame_numbers(getattr(image, "n_frames", 1), frames)
        _check_size(path, frames, *image.size)
        pixels = {}
        for number in dict.fromkeys(wanted):  # rising, so that no frame is decoded twice
            image.seek(number)
            pixels[number] = np.asarray(image.convert("RGB"))
    return _stacked(path, [pixels[number] for number in wanted])


def _of_container(path: Path, frames: int) -> Frames:
    """Decoded twice, first to count: what a container says of its length is a guess, and all frames are too many."""
    try:
        import av
    except ImportError:
        raise ConfigError(
            f"{path}: takes PyAV: pip install 'fmcompress[video]'. Or give its frames, as a folder or as .npy."
        ) from None

    def decoded() -> Iterator[Any]:
        with av.open(str(path)) as container:
            yield from container.decode(video=0)

    try:
        count = sum(1 for _ in decoded())
        wanted = frame_numbers(count, frames)
        chosen, pixels = set(wanted), {}
        for number, frame in enumerate(decoded()):
            if number in chosen:
                _check_size(path, frames, frame.width, frame.height)
                pixels[number] = frame.to_ndarray(format="rgb24")
    except FmcompressError:
        raise
    except Exception as error:  # of FFmpeg, in many classes
        raise CalibrationError(f"{path}: cannot be decoded ({in_one_line(error)}).") from None
    if not count:
        raise CalibrationError(f"{path}: holds no frames.")
    return _stacked(path, [pixels[number] for number in wanted])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A picture of Pillow's, whose errors are told as read_image() does."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except FmcompressError:
        raise
    except Exception as error:
        raise CalibrationError(f"{path}: cannot be read as an image ({in_one_line(error)}).") from None


def _stacked(path: Path, frames: list[Any]) -> Frames:
    height, width = frames[0].shape[:2]
    _check_size(path, len(frames), width, height)
    return np.stack(frames)


def _check_size(path: Path, count: int, width: int, height: int) -> None:
    """Raise CalibrationError for more pixels than MOST_PIXELS: before they are decoded, as a small file has many."""
    if count * height * width > MOST_PIXELS:
        raise CalibrationError(
            f"{path}: {count} frames of {width} x {height} pixels are more than {MOST_PIXELS:,}. "
            "Give fewer or smaller frames."
        )


def _size(frame: Any) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]}"
