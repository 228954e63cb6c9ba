"""`treefc`: a fully-connected layer of classes whose weights are tied by a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Cost, Inference
from convspec.layers.keys import text
from convspec.layers.rates import NO_DECLINE, schedule_of
from convspec.layers.tree import ClassTree, TreeError, read_tree
from convspec.layers.weights import WeightLayer
from convspec.program.parameter import Constraint, Initialization, Update
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class TreeFullyConnected(WeightLayer, without=["wball", "weightsource"]):
    """bias + x @ (W @ A): the weights of a class are the sum of those of its leaf and of all nodes above it.

    W has a column for each of the M nodes, A (M x C) is 1 where a node is a class or above it (2012 code,
    softmaxtree.cu:24-42, 359-379). A node learns at the rate epsW / s, with a decay of wc / s, where s counts the classes
    below it (softmaxtree.cu:120-143), so that the effective decay is epsW * wc / s^2. Inner nodes start at 0. A softmax
    above it is the usual one.

    The 2012 code has the tree from its data, and constant rates: schedW and schedB are read and mean nothing.
    """

    type = "treefc"
    input_counts = (1, 1)

    tree = text("tree", doc="JSON file with the tree of classes, beside the spec, or the tree itself")

    _tree: ClassTree | None = None

    def validate(self, report: Report) -> None:
        super().validate(report)
        if not self.tree:
            return
        span = self.span("tree")
        try:
            self._tree = read_tree(self.tree, span.file.name)
        except OSError as error:
            message = f"the tree of {self.name} cannot be read: {self.tree}: {error.strerror or error}"
            self._refuse("CS101", message, "name a file beside the spec", report)
        except ValueError:
            self._refuse("CS101", f"the tree of {self.name} cannot be read: this is no name of a file", None, report)
        except TreeError as error:
            self._refuse("CS415", f"the tree of {self.name} is none: {error.problem}", error.help, report)

    def _refuse(self, code: str, message: str, help: str | None, report: Report) -> None:
        self.is_broken = True
        report.add(code, self.span("tree"), message, help=help)

    @property
    def class_tree(self) -> ClassTree:
        """Of a layer that is not broken and has one."""
        assert self._tree is not None
        return self._tree

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        if self._tree is None and context.classes is None:
            context.report.add(
                "CS401",
                self.header,
                f"{self.name} has an output for each class, and nobody says how many there are",
                help="add classes= to [@net], or tree= to the layer",
            )
            return None
        if self._tree is not None and context.classes not in (None, self._tree.classes):
            context.report.add(
                "CS402",
                self.span("tree"),
                f"the tree of {self.name} has {self._tree.classes} classes, the data have {context.classes}",
                help="the classes are the nodes without children: correct the tree, or classes= of [@net]",
            )
            return None
        classes = context.classes if self._tree is None else self._tree.classes
        assert classes is not None
        return Inference(Shape.of_vector(classes))

    def weight_constraint(self, index: int) -> Constraint:
        return Constraint()

    def weight_update(self, index: int) -> Update:
        divisors = self.class_tree.leaf_counts
        rate = schedule_of(self.eps_w[index], NO_DECLINE)
        return Update(
            rate, self.mom_w[index], max(0.0, self.wc[index]), period=max(1, self.update_period), divisors=divisors
        )

    @property
    def bias_update(self) -> Update:
        return Update(schedule_of(self.eps_b, NO_DECLINE), self.mom_b, period=max(1, self.update_period))

    def weight_initialization(self, index: int, sizes: Sequence[tuple[int, ...]]) -> Initialization:
        return super().weight_initialization(index, sizes)._replace(rows=self.class_tree.classes)

    def cost(self, inputs: Sequence[Shape], output: Shape) -> Cost:
        """Without a tree its inner nodes are not known, and the classes alone are counted."""
        nodes = output.features if self._tree is None else len(self._tree.children)
        return Cost(nodes * inputs[0].features, output.features, output.features * inputs[0].features)

    def resolved_values(self) -> dict[str, str]:
        return {} if self._tree is None else {"tree": self._tree.as_text()}

    def refuse_unsourced(self, crosses: bool, report: Report) -> None:
        super().refuse_unsourced(crosses, report)
        if self._tree is None:
            report.add(
                "CS606",
                self.header,
                f"the tree of {self.name} was part of the 2012 data, and this file does not name it",
                help="export it as JSON, and name the file: tree=tree.json",
            )

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        parents = self.class_tree.parents
        shape = (len(parents), builder.shape(inputs[0]).features)
        weight = builder.parameter("weight", shape, self.weight_initialization(0, [shape]), self.weight_update(0))
        bias = builder.parameter("bias", output.dims, self.bias_initialization, self.bias_update)
        flat = builder.reshape(inputs[0], builder.shape(inputs[0]).flat())
        return builder.tree_linear(flat, output, weight=weight, bias=bias, parents=parents)
