"""Costs: what training makes small. `cost.logreg` is the paper's (section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Inference, Layer
from convspec.layers.elementwise import SoftmaxLayer
from convspec.layers.keys import Home, integer, number
from convspec.layers.origins import output_label
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class LogisticRegression(Layer):
    """Mean over the cases of -log of the probability of the right label, and the top-1 and top-k error rates.

    Inputs: labels (one number a case), then probabilities from a softmax (cuda-convnet2 layer.cu:2223-2290).
    """

    type = "cost.logreg"
    is_cost = True
    takes_neuron = False
    input_counts = (2, 2)

    coefficient = number("coeff", home=Home.PARAMS, doc="weight of this cost in the objective; 0 only reports it")
    top_k = integer("topk", home=Home.PARAMS, default=1, minimum=1, doc="k of the second error rate, 5 in the paper")

    def validate_sources(self, sources: Sequence[Layer], report: Report) -> None:
        labels, name = self.inputs
        if isinstance(sources[1], SoftmaxLayer):
            return
        self.is_broken = True
        are_swapped = isinstance(sources[0], SoftmaxLayer)
        report.add(
            "CS305",
            self.part("inputs", name),
            f"{self.name} reads labels, then probabilities from a softmax; {name.text} is of type {sources[1].type}",
            help=f"write inputs={name.text},{labels.text}"
            if are_swapped
            else f"put a softmax layer between {name.text} and {self.name}",
        )

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        labels, predictions = inputs
        label_name, prediction_name = self.inputs
        if labels.features != 1:
            context.report.add(
                "CS305",
                self.part("inputs", label_name),
                f"{label_name.text} gives {labels} numbers a case; {self.name} needs the label first, one number a case",
                help=f"write inputs={prediction_name.text},{label_name.text}"
                if predictions.features == 1
                else "give it the data layer with dataIdx=1",
            )
            return None
        if self.dialect.limits_top_k and self.top_k > predictions.features:
            context.report.add(
                "CS410",
                self.span("top_k"),
                f"topk of {self.name} is {self.top_k}, but {prediction_name.text} gives {predictions.features} classes",
                labels=output_label(context, prediction_name.text),
                help=f"use topk={predictions.features} or less",
            )
            return None
        if context.classes is not None and predictions.features != context.classes:
            context.report.add(
                "CS402",
                self.part("inputs", prediction_name),
                f"{self.name} expects {context.classes} classes but {prediction_name.text} gives {predictions.features}",
                labels=output_label(context, prediction_name.text),
                help=f"give the fc layer before it outputs={context.classes}, or correct classes= of [@net]",
            )
            return None
        return Inference(Shape.of_vector(1))

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        labels, predictions = inputs
        return builder.negative_log_likelihood(labels, predictions, coefficient=self.coefficient, top_k=self.top_k)
