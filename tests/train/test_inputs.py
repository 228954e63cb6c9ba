"""From batches to tensors: stored pictures cut on the device and crops cut by the stream are the same inputs, to the bit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from convspec.data import BatchStream, Split
from convspec.data.colors import ColorNoise
from convspec.data.dataset import Pictures
from convspec.data.draws import Indices
from convspec.program.moves import Input
from convspec.program.program import Program
from convspec.program.shape import Shape
from convspec.train.device import Uploads
from convspec.train.inputs import InputTensors
from tests.data.numbered import Numbered

SIDE = 9
CPU = torch.device("cpu")


class Random(Numbered):
    """Pictures of random bytes, so that no two crops are alike."""

    def __init__(self, count: int = 23, channels: int = 3) -> None:
        super().__init__(count)
        self.shape = (12, 14, channels)
        self.pictures = np.random.default_rng(0).integers(0, 256, (count, *self.shape), np.uint8)

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        out[...] = self.pictures[indices]
        return indices


def program(channels: int, height: int, width: int) -> Program:
    shape = Shape.of_maps(channels, height, width)
    return Program("p", (Input(name="data", inputs=(), shape=shape, layers=("data",), data_index=0),), (), ())


def noise() -> ColorNoise:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0].astype(np.float32)
    return ColorNoise.of((np.array([60, 9, 2], np.float32), turn), 0.1, rescales=True)


def tensors(
    *,
    crop: tuple[int, int] = (SIDE, SIDE),
    channels: int = 3,
    device: torch.device = CPU,
    split: Split = Split.TRAIN,
    **options: Any,
) -> list[Tensor]:
    mean = np.random.default_rng(2).random((*crop, channels), np.float32) * 200
    inputs = InputTensors(program(channels, *crop), mean, device, 8)
    given = {"batch_size": 8, "crop": crop, "mirror": True, "allocate": inputs.allocate} | options
    with BatchStream(Random(channels=channels), split, **given) as stream:
        return [inputs(batch)[0]["data"].cpu().clone() for batch in stream]


def by_hand(split: Split, colors: ColorNoise | None) -> list[np.ndarray[Any, Any]]:
    """Picture by picture in float64, from what the stream says of each batch."""
    mean = np.random.default_rng(2).random((SIDE, SIDE, 3), np.float32) * 200
    found, pictures = [], Random().pictures
    with BatchStream(
        Random(), split, batch_size=8, crop=(SIDE, SIDE), mirror=True, stored=True, colors=colors
    ) as stream:
        for batch in stream:
            assert batch.where is not None
            assert np.array_equal(batch.images, pictures[batch.labels])
            rows = []
            for n, index in enumerate(batch.labels):
                top, left = batch.where.tops[n], batch.where.lefts[n]
                picture = pictures[index, top : top + SIDE, left : left + SIDE].astype(float)
                picture = picture[:, ::-1] if batch.where.mirrored[n] else picture
                shift = 0 if batch.shifts is None else batch.shifts[n].astype(float)
                rows.append(((picture - mean + shift) * batch.scale).transpose(2, 0, 1))
            found.append(np.stack(rows))
    return found


@pytest.mark.parametrize("split", Split)
@pytest.mark.parametrize("kernels", ["auto", "eager", "reference"])
def test_whoever_cuts_gives_the_same_bits(kernels: str, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSPEC_KERNELS", kernels)
    for colors in (None, noise()):
        cut, stored = (tensors(stored=stored, colors=colors, split=split) for stored in (False, True))
        assert [len(batch) for batch in cut] == [8, 8, 7]
        for one, other, expected in zip(cut, stored, by_hand(split, colors), strict=True):
            assert torch.equal(one, other)
            assert one.is_contiguous(memory_format=torch.channels_last)
            np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("crop", "channels"), [((SIDE, 7), 3), ((SIDE, SIDE), 1)])
def test_what_is_not_square_or_grey_is_cut_by_the_stream(crop: tuple[int, int], channels: int) -> None:
    mean = np.zeros((*crop, channels), np.float32)
    assert not InputTensors(program(channels, *crop), mean, CPU, 8).takes_stored
    given = tensors(crop=crop, channels=channels)
    assert [tuple(batch.shape) for batch in given] == [(n, channels, *crop) for n in (8, 8, 7)]


def test_an_empty_share_is_an_input_without_pictures() -> None:
    for stored in (False, True):
        shares = [tensors(stored=stored, share=(rank, 5)) for rank in range(5)]
        assert [len(share[-1]) for share in shares] == [2, 2, 2, 1, 0]


def test_memory_on_the_host_is_bytes_of_the_shape() -> None:
    memory = Uploads(CPU).allocate((2, 3))
    assert (memory.shape, memory.dtype) == ((2, 3), np.uint8)
    memory[:] = 7
    assert (Uploads(CPU)(memory)[0] == 7).all()


@pytest.mark.gpu
def test_a_gpu_cuts_stored_pictures_to_the_same_inputs() -> None:
    device = torch.device("cuda", 0)
    assert InputTensors(program(3, SIDE, SIDE), np.zeros((SIDE, SIDE, 3), np.float32), device, 8).takes_stored
    for split, colors in product(Split, (None, noise())):
        expected = tensors(colors=colors, split=split)
        for stored in (False, True):
            given = tensors(stored=stored, colors=colors, split=split, device=device)
            for one, other in zip(given, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-5)


@pytest.mark.gpu
def test_batches_overwrite_no_picture_that_a_gpu_still_reads() -> None:
    """With the device kept busy, so that copies have time to be overtaken."""
    device, busy = torch.device("cuda", 0), torch.randn(4096, 4096, device="cuda")
    mean = np.zeros((SIDE, SIDE, 3), np.float32)
    inputs, dataset = InputTensors(program(3, SIDE, SIDE), mean, device, 8), Random(count=400)
    options = {"batch_size": 8, "crop": (SIDE, SIDE), "stored": True, "allocate": inputs.allocate}
    found = []
    with BatchStream(dataset, Split.TEST, **options) as stream:  # type: ignore[arg-type]
        for batch in stream:
            for _ in range(5):
                busy @ busy
            found.append(inputs(batch)[0]["data"].clone())
    whole = torch.cat(found).cpu().permute(0, 2, 3, 1)
    assert torch.equal(whole, torch.from_numpy(dataset.pictures[:, 1:10, 2:11].astype(np.float32)))
