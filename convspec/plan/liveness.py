"""Walks a step forward and backward and counts the bytes that are alive.

Python frees a tensor when nobody refers to it any more: a variable of `forward`, an argument of a call that runs, what
autograd saved for a backward pass, a gradient that is still to be read. The walk follows these four.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from convspec.plan.calls import Call, Order, Tape


class Peak(NamedTuple):
    """The moment of a step at which most bytes are alive beyond what is held between steps.

    operator: that runs then. is_backward: in which pass. size: bytes; of these, gradients are those of parameters, saved
    is what autograd keeps, and the remainder is in use for the moment.
    """

    size: int
    gradients: int
    saved: int
    operator: str
    is_backward: bool

    @property
    def transient(self) -> int:
        return self.size - self.gradients - self.saved


class Step(NamedTuple):
    """What a training step takes. saved: bytes that autograd keeps when the forward pass is done."""

    saved: int
    peak: Peak


def walk(tape: Tape) -> Step:
    """The memory of a step."""
    memory = _Memory(tape)
    memory.forward()
    saved = memory.saved
    memory.backward()
    return Step(saved, memory.peak)


class _Memory:
    """The bytes that are alive. Buffers are counted by those who refer to them; gradients likewise, under numbers."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.learning = _learning(tape)
        self.live = self.saved = self.gradients = 0
        self.peak = Peak(0, 0, 0, "", is_backward=False)
        self.holders: Counter[str] = Counter()
        self.savers: Counter[str] = Counter()
        self.gradient_of: dict[str, int] = {}
        self.sizes: list[int] = []
        self.readers: Counter[int] = Counter()
        self.learnt: set[str] = set()
        self.turned: set[str] = set()

    def forward(self) -> None:
        dropped = _dropped_after(self.tape)
        for number, call in enumerate(self.tape.calls):
            self._hold(call.result)
            self._note(call, call.forward_extra, is_backward=False)
            if call.result in self.learning:
                self._save(call)
                self._note(call, 0, is_backward=False)
            for name in dropped[number]:
                self._drop(name)
        for name in dropped[len(self.tape.calls)]:
            self._drop(name)

    def backward(self) -> None:
        for name in self.tape.objective:
            self.gradient_of[name] = self._allocate(self.tape.slots[name].size)
        for call in reversed(self.tape.calls):
            if call.result in self.gradient_of:
                self._differentiate(call)

    def _differentiate(self, call: Call) -> None:
        """Run the gradient of a call: new gradients are made, then what it saved and what it read is let go."""
        own = self.gradient_of.pop(call.result)
        is_turned = call.result in self.turned
        extra = call.backward_extra + (call.turned_extra if is_turned else 0)
        made = [
            (name, self._share(own) if call.passes_gradient else self._allocate(self._size(name)))
            for name in dict.fromkeys(call.reads)
            if name in self.learning
        ]
        learnt_again = 0
        for parameter, size in call.learns:
            learnt_again += size if parameter in self.learnt else 0
            self._learn(parameter, size)
        self._note(call, extra + learnt_again, is_backward=True)
        self._release(call)
        self._let_go(own)
        self._note(call, call.copied, is_backward=True)
        for name, gradient in made:
            if name not in self.gradient_of and (
                call.order is Order.TURNED or (call.order is Order.KEPT and is_turned)
            ):
                self.turned.add(name)
            self._accumulate(name, gradient, call)

    def _accumulate(self, name: str, gradient: int, call: Call) -> None:
        """Give a slot its gradient, or add it to the one there is: in place, unless something else reads that one."""
        other = self.gradient_of.get(name)
        if other is None:
            self.gradient_of[name] = gradient
            return
        if self.readers[other] > 1:
            self.gradient_of[name] = self._allocate(self._size(name))
            self._note(call, 0, is_backward=True)
            self._let_go(other)
        self._let_go(gradient)

    def _learn(self, parameter: str, size: int) -> None:
        if parameter not in self.learnt:
            self.learnt.add(parameter)
            self.gradients += size
            self.live += size

    def _hold(self, name: str) -> None:
        slot = self.tape.slots[name]
        if slot.buffer in self.tape.given:
            return
        if not self.holders[slot.buffer]:
            self.live += self.tape.slots[slot.buffer].size
        self.holders[slot.buffer] += 1

    def _drop(self, name: str) -> None:
        slot = self.tape.slots[name]
        if slot.buffer in self.tape.given:
            return
        self.holders[slot.buffer] -= 1
        if not self.holders[slot.buffer]:
            self.live -= self.tape.slots[slot.buffer].size

    def _save(self, call: Call) -> None:
        self.live += call.kept
        self.saved += call.kept
        for name in call.saves:
            self._hold(name)
            self._count_saved(name, 1)

    def _release(self, call: Call) -> None:
        self.live -= call.kept
        self.saved -= call.kept
        for name in call.saves:
            self._drop(name)
            self._count_saved(name, -1)

    def _count_saved(self, name: str, change: int) -> None:
        buffer = self.tape.slots[name].buffer
        if buffer in self.tape.given:
            return
        before = self.savers[buffer] > 0
        self.savers[buffer] += change
        self.saved += (int(self.savers[buffer] > 0) - int(before)) * self.tape.slots[buffer].size

    def _size(self, name: str) -> int:
        return self.tape.slots[name].size

    def _allocate(self, size: int) -> int:
        self.live += size
        self.sizes.append(size)
        self.readers[len(self.sizes) - 1] = 1
        return len(self.sizes) - 1

    def _share(self, gradient: int) -> int:
        self.readers[gradient] += 1
        return gradient

    def _let_go(self, gradient: int) -> None:
        self.readers[gradient] -= 1
        if not self.readers[gradient]:
            self.live -= self.sizes[gradient]

    def _note(self, call: Call, extra: int, *, is_backward: bool) -> None:
        if self.live + extra > self.peak.size:
            self.peak = Peak(self.live + extra, self.gradients, self.saved, call.operator, is_backward)


def _learning(tape: Tape) -> set[str]:
    """Slots that have a gradient."""
    learning = set(tape.crossed)
    for call in tape.calls:
        if call.learns or not learning.isdisjoint(call.reads):
            learning.add(call.result)
    return learning


def _dropped_after(tape: Tape) -> Mapping[int, list[str]]:
    """Slots that Python lets go after each call, by its number; after the last one, those that variables still hold."""
    last: dict[str, int] = {}
    holding: dict[str, str] = {}
    for number, call in enumerate(tape.calls):
        for name in (*call.reads, *call.holds, call.result):
            if name not in tape.variables:
                last[name] = number
        variable = tape.variables.get(call.result)
        if variable is not None:
            if variable in holding:
                last[holding[variable]] = number
            holding[variable] = call.result
    last |= dict.fromkeys(holding.values(), len(tape.calls))
    dropped: dict[int, list[str]] = defaultdict(list)
    for name, number in last.items():
        if name not in tape.given and name not in tape.returned:
            dropped[number].append(name)
    return dropped
