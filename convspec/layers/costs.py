"""Costs: what training makes small. Here is what all share, and those that judge classes; `cost.logreg` is the paper's.

A cost reports the mean over the cases of what its formula says of one; training makes the sum of coeff times value
small over all of them. Their gradients are the exact derivatives of these values, computed from the inputs of a softmax
or a logistic neuron right below, so that they are finite where a probability is 0 or 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Inference, Layer
from convspec.layers.elementwise import SoftmaxLayer
from convspec.layers.keys import Home, integer, names, number
from convspec.layers.origins import output_label
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class CostLayer(Layer):
    """What all costs share: a weight in the objective, and costs that they are reported with."""

    is_cost = True
    takes_neuron = False

    coefficient = number("coeff", home=Home.PARAMS, doc="weight of this cost in the objective; 0 only reports it")
    children = names("children", default=(), doc="costs of the same type, further up, to report the sum with")
    dropout = number(
        "dropout",
        home=Home.PARAMS,
        default=0.0,
        takes_default=False,
        has_effect=False,
        doc="of other layers: the probability that dnouri's fork drops a unit with",
    )

    @property
    def child_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.text for name in self.children or ()))

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        children_fit = self._children_fit(context)
        return Inference(Shape.of_vector(1)) if self.fits(inputs, context) and children_fit else None

    @abstractmethod
    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        """Whether the cost can read inputs of these sizes; reports why not."""

    def _children_fit(self, context: Context) -> bool:
        """Report CS315 for children that cannot be one. As cuda-convnet2 has it, they stand before their parent, so that
        none is its own grandchild (layer.py:1374-1383)."""
        above = list(context.layers)[: list(context.layers).index(self.name)] if self.children else []
        wrong = [
            name for name in self.children if name.text not in above or context.layers[name.text].type != self.type
        ]
        for name in wrong:
            child = context.layers.get(name.text)
            if child is None:
                problem, help = "does not exist", f"name a layer of type {self.type}"
            elif child.type != self.type:
                problem, help = f"is of type {child.type}", f"name a layer of type {self.type}, or delete children="
            elif child is self:
                problem, help = "is itself", f"take {self.name} out of children="
            else:
                problem, help = "does not stand before it", f"move the section {name.text} above {self.name}"
            message = f"{self.name} cannot report a sum with {name.text}, which {problem}"
            context.report.add("CS315", self.part("children", name), message, help=help)
        return not wrong

    def has_one_number(self, index: int, shape: Shape, context: Context, *, what: str) -> bool:
        """Whether input `index` gives one number a case; else reports CS305. what: it is, as in `the label`."""
        if shape.features == 1:
            return True
        name = self.inputs[index]
        others = [n.text for i, n in enumerate(self.inputs) if i != index]
        is_swapped = any(context.known[other].shape.features == 1 for other in others)
        context.report.add(
            "CS305",
            self.part("inputs", name),
            f"{name.text} gives {shape} numbers a case; {self.name} needs {what} first, one number a case",
            help=f"write inputs={others[0]},{name.text}" if is_swapped else "give it the data layer with dataIdx=1",
        )
        return False

    def has_classes(self, index: int, shape: Shape, context: Context) -> bool:
        """Whether input `index` gives a number for each class of the data; else reports CS402.

        Where costs have labels of their own, one count of classes cannot hold for all of them: then it notes CS419.
        """
        if context.classes is None or shape.features == context.classes:
            return True
        name = self.inputs[index]
        labels = {layer.input_names[:1] for layer in context.layers.values() if isinstance(layer, CostLayer)}
        if len(labels) > 1:
            message = f"{self.name} judges {shape.features} classes, and the data are said to have {context.classes}"
            note = "costs with labels of their own may have classes of their own; the original programs had one count for all"
            context.report.add("CS419", self.part("inputs", name), message, notes=[note])
            return True
        context.report.add(
            "CS402",
            self.part("inputs", name),
            f"{self.name} expects {context.classes} classes but {name.text} gives {shape.features}",
            labels=output_label(context, name.text),
            help=f"give the fc layer before it outputs={context.classes}, or correct classes= of [@net]",
        )
        return False

    def has_targets(self, inputs: Sequence[Shape], context: Context) -> bool:
        """Whether there are as many targets as outputs, the two inputs; else reports CS402."""
        targets, outputs = (shape.features for shape in inputs)
        if targets == outputs:
            return True
        target, output = self.inputs
        context.report.add(
            "CS402",
            self.part("inputs", target),
            f"{self.name} compares {output.text} with {target.text}, and they give {outputs} and {targets} numbers",
            labels=output_label(context, output.text),
            help="give it the data layer with dataIdx=2, a number for each class"
            if targets == 1
            else f"give {output.text} {targets} outputs",
        )
        return False

    def reads_softmax(self, sources: Sequence[Layer], report: Report, *, first: str) -> bool:
        """Whether the second input is a softmax; else reports CS305. first: what the first input is, as in `labels`."""
        if isinstance(sources[1], SoftmaxLayer):
            return True
        other, name = self.inputs
        self.is_broken = True
        report.add(
            "CS305",
            self.part("inputs", name),
            f"{self.name} reads {first}, then probabilities from a softmax; {name.text} is of type {sources[1].type}",
            help=f"write inputs={name.text},{other.text}"
            if isinstance(sources[0], SoftmaxLayer)
            else f"put a softmax layer between {name.text} and {self.name}",
        )
        return False


class LogisticRegression(CostLayer):
    """-log of the probability of the right label, and the top-1 and top-k error rates (cuda-convnet2 layer.cu:2223-2290).

    Inputs: labels (one number a case), then probabilities from a softmax. Classes of equal probability share the places
    that they compete for. Where several views of an image are tested, their probabilities are averaged first.
    """

    type = "cost.logreg"
    input_counts = (2, 2)

    top_k = integer("topk", home=Home.PARAMS, default=1, minimum=1, doc="k of the second error rate, 5 in the paper")

    def validate_sources(self, sources: Sequence[Layer], report: Report) -> None:
        self.reads_softmax(sources, report, first="labels")

    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        labels, predictions = inputs
        if not self.has_one_number(0, labels, context, what="the label"):
            return False
        if self.top_k > predictions.features:
            name = self.inputs[1].text
            context.report.add(
                "CS410" if self.dialect.limits_top_k else "CS221",
                self.span("top_k"),
                f"topk of {self.name} is {self.top_k}, but {name} gives {predictions.features} classes",
                labels=output_label(context, name),
                help=f"write topk={predictions.features} or less under [{self.name}]",
            )
            if self.dialect.limits_top_k:
                return False
        return self.has_classes(1, predictions, context)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        labels, predictions = inputs
        return builder.negative_log_likelihood(
            labels, predictions, coefficient=self.coefficient, top_k=self.top_k, children=self.child_names
        )


class CrossEntropy(CostLayer):
    """-sum of t log p over the classes, and the error rate (cuda-convnet2 layer_kernels.cu:30-120).

    Inputs: targets, a number for each class and at least 0, then probabilities from a softmax. A case is right where a
    class of the largest probability has a target above 0, and one in n of it where n classes are equally probable.
    The gradient at the softmax's inputs is the exact one, p * sum(t) - t; in the original programs nothing wrote it.
    log 0 is -50, and exact where the softmax is right below.
    """

    type = "cost.crossent"
    input_counts = (2, 2)

    top_k = integer("topk", home=Home.PARAMS, default=1, has_effect=False, doc="cost.logreg has a second error rate")

    def validate_sources(self, sources: Sequence[Layer], report: Report) -> None:
        self.reads_softmax(sources, report, first="targets")

    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        return self.has_targets(inputs, context) and self.has_classes(1, inputs[1], context)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        targets, predictions = inputs
        return builder.cross_entropy(targets, predictions, coefficient=self.coefficient, children=self.child_names)


class MultiSoftmax(CostLayer):
    """-log of the probability that a set of `setSize` classes holds the label, and error rates (AlexNet layer.cu:1878-1935).

    Inputs: labels (one number a case), then an energy e for each class, from any layer. A set S of exactly setSize
    classes has a probability in proportion to exp(sum of e in S). The error rates, top-1 and top-setSize, go by the
    energies. Ours is exact: the original's sums of logarithms leave out terms below e^-15.
    """

    type = "cost.msm"
    input_counts = (2, 2)

    set_size = integer("setSize", home=Home.PARAMS, minimum=1, doc="classes in a set, at least 1 and not all")
    threads = integer(
        "threads",
        home=Home.PARAMS,
        default=1,
        minimum=1,
        maximum=32,
        has_effect=False,
        doc="how the original computed it",
    )

    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        labels, energies = inputs
        if not self.has_one_number(0, labels, context, what="the label"):
            return False
        if self.set_size >= energies.features:
            name = self.inputs[1].text
            context.report.add(
                "CS410",
                self.span("set_size"),
                f"setSize of {self.name} is {self.set_size}, and {name} gives {energies.features} classes: "
                "a set must leave one out",
                labels=output_label(context, name),
                help=f"write setSize={energies.features - 1} or less under [{self.name}]"
                if energies.features > 1
                else None,
            )
            return False
        return self.has_classes(1, energies, context)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        labels, energies = inputs
        return builder.subset_cross_entropy(
            labels, energies, coefficient=self.coefficient, set_size=self.set_size, children=self.child_names
        )
