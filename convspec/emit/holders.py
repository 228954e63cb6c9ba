"""How the emitted module holds its parameters: in torch's own modules where they fit, else in a dictionary a layer.

Either way a parameter `conv1.weight` of the program is `conv1.weight` among the module's named parameters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from convspec.emit.lines import WIDTH
from convspec.program.operators import Op, parameters_of
from convspec.program.program import Parameter, Program
from convspec.program.weighted import BatchNorm, Conv2d, Linear, LocallyConnected2d, TreeLinear, Weighted
from convspec.program.windows import FusedLRNPool

# Operators whose parameters a module of torch, or one like them, can hold.
HeldByModule = Conv2d | Linear | TreeLinear | BatchNorm

# Columns that a statement of a method has.
_WIDTH = WIDTH - 8


class Holders:
    """Who holds each parameter of a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._beside: dict[str, list[Parameter]] = defaultdict(list)
        for parameter in program.parameters:
            self._beside[path_of(parameter.name)].append(parameter)
        self._biases_elsewhere = {op.bias for op in program.operators if isinstance(op, FusedLRNPool)}
        self._modules = self._find_modules()
        self._paths = {path_of(op.weight) for op in self._modules.values()}

    def _find_modules(self) -> dict[str, HeldByModule]:
        """Operators whose parameters a module of torch holds, by name: one for each weight at most."""
        modules: dict[str, HeldByModule] = {}
        users: dict[str, list[HeldByModule]] = {}
        for op in self._program.operators:
            if self.has_bias_map(op) or _scales_gradient(op):
                continue
            if isinstance(op, HeldByModule):
                users.setdefault(op.weight, []).append(op)
        for weight, ops in users.items():
            own = self._own(path_of(weight))
            first = next((op for op in ops if self._brought_by(op) == own), None)
            if first is not None:
                modules[first.name] = first
        return modules

    def _brought_by(self, op: HeldByModule) -> set[str]:
        """The parameters that torch's module for `op` has: also a bias that another operator adds in its place."""
        bias = f"{path_of(op.weight)}.bias" if self._leaves_out_bias(op) else op.bias
        return {op.weight} if bias is None else {op.weight, bias}

    def is_module(self, op: Op) -> bool:
        """Whether a module of torch computes `op`, so that it is a call of `self.NAME`."""
        is_module = isinstance(op, Weighted | TreeLinear | BatchNorm) and self.is_here(path_of(op.weight), op)
        return is_module and op.name in self._modules and not self._leaves_out_bias(op)

    def _leaves_out_bias(self, op: Op) -> bool:
        """Whether an operator behind this convolution adds the bias of its module."""
        return isinstance(op, Conv2d) and op.bias is None and f"{path_of(op.weight)}.bias" in self._biases_elsewhere

    def is_function(self, op: Op) -> bool:
        """Whether a function computes `op` from its parameters: a longer expression than that of a module."""
        return isinstance(op, Weighted) and not self.is_module(op)

    def has_bias_map(self, op: Op) -> bool:
        """Whether a bias a pixel is added to the result of `op`."""
        return isinstance(op, Conv2d) and op.bias is not None and len(self._program.parameter[op.bias].shape) > 1

    def expression(self, parameter: str, op: Op) -> str:
        """The parameter, as `forward` names it where it computes `op`."""
        path = path_of(parameter)
        leaf = parameter.removeprefix(f"{path}.")
        return f"self.{path}.{leaf}" if path in self._paths else f'self.{path}["{leaf}"]'

    def buffer(self, buffer: str, op: Op) -> str:
        """The buffer, as `forward` names it where it computes `op`."""
        path, _, leaf = buffer.rpartition(".")
        return f'self.{path}.get_buffer("{leaf}")'

    def is_here(self, path: str, op: Op) -> bool:
        """Whether what an attribute holds is where `op` is computed."""
        return True

    def arguments(self, op: Weighted) -> str:
        """The parameters of an operator, as arguments of the function that computes it; the whole dictionary of a layer at
        once."""
        names = parameters_of(op)
        path = path_of(op.weight)
        is_whole = self._holds_alone(path, op) and op.gradient_scale == 1
        if is_whole and path not in self._paths and self.is_here(path, op):
            return f"**self.{path}"
        return ", ".join([self.weight(op), *(self.expression(name, op) for name in names[1:])])

    def _own(self, path: str) -> set[str]:
        """The parameters that an attribute holds."""
        return {parameter.name for parameter in self._beside[path]}

    def _holds_alone(self, path: str, op: Weighted) -> bool:
        """Whether an attribute holds the parameters of `op` and no others."""
        return self._own(path) == set(parameters_of(op))

    def weight(self, op: Weighted) -> str:
        """The weight of an operator, with what it counts in the gradient."""
        weight = self.expression(op.weight, op)
        match op.gradient_scale:
            case 1.0:
                return weight
            case 0.0:
                return f"{weight}.detach()"
            case scale:
                return f"scale_gradient({weight}, {scale!r})"

    def definitions(self) -> dict[str, list[str]]:
        """The lines of `__init__` by attribute, in the order of the operators; merged layers with their names beside
        them."""
        lines: dict[str, list[str]] = {}
        for op in self._program.operators:
            comment = f"  # {' | '.join(op.layers)}" if len(op.layers) > 1 else ""
            module = self._modules.get(op.name)
            if module is not None:
                path = path_of(module.weight)
                lines[path] = _within_width(f"self.{path} = {self._constructor(module)}", comment)
                continue
            for path in dict.fromkeys(map(path_of, parameters_of(op))):
                if path not in self._paths:
                    lines.setdefault(path, self._dictionary(path, comment))
        return lines

    def parents(self) -> dict[str, tuple[int, ...]]:
        """The trees of the network, by the attribute whose layer is over their leaves."""
        return {path_of(op.weight): op.parents for op in self._program.operators if isinstance(op, TreeLinear)}

    def _constructor(self, op: HeldByModule) -> str:
        if isinstance(op, TreeLinear):
            path = path_of(op.weight)
            return f'TreeLinear({self._program.parameter[op.weight].shape[1]}, PARENTS["{path}"])'
        if isinstance(op, BatchNorm):
            return f"{self.norm_class(op)}({op.shape.channels}{norm_options(op)})"
        out_channels, in_channels, *_ = self._program.parameter[op.weight].shape
        bias = "" if op.bias or self._leaves_out_bias(op) else ", bias=False"
        if isinstance(op, Linear):
            return f"nn.Linear({in_channels}, {out_channels}{bias})"
        kernel_size = f"kernel_size={one_or_both(op.kernel_size)}"
        return f"nn.Conv2d({in_channels * op.groups}, {out_channels}, {kernel_size}{window_options(op)}{bias})"

    def norm_class(self, op: BatchNorm) -> str:
        """The class of its module."""
        return f"nn.BatchNorm{2 if op.shape.is_map else 1}d"

    def _dictionary(self, path: str, comment: str) -> list[str]:
        leaves = {p.name.removeprefix(f"{path}."): ", ".join(map(str, p.shape)) for p in self._beside[path]}
        entries = [f'"{leaf}": torch.empty({shape})' for leaf, shape in leaves.items()]
        line = f"self.{path} = nn.ParameterDict({{{', '.join(entries)}}}){comment}"
        if len(line) <= _WIDTH:
            return [line]
        return [f"self.{path} = nn.ParameterDict(", f"    {{{', '.join(entries)}}}", f"){comment}"]


