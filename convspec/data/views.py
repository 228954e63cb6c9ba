"""The views of a picture that are tested: one, or the ten of section 4.1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convspec.data.augmentation import Place
from convspec.data.dataset import Pictures

ONE, TEN = 1, 10


def views_of(stored: tuple[int, int], crop: tuple[int, int], count: int) -> tuple[Place, ...]:
    """Where `crop`, (height, width), is cut from a picture of the size `stored`.

    count: 1 for the middle, as in validation; 10 for the four corners and the middle, and the mirror image of each. Of a
    picture that is no larger than the crop the five are one, and two views have the average of ten.
    """
    down, right = stored[0] - crop[0], stored[1] - crop[1]
    middle = (down // 2, right // 2)
    if count == ONE:
        return (Place(*middle, is_mirrored=False),)
    places = [(0, 0), (0, right), (down, 0), (down, right), middle]
    if down == right == 0:
        places = [middle]
    return tuple(Place(*place, is_mirrored) for is_mirrored in (False, True) for place in places)


def cut_views(pictures: Pictures, views: Sequence[Place], out: Pictures) -> None:
    """Write the views of pictures, (N, H, W, C), into `out`, (N, views, height, width, C)."""
    height, width = out.shape[2:4]
    for i, (top, left, is_mirrored) in enumerate(views):
        crops = pictures[:, top : top + height, left : left + width]
        np.copyto(out[:, i], crops[:, :, ::-1] if is_mirrored else crops)
