"""Counting windows along one axis, and the arithmetic as a reader would write it down."""

from __future__ import annotations

from typing import NamedTuple

from convspec.layers.base import Context, Inference, Layer, Rounding
from convspec.layers.keys import Key, choice
from convspec.layers.reading import read_maps
from convspec.program.shape import Shape


def rounding_key() -> Key[str]:
    """The key by which a layer counts its windows otherwise than the network; None where it does not."""
    ways = tuple(way.value for way in Rounding)
    return choice("rounding", ways, default=None, doc="how windows are counted here: ceil or floor")


class Windows(NamedTuple):
    """Windows of `kernel` pixels, `stride` apart, over `size` pixels that have `before` and `after` zeros around them.

    `before` may be negative: pixels are skipped. The originals count up, 1 + ceil((before + size + after - kernel) /
    stride) (cuda-convnet2 layer.py:1097, 1272), so that every pixel is seen and the last window may hang over.
    """

    size: int
    kernel: int
    stride: int
    before: int = 0
    after: int = 0

    @property
    def _room(self) -> int:
        return self.before + self.size + self.after - self.kernel

    def count(self, rounding: Rounding) -> int:
        """Number of windows; 0 or less where none fits."""
        steps = -(-self._room // self.stride) if rounding is Rounding.CEIL else self._room // self.stride
        return steps + 1

    @property
    def is_exact(self) -> bool:
        return self._room % self.stride == 0

    @property
    def fewest(self) -> int:
        """Number of windows that see every pixel of the map, if not every zero behind it; at least 1."""
        return max(1, -(-(self.before + self.size - self.kernel) // self.stride) + 1)

    @property
    def most(self) -> int:
        """Number of windows of which each begins before the end of the map."""
        return (self.size - 1 + self.before) // self.stride + 1

    def overhang(self, count: int) -> int:
        """Pixels by which the last of `count` windows hangs over the padded map; below 0 where it ends before the last
        zero and one more would fit."""
        return 0 if count == self.count(Rounding.FLOOR) else (count - 1) * self.stride - self._room

    def last_start(self, count: int) -> int:
        """First pixel of the last of `count` windows, as an index into the map."""
        return (count - 1) * self.stride - self.before

    def arithmetic(self, rounding: Rounding) -> str:
        """`(227 + 2*0 - 11) / 4 + 1 = 55`, and how it was rounded where the division is not exact."""
        around = f" + 2*{self.before}" if self.before == self.after and self.before else ""
        if self.before != self.after:
            around = f" {'-' if self.before < 0 else '+'} {abs(self.before)}"
        exact = self._room / self.stride + 1
        formula = f"({self.size}{around} - {self.kernel}) / {self.stride} + 1 = {exact:g}"
        if self.is_exact:
            return formula
        way = "up" if rounding is Rounding.CEIL else "down"
        return f"{formula}, rounded {way} to {self.count(rounding)}"


def infer_windows(channels: int, rows: Windows, columns: Windows, rounding: Rounding) -> Inference:
    """`channels` maps with a pixel for each window; each axis has one at least. The arithmetic is that of the columns, or of
    the rows where they alone do not divide exactly; of both where the windows themselves differ."""
    shown = rows if columns.is_exact and not rows.is_exact else columns
    are_alike = rows._replace(size=0) == columns._replace(size=0)
    both = f"{rows.arithmetic(rounding)} by {columns.arithmetic(rounding)}"
    return Inference(
        Shape.of_maps(channels, rows.count(rounding), columns.count(rounding)),
        shown.arithmetic(rounding) if are_alike else both,
        None if shown.is_exact else shown.count(Rounding.FLOOR),
    )


def read_windowed_maps(layer: Layer, shape: Shape, channels: int | None, size: int, context: Context) -> Shape | None:
    """The first input of a layer as maps, where windows lie across `size` of them, its key. Reports what `read_maps` does,
    and CS408 where there are fewer maps."""
    maps = read_maps(layer, 0, shape, channels, context)
    if maps is None or size <= maps.channels:
        return maps
    context.report.add(
        "CS408",
        layer.span("size"),
        f"{layer.name} looks at {size} maps, and {layer.input_names[0]} has {maps.channels}",
        help=f"use size={maps.channels} or less",
    )
    return None
