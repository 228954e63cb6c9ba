"""The threads that run ahead: order, errors in their place, waiting, closing; and the same batches from any number of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convspec.data import BatchStream, Split, batches, readers
from convspec.data.colors import ColorNoise
from convspec.data.dataset import Pictures
from convspec.data.draws import Indices
from convspec.data.readers import NAME, Readers, Work
from convspec.machine import cpu_quota, usable_cores
from tests.data.numbered import Numbered

PCA = (np.array([60.0, 9.0, 2.0], np.float32), np.eye(3, dtype=np.float32))


class Hurried(Numbered):
    """Reads take times that have nothing to do with their order, and are counted by thread."""

    def __init__(self, count: int = 50) -> None:
        super().__init__(count)
        self.by_thread: dict[str, int] = {}
        self.seen = 0

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        time.sleep(0.002 * (indices[0] * 7 % 5) / 5)
        name = threading.current_thread().name
        self.by_thread[name] = self.by_thread.get(name, 0) + len(indices)
        return super().read(split, indices, epoch=epoch, out=out)


def parts_of(batch: batches.Batch) -> tuple[Any, ...]:
    assert batch.shifts is not None
    return batch.images.copy(), batch.labels.copy(), batch.shifts.copy()


def collected(monkeypatch: pytest.MonkeyPatch, dataset: Numbered, *, part: int = 3, **options: Any) -> list[Any]:
    """With parts of so many pictures."""
    monkeypatch.setattr(batches, "PART_BYTES", part * int(np.prod(dataset.shape)))
    given = {"batch_size": 16, "crop": (9, 7), "mirror": True, "colors": ColorNoise.of(PCA, 0.1), "seed": 4, "epoch": 2}
    with BatchStream(dataset, Split.TRAIN, **(given | options)) as stream:
        return [parts_of(batch) for batch in stream]


def assert_equal(one: list[Any], other: list[Any]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        for a, b in zip(left, right, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(("count", "part"), [(1, 3), (2, 3), (3, 1), (5, 4), (8, 50)])
def test_any_number_of_readers_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch, count: int, part: int) -> None:
    one = collected(monkeypatch, Numbered(), part=16, readers=1)
    dataset = Hurried()
    assert_equal(collected(monkeypatch, dataset, part=part, readers=count), one)
    assert sum(dataset.by_thread.values()) == 50
    assert len(dataset.by_thread) <= count
    if count == 3:
        assert len(dataset.by_thread) == 3, "all of them work"


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7, 16, 20])
def test_shares_are_slices_of_the_batch_and_read_nothing_else(monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    whole = collected(monkeypatch, Numbered())
    dataset = Hurried()
    shares = [collected(monkeypatch, dataset, share=(rank, ranks)) for rank in range(ranks)]
    assert sum(dataset.by_thread.values()) == 50
    for step, expected in enumerate(whole):
        each = -(-len(expected[1]) // ranks)
        sizes = [len(share[step][1]) for share in shares]
        assert sizes == [max(0, min(each, len(expected[1]) - rank * each)) for rank in range(ranks)]
        for i, part in enumerate(expected):
            assert np.array_equal(np.concatenate([share[step][i] for share in shares]), part)


def test_a_share_goes_on_where_its_batch_was(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collected(monkeypatch, Numbered(), share=(1, 3))
    assert_equal(collected(monkeypatch, Numbered(), share=(1, 3), start=2), whole[2:])


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 48),
    ranks=st.integers(1, 5),
    start=st.integers(0, 3),
    part=st.integers(1, 9),
)
def test_shares_of_any_batches(count: int, batch_size: int, ranks: int, start: int, part: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        options = {"batch_size": batch_size, "start": start, "part": part}
        whole = collected(monkeypatch, Numbered(count), **options)
        shares = [collected(monkeypatch, Numbered(count), share=(r, ranks), **options) for r in range(ranks)]
    assert len(whole) == max(0, -(-count // batch_size) - start)
    for step, expected in enumerate(whole):
        for i, values in enumerate(expected):
            assert np.array_equal(np.concatenate([share[step][i] for share in shares]), values)


# the threads alone


def numbers(count: int, part: Callable[[int], object] = lambda i: None) -> Iterator[Callable[[list[int]], Work[int]]]:
    """Items 0, 1, ..., of three parts each."""
    for i in range(count):
        yield lambda buffer, i=i: Work([lambda: part(i)] * 3, lambda: i)  # type: ignore[misc]


def test_items_come_out_in_order_though_they_are_ready_in_another() -> None:
    with Readers(numbers(40, lambda i: time.sleep(0.003 * (i % 3 == 0))), [[] for _ in range(6)], threads=4) as items:
        assert list(items) == list(range(40))
    assert not alive()


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(NAME)]


def test_an_error_is_raised_in_its_place_and_ends_it() -> None:
    """Though the threads met it while the items before it were in use."""

    def fail(i: int) -> None:
        if i == 2:
            raise ValueError("item 2")

    with Readers(numbers(9, fail), [[], [], [], []], threads=3) as items:
        assert next(items) == 0
        time.sleep(0.05)
        assert next(items) == 1
        with pytest.raises(ValueError, match="item 2"):
            next(items)
        with pytest.raises(StopIteration):
            next(items)
    assert not alive()


def test_an_error_of_a_plan_or_of_the_end_of_an_item_is_raised_too() -> None:
    def plans() -> Iterator[Callable[[int], Work[int]]]:
        yield lambda buffer: Work([lambda: None], lambda: 5)
        yield lambda buffer: Work([lambda: None], lambda: 1 // 0)

    with Readers(plans(), [0, 1, 2], threads=2) as items:
        assert next(items) == 5
        with pytest.raises(ZeroDivisionError):
            next(items)

    def broken() -> Iterator[Callable[[int], Work[int]]]:
        yield lambda buffer: Work([lambda: None], lambda: 5)
        raise KeyError("no more")

    with Readers(broken(), [0, 1, 2], threads=2) as items:
        assert next(items) == 5
        with pytest.raises(KeyError, match="no more"):
            next(items)


def test_whoever_waits_is_told_and_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """What on_wait raises comes out, and the item is there all the same later."""
    monkeypatch.setattr(readers, "POLL_SECONDS", 0.005)
    door, told = threading.Event(), []

    def on_wait(seconds: float) -> None:
        told.append(seconds)
        if len(told) == 3:
            raise InterruptedError

    with Readers(numbers(2, lambda i: door.wait(10)), [[], []], threads=2, on_wait=on_wait) as items:
        with pytest.raises(InterruptedError):
            next(items)
        assert told == sorted(told)
        assert 0 < told[0] <= items.waited
        door.set()
        assert next(items) == 0
        assert next(items) == 1
        assert items.waited < 5


def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not answer holds up the thread that asked it, and nobody else."""
    monkeypatch.setattr(readers, "CLOSE_SECONDS", 0.05)
    door = threading.Event()
    items = Readers(numbers(3, lambda i: door.wait(10)), [[], []], threads=2)
    began = time.monotonic()
    items.close()
    assert time.monotonic() - began < 2
    with pytest.raises(StopIteration):
        next(items)
    door.set()
    for thread in threading.enumerate():
        if thread.name.startswith(NAME):
            thread.join(5)
    assert not alive()


def test_cores_are_those_of_the_machine_less_what_is_taken_away(tmp_path: Any) -> None:
    assert usable_cores() >= 1
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(tmp_path) is None
    (tmp_path / "cpu.max").unlink()
    assert cpu_quota(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("200000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(tmp_path) == 2
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path) is None
