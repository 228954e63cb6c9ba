"""What every layer type that learns is: initial values, learning rates, weights of its own or of another layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from convspec.diagnostics import Label, Report
from convspec.layers.base import Layer
from convspec.layers.initialization import deviation, validate_function
from convspec.layers.keys import (
    Home,
    decline_call,
    function_call,
    integer,
    number,
    numbers,
    schedule_call,
    schedule_calls,
    spreads,
    weight_sources,
)
from convspec.layers.rates import NO_DECLINE, schedule_of, validate_rate
from convspec.program.initial import Piece
from convspec.program.parameter import Constraint, Initialization, Update
from convspec.program.schedule import Schedule
from convspec.program.shape import Shape
from convspec.syntax.values import WeightSource

if TYPE_CHECKING:
    from convspec.program.builder import Builder


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

    init_w = spreads(
        "initW",
        minimum=0,
        takes_default=True,
        doc="standard deviation of the initial weights, 0.01 in the paper; he before relu, lecun before other neurons",
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

    def weight_initialization(self, index: int, sizes: Sequence[tuple[int, ...]]) -> Initialization:
        """How the weights of input `index` start. sizes: of the weights of each input, as PyTorch lays them out."""
        return Initialization(std=deviation(self.init_w[index], sizes))

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
