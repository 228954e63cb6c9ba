"""Where the windows of a pooling lie along one axis of a map. Arithmetic alone, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Axes: TypeAlias = tuple[int, int]
"""A number along the height of maps and one along their width."""


def as_axes(number: int | Axes) -> Axes:
    """A single number counts for both axes."""
    return number if isinstance(number, (tuple, list)) else (number, number)  # torch 2.9 compiles no `tuple | list`


@dataclass(frozen=True, slots=True)
class Windows:
    """`count` windows `[start + i*stride, start + i*stride + size)`, each with at least one pixel of `[0, length)`.

    length: pixels of the map along this axis. size, stride, count: at least 1. start: of the first window, pixels.
    """

    length: int
    size: int
    stride: int
    start: int
    count: int

    @classmethod
    def along(cls, length: int, size: int, stride: int, start: int, count: int | None = None) -> Windows:
        """The windows of the originals, which round up; `count` overrides how many. ValueError where one is empty."""
        if size < 1 or stride < 1:
            raise ValueError(f"kernel_size and stride must be at least 1, not {size} and {stride}")
        if count is None:
            count = -((start + size - length) // stride) + 1
        if count < 1:
            raise ValueError(f"{count} windows of {size} pixels that start at {start} on {length} pixels")
        windows = cls(length, size, stride, start, count)
        last = windows.end - size
        if start + size <= 0 or last >= length:
            outside = start if start + size <= 0 else last
            raise ValueError(
                f"the window [{outside}, {outside + size}) lies outside the {length} pixels: change start={start}, "
                f"kernel_size={size}, stride={stride}, or give an output_size other than {count}"
            )
        return windows

    @property
    def end(self) -> int:
        """One past the last pixel of the last window, be it in the map or not."""
        return self.start + (self.count - 1) * self.stride + self.size

    @property
    def before(self) -> int:
        """Pixels of the first window that lie before the map."""
        return max(-self.start, 0)

    @property
    def after(self) -> int:
        """Pixels of the last window that lie after the map."""
        return max(self.end - self.length, 0)

    @property
    def seen(self) -> slice:
        """The pixels of the map from the first window to the last."""
        return slice(max(self.start, 0), min(self.end, self.length))

    @property
    def pixels(self) -> tuple[int, ...]:
        """How many pixels of the map each window has."""
        starts = range(self.start, self.end - self.size + 1, self.stride)
        return tuple(min(start + self.size, self.length) - max(start, 0) for start in starts)

    def is_torch(self, *, ceil_mode: bool) -> bool:
        """Whether torch's pooling with `padding=before` has these windows on the pixels seen.

        Torch pads by at most half a window, and drops a last window that starts after the map and its left padding.
        """
        if self.start > 0 or 2 * self.before > self.size:
            return False
        room = self.length + 2 * self.before - self.size
        count = (-(-room // self.stride) if ceil_mode else room // self.stride) + 1
        if ceil_mode and (count - 1) * self.stride >= self.length + self.before:
            count -= 1
        return room >= 0 and count == self.count
