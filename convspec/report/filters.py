"""Figure 3 of the paper: the kernels of the layers that read the images, GPU by GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Kernels = NDArray[np.float32]

KERNELS_PER_ROW = 16
SIDE = 44
"""Pixels of a kernel, of AlexNet's 4 a weight."""

_LINE = 1
_GAP = 8


@dataclass(frozen=True, slots=True)
class FilterBank:
    """The kernels of one layer, (kernels, channels, height, width), and the GPU that holds them."""

    layer: str
    gpu: int
    kernels: Kernels


def draw_filters(banks: Sequence[FilterBank], scale: int | None = None) -> Image.Image:
    """All kernels on black, `KERNELS_PER_ROW` a row, a band a bank in order of their GPUs.

    Values are mapped to 0..255 jointly, (w - min) / (max - min) over all kernels, as cuda-convnet's shownet does. Three
    channels are colours; else each channel is a grey picture of its own. scale: pixels a weight; None for as many as give a
    kernel `SIDE` pixels, or fewer.
    """
    if scale is None:
        scale = max(1, SIDE // max(size for bank in banks for size in bank.kernels.shape[2:]))
    ordered = sorted(banks, key=lambda bank: bank.gpu)
    low = min(float(bank.kernels.min()) for bank in ordered)
    high = max(float(bank.kernels.max()) for bank in ordered)
    bands = [_band(bank.kernels, low, (high - low) or 1.0, scale) for bank in ordered]
    width = max(band.shape[1] for band in bands)
    height = sum(band.shape[0] for band in bands) + _GAP * (len(bands) - 1)
    picture = np.zeros((height, width, 3), np.uint8)
    top = 0
    for band in bands:
        picture[top : top + band.shape[0], : band.shape[1]] = band
        top += band.shape[0] + _GAP
    return Image.fromarray(picture)


def _band(kernels: Kernels, low: float, span: float, scale: int) -> NDArray[np.uint8]:
    tiles = _tiles(kernels)
    count, height, width, _ = tiles.shape
    rows = -(-count // KERNELS_PER_ROW)
    columns = min(count, KERNELS_PER_ROW)
    pitch_y, pitch_x = height * scale + _LINE, width * scale + _LINE
    band = np.zeros((rows * pitch_y + _LINE, columns * pitch_x + _LINE, 3), np.uint8)
    shades = ((tiles - low) / span * 255).round().astype(np.uint8)
    for i, tile in enumerate(shades):
        row, column = divmod(i, KERNELS_PER_ROW)
        top, left = row * pitch_y + _LINE, column * pitch_x + _LINE
        band[top : top + height * scale, left : left + width * scale] = tile.repeat(scale, 0).repeat(scale, 1)
    return band


def _tiles(kernels: Kernels) -> NDArray[np.float32]:
    """Pictures (tiles, height, width, 3): a kernel of three channels is one, any other one is a grey tile a channel."""
    count, channels, height, width = kernels.shape
    if channels == 3:
        return kernels.transpose(0, 2, 3, 1)
    return np.repeat(kernels.reshape(count * channels, height, width, 1), 3, axis=3)


def first_banks(weights: Mapping[str, Kernels], layers: Mapping[str, int]) -> list[FilterBank]:
    """Banks of the layers named in `layers`, with their GPUs, out of a checkpoint's weights by canonical name."""
    return [FilterBank(layer, gpu, weights[f"{layer}.weight"]) for layer, gpu in layers.items()]
