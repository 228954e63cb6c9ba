"""The walk through a step, on tapes small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Sequence

from convspec.plan.calls import Call, Order, Slot, Tape
from convspec.plan.liveness import Peak, Step, walk


def tape(calls: Sequence[Call], sizes: dict[str, int], variables: dict[str, str], objective: str) -> Tape:
    """X is there before; all slots have memory of their own; the objective is what the forward pass gives."""
    slots = {name: Slot(size, name) for name, size in {"x": 1000, **sizes}.items()}
    return Tape(tuple(calls), slots, frozenset(("x",)), frozenset(), variables, frozenset((objective,)), (objective,))


def test_a_chain() -> None:
    calls = [
        Call("f", "a", ("x",), saves=("x",), kept=5, learns=(("w", 8),), backward_extra=200),
        Call("g", "b", ("a",), saves=("a",), kept=7),
        Call("h", "c", ("b",), saves=("c",)),
    ]
    step = walk(tape(calls, {"a": 100, "b": 60, "c": 40}, {"a": "v", "c": "v"}, "c"))
    # a, c, and what f and g keep; b went when h had read it, though `v` held a until it was given c
    assert step.saved == 100 + 40 + 5 + 7
    # in the end: c, which is given, the gradient of a, what f keeps, the gradient of w, and what f needs meanwhile
    assert step.peak == Peak(40 + 100 + 5 + 8 + 200, 8, 5, "f", is_backward=True)


def test_without_what_the_last_call_needs_the_peak_is_above_it() -> None:
    calls = [
        Call("f", "a", ("x",), kept=5, learns=(("w", 8),)),
        Call("g", "b", ("a",), saves=("a",), kept=7),
        Call("h", "c", ("b",), saves=("c",)),
    ]
    step = walk(tape(calls, {"a": 100, "b": 60, "c": 40}, {}, "c"))
    # c, and the gradients of b and a beside a and what f and g keep; the gradient of c has gone
    assert step.peak == Peak(40 + 60 + 100 + 100 + 5 + 7, 0, 112, "g", is_backward=True)


def test_what_two_read_has_the_sum_of_their_gradients() -> None:
    calls = [
        Call("f", "a", ("x",), learns=(("w", 8),)),
        Call("p", "b", ("a",)),
        Call("q", "c", ("a",)),
        Call("add", "d", ("b", "c"), passes_gradient=True),
    ]
    step = walk(tape(calls, {"a": 100, "b": 100, "c": 100, "d": 100}, {"a": "a", "b": "b", "c": "c", "d": "d"}, "d"))
    # forward: all four; nothing is kept
    assert step == Step(0, Peak(400, 0, 0, "add", is_backward=False))
    without = walk(tape(calls, {"a": 100, "b": 100, "c": 100, "d": 100}, {}, "d"))
    # without variables only what is read, and d; then three gradients are there at once: that of d, which is b's and c's
    # too, the one of a by q, and the one by p before it is added
    assert without.peak == Peak(400, 0, 0, "p", is_backward=True)
    narrow = walk(tape(calls, {"a": 100, "b": 10, "c": 10, "d": 10}, {}, "d"))
    assert narrow.peak == Peak(10 + 10 + 100 + 100, 0, 0, "p", is_backward=True)


def test_a_parameter_that_two_read_has_one_gradient_and_another_for_the_moment() -> None:
    calls = [
        Call("f", "a", ("x",), learns=(("w", 500),)),
        Call("g", "b", ("a",), learns=(("w", 500),)),
    ]
    step = walk(tape(calls, {"a": 10, "b": 10}, {}, "b"))
    assert step.peak == Peak(10 + 10 + 500 + 500, 500, 0, "f", is_backward=True)


def test_what_nothing_below_learns_from_keeps_nothing() -> None:
    calls = [
        Call("f", "a", ("x",), saves=("x", "a"), kept=50),
        Call("g", "b", ("a",), saves=("a",), learns=(("w", 8),)),
    ]
    step = walk(tape(calls, {"a": 100, "b": 60}, {}, "b"))
    assert step.saved == 100
    # the gradient of b, b itself, and a for that of w
    assert step.peak == Peak(60 + 60 + 100 + 8, 8, 100, "g", is_backward=True)


def test_a_gradient_that_something_else_reads_is_not_added_to_in_place() -> None:
    calls = [
        Call("f", "a", ("x",), learns=(("w", 8),), backward_extra=1000),
        Call("r", "e", ("x",), learns=(("u", 8),)),
        Call("q", "c", ("a",)),
        Call("first", "s", ("a", "e"), passes_gradient=True),
        Call("second", "d", ("s", "c"), passes_gradient=True),
    ]
    sizes = dict.fromkeys("ecsd", 100) | {"a": 300}
    # in the end nothing is left but d, which is given, the gradient of a, and those of both parameters
    assert walk(tape(calls, sizes, {}, "d")).peak == Peak(100 + 300 + 16 + 1000, 16, 0, "f", is_backward=True)
    # where q runs backward, e's gradient is still that of d: the one of a by q, and the sum, are memory of their own
    calls[0] = calls[0]._replace(backward_extra=0)
    assert walk(tape(calls, sizes, {}, "d")).peak == Peak(100 + 100 + 300 + 300, 0, 0, "q", is_backward=True)


def test_a_gradient_that_lies_otherwise_is_copied_by_who_needs_it_in_order() -> None:
    calls = [
        Call("f", "a", ("x",), learns=(("w", 8),)),
        Call("pool", "b", ("a",), order=Order.OWN, turned_extra=1000),
        Call("relu", "c", ("b",)),
        Call("flatten", "d", ("c",), order=Order.TURNED),
    ]
    sizes = dict.fromkeys("abcd", 100)
    # d, the gradients of b and a, and the copy; relu hands on how the gradient lies
    assert walk(tape(calls, sizes, {}, "d")).peak == Peak(100 + 100 + 100 + 1000, 0, 0, "pool", is_backward=True)
    # where the kernel before it makes its gradients as what it read lies, there is none
    calls[2] = Call("kernel", "c", ("b",), order=Order.OWN)
    assert walk(tape(calls, sizes, {}, "d")).peak.size == 300


def test_the_gradient_of_a_parameter_is_copied_when_what_was_saved_has_gone() -> None:
    calls = [
        Call("f", "a", ("x",), learns=(("u", 8),)),
        Call("g", "b", ("a",), saves=("a",), kept=50, learns=(("w", 400),), copied=400),
    ]
    # not a, nor what g kept: b, the gradient of a, and that of w twice
    assert walk(tape(calls, {"a": 100, "b": 60}, {}, "b")).peak == Peak(60 + 100 + 800, 400, 0, "g", is_backward=True)
