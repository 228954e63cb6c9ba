"""The functions of torch that an emitted module calls, as far as memory goes: what each makes, keeps and needs meanwhile."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Order(Enum):
    """How the gradient of what a call reads lies in memory: as the gradient of its result does; as what it reads does; or
    otherwise than that, channel by channel where maps are in channels last, or as a part of a larger tensor."""

    KEPT = "as the gradient of the result"
    OWN = "as what is read"
    TURNED = "otherwise than what is read"


class Slot(NamedTuple):
    """A tensor of a step. size: bytes. buffer: name of the slot whose memory it looks into; its own where it has one."""

    size: int
    buffer: str


class Call(NamedTuple):
    """One call in the forward pass, and what autograd does for it in the backward pass.

    operator: of the program, that it is a part of. result: the slot that it makes. reads: slots through which gradients go.
    holds: slots that it was called with, where it reads a copy of them that autocast makes.
    saves: slots that autograd keeps for the backward pass. kept: bytes that it keeps beside them: an argmax, a mask.
    forward_extra, backward_extra: bytes that the call, or its gradient, has beside results while it runs.
    passes_gradient: the gradient of the result is that of what was read: the same memory, or a look into it.
    learns: parameters to which it gives a gradient, with the bytes of it.
    order: of the gradients that it gives. turned_extra: bytes that its gradient has beside where that of its result lies
    otherwise than the result, for a copy in order.
    copied: bytes of gradients of parameters that lie otherwise than the parameter: autograd copies them when what the call
    saved is gone.
    """

    operator: str
    result: str
    reads: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    saves: tuple[str, ...] = ()
    kept: int = 0
    forward_extra: int = 0
    backward_extra: int = 0
    passes_gradient: bool = False
    learns: tuple[tuple[str, int], ...] = ()
    order: Order = Order.KEPT
    turned_extra: int = 0
    copied: int = 0


class Tape(NamedTuple):
    """All calls of a step in order. slots: every tensor by name. given: those that are there before the step.
    crossed: those that come from another GPU and whose gradient goes back to it.

    variables: the variable of the emitted module that holds a slot, which it does until it holds another, or the forward
    pass ends; other slots are gone after the call that reads them last, unless autograd keeps them.
    returned: slots that outlive the forward pass as what it gives.
    objective: slots of the costs that training makes small.
    """

    calls: tuple[Call, ...]
    slots: dict[str, Slot]
    given: frozenset[str]
    crossed: frozenset[str]
    variables: dict[str, str]
    returned: frozenset[str]
    objective: tuple[str, ...]
