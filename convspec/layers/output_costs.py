"""Costs that compare each output with a target of its own: several classes of a case may be right, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Layer
from convspec.layers.costs import CostLayer
from convspec.layers.elementwise import SoftmaxLayer
from convspec.layers.keys import Home, integer, number
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class _OutputCost(CostLayer):
    """Inputs: targets, then as many outputs, which should lie between 0 and 1."""

    input_counts = (2, 2)
    of_all_classes = False

    top_k = integer("topk", home=Home.PARAMS, default=1, has_effect=False, doc="cost.logreg has a second error rate")

    def validate_sources(self, sources: Sequence[Layer], report: Report) -> None:
        """Warn of CS316 where the outputs can lie elsewhere, as the original programs do."""
        source, name = sources[1], self.inputs[1]
        neuron = source.neuron.name if source.neuron is not None and source.takes_neuron else ""
        if neuron == "logistic" or (isinstance(source, SoftmaxLayer) and neuron in ("", "ident")):
            return
        report.add(
            "CS316",
            self.part("inputs", name),
            f"{self.name} reads numbers between 0 and 1, and {name.text} may give others",
            help=f"write neuron=logistic in {name.text}"
            if not neuron
            else f"write neuron=logistic in {name.text}, in place of {neuron}",
        )

    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        if not self.has_targets(inputs, context):
            return False
        return not self.of_all_classes or self.has_classes(1, inputs[1], context)


class BinaryCrossEntropy(_OutputCost):
    """-sum over the outputs of posWeight t log y + (1 - t) log(1 - y) (cuda-convnet2 layer.cuh:55-64, layer.cu:2110-2178).

    Two error rates are reported beside it: the share of outputs on the wrong side of 1/2, and that of cases whose largest
    output has no positive target, with ties as in `cost.crossent`. log 0 is -50, and exact where a logistic neuron is
    right below.
    """

    type = "cost.bce"
    counts_classes = False

    positive_weight = number(
        "posWeight", home=Home.PARAMS, default=1.0, minimum=0, doc="what a positive counts beside a negative"
    )

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        targets, outputs = inputs
        return builder.binary_cross_entropy(
            targets,
            outputs,
            coefficient=self.coefficient,
            positive_weight=self.positive_weight,
            counts_classes=self.counts_classes,
            children=self.child_names,
        )


class DetectionCrossEntropy(BinaryCrossEntropy):
    """`cost.bce`, and the precision and recall of each class at validation (cuda-convnet2 layer.cu:2180-2212).

    A class is declared where its output is above 1/2. precision: right ones among those declared; recall: declared ones
    among those that are there.
    """

    type = "cost.dce"
    counts_classes = True
    of_all_classes = True


class CrossEntropy2(_OutputCost):
    """-sum over the classes of t log y + (1 - t) log(1 - y), without error rates (AlexNet layer.cu:1727-1751).

    The gradient is the exact one; the original's has a wrong sign in its second term, unless a logistic neuron is right
    below.
    """

    type = "cost.crossent2"
    of_all_classes = True

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        targets, outputs = inputs
        return builder.binary_cross_entropy(
            targets, outputs, coefficient=self.coefficient, has_rates=False, children=self.child_names
        )


class RobustFlickr(_OutputCost):
    """Sum over the classes of log(1 + (y - t)^2), which one wrong tag moves little (AlexNet layer.cu:1770-1781)."""

    type = "cost.rflickr"
    of_all_classes = True

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        targets, outputs = inputs
        return builder.log_square_error(targets, outputs, coefficient=self.coefficient, children=self.child_names)
