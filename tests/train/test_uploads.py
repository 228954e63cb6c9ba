"""The way of pictures to a device, on a machine that has none: copies that are made as late as the order of streams allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import Tensor

from convspec.data import Batch, BatchStream, Split
from convspec.train.device import Uploads
from convspec.train.inputs import InputTensors
from convspec.train.loop import Training
from tests.train.runs import go
from tests.train.test_inputs import SIDE, Random, program
from tests.train.tinynet import Compiled

GPU = torch.device("cuda", 0)


@dataclass(eq=False)
class Stream:
    """Does nothing before somebody waits for it."""

    waiting: list[Callable[[], object]] = field(default_factory=list)
    waits_for: list[Event] = field(default_factory=list)

    def record_event(self) -> Event:
        return Event(self, len(self.waiting))

    def wait_event(self, event: Event) -> None:
        self.waits_for.append(event)


@dataclass(eq=False)
class Event:
    stream: Stream
    place: int
    is_waited_for: bool = False

    def synchronize(self) -> None:
        self.is_waited_for = True
        while self.stream.waiting:
            self.stream.waiting.pop(0)()


class Pretended:
    """CUDA as `Uploads` calls it. `computing`: the stream of the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computing, self.current = Stream(), [Stream()]
        self.read_in: list[tuple[Tensor, Stream]] = []
        to, empty = Tensor.to, torch.empty

        def unpinned(*sizes: Any, pin_memory: bool = False, **more: Any) -> Tensor:
            return empty(*sizes, **more)

        def send(tensor: Tensor, *target: Any, non_blocking: bool = False, **more: Any) -> Tensor:
            if target != (GPU,):
                return to(tensor, *target, non_blocking=non_blocking, **more)
            assert non_blocking, "the host would wait"
            there = torch.full_like(tensor, 77)
            self.current[-1].waiting.append(lambda: there.copy_(tensor))
            return there

        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.computing)
        monkeypatch.setattr(torch.cuda, "stream", self.on)
        monkeypatch.setattr(torch, "empty", unpinned)
        monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: self.read_in.append((tensor, stream)))
        monkeypatch.setattr(Tensor, "to", send)

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        self.current.append(stream)
        yield
        self.current.pop()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return Pretended(monkeypatch)


def test_the_host_waits_for_no_copy(gpu: Pretended) -> None:
    """The network does; and memory of the upload's stream is not given away while the network reads it."""
    uploads = Uploads(GPU)
    pictures, labels, shifts = np.full((2, 3), 5, np.uint8), np.array([3, 4]), np.ones((2, 3), np.float32)
    there, *small = uploads(pictures, labels, shifts, np.array([True, False]))
    assert (there == 77).all(), "nothing was copied yet"
    [event] = gpu.computing.waits_for
    assert not event.is_waited_for
    assert {stream for _, stream in gpu.read_in} == {gpu.computing}
    assert {tensor.untyped_storage().data_ptr() for tensor, _ in gpu.read_in} == {
        each.untyped_storage().data_ptr() for each in (there, *small)
    }
    labels[:], shifts[:] = 0, 0  # small arrays are the caller's again
    uploads.wait()
    assert (there == 5).all()
    assert [tensor.tolist() for tensor in small] == [[3, 4], [[1.0] * 3] * 2, [True, False]]
    assert [tensor.dtype for tensor in small] == [torch.int64, torch.float32, torch.bool]
    assert (event.stream, event.place) == (gpu.computing.waits_for[0].stream, 2), "behind both copies"


def test_the_next_upload_waits_for_the_last(gpu: Pretended) -> None:
    uploads, memory = Uploads(GPU), np.full(4, 1, np.uint8)
    [first] = uploads(memory)
    uploads(np.full(4, 2, np.uint8))
    memory[:] = 9
    assert (first == 1).all()


def test_empty_arrays_have_a_place(gpu: Pretended) -> None:
    uploads = Uploads(GPU)
    _, labels, where, sets = uploads(
        np.empty((0, 2), np.uint8), np.empty(0, np.int64), np.empty((0, 2), np.int32), np.array([7])
    )
    uploads.wait()
    assert (labels.shape, where.shape, sets.tolist()) == ((0,), (0, 2), [7])


ARRAYS = arrays(
    st.sampled_from([np.uint8, np.bool_, np.int32, np.int64, np.float32]),
    array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
    elements=st.integers(0, 1),
)


@given(small=st.lists(st.tuples(ARRAYS, st.booleans()), max_size=5))
def test_small_arrays_arrive_as_they_were(small: list[tuple[np.ndarray[Any, Any], bool]]) -> None:
    """Whatever they are, and however they lie in memory."""
    given_arrays = [array.T if is_turned else array for array, is_turned in small]
    _, *arrived = Uploads(torch.device("cpu"))(np.zeros(1, np.uint8), *given_arrays)
    for tensor, array in zip(arrived, given_arrays, strict=True):
        assert tensor.is_contiguous()
        assert tensor.numpy().dtype == array.dtype
        assert np.array_equal(tensor.numpy(), array)


def test_a_stream_writes_over_no_picture_that_is_not_copied(gpu: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the epoch: each minibatch arrives as it was, though copies are late, and the readers quick."""
    dataset, arrived = Random(count=100), list[Tensor]()
    inputs = InputTensors(program(3, SIDE, SIDE), np.zeros((SIDE, SIDE, 3), np.float32), torch.device("cpu"), 4)
    inputs._upload = Uploads(GPU)
    options: dict[str, Any] = {"batch_size": 4, "crop": dataset.shape[:2], "allocate": inputs.allocate}
    with BatchStream(dataset, Split.TEST, **options, on_return=inputs.release) as stream:
        arrived += [inputs._upload(batch.images, batch.labels)[0] for batch in stream]
    inputs.release()
    assert torch.equal(torch.cat(arrived), torch.from_numpy(dataset.pictures))


def test_a_run_waits_before_each_minibatch_but_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def step(training: Training, batch: Batch) -> None:
        told.append("step")
        training.position.step += 1

    monkeypatch.setattr(InputTensors, "release", lambda inputs: told.append("release"))
    monkeypatch.setattr(Training, "step_on", step)
    go(Compiled(), tmp_path / "run", max_steps=3)
    assert told == ["step", "release", "step", "release", "step"]
