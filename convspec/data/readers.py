"""Threads that make the items of a sequence ahead of their use, each item in parts that several of them share.

Decoders and copies of pixels leave Python's lock, so threads use every core without the processes, pickles and shared
memory that workers of another kind need. Items come out in order, whoever made them. A fixed number of buffers goes round
between the threads and the reader: that bounds how far they run ahead, and no item allocates.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Generic, TypeVar

POLL_SECONDS = 0.25
"""How often a reader that waits is told so."""

CLOSE_SECONDS = 5.0
"""How long `close` waits for threads. One that hangs longer, on a disk that does not answer, is left behind."""

NAME = "convspec-reader"

B = TypeVar("B")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What makes an item: parts, at least one, in any order and at the same time, and then `finish` for the item."""

    parts: Sequence[Callable[[], object]]
    finish: Callable[[], T]


@dataclass(slots=True)
class _Slot(Generic[B, T]):
    """An item on its way. left: parts that are not done. error: what went wrong with it, to be raised in its place."""

    buffer: B
    work: Work[T] | None = None
    left: int = 0
    item: T | None = None
    error: BaseException | None = None
    is_ready: bool = False


@dataclass(slots=True)
class _Shared(Generic[B, T]):
    """What the threads and the reader share, behind one lock. slots: in order of their items."""

    free: list[B]
    slots: deque[_Slot[B, T]] = field(default_factory=deque)
    parts: deque[tuple[_Slot[B, T], Callable[[], object]]] = field(default_factory=deque)
    is_exhausted: bool = False
    is_closed: bool = False


class Readers(Iterator[T], Generic[B, T]):
    """An item is valid until the next is asked for. Close it, or use it in a `with`."""

    def __init__(
        self,
        plans: Iterator[Callable[[B], Work[T]]],
        buffers: Sequence[B],
        *,
        threads: int,
        on_wait: Callable[[float], None] = lambda seconds: None,
        on_return: Callable[[], None] = lambda: None,
    ) -> None:
        """plans: one an item, called in order with the buffer to make it in; quick, for nobody works meanwhile.

        on_return: is called before the buffer of an item may be written again; it may wait for who still reads there.
        on_wait: is called every quarter of a second while an item is waited for, with the seconds so far; what it raises
        comes out of `next`, and the next call goes on waiting for the same item.
        """
        self.waited = 0.0
        """Seconds that the last item was waited for."""
        self._plans, self._on_wait, self._on_return = plans, on_wait, on_return
        self._shared: _Shared[B, T] = _Shared(list(buffers))
        self._changed = Condition()
        self._lent: B | None = None
        self._threads = [Thread(target=self._run, name=f"{NAME}-{i}", daemon=True) for i in range(max(1, threads))]
        for thread in self._threads:
            thread.start()

    def __next__(self) -> T:
        began = time.monotonic()
        self._give_back()
        while (slot := self._next_slot()) is None:
            self.waited = time.monotonic() - began
            self._on_wait(self.waited)
        self.waited = time.monotonic() - began
        if slot.error is not None:
            self.close()
            raise slot.error
        assert slot.item is not None
        self._lent = slot.buffer
        return slot.item

    def close(self) -> None:
        """Stop the threads, and wait until they have left what they read, but not for ever."""
        with self._changed:
            self._shared.is_closed = True
            self._changed.notify_all()
        limit = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))

    def __enter__(self) -> Readers[B, T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # the reader's side

    def _give_back(self) -> None:
        if self._lent is None:
            return
        self._on_return()
        with self._changed:
            self._shared.free.append(self._lent)
            self._changed.notify_all()
        self._lent = None

    def _next_slot(self) -> _Slot[B, T] | None:
        """The next slot that is ready, out of the queue; None after some time without. Raises StopIteration at the end."""
        shared = self._shared
        with self._changed:
            self._changed.wait_for(self._is_decided, POLL_SECONDS)
            if shared.slots and shared.slots[0].is_ready and not shared.is_closed:
                return shared.slots.popleft()
            if not self._is_decided():
                return None
        self.close()
        raise StopIteration

    def _is_decided(self) -> bool:
        shared = self._shared
        if shared.is_closed:
            return True
        return shared.slots[0].is_ready if shared.slots else shared.is_exhausted

    # the threads' side

    def _run(self) -> None:
        while (task := self._take()) is not None:
            slot, part = task
            try:
                part()
            except BaseException as error:
                slot.error = error
            self._done(slot)

    def _take(self) -> tuple[_Slot[B, T], Callable[[], object]] | None:
        """A part to do, of the earliest item that has one; None when there is nothing more to do."""
        shared = self._shared
        with self._changed:
            while not shared.is_closed:
                if shared.parts:
                    return shared.parts.popleft()
                if shared.is_exhausted:
                    return None
                if shared.free:
                    self._begin(shared.free.pop())
                else:
                    self._changed.wait()
        return None

    def _begin(self, buffer: B) -> None:
        """Plan the next item, so that its parts are there to be done."""
        shared = self._shared
        slot: _Slot[B, T] = _Slot(buffer)
        try:
            plan = next(self._plans, None)
            if plan is None:
                shared.is_exhausted = True
                self._changed.notify_all()
                return
            slot.work = plan(buffer)
            slot.left = len(slot.work.parts)
            shared.parts.extend((slot, part) for part in slot.work.parts)
        except BaseException as error:
            slot.error, slot.is_ready, shared.is_exhausted = error, True, True
        shared.slots.append(slot)
        self._changed.notify_all()

    def _done(self, slot: _Slot[B, T]) -> None:
        with self._changed:
            slot.left -= 1
            if slot.left:
                return
        try:
            if slot.error is None and slot.work is not None:
                slot.item = slot.work.finish()
        except BaseException as error:
            slot.error = error
        with self._changed:
            slot.is_ready = True
            self._changed.notify_all()
