"""What every layer type is: keys, a shape rule, a cost, a lowering. A new type is one subclass in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from convspec.diagnostics import Label, Report, did_you_mean
from convspec.layers.dialects import CONVSPEC, Dialect, adapted_keys
from convspec.layers.keyed import Keyed
from convspec.layers.keys import (
    Home,
    Key,
    names,
    neuron_call,
    quantizer,
)
from convspec.program.shape import Shape
from convspec.syntax import forms

if TYPE_CHECKING:
    from convspec.program.builder import Builder

# Arguments that each neuron takes (cuda-convnet2 include/neuron.cuh; nrelu is of the 2012 code, abstanh of the oldest
# files). `ident` is none at all.
NEURON_ARGUMENTS: dict[str, int] = {
    "ident": 0,
    "logistic": 0,
    "abs": 0,
    "relu": 0,
    "softrelu": 0,
    "square": 0,
    "sqrt": 0,
    "nrelu": 0,
    "tanh": 2,
    "abstanh": 2,
    "brelu": 1,
    "linear": 2,
    "log": 1,
    "drelu": 1,
}


class Rounding(Enum):
    """How a window that does not fit exactly is counted: up, as all originals do, or down, as most libraries do."""

    CEIL = "ceil"
    FLOOR = "floor"


class Context(NamedTuple):
    """What a shape rule may look at beside its inputs.

    input_dims: sizes of the data layers, by name; empty where a size was given and has been refused.
    classes: of the data, or None where nobody said.
    layers: all of them by name, and known: what was inferred so far; for messages only, a size follows from the inputs.
    dialect: of the spec; a layer has it too, as `self.dialect`.
    is_as_written: whether neither overrides nor sizes from outside change the network that the files describe.
    """

    report: Report
    rounding: Rounding = Rounding.CEIL
    classes: int | None = None
    input_dims: Mapping[str, tuple[int, ...]] = {}
    layers: Mapping[str, Layer] = {}
    known: Mapping[str, Inference] = {}
    dialect: Dialect = CONVSPEC
    is_as_written: bool = True


class Inference(NamedTuple):
    """The size of a layer's output and how it came about.

    window: its arithmetic, `(227 + 2*0 - 11) / 4 + 1 = 55`; empty where there is no window.
    floor_size: the side that rounding down would give, where it differs; else None.
    matrix: of a data layer that gives some rows of a matrix, the size of that; else None.
    """

    shape: Shape
    window: str = ""
    floor_size: int | None = None
    matrix: Shape | None = None


class Cost(NamedTuple):
    """weights, biases: numbers that learn. macs: multiply-adds a case, forward."""

    weights: int = 0
    biases: int = 0
    macs: int = 0


class Layer(Keyed, ABC):
    """A section of the layer file.

    A subclass names its `type`, declares its keys and gives `infer` and `lower`; `cost` where it has any. Its instances
    hold what the spec says and nothing that was inferred from it.
    """

    type: ClassVar[str]
    is_cost: ClassVar[bool] = False
    takes_neuron: ClassVar[bool] = True
    only_rescales: ClassVar[bool] = False  # its weights make no neurons of their own
    stops_gradient: ClassVar[bool] = False  # may not stand above a layer that learns
    keeps_replicas: ClassVar[bool] = False  # has as many replicas as its inputs
    joins_maps: ClassVar[bool] = False  # gives maps where its inputs are maps of one size, else a vector
    input_counts: ClassVar[tuple[int, int | None]] = (1, 1)

    inputs = names("inputs", is_individual=True, doc="the layers that it reads, separated by commas")
    neuron = neuron_call("neuron", default=None, doc="function applied to each output: relu, tanh[a,b], ...")
    gpu: Key[tuple[int, ...] | None] = Key(
        "gpu", forms.INTEGERS, default=None, minimum=0, maximum=1023, doc="GPUs that hold it; else those of its input"
    )

    expect: Key[tuple[int, ...] | None] = Key(
        "expect",
        forms.CLAIM,
        default=None,
        minimum=1,
        is_individual=True,
        doc="height x width x channels that it gives, as in 55x55x96, or how many numbers; check compares",
    )

    quant_f = quantizer(
        "quantF",
        home=Home.PARAMS,
        takes_default=False,
        doc="how outputs travel to GPUs that cannot read this one's memory",
    )
    quant_b = quantizer(
        "quantB", home=Home.PARAMS, takes_default=False, doc="how gradients come back from GPUs that cannot write there"
    )

    def __init_subclass__(cls, *, without: Sequence[str] = ()) -> None:
        super().__init_subclass__(without=without)

    @classmethod
    def keys_in(cls, dialect: Dialect) -> Mapping[str, Key[Any]]:
        return adapted_keys(cls.type, cls.keys, dialect)

    @property
    def input_count(self) -> int:
        return len(self.inputs or ())

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(name.text for name in self.inputs or ())

    @property
    def judged(self) -> tuple[str, ...]:
        """Of a cost: layers whose values the network gives beside it, for predictions and error rates."""
        return self.input_names[::-1] if self.is_cost else ()

    def validate(self, report: Report) -> None:
        """Report what is wrong with the values taken together. Called once, after the keys have been read."""
        self._validate_inputs(report)
        self._validate_neuron(report)

    def _validate_inputs(self, report: Report) -> None:
        least, most = self.input_counts
        count = self.input_count
        if "inputs" not in self._entries or not self.inputs or (count >= least and (most is None or count <= most)):
            return
        wanted = (
            f"{least or 'none'}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        )
        self.is_broken = True
        report.add(
            "CS303",
            self.span("inputs"),
            f"{self.name} reads {count} {'layer' if count == 1 else 'layers'}; a {self.type} layer reads {wanted}",
            help="remove inputs="
            if most == 0
            else "a concat layer joins several layers into one"
            if most == 1
            else None,
        )

    def _validate_neuron(self, report: Report) -> None:
        if self.neuron is None:
            return
        if not self.takes_neuron:
            if "neuron" not in self._shared:
                message = f"nothing reads neuron of {self.name}: a {self.type} layer applies none"
                report.add("CS207", self.span("neuron"), message, help="delete it, or add a layer with type=neuron")
            return
        name, arguments = self.neuron
        neurons = {n: count for n, count in NEURON_ARGUMENTS.items() if self.dialect.has_neuron(n)}
        wanted = neurons.get(name)
        if wanted == len(arguments):
            return
        self.is_broken = True
        if wanted is None and name in NEURON_ARGUMENTS:
            message = f"{self.dialect.program} has no neuron '{name}'"
            help = f"it has {', '.join(neurons)}; {self.dialect.way_out}"
        elif wanted is None:
            message = f"there is no neuron '{name}'"
            help = did_you_mean(name, neurons) or f"neurons are {', '.join(neurons)}"
        else:
            message = f"neuron {name} takes {wanted} arguments, not {len(arguments)}"
            help = f"write {name}[{','.join('ab'[:wanted])}] with numbers" if wanted else f"write {name} alone"
        self.blame(report, "CS210", "neuron", message, help=help)

    def rounds(self, rounding: Rounding) -> Rounding:
        """How the layer counts its windows in a network that counts them so."""
        return rounding

    def validate_sources(self, sources: Sequence[Layer], report: Report) -> None:
        """Report inputs of a type that this layer cannot read. Called once, where all inputs exist."""

    def resolved_values(self) -> dict[str, str]:
        """Keys, by name, of which a spec that stands alone has another value: what a file beside it holds."""
        return {}

    def refuse_unsourced(self, crosses: bool, report: Report) -> None:
        """Report CS604 for what nobody can compute, because the code behind it was never published. Called by `compile`.

        crosses: whether a layer on another GPU reads this one.
        """
        for attribute, what in (("quant_f", "output"), ("quant_b", "gradient")):
            if crosses and self.input_names and getattr(self, attribute) == "half":
                spelling = self.key(attribute).spelling
                report.add(
                    "CS604",
                    self.span(attribute),
                    f"{spelling}=half of {self.name} rounds its {what} between GPUs, and how has no public source",
                    notes=["convQuantizeHalf and convDequantizeHalf are called by the 2012 code and not part of it"],
                    help=f"write {spelling}=default: what crosses between GPUs stays as it is",
                )

    @abstractmethod
    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        """Size of the output, or None after a report. Called only where all inputs are known and no key is broken."""

    def cost(self, inputs: Sequence[Shape], output: Shape) -> Cost:
        """What the layer holds and computes for one case."""
        return Cost()

    @abstractmethod
    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        """Add the operators of this layer, its neuron excepted; returns the name of its value."""

    def lower_neuron(self, builder: Builder, value: str) -> str:
        """`value` after the layer's neuron, and what comes before that."""
        if self.neuron is None or self.neuron.name == "ident" or not self.takes_neuron:
            return value
        return builder.activation(value, self.neuron.name, self.neuron.arguments)


def entry_label(layer: Layer, attribute: str, text: str) -> list[Label]:
    """A label on a key that stands in the file; none where the key is at its default."""
    return [Label(layer.span(attribute), text)] if layer.is_given(attribute) else []
