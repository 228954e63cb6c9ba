"""Ten views, averages over networks, and error rates, in NumPy and float64: what `convspec test` is compared with.

Nothing is shared with the package. `twist` breaks one thing, so that tests can show that the comparison would see it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def scores_of(images: Array, weights: Weights) -> Array:
    """The inputs of the softmax, (N, classes), of crops (N, H, W, C) without their mean: conv 3x3, ReLU, fc."""
    kernels, bias = weights["conv1.weight"], weights["conv1.bias"]
    n, height, width, _ = images.shape
    maps = np.zeros((n, len(kernels), height - 2, width - 2))
    for i in range(height - 2):
        for j in range(width - 2):
            window = images[:, i : i + 3, j : j + 3]
            maps[:, :, i, j] = np.einsum("nhwc,kchw->nk", window, kernels) + bias
    flat = np.maximum(maps, 0).reshape(n, -1)
    return flat @ weights["fc2.weight"].T + weights["fc2.bias"]


def crops_of(pictures: Array, side: int, views: int, twist: str = "") -> Array:
    """(views, N, side, side, C). Section 4.1: four corners, the centre, and all of them mirrored left to right."""
    room = pictures.shape[1] - side
    middle = room // 2
    if views == 1:
        return pictures[None, :, middle : middle + side, middle : middle + side]
    corners = [(0, 0), (0, room), (room, 0), (room, room), (middle, middle)]
    if twist == "corner":
        corners[3] = (room, room - 1)
    if twist == "centre":
        corners[4] = (middle + 1, middle)
    cut = [pictures[:, top : top + side, left : left + side] for top, left in corners]
    turned = [crop[:, ::-1] if twist == "upside down" else crop[:, :, ::-1] for crop in cut]
    return np.stack(cut + (cut if twist == "not mirrored" else turned))


def predictions(pictures: Array, training: Array, weights: Weights, side: int, views: int, twist: str = "") -> Array:
    """(N, classes). training: pictures whose mean is subtracted, its middle from every crop."""
    mean = crops_of(training.mean(0)[None], side, 1)[0, 0]
    crops = crops_of(pictures, side, views, twist)
    scores = np.stack([scores_of(crop - mean, weights) for crop in crops])
    return softmax(scores.mean(0)) if twist == "before the softmax" else softmax(scores).mean(0)


def error(probabilities: Array, labels: list[int], k: int) -> float:
    """Share of pictures whose label is not among the first k; equal probabilities share the places they compete for."""
    wrong = 0.0
    for row, label in zip(probabilities, labels, strict=True):
        better = sum(p > row[label] for p in row)
        equal = sum(p == row[label] for p in row)
        wrong += 1 - min(max((k - better) / equal, 0), 1)
    return wrong / len(labels)


def loss(probabilities: Array, labels: list[int]) -> float:
    return float(np.mean([-np.log(row[label]) for row, label in zip(probabilities, labels, strict=True)]))


def confusion(probabilities: Array, labels: list[int]) -> Array:
    """(classes, classes): rows are labels; a first place that several share is shared between them."""
    counts = np.zeros((probabilities.shape[1],) * 2)
    for row, label in zip(probabilities, labels, strict=True):
        first = [c for c, p in enumerate(row) if p == max(row)]
        for c in first:
            counts[label, c] += 1 / len(first)
    return counts
