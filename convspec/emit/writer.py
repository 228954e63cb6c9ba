"""Writes the class of an emitted module. `placed` writes that of a network on several devices."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from convspec.emit.expressions import expression
from convspec.emit.header import class_name
from convspec.emit.holders import Holders, leaf_of, path_of
from convspec.emit.lines import WIDTH, assignment, dictionary, elements, folded, literal, parted
from convspec.emit.nesting import is_call, repeats_operand, takes_expressions
from convspec.emit.optional import optional_inputs
from convspec.emit.resetting import reset_method
from convspec.program.costs import Cost, CostOperator, CrossEntropy
from convspec.program.features import Add, Dropout, Gather
from convspec.program.moves import Input
from convspec.program.names import Names
from convspec.program.operators import Drawing, Op, buffers_of, drawing_of
from convspec.program.program import LABEL_COSTS, Buffer, Parameter, Program
from convspec.program.shape import Shape
from convspec.program.weighted import BatchNorm

_RESCALED = (
    "dropout divides by the share that it keeps; times that share, units are whole in training and scaled at test"
)
# Letters in the names of a sum and what it reads, up to which calls of modules stand in it.
_SHORT = 72


class Writer:
    """Writes the class. Variables are named after layers, as attributes are."""

    def __init__(self, program: Program, holders: Holders) -> None:
        self.program = program
        self.holders = holders
        tensors: list[Parameter | Buffer] = [*program.parameters, *program.buffers]
        self.merged = [tensor for tensor in tensors if tensor.is_merged]
        brought = {name for op in program.operators if isinstance(op, BatchNorm) for name in buffers_of(op)}
        self.registered = [buffer for buffer in program.buffers if buffer.name not in brought]
        self.returned = {output.value for output in program.outputs}
        self.optional = optional_inputs(program)
        self.expressions: dict[str, str] = {}
        # Remarks that some line of `forward` needs above it, and whether they were made.
        self.remarks: dict[str, bool] = {}
        self.names = Names()
        self.variables = self._variables()

    def _variables(self) -> dict[str, str]:
        """The variable of each value that has one: that of its layer, or one of its own where the layer's is assigned
        anew before the value has been read for the last time."""
        names = self.names
        last = {self._kin(op): op.name for op in self.program.operators}
        of_layer = {kin: names.unique(name) for kin, name in last.items()}
        variables: dict[str, str] = {}
        last_read, assigned_next = self._last_reads(), dict[str, int]()
        for line, op in reversed(list(enumerate(self.program.operators))):
            name = of_layer[self._kin(op)]
            if self._is_nested(op):
                continue
            if last_read[op.name] > assigned_next.get(name, len(last_read)):
                name = names.unique(f"{name}_input")
            else:
                assigned_next[name] = line
            variables[op.name] = name
        return variables

    def _kin(self, op: Op) -> Hashable:
        """What operators have in common whose values may follow one another in one variable."""
        return op.layers

    def _last_reads(self) -> dict[str, int]:
        """The position of the last operator that reads each value; nested ones count where they are written."""
        end = len(self.program.operators)
        written: dict[str, int] = {}
        last_reads: dict[str, int] = {}
        for line, op in reversed(list(enumerate(self.program.operators))):
            readers = self.program.readers[op.name]
            reads = [written[reader.name] for reader in readers]
            last_reads[op.name] = end if op.name in self.returned else max(reads, default=line)
            is_last = isinstance(op, CostOperator) or op.name in self.optional
            written[op.name] = end if is_last else written[readers[0].name] if self._is_nested(op) else line
        return last_reads

    def module(self) -> str:
        methods = [self.docstring(), self._init(), *self._further_methods()]
        methods += [reset_method(self.program, self.registered, self.holders), self._forward()]
        methods.append(self._objective())
        bodies = ["\n".join(f"    {line}" if line else "" for line in lines) for lines in methods if lines]
        return f"class {self._class_name()}(nn.Module):\n" + "\n\n".join(bodies)

    def _class_name(self) -> str:
        return class_name(self.program.name)

    def docstring(self) -> list[str]:
        return ['"""`forward` takes values by the names of data layers, and gives values by the names of layers."""']

    def _further_methods(self) -> list[list[str]]:
        """Methods that only some targets have."""
        return []

    def _init(self) -> list[str]:
        lines = ["def __init__(self) -> None:", "    super().__init__()"]
        lines += [f"    {line}" for line in (*self._definitions(), *self._registrations())]
        if self.merged:
            lines.append("    self.register_state_dict_post_hook(split_blocks)")
            lines.append("    self.register_load_state_dict_pre_hook(join_blocks)")
        return [*lines, "    self.reset_parameters()"]

    def _definitions(self) -> list[str]:
        return [line for lines in self.holders.definitions().values() for line in lines]

    def _registrations(self) -> list[str]:
        """Lines that give the buffers that no module of torch brings along their place."""
        lines = []
        for buffer in self.registered:
            dtype = ", dtype=torch.int64" if buffer.is_integer else ""
            zeros = f"torch.zeros({buffer.shape}{dtype})"
            lines.append(f'self.{path_of(buffer.name)}.register_buffer("{leaf_of(buffer.name)}", {zeros})')
        return lines

    def _forward(self) -> list[str]:
        lines = [*self._signature(), *self._beginning()]
        lines += self._lines(self.program.operators)
        return lines + [f"    {line}" for line in self._return()]

    def _lines(self, operators: Sequence[Op]) -> list[str]:
        """The assignments of values that need nothing optional."""
        wanted = (op for op in operators if not isinstance(op, CostOperator) and op.name not in self.optional)
        return [line for op in wanted for line in self._line(op)]

    def _signature(self) -> list[str]:
        """Of `forward`; where layers draw random numbers, with what they draw by: of a new step, unless the caller says."""
        drawing = set(map(drawing_of, self._drawing_operators())) - {Drawing.NEVER}
        if not drawing:
            return ["def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:"]
        wanted = "" if Drawing.ALWAYS in drawing else "self.training"
        return [
            "def forward(self, inputs: dict[str, Tensor], noise: Noise | None = None) -> dict[str, Tensor]:",
            f"    noise = noise or Noise.draw({wanted})  # one number a step: masks are functions of it, layer and case",
        ]

    def _drawing_operators(self) -> Sequence[Op]:
        """Those whose random numbers are drawn by the same step."""
        return self.program.operators

    def _beginning(self) -> list[str]:
        """Lines that `forward` begins with."""
        return []

    def _line(self, op: Op) -> list[str]:
        """The assignment of a value; none where it stands inside the expression of another."""
        text = expression(op, self._operands(op), self._shapes(op), self.holders)
        if isinstance(op, Dropout) and op.rescale_at_test and op.enabled:
            self.remarks.setdefault(_RESCALED, False)
        if self._is_nested(op):
            self.expressions[op.name] = text
            return []
        variable = self.expressions[op.name] = self.variables[op.name]
        lines = assignment(variable, text, self._comment(op), self.names)
        return [*self._remarks(), *(f"    {line}" for line in lines)]

    def _remarks(self) -> list[str]:
        """What has to be said of the next line, and was not said before."""
        unsaid = [remark for remark, is_said in self.remarks.items() if not is_said]
        self.remarks |= dict.fromkeys(unsaid, True)
        return [f"    # {remark}" for remark in unsaid]

    def _comment(self, op: Op) -> str:
        return str(op.shape)

    def _operands(self, op: Op) -> list[str]:
        return [self._operand(op, name) for name in op.inputs]

    def _operand(self, op: Op, name: str) -> str:
        source = self.program.values[name]
        text = self.expressions.get(name) or f"inputs[{literal(source.key if isinstance(source, Input) else name)}]"
        if (
            isinstance(op, LABEL_COSTS)
            and name == op.inputs[0]
            and self.program.origin(name) not in self.program.class_inputs
        ):
            return f"{text}.flatten().long()"
        if isinstance(op, CrossEntropy) and self.program.values[name].shape.is_map:
            return f"{text}.flatten(1)"
        return text

    def _shapes(self, op: Op) -> list[Shape]:
        return [self.program.values[name].shape for name in op.inputs]

    def _is_nested(self, op: Op) -> bool:
        """Whether `op` stands inside the expression of its only reader, which is of the same layer, or a short sum."""
        readers = self.program.readers[op.name]
        if len(readers) != 1 or op.name in self.returned:
            return False
        if readers[0].layers != op.layers:
            return isinstance(readers[0], Add) and self._is_term(op, readers[0])
        if isinstance(op, Gather) or any(map(self.holders.has_bias_map, (op, readers[0]))):
            return False
        is_operand = is_call(op) and not self.holders.is_function(op)
        if isinstance(readers[0], Add):
            is_operand = self.holders.is_module(op)
        return takes_expressions(readers[0]) or (is_operand and not repeats_operand(readers[0]))

    def _is_term(self, op: Op, total: Add) -> bool:
        """Whether the module that computes `op` is called in a sum, as a person would write what goes past a block:
        `self.norm2(conv2) + short`. Autograd keeps nothing of a sum's terms: variables would hold them till the end."""
        calls = [
            self.program.values[name] for name in total.inputs if self.holders.is_module(self.program.values[name])
        ]
        names = [*total.layers, *total.inputs, *(name for call in calls for name in call.inputs)]
        return op in calls and total.inputs.count(op.name) == 1 and sum(map(len, names)) <= _SHORT

    def _return(self) -> list[str]:
        costs = {cost.name: cost for cost in self.program.costs}
        given = [output for output in self.program.outputs if output.value not in costs]
        entries = [f"{literal(output.layer)}: {self.expressions[output.value]}" for output in given]
        if not costs:
            return dictionary("return {", entries)
        reported = [costs[output.value] for output in self.program.outputs if output.value in costs]
        needed = [f"{literal(cost.name)}: {self._cost_text(cost)}" for cost in reported if not self.optional]
        if needed and all(len(entry) + 13 <= WIDTH for entry in (*entries, *needed)):
            return dictionary("return {", [*entries, *needed])
        lines = dictionary("outputs = {", entries) if entries else ["outputs: dict[str, Tensor] = {}"]
        lines += [line for cost in reported if cost.name not in self.optional for line in self._cost(cost, "")]
        for wanted in self._conditions():
            lines += folded("if ", [f"{literal(name)} in inputs" for name in wanted], "and", ":")
            for op in self.program.operators:
                if self.optional.get(op.name) == wanted and not isinstance(op, Input | CostOperator):
                    lines += self._line(op)
            for cost in reported:
                if self.optional.get(cost.name) == wanted:
                    lines += self._cost(cost, "    ")
        return [*lines, "return outputs"]

    def _conditions(self) -> list[tuple[str, ...]]:
        """Which optional inputs are asked for together: few before many, so that what is computed with the few is there."""
        wanted = [self.optional[op.name] for op in self.program.operators if op.name in self.optional]
        computed = {self.optional.get(op.name) for op in self.program.operators if not isinstance(op, Input)}
        return sorted((names for names in dict.fromkeys(wanted) if names in computed), key=len)

    def _cost(self, cost: Cost, indent: str) -> list[str]:
        """The entry of a cost in `outputs`; where it is too long, with its arguments in lines below."""
        text = self._cost_text(cost)
        entry = f"{indent}outputs[{literal(cost.name)}]"
        if len(f"{entry} = {text}") + 8 <= WIDTH:
            return [f"{entry} = {text}"]
        opening, arguments = parted(text)
        lines = [f"{indent}    {arguments}"]
        if len(lines[0]) + 8 > WIDTH:
            lines = [f"{indent}    {argument}," for argument in elements(f"{arguments}]")]
        return [f"{entry} = {opening}", *lines, f"{indent})"]

    def _cost_text(self, cost: Cost) -> str:
        return expression(cost, self._operands(cost), self._shapes(cost), self.holders)

    def _objective(self) -> list[str]:
        weighted = [
            f"outputs[{literal(cost.name)}]"
            if cost.coefficient == 1
            else f"{cost.coefficient!r} * outputs[{literal(cost.name)}]"
            for cost in self.program.costs
            if cost.coefficient
        ]
        if not weighted:
            return []
        return [
            "def objective(self, outputs: dict[str, Tensor]) -> Tensor:",
            '    """What training makes small, from what `forward` gave."""',
            *(f"    {line}" for line in folded("return ", weighted, "+", "")),
        ]
