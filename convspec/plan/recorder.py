"""Writes down the calls of a step, a line a function of torch: what each costs is said here, what is called in `tape`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from convspec.plan.calls import Call, Order, Slot, Tape
from convspec.program.shape import Shape

FLOAT = 4
BYTE = 1
INDEX = 8


class Precision(Enum):
    """Of a training step, as `[@train] precision=` says it. The value is what a number of an activation takes, bytes."""

    FP32 = 4
    BF16 = 2


class Processor(Enum):
    """Where a step runs: torch keeps other things on the one than on the other."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class Value:
    """A slot as the calls see it. shape: without the cases. width: bytes of a number. is_last: maps in channels last."""

    name: str
    shape: Shape
    width: int
    is_last: bool = False

    @property
    def flattens_for_free(self) -> bool:
        """Whether its features lie one after another, so that `flatten(1)` copies nothing."""
        return not self.is_last or self.shape.channels == 1 or self.shape.height * self.shape.width == 1


@dataclass
class Recorder:
    """The tape so far. cases: images of a batch."""

    cases: int
    precision: Precision
    processor: Processor
    operator: str = ""
    calls: list[Call] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    crossed: set[str] = field(default_factory=set)

    def bytes(self, shape: Shape, width: int) -> int:
        return self.cases * shape.features * width

    def give(self, name: str, shape: Shape, width: int, *, is_last: bool) -> Value:
        """A tensor that is there before the step."""
        self.slots[name] = Slot(self.bytes(shape, width), name)
        self.given.add(name)
        return Value(name, shape, width, is_last)

    def call(
        self,
        reads: Sequence[Value],
        shape: Shape,
        width: int,
        *,
        is_last: bool | None = None,
        is_view: bool = False,
        holds: Sequence[Value] = (),
        saves: Sequence[Value] = (),
        saves_result: bool = False,
        kept: int = 0,
        forward_extra: int = 0,
        backward_extra: int = 0,
        passes_gradient: bool = False,
        learns: Sequence[tuple[str, int]] = (),
        order: Order = Order.KEPT,
        turned_extra: int = 0,
        copied: int = 0,
    ) -> Value:
        """A call whose result is of this shape, in the layout of the first that it reads unless `is_last` says another."""
        name = f"{self.operator} {len(self.calls)}"
        last = (reads[0].is_last if is_last is None else is_last) and shape.is_map
        buffer = self.slots[reads[0].name].buffer if is_view else name
        self.slots[name] = Slot(self.bytes(shape, width), buffer)
        result = Value(name, shape, width, last)
        kept_names = tuple(value.name for value in (*saves, *([result] if saves_result else [])))
        self.calls.append(
            Call(
                self.operator,
                name,
                tuple(value.name for value in reads),
                tuple(value.name for value in holds),
                kept_names,
                kept,
                forward_extra,
                backward_extra,
                passes_gradient,
                tuple(learns),
                order,
                turned_extra,
                copied,
            )
        )
        return result

    # What several operators do.

    def elementwise(
        self,
        x: Value,
        *,
        saves: Sequence[Value] = (),
        saves_result: bool = False,
        width: int | None = None,
        kept: int = 0,
        forward_extra: int = 0,
        temporaries: int = 0,
    ) -> Value:
        """A function of each number, whose gradient is new memory, and has so many more tensors like x while it is computed."""
        return self.call(
            [x],
            x.shape,
            width or x.width,
            saves=saves,
            saves_result=saves_result,
            kept=kept,
            forward_extra=forward_extra,
            backward_extra=temporaries * self.bytes(x.shape, x.width),
        )

    def scaled(self, x: Value) -> Value:
        """Times a number: nothing is kept."""
        return self.elementwise(x)

    def squared(self, x: Value) -> Value:
        """Keeps x; its gradient is times x, times 2: a power of x and a product are there for the moment."""
        return self.elementwise(x, saves=[x], temporaries=2)

    def divided_by_power(self, x: Value, energy: Value) -> Value:
        """Normalised maps: `x / energy.mul(alpha).add(k).pow(beta)`. The gradients of the power and of the division have
        two more tensors like x each while they run."""
        extra = 2 * self.bytes(x.shape, x.width)
        base = self.scaled(self.scaled(energy))
        power = self.call([base], x.shape, x.width, saves=[base], backward_extra=extra)
        return self.call([x, power], x.shape, x.width, saves=[x, power], backward_extra=extra)

    def cast(self, x: Value, width: int) -> Value:
        return x if x.width == width else self.call([x], x.shape, width)

    def narrowed(self, x: Value) -> Value:
        """What autocast makes of the input of a convolution or a matrix product."""
        return self.cast(x, self.precision.value)

    def flat(self, x: Value) -> Value:
        """`flatten(1)`; what is a vector already needs none. Where it copies, the gradient comes channel by channel."""
        if not x.shape.is_map:
            return x
        if x.flattens_for_free:
            return self.call([x], x.shape.flat(), x.width, is_last=False, is_view=True, passes_gradient=True)
        return self.call([x], x.shape.flat(), x.width, is_last=False, passes_gradient=True, order=Order.TURNED)

    def view(self, x: Value, shape: Shape, *, is_last: bool = False) -> Value:
        """The same numbers in another shape."""
        return self.call([x], shape, x.width, is_last=is_last, is_view=True, passes_gradient=True)

    def part(self, x: Value, shape: Shape) -> Value:
        """A slice: its gradient is as large as x, zeros where it does not reach."""
        return self.call([x], shape, x.width, is_view=True, order=Order.TURNED if x.is_last else Order.KEPT)

    def joined(self, values: Sequence[Value], shape: Shape) -> Value:
        """`torch.cat` along channels or features; in the widest of their types. Their gradients are parts of that of the
        result, which for maps in channels last are not in one piece."""
        if len(values) == 1:
            return values[0]
        width = max(value.width for value in values)
        is_last = all(v.is_last for v in values)
        order = Order.TURNED if is_last else Order.KEPT
        return self.call(values, shape, width, is_last=is_last, passes_gradient=True, order=order)

    def tape(self, variables: dict[str, str], returned: Sequence[Value], objective: Sequence[Value]) -> Tape:
        return Tape(
            tuple(self.calls),
            self.slots,
            frozenset(self.given),
            frozenset(self.crossed),
            variables,
            frozenset(value.name for value in returned),
            tuple(value.name for value in objective),
        )
