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
from convspec.data.dataset import ColorPca, Pictures
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.program.costs import BinaryCrossEntropy, CrossEntropy, LogSquareError
from convspec.program.moves import Input
from convspec.program.program import Program
from convspec.train.device import Uploads
from convspec_kernels import augment
from convspec_kernels.dispatch import describe

IMAGES, LABELS, ONE_HOT = 0, 1, 2

FUSED = ("numba", "triton")
"""Who computes `augment` in one pass; what stands in for them is slower than torch's operators on crops."""

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
    def kept(
        cls, tensors: Mapping[str, Tensor], shape: tuple[int, int, int], *, with_colors: bool
    ) -> PictureStatistics | None:
        """What `tensors` gave to a checkpoint; None where not all that is wanted is in it, as after an import.

        shape: of an input, (channels, height, width). Raises DiagnosticError CS709 where the mean is not of this shape, or
        anything is not what it should be.
        """
        names = ("mean", *(_PCA_NAMES if with_colors else ()))
        if not all(name in tensors for name in names):
            return None
        channels, height, width = shape
        for name, wanted in zip(names, ((height, width, channels), (3,), (3, 3)), strict=False):
            found = tensors[name]
            if tuple(found.shape) != wanted or found.dtype != torch.float32:
                sizes, others = ("x".join(map(str, each)) for each in (found.shape, wanted))
                kinds = f"{sizes} of {found.dtype}, and not {others} of torch.float32"
                message = f"the checkpoint is not one of this network: its {name} is {kinds}"
                raise DiagnosticError(Diagnostic("CS709", message, help="go on from another checkpoint, or train anew"))
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

    Pictures cross to the device as bytes, a quarter of what floats would be. Where `augment` has a kernel, for square inputs
    of three channels, it does what is left in one pass. On a GPU that includes cropping and mirroring (`takes_stored`). On
    the CPU the threads of the stream do it while the pictures are in their caches: 1.2 times as fast at 227x227.
    """

    def __init__(self, program: Program, mean: NDArray[np.float32], device: torch.device, batch_size: int) -> None:
        """mean: (H, W, C), of the input's size."""
        height, width, channels = mean.shape
        is_fused = height == width and channels == 3 and describe(device.type) in FUSED
        self.takes_stored = is_fused and device.type != "cpu"
        self._is_fused = is_fused
        self._inputs = program.inputs
        self._class_inputs = program.class_inputs
        self._upload = Uploads(device)
        self._mean = torch.from_numpy(mean).to(device)
        self._buffer = torch.empty((batch_size, *mean.shape), device=device)

    def allocate(self, shape: tuple[int, ...]) -> Pictures:
        """Memory for a stream of batches, from which the device can be reached fastest."""
        return self._upload.allocate(shape)

    def release(self) -> None:
        """Wait until the memory of the last batch may be written again."""
        self._upload.wait()

    def __call__(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Tensors by the name of the data layer, valid until the next call; and the labels, (N,)."""
        count = len(batch.labels)
        shifts = np.zeros((count, 3), np.float32) if batch.shifts is None else batch.shifts
        places, mirrors = np.zeros((count, 2), np.int32), np.zeros(count, np.bool_)
        if batch.where is not None:
            places[:, 0], places[:, 1] = batch.where.tops, batch.where.lefts
            mirrors[:] = batch.where.mirrored
        sets = [] if batch.sets is None else [batch.sets]
        pictures, colours, offsets, turns, labels, *rest = self._upload(
            batch.images, shifts, places, mirrors, batch.labels, *sets
        )
        images = self._buffer[:count]
        if self._is_fused or batch.where is not None:
            size, out = images.shape[1], images.permute(0, 3, 1, 2)
            augment(pictures, offsets, turns, colours, self._mean, size=size, scale=batch.scale, out=out)
        else:
            images.copy_(pictures).sub_(self._mean)
            if batch.shifts is not None:
                images.add_(colours[:, None, None, :]).mul_(batch.scale)
        own = rest[0] if rest else None
        return {op.key: self._for_input(op, images.permute(0, 3, 1, 2), labels, own) for op in self._inputs}, labels

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
        readers = [cost for cost in program.costs if program.origin(cost.inputs[0]) == op.name]
        if op.data_index == IMAGES:
            continue
        if op.name in program.class_inputs:
            found += [program.values[cost.inputs[1]].shape.features for cost in readers]
        elif op.shape.features > 1:
            found.append(op.shape.features)
        elif any(isinstance(cost, CrossEntropy | BinaryCrossEntropy | LogSquareError) for cost in readers):
            found.append(2)
    return min(found, default=None)
