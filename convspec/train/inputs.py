"""From a batch of uint8 crops to the tensors that a network reads: on its device, floats, the mean subtracted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convspec.data.batches import Batch
from convspec.data.dataset import ColorPca
from convspec.program.costs import BinaryCrossEntropy, CrossEntropy, LogSquareError
from convspec.program.operators import Input
from convspec.program.program import Program

IMAGES, LABELS, ONE_HOT = 0, 1, 2

_PCA_NAMES = ("color_pca/deviations", "color_pca/directions")


@dataclass(frozen=True, slots=True)
class PictureStatistics:
    """What a run knows of its training pictures and keeps, so that it goes on with the same.

    mean: what is subtracted from an input, (H, W, C). color_pca: None for a run without colour noise.
    """

    mean: NDArray[np.float32]
    color_pca: ColorPca | None = None

    def tensors(self) -> dict[str, Tensor]:
        """By the names that they have in a checkpoint."""
        parts = {"mean": self.mean}
        if self.color_pca is not None:
            parts |= zip(_PCA_NAMES, self.color_pca, strict=True)
        return {name: torch.from_numpy(part) for name, part in parts.items()}

    @classmethod
    def kept(cls, tensors: Mapping[str, Tensor], *, with_colors: bool) -> PictureStatistics | None:
        """What `tensors` gave to a checkpoint; None where not all that is wanted is in it, as after an import."""
        names = ("mean", *(_PCA_NAMES if with_colors else ()))
        if not all(name in tensors for name in names):
            return None
        mean, *pca = (tensors[name].numpy() for name in names)
        return cls(mean, (pca[0], pca[1]) if pca else None)


def picture_shape(program: Program) -> tuple[int, int, int]:
    """What the data layer reads, (channels, height, width). A plain vector is RGB maps if it can be, or grey."""
    shape = next(op for op in program.inputs if op.data_index == IMAGES).shape
    maps = shape if shape.is_map else shape.as_square_maps(3) or shape.as_square_maps(1)
    if maps is None:
        return (shape.features, 1, 1)
    return (maps.channels, maps.height, maps.width)


class InputTensors:
    """Turns batches into inputs. The images live in one buffer, in channels-last order, that the next batch overwrites.

    Pictures cross to the device as bytes, a quarter of what floats would be, and become floats there.
    """

    def __init__(self, program: Program, mean: NDArray[np.float32], device: torch.device, batch_size: int) -> None:
        """mean: (H, W, C), of the input's size."""
        self._inputs = program.inputs
        self._class_inputs = program.class_inputs
        self._device = device
        self._mean = torch.from_numpy(mean).to(device)
        self._buffer = torch.empty((batch_size, *mean.shape), device=device)

    def __call__(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Tensors by the name of the data layer, valid until the next call; and the labels, (N,)."""
        images = self._buffer[: len(batch.labels)]
        images.copy_(torch.from_numpy(batch.images)).sub_(self._mean)
        if batch.shifts is not None:
            images.add_(torch.from_numpy(batch.shifts).to(self._device)[:, None, None, :]).mul_(batch.scale)
        labels = torch.from_numpy(batch.labels).to(self._device, copy=True)
        sets = None if batch.sets is None else torch.from_numpy(batch.sets).to(self._device)
        return {op.key: self._for_input(op, images.permute(0, 3, 1, 2), labels, sets) for op in self._inputs}, labels

    def _for_input(self, op: Input, images: Tensor, labels: Tensor, sets: Tensor | None) -> Tensor:
        """Labels are numbers of classes for the costs that ask for them, a column of numbers for other layers that read
        one of them, and else one-hot; where a picture has several, as `sets` tells, each of them is 1."""
        if op.data_index == IMAGES:
            return images if op.shape.is_map else images.flatten(1)
        if op.name in self._class_inputs:
            return labels
        if op.shape.features == 1:
            dense = labels
        elif sets is None:
            dense = F.one_hot(labels, op.shape.features)
        else:
            dense = F.pad(sets, (0, op.shape.features - sets.shape[1]))
        return dense.to(images.dtype).view(len(labels), *op.shape.dims)


def label_capacity(program: Program) -> int | None:
    """How many classes the labels can have that the network reads; None if it reads none, or takes any number for one.

    A single number that a cost compares with an output is a target of 0 or 1.
    """
    found: list[int] = []
    for op in program.inputs:
        readers = [cost for cost in program.costs if cost.inputs[0] == op.name]
        if op.data_index == IMAGES:
            continue
        if op.name in program.class_inputs:
            found += [program.values[cost.inputs[1]].shape.features for cost in readers]
        elif op.shape.features > 1:
            found.append(op.shape.features)
        elif any(isinstance(cost, CrossEntropy | BinaryCrossEntropy | LogSquareError) for cost in readers):
            found.append(2)
    return min(found, default=None)
