"""Folders of pictures for tests: good ones, and one of each kind of trouble."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def colorful(seed: int, width: int = 24, height: int = 20) -> Image.Image:
    """A picture that is like no other: smooth, so that JPEG keeps it."""
    draw = np.random.default_rng(seed)
    corners = Image.fromarray(draw.integers(0, 256, (3, 3, 3), np.uint8))
    return corners.resize((width, height), Image.Resampling.BICUBIC)


def flowers(root: Path, each: int = 6, classes: tuple[str, ...] = ("rose", "tulip"), form: str = "jpg") -> Path:
    """ROOT/CLASS/N.jpg."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(each):
            colorful(1000 * label + i).save(root / name / f"{i}.{form}")
    return root


def odd(folder: Path) -> set[str]:
    """Pictures of every kind that is read; their names."""
    source = colorful(7, 32, 28)
    source.convert("CMYK").save(folder / "cmyk.jpg")
    source.convert("L").save(folder / "grey.jpg")
    source.convert("RGBA").save(folder / "alpha.png")
    source.quantize(16).save(folder / "palette.png")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70).save(folder / "deep.png")
    source.save(folder / "moving.gif", save_all=True, append_images=[colorful(8, 32, 28)])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        source.save(folder / f"turned{orientation}.jpg", exif=exif)
    Image.new("RGB", (1, 900), (9, 9, 9)).save(folder / "thin.png")
    return {path.name for path in folder.iterdir()}


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def broken(folder: Path) -> dict[str, str]:
    """Files that are no pictures, and a part of what is said of each."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    noise.save(jpeg, "JPEG")
    noise.save(png, "PNG")
    huge = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    for name, content in {
        "cut.jpg": jpeg.getvalue()[:-400],
        "cut.png": png.getvalue()[:-400],
        "empty.jpg": b"",
        "text.jpg": b"<html>404 not found</html>",
        "bomb.png": bomb,
        "notes.txt": b"of the photographer",
    }.items():
        (folder / name).write_bytes(content)
    return {
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "empty.jpg": "an empty file",
        "text.jpg": "not a picture",
        "bomb.png": "too many pixels",
        "notes.txt": "not a picture",
    }
