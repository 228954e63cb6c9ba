"""One picture file to uint8 pixels: every mode that Pillow reads, upright, grey or RGB, at the size asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import ceil, floor
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import numpy as np

from convspec.data.augmentation import Place, copy_crop
from convspec.data.dataset import Pictures
from convspec.data.requirements import missing

if TYPE_CHECKING:
    from PIL import Image

_BLOCKS, _MOST_BLOCKS = 3, 32
"""Blocks of memory that Pillow keeps for each thread: a picture, and what it becomes in two steps; and for all threads."""


class BrokenPicture(Exception):
    """A file that is no picture, or one cut short. The message says what is wrong with it, without its name."""


def read_square(file: Path | BytesIO, size: int, channels: int) -> Pictures:
    """The picture with its shorter side at `size` and the middle cut out, (size, size, channels); paper, section 2.

    One antialiased resize of the middle square: the same pixels as a resize of all and a crop, for less work. A JPEG file
    of at least four times the size is decoded at a half, a quarter or an eighth of it, never below twice the size.
    """
    image = read_upright(file, channels, at_least=2 * size)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return resized(image, size, size, (left, top, left + side, top + side))


def read_into(file: Path | BytesIO, size: int, place: Place | None, out: Pictures) -> None:
    """Write what `read_square` gives into `out`, (H, W, channels), or the crop of it at `place`, mirrored if it says so.

    The crop has the pixels that it would have if it were cut out afterwards, for less work: Pillow resizes a box as if the
    rest of the picture were there, which it sees beyond the edges. Boxes are rounded to 24 bits, so that one number of
    some thousands is off by one grey level.
    """
    height, width, channels = out.shape
    if place is None:
        out[...] = read_square(file, size, channels)
        return
    image = read_upright(file, channels, at_least=2 * size)
    side = min(image.size)
    scale, x, y = side / size, (image.width - side) / 2, (image.height - side) / 2
    left, top = x + place.left * scale, y + place.top * scale
    right, bottom = min(image.width, left + width * scale), min(image.height, top + height * scale)
    copy_crop(resized(image, height, width, (left, top, right, bottom)), out, is_mirrored=place.is_mirrored)


def read_middle(file: Path | BytesIO, height: int, width: int, channels: int) -> Pictures:
    """The largest middle part of the proportions asked for, resized, (height, width, channels); a square as `read_square`."""
    if height == width:
        return read_square(file, height, channels)
    image = read_upright(file, channels)
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    return resized(image, height, width, (max(0, left), max(0, top), image.width - left, image.height - top))


def read_upright(source: Path | BytesIO, channels: int, at_least: int | None = None) -> Image.Image:
    """The whole picture in mode L (1 channel) or RGB (3), turned as its EXIF orientation says.

    at_least: shorter side that suffices, where a decoder is faster when it gives less; None for all of the picture.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise missing("Pillow", "reading pictures") from None
    try:
        if isinstance(source, Path) and not source.is_dir() and not S_ISREG(source.stat().st_mode):
            raise BrokenPicture("not a file but a pipe or a device")  # to open it may take for ever
        with Image.open(source) as file:
            if at_least is not None:
                file.draft(None, (at_least, at_least))
            file.load()
            ImageOps.exif_transpose(file, in_place=True)
            return _to_mode(file, "L" if channels == 1 else "RGB")
    except BrokenPicture:
        raise
    except UnidentifiedImageError:
        raise BrokenPicture("not a picture" if _size(source) else "an empty file") from None
    except Image.DecompressionBombError:
        raise BrokenPicture("too many pixels") from None
    except OSError as error:
        raise BrokenPicture(error.strerror or str(error)) from error
    except Exception as error:  # on damaged files, decoders and parsers of metadata raise almost anything
        raise BrokenPicture(str(error) or type(error).__name__) from error


@contextmanager
def reused_memory(threads: int) -> Iterator[None]:
    """Let Pillow keep the memory of some pictures for the next ones: the pages of fresh memory cost a fault each, and these
    together a tenth of the time of reading a picture. At most a block of 16 MiB for each picture under way is kept."""
    from PIL import Image

    # its documentation has them under "Block allocator"; its types do not
    allocator: Any = vars(Image)["core"]
    before = allocator.get_blocks_max()
    allocator.set_blocks_max(max(before, min(_BLOCKS * threads, _MOST_BLOCKS)))
    try:
        yield
    finally:
        allocator.set_blocks_max(before)


def _size(source: Path | BytesIO) -> int:
    return source.getbuffer().nbytes if isinstance(source, BytesIO) else source.stat().st_size


def resized(
    image: Image.Image, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> Pictures:
    """Pixels of `box` (all of the picture if None) at (height, width, C), antialiased.

    Columns come first, then rows. Pillow left alone takes first whichever is less work, which depends on its version and on
    the box, and rounds between the two: the same pixel of two boxes would differ by several grey levels.
    """
    from PIL import Image

    left, top, right, bottom = box or (0, 0, image.width, image.height)
    # cubics reach two pixels to either side, of the larger of the two scales
    reach = 2 * max(1.0, (bottom - top) / height) + 1
    first, last = max(0, floor(top - reach)), min(image.height, ceil(bottom + reach))
    if (first, last) != (0, image.height):
        image = image.crop((0, first, image.width, last))
    if (left, right, image.width) != (0, width, width):
        image = image.resize((width, last - first), Image.Resampling.BICUBIC, (left, 0, right, last - first))
    if (top - first, bottom - first, image.height) != (0, height, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC, (0, top - first, width, bottom - first))
    pixels = np.asarray(image, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Transparent parts become white, as on paper; 16-bit grey keeps its upper 8 bits."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    if image.mode == mode:
        return image
    # Pillow has no way from LAB or HSV to grey but through RGB
    return (image if image.mode in ("1", "L", "LA", "RGB") else image.convert("RGB")).convert(mode)


def _from_deep_grey(image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.asarray(image, np.float64)
    if image.mode.startswith("I"):
        values = values / 257
    return Image.fromarray(np.clip(values.round(), 0, 255).astype(np.uint8))
