import sys

import numpy as np
import pytest
from PIL import Image

from fmcompress import media
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.media import frame_numbers, is_video, read_media


def film(count, height=4, width=6):
    """[count, height, width, 3], each frame of one grey that tells its number."""
    return np.tile((8 * np.arange(count, dtype=np.uint8))[:, None, None, None], (1, height, width, 3))


def shown(frames):
    """The numbers of film()'s frames."""
    return [int(number) for number in np.round(frames[:, 0, 0, 0] / 8)]


def written(video, kind, folder):
    path = folder / f"film{kind}"
    if kind == ".npy":
        np.save(path, video)
    elif kind == "":
        path.mkdir()
        for number, frame in enumerate(video):
            Image.fromarray(frame).save(path / f"{number:03d}.png")
    else:
        first, *rest = [Image.fromarray(frame) for frame in video]
        first.save(path, save_all=True, append_images=rest, **({"lossless": True} if kind == ".webp" else {}))
    return path


@pytest.mark.parametrize(
    ("count", "frames", "expected"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (16, 8, [1, 3, 5, 7, 9, 11, 13, 15]),
        (9, 1, [4]),
        (10, 3, [1, 5, 8]),
        (1, 4, [0, 0, 0, 0]),
        (3, 8, [0, 0, 0, 1, 1, 2, 2, 2]),
    ],
)
def test_frames_are_in_the_middle_of_equal_parts(count, frames, expected):
    assert frame_numbers(count, frames) == expected
    assert frame_numbers(count, frames) == [int((number + 0.5) * count / frames) for number in range(frames)]


@pytest.mark.parametrize("kind", [".npy", ".gif", ".webp", ".png", ""])
@pytest.mark.parametrize(("frames", "expected"), [(1, [4]), (3, [1, 4, 7]), (12, [0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8])])
def test_videos_of_all_kinds_give_the_same_frames(kind, frames, expected, tmp_path):
    path = written(film(9), kind, tmp_path)
    assert is_video(path)
    got = read_media(path, frames)
    assert (got.shape, got.dtype) == ((frames, 4, 6, 3), np.uint8)
    assert shown(got) == expected == frame_numbers(9, frames)


def test_image_is_its_only_frame_and_stands_still(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    for name in ("one.png", "one.bmp"):
        Image.fromarray(pixels).save(tmp_path / name)
        assert not is_video(tmp_path / name)
        assert np.array_equal(read_media(tmp_path / name), pixels[None])
        assert np.array_equal(read_media(str(tmp_path / name), 3), np.stack([pixels] * 3))


def test_gif_of_one_frame_and_grey_image_are_images(tmp_path):
    Image.new("L", (3, 2), 80).save(tmp_path / "grey.gif")
    assert not is_video(tmp_path / "grey.gif")
    assert read_media(tmp_path / "grey.gif").tolist() == [[[[80] * 3] * 3] * 2]


def test_frames_of_a_folder_go_by_name(tmp_path):
    for name, number in (("b", 1), ("c", 2), ("a", 0)):
        Image.fromarray(film(3)[number]).save(tmp_path / f"{name}.png")
    assert shown(read_media(tmp_path, 3)) == [0, 1, 2]


def npy_header(shape):
    told = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(told).to_bytes(2, "little") + told


def broken(folder, name, make):
    path = folder / name
    make(path)
    return path


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("a.png", lambda p: p.write_bytes(b"\x89PNG\r\n"), "cannot be read as an image"),
        ("a.gif", lambda p: p.write_bytes(b"GIF89a"), "cannot be read as an image"),
        ("a.jpg", lambda p: p.write_bytes(b"no"), "cannot be read as an image"),
        ("a.npy", lambda p: p.write_bytes(b"no"), "cannot be read as an array"),
        ("a.npy", lambda p: np.save(p, np.array([{}], dtype=object), allow_pickle=True), "cannot be read as an array"),
        ("a.npy", lambda p: np.save(p, np.zeros((2, 3, 4))), r"expected \[time, height, width, 3\] uint8, got"),
        ("a.npy", lambda p: np.save(p, np.zeros((0, 3, 4, 3), np.uint8)), r"got \[0, 3, 4, 3\]"),
        ("a.npy", lambda p: np.savez(p.open("wb"), a=np.zeros((2, 3, 4, 3), np.uint8)), "archive of several"),
        ("a.npy", lambda p: p.write_bytes(npy_header("(-1, 8, 8, 3)") + b"0" * 999), "cannot be read as an array"),
        ("a.txt", lambda p: p.write_text("no"), "expected an image"),
        ("a.mp4", lambda p: None, "no such file"),
        ("folder", lambda p: p.mkdir(), "holds no images"),
    ],
)
def test_files_that_are_none_are_named_in_one_line(name, make, told, tmp_path):
    path = broken(tmp_path, name, make)
    with pytest.raises(CalibrationError, match=told) as caught:
        read_media(path, 2)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_of_several_sizes_are_refused(tmp_path):
    for number, size in enumerate([(4, 4), (5, 4)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    with pytest.raises(CalibrationError, match=r"1\.png: expected 4 x 4 pixels as of 0\.png, got 5 x 4"):
        read_media(tmp_path, 2)
    with pytest.raises(ConfigError, match="1 at least"):
        read_media(tmp_path, 0)


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = written(film(3), ".png", tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)  # of 24
    with pytest.raises(CalibrationError, match="cannot be read as an image"):
        read_media(path, 2)
    monkeypatch.setattr(media, "MOST_PIXELS", 47)
    with pytest.raises(CalibrationError, match="2 frames of 6 x 4 pixels are more than 47"):
        read_media(written(film(3), ".npy", tmp_path), 2)


@pytest.mark.parametrize("kind", [".gif", ".webp", ".png", ""])
def test_too_many_pixels_are_refused_before_they_are_decoded(kind, tmp_path, monkeypatch):
    path = written(film(3), kind, tmp_path)
    monkeypatch.setattr(media, "MOST_PIXELS", 47)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(CalibrationError, match="2 frames of 6 x 4 pixels are more than 47"):
        read_media(path, 2)


def test_claimed_frames_that_are_not_there_are_refused(tmp_path):
    path = written(film(3), ".npy", tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CalibrationError, match="cannot be read as an array"):
        read_media(path, 2)


def test_container_without_pyav_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    assert is_video(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match=r"pip install 'fmcompress\[video\]'"):
        read_media(tmp_path / "a.mp4")


def test_container_is_decoded(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'fmcompress[video]'")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for frame in film(9, 16, 32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert read_media(path, 3).shape == (3, 16, 32, 3)
    assert shown(read_media(path, 3)) == [1, 4, 7]
    assert shown(read_media(path, 12)) == frame_numbers(9, 12)
    path.write_bytes(b"no film")
    with pytest.raises(CalibrationError, match=r"film\.mp4: cannot be decoded"):
        read_media(path)
