"""What every layer type is: keys, a shape rule, a cost, a lowering. A new type is one subclass in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from convspec.diagnostics import Label, Report, did_you_mean
from convspec.layers.dialects import CONVSPEC, Dialect, adapted_keys
from convspec.layers.initialization import validate_function
from convspec.layers.keyed import Keyed
from convspec.layers.keys import (
    Home,
    Key,
    decline_call,
    function_call,
    integer,
    names,
    neuron_call,
    number,
    numbers,
    quantizer,
    schedule_call,
    schedule_calls,
    weight_sources,
)
from convspec.layers.rates import NO_DECLINE, schedule_of, validate_rate
from convspec.program.initial import Piece
from convspec.program.parameter import Constraint, Initialization, Update
from convspec.program.schedule import Schedule
from convspec.program.shape import Shape
from convspec.syntax import values
from convspec.syntax.values import WeightSource

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

    @property
    def rounds_up(self) -> bool:
        return self.rounding is Rounding.CEIL


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
    input_counts: ClassVar[tuple[int, int | None]] = (1, 1)

    inputs = names("inputs", is_individual=True, doc="the layers that it reads, separated by commas")
    neuron = neuron_call("neuron", default=None, doc="function applied to each output: relu, tanh[a,b], ...")
    gpu: Key[tuple[int, ...] | None] = Key(
        "gpu", values.INTEGERS, default=None, minimum=0, maximum=1023, doc="GPUs that hold it; else those of its input"
    )

    expect: Key[tuple[int, ...] | None] = Key(
        "expect",
        values.CLAIM,
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


class DroppableLayer(Layer):
    """A layer whose outputs a key of the parameter file can drop, before its neuron (dnouri layer.cu:116-127, 145-149).

    In training each is 0 with probability `dropout`; at test all are multiplied by 1 - dropout.
    """

    dropout = number(
        "dropout",
        home=Home.PARAMS,
        default=0.0,
        minimum=0,
        maximum=1,
        takes_default=False,
        doc="probability to drop an output while training; at test outputs are multiplied by 1 - dropout",
    )

    def lower_neuron(self, builder: Builder, value: str) -> str:
        if self.dropout:
            value = builder.dropout(value, keep=1 - self.dropout, rescale_at_test=True, enabled=True)
        return super().lower_neuron(builder, value)


class WeightLayer(DroppableLayer):
    """A layer that learns: initial values in the layer file, learning rates in the parameter file.

    Each input has a weight matrix and so an entry in every list; the biases are one.
    """

    input_counts: ClassVar[tuple[int, int | None]] = (1, None)

    init_w = numbers(
        "initW", minimum=0, takes_default=True, doc="standard deviation of the initial weights, 0.01 in the paper"
    )
    init_b = number("initB", default=0.0, takes_default=True, doc="initial bias")
    weight_sources = weight_sources(
        "weightSource",
        default=(),
        doc="whose weights these are, as in conv1[0], an entry for each input; an empty entry for weights of its own",
    )
    init_w_func = function_call("initWFunc", doc="function that gives the initial weights, as in initw.makew(RUN)")
    init_b_func = function_call("initBFunc", doc="function that gives the initial biases, as in initw.makeb(RUN)")
    eps_w = schedule_calls("epsW", home=Home.PARAMS, doc="learning rate of the weights, 0.01 in the paper")
    eps_b = schedule_call("epsB", home=Home.PARAMS, doc="learning rate of the biases")
    sched_w = decline_call(
        "schedW",
        home=Home.PARAMS,
        default=NO_DECLINE,
        doc="how the rate of the weights falls from epsW, by the 2012 code",
    )
    sched_b = decline_call(
        "schedB",
        home=Home.PARAMS,
        default=NO_DECLINE,
        doc="how the rate of the biases falls from epsB, by the 2012 code",
    )
    mom_w = numbers("momW", home=Home.PARAMS, minimum=0, maximum=1, doc="momentum of the weights, 0.9 in the paper")
    mom_b = number("momB", home=Home.PARAMS, minimum=0, maximum=1, doc="momentum of the biases")
    wc = numbers(
        "wc", home=Home.PARAMS, default=0.0, minimum=0, doc="weight decay, times the rate; 0.0005 in the paper"
    )

    ball = numbers(
        "wball", home=Home.PARAMS, default=0.0, minimum=0, doc="bound on the norm of each filter after a step; 0: none"
    )
    update_period = integer(
        "updatePeriod", home=Home.PARAMS, default=0, minimum=0, doc="minibatches to a step; 0 or 1: a step for each"
    )
    super_eps = number(
        "superEps",
        home=Home.PARAMS,
        default=0.0,
        minimum=0,
        doc="above 0, gradients are divided by their deviation, with this added to the variance",
    )
    super_mom = number(
        "superMom", home=Home.PARAMS, default=0.0, doc="read by the originals and never used", has_effect=False
    )

    # Which axes of its weights name a filter, and in how many parts of the rows: see `Constraint`.
    filter_axes: ClassVar[tuple[int, ...]] = (0,)

    @property
    def filter_parts(self) -> int:
        return 1

    def validate(self, report: Report) -> None:
        super().validate(report)
        validate_rate(self, "eps_w", self.eps_w, "sched_w", self.sched_w, report)
        validate_rate(self, "eps_b", (self.eps_b,), "sched_b", self.sched_b, report)
        validate_function(self, "init_w_func", self.init_w_func, report)
        self._validate_sources(report)
        validate_function(self, "init_b_func", self.init_b_func, report)
        if self.dialect.learning.normalises and (self.super_eps or 0) > 0:
            self.remark(
                "CS217",
                "super_eps",
                "superEps divides gradients by the root of their variance, E[g^2] - E[g]^2 + superEps",
                note="the 2012 code takes E[g] where E[g]^2 is meant, and gets numbers that are not finite",
            )

    def _validate_sources(self, report: Report) -> None:
        count = len(self.shared_from)
        if count and self.inputs and count != self.input_count:
            self.is_broken = True
            inputs = "1 input" if self.input_count == 1 else f"{self.input_count} inputs"
            entries = "1 entry" if count == 1 else f"{count} entries"
            self.blame(
                report,
                "CS206",
                "weight_sources",
                f"weightSource of {self.name} has {entries} for {inputs}",
                labels=[Label(self.span("inputs"), inputs)] if self.is_given("inputs") else (),
                help="give an entry for each input, and leave it empty where the weights are its own: conv1[0],",
            )

    @property
    def shared_from(self) -> tuple[WeightSource | None, ...]:
        """For each input whose weights these are, None for its own; () for a layer that shares none."""
        return (self.weight_sources or ()) if "weightsource" in self.keys else ()

    def weight_shape(self, index: int, inputs: Sequence[Shape], output: Shape) -> tuple[int, ...]:
        """Of the weights of input `index`, as PyTorch lays them out. For layers whose weights can be shared."""
        raise NotImplementedError(f"{self.type} shares no weights")

    def describe_weights(self, index: int, inputs: Sequence[Shape], output: Shape) -> str:
        """What layers that share the weights of input `index` must have in common, in words."""
        return "x".join(map(str, self.weight_shape(index, inputs, output)))

    def weight_update(self, index: int) -> Update:
        """How the weights of input `index` learn."""
        rate = schedule_of(self.eps_w[index], self.sched_w)
        return self._update(rate, self.mom_w[index])._replace(
            decay=max(0.0, self.wc[index]), constraint=self.weight_constraint(index)
        )

    def weight_constraint(self, index: int) -> Constraint:
        """What the filters of input `index` are brought to after each step."""
        learning = self.dialect.learning
        return Constraint(
            norm=max(0.0, self.ball[index]),
            is_exact=learning.ball_is_exact and len(self.filter_axes) == 1,
            counts_weights=learning.ball_counts_weights,
            axes=self.filter_axes,
            parts=self.filter_parts,
        )

    @property
    def bias_update(self) -> Update:
        return self._update(schedule_of(self.eps_b, self.sched_b), self.mom_b)

    def _update(self, rate: Schedule, momentum: float) -> Update:
        learning = self.dialect.learning
        return Update(
            rate,
            momentum,
            period=max(1, self.update_period),
            counts_cases=learning.counts_cases,
            damping=max(0.0, self.super_eps) if learning.normalises else 0.0,
        )

    def weight_initialization(self, index: int) -> Initialization:
        return Initialization(std=abs(self.init_w[index]))

    @property
    def bias_initialization(self) -> Initialization:
        return Initialization(constant=self.init_b)

    def initial_functions(self) -> Iterator[tuple[Piece, str]]:
        """What of the layer a function gives first values to, and the attribute that holds the function."""
        if self.init_w_func is not None:
            yield Piece.WEIGHTS, "init_w_func"
        if self.init_b_func is not None:
            yield Piece.BIASES, "init_b_func"

    @property
    def learns_alike(self) -> bool:
        """Whether all weight matrices start and learn by the same numbers, so that they can be one tensor."""
        return len({(self.weight_update(i), self.init_w[i]) for i in range(self.input_count)}) == 1


def read_maps(
    layer: Layer, index: int, shape: Shape, channels: int | None, report: Report, *, channels_key: str = "channels"
) -> Shape | None:
    """Input `index` of a layer as maps: as it is, or a vector read as `channels` square maps.

    Reports CS402 where `channels` is given and differs, CS404 where the features do not divide so.
    """
    source = layer.input_names[index]
    if shape.is_map and channels in (None, shape.channels):
        return shape
    if channels is None:
        report.add(
            "CS404",
            layer.span("inputs"),
            f"{layer.name} needs maps, and {source} gives a vector of {shape.features}",
            help=f"add channels= to {layer.name}, so that the vector is read as that many square maps",
        )
        return None
    maps = shape.as_square_maps(channels)
    if not shape.is_map and maps is not None:
        return maps
    if shape.is_map:
        report.add(
            "CS402",
            layer.span(channels_key),
            f"{layer.name} expects {channels} channels but {source} gives {shape}",
            help=f"write channels={shape.channels}, or leave channels out: it is inferred",
        )
    else:
        report.add(
            "CS404",
            layer.span(channels_key),
            f"{layer.name} reads {source} as {channels} maps, but {shape.features} features "
            f"are not {channels} squares: {shape.features} / {channels} = {shape.features / channels:g}",
            help=f"correct channels= of {layer.name}, or the size of {source}",
        )
    return None


def entry_label(layer: Layer, attribute: str, text: str) -> list[Label]:
    """A label on a key that stands in the file; none where the key is at its default."""
    return [Label(layer.span(attribute), text)] if layer.is_given(attribute) else []
