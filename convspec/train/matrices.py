"""Weights and biases as the original programs laid them out, and as PyTorch does.

    conv        (channels*F*F, filters)              rows (channel, y, x) of the kernel
    local       (windows*channels*F*F, filters)      rows (window, channel, y, x)
    fc, treefc  (features, outputs)
    sfc         (features, outputs/parts)            part p of the rows gives part p of the outputs
    biases      (filters, 1), (filters*windows, 1) or (1, outputs): in all three the order of ours

An array knows its own order in memory, so that only its rows and columns count here.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]


def matrix_shape(layer_type: str, shape: tuple[int, ...], parts: int) -> tuple[int, int]:
    """Rows and columns of the matrix that holds weights of `shape`. parts: of an `sfc` layer.

    shape: OIHW; OIHWij for `local` (i, j: the window); out x in for `fc`; out x in/parts x 1 x 1 for `sfc`.
    """
    match layer_type:
        case "conv" | "local":
            return prod(shape[1:]), shape[0]
        case _:
            return parts * shape[1], shape[0] // parts


def weights_of(layer_type: str, matrix: Matrix, shape: tuple[int, ...], parts: int) -> Matrix:
    """The weights in `matrix`, whose shape is `matrix_shape(...)`, in the layout of ours."""
    weights: NDArray[Any]
    match layer_type:
        case "conv":
            filters, channels, height, width = shape
            weights = matrix.reshape(channels, height, width, filters).transpose(3, 0, 1, 2)
        case "local":
            filters, channels, height, width, rows, columns = shape
            weights = matrix.reshape(rows, columns, channels, height, width, filters).transpose(5, 2, 3, 4, 0, 1)
        case _:
            weights = matrix.reshape(parts, shape[1], shape[0] // parts).transpose(0, 2, 1)
    return np.ascontiguousarray(weights).reshape(shape)


def biases_of(column: Matrix, shape: tuple[int, ...]) -> Matrix:
    """Biases, shared or one an output: index filter*windows + window is C order over (filters, rows, columns)."""
    return np.ascontiguousarray(column.reshape(-1)).reshape(shape)