def _within_width(call: str, comment: str) -> list[str]:
    """A call and the comment behind it; where they are too long, with the arguments on a line of their own."""
    if len(call) + len(comment) <= _WIDTH:
        return [f"{call}{comment}"]
    head, _, arguments = call.removesuffix(")").partition("(")
    return [f"{head}(", f"    {arguments}", f"){comment}"]


def _scales_gradient(op: Op) -> bool:
    return isinstance(op, Weighted) and op.gradient_scale != 1


def path_of(parameter: str) -> str:
    """The attribute of the emitted module that holds a parameter."""
    return parameter.rpartition(".")[0]


def leaf_of(parameter: str) -> str:
    """What a parameter is called where it is held: `weight`."""
    return parameter.rpartition(".")[2]


def norm_options(op: BatchNorm) -> str:
    """Arguments of a batch normalisation that are not at torch's defaults."""
    options = (("eps", op.eps, 1e-5), ("momentum", op.momentum, 0.1))
    return "".join(f", {name}={value!r}" for name, value, default in options if value != default)


def window_options(op: Conv2d | LocallyConnected2d) -> str:
    """Arguments of a convolution that are not at torch's defaults."""
    options = (("stride", op.stride, (1, 1)), ("padding", op.padding, (0, 0)))
    text = "".join(f", {name}={one_or_both(value)}" for name, value, default in options if value != default)
    return text + (f", groups={op.groups}" if op.groups > 1 else "")


def one_or_both(sizes: Sequence[int]) -> str:
    """`3` for (3, 3), else the pair."""
    height, width = sizes
    return str(height) if height == width else f"({height}, {width})"
