"""One file to pixels: every mode that pictures on disks have."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convspec.data.augmentation import Place
from convspec.data.pictures import BrokenPicture, read_into, read_square, read_upright

RED, WHITE = (255, 0, 0), (255, 255, 255)


def square(path: Path, channels: int = 3) -> np.ndarray:
    return read_square(path, 8, channels)


@pytest.mark.parametrize(
    "mode", ["RGB", "L", "P", "1", "CMYK", "RGBA", "LA", "PA", "YCbCr", "LAB", "HSV", "I;16", "I", "F"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_read(tmp_path: Path, mode: str, channels: int) -> None:
    source = Image.new("RGB", (12, 10), (200, 200, 200))
    image = source.convert("L").convert(mode) if mode in ("I;16", "I", "F", "LA", "1", "PA") else convert(source, mode)
    path = tmp_path / "picture.tif"
    try:
        image.save(path)
    except (OSError, KeyError):
        pytest.skip(f"TIFF has no {mode}")
    pixels = square(path, channels)
    assert pixels.shape == (8, 8, channels)
    assert pixels.dtype == np.uint8


def convert(image: Image.Image, mode: str) -> Image.Image:
    if mode != "LAB":
        return image.convert(mode)
    return Image.new("LAB", image.size, (128, 0, 0))


def test_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    with Image.open(tmp_path / "red.jpg") as image:
        assert image.mode == "CMYK"
    assert np.abs(square(tmp_path / "red.jpg").astype(int) - RED).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 4))
    if mode == "P":
        paletted = Image.new("P", (8, 8), 1)
        paletted.putpalette([0, 0, 0, 7, 7, 7])
        paletted.paste(0, (0, 0, 8, 4))
        paletted.save(tmp_path / "x.png", transparency=1)
    else:
        image.convert(mode).save(tmp_path / "x.png")
    pixels = square(tmp_path / "x.png")
    assert (pixels[:4] == 0).all()
    assert (pixels[4:] == WHITE).all()


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = np.repeat(np.linspace(0, 65535, 8).astype(np.uint16)[None], 8, 0)
    Image.fromarray(values).save(tmp_path / "deep.png")
    pixels = square(tmp_path / "deep.png", 1)[0, :, 0]
    assert pixels.tolist() == [0, 36, 73, 109, 146, 182, 219, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    """The upright picture is white above; each file is stored turned, and says how."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.new("L", (8, 8), 0)
    upright.paste(255, (0, 0, 8, 4))
    upright.paste(99, (0, 0, 3, 4))
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(square(tmp_path / "turned.png", 1)[:, :, 0], np.asarray(upright))


def test_the_shorter_side_is_resized_and_the_middle_kept(tmp_path: Path) -> None:
    image = Image.new("L", (300, 100), 0)
    image.paste(200, (100, 0, 200, 100))
    image.save(tmp_path / "wide.png")
    assert np.abs(square(tmp_path / "wide.png", 1)[:, 1:-1].astype(int) - 200).max() < 5
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "tall.png")
    assert np.abs(square(tmp_path / "tall.png", 1)[1:-1].astype(int) - 200).max() < 5


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert np.abs(square(tmp_path / "stripes.png", 1).astype(int) - 127).max() <= 12, "grey, not stripes"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "an empty file"),
        (b"<html>404</html>", "not a picture"),
        (png()[:-400], "truncated"),
        (jpeg()[:-400], "truncated"),
        (png()[:20], ""),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), ""),
        (b"GIF89a" + bytes(7), ""),
        (b"BM" + bytes(50), ""),
    ],
)
def test_broken_files_say_so(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(BrokenPicture, match=why or "."):
        read_upright(tmp_path / "broken.jpg", 3)


@given(data=st.data(), format=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]))
def test_damage_gives_pixels_or_says_so(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, format: str
) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3))
    image.save(buffer, format, **({"exif": exif} if format in ("PNG", "JPEG", "TIFF", "WEBP") else {}))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{format.lower()}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(BrokenPicture):
            assert square(path).shape == (8, 8, 3)


def test_a_bomb_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (50, 50)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BrokenPicture, match="too many pixels"):
        read_upright(tmp_path / "bomb.png", 3)


def test_a_file_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(BrokenPicture, match="No such file"):
        read_upright(tmp_path / "gone.jpg", 3)


def test_a_folder_with_the_name_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(BrokenPicture):
        read_upright(tmp_path / "folder.jpg", 3)


def test_a_pipe_with_the_name_of_a_picture_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BrokenPicture, match="a pipe or a device"):
        read_upright(tmp_path / "pipe.jpg", 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(5, 150),
    height=st.integers(5, 150),
    size=st.integers(4, 40),
    room=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    is_mirrored=st.booleans(),
)
def test_a_crop_has_the_pixels_of_the_whole(
    mode: str,
    width: int,
    height: int,
    size: int,
    room: tuple[int, int],
    corner: tuple[float, float],
    is_mirrored: bool,
) -> None:
    """Read at once, against cut out of the square afterwards: of all sizes, to each edge, larger and smaller than stored."""
    channels = 1 if mode == "L" else 3
    random = np.random.default_rng(width * 1000 + height)
    pixels = random.integers(0, 256, (height, width, len(mode)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if mode == "L" else pixels, mode).save(file, "TIFF")
    rows, columns = max(1, size - room[0]), max(1, size - room[1])
    top, left = round(corner[0] * (size - rows)), round(corner[1] * (size - columns))
    out = np.empty((rows, columns, channels), np.uint8)
    read_into(file, size, Place(top, left, is_mirrored), out)
    file.seek(0)
    expected = read_square(file, size, channels)[top : top + rows, left : left + columns]
    difference = np.abs(out.astype(int) - (expected[:, ::-1] if is_mirrored else expected))
    assert difference.max() <= 1
    assert difference.mean() <= 0.05 or difference.size < 1000
