"""Local response normalisation and max pooling, with the bias and the ReLU around them, become one operator.

Apart they write the maps of a layer four times and read them as often; `bias_act_lrn_max_pool2d` reads the
convolution's output once and writes the pooled maps (docs/kernels.md). What it can take, in
this order, each where it stands:

    bias of a convolution, ReLU, LRN, ReLU, max pool, ReLU        with one ReLU among them

A ReLU between the normalisation and the pool moves behind the pool: the largest of what is not negative is the ReLU of
the largest, and the gradient goes the same way. The bias goes along only with a normalisation or a pool that fuses with
something else: by itself the convolution adds it for nothing. Each value in between must have one reader and be no
output; the notes of the program say where that, or anything else, stood in the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeGuard

from convspec.program.features import Activation, Neuron
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.weighted import Conv2d
from convspec.program.windows import FusedLRNPool, LocalResponseNorm, LRNWindow, MaxPool2d, PoolWindow


def fuse_lrn_pool(program: Program) -> Program:
    """The program with each such run of operators as one; the very same program where there is none."""
    fuser = _Fuser(program)
    for op in program.operators:
        if _is_square_pool(op) or (isinstance(op, LocalResponseNorm) and not op.blocked):
            fuser.fuse(op)
    return fuser.result()


@dataclass(frozen=True, slots=True)
class _Run:
    """Operators that follow one another, the convolution whose bias goes along before them."""

    convolution: Conv2d | None
    operators: tuple[Op, ...]


class _Fuser:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.returned = {output.value for output in program.outputs}
        self.fused: dict[str, Op | None] = {}
        self.notes: list[str] = []

    def fuse(self, op: LocalResponseNorm | MaxPool2d) -> None:
        """Fuse the run that starts at `op`, or at the ReLU before it, unless an earlier one took it in."""
        if op.name in self.fused:
            return
        run = self._run_from(op)
        if len(run.operators) == 1:
            self._note_alone(op)
            return
        self.fused |= dict.fromkeys(op.name for op in run.operators)
        fused = _fused(run)
        self.fused[fused.name] = fused
        parts = [op.name for op in run.operators if not _is_relu(op)]
        if run.convolution is not None:
            self.fused[run.convolution.name] = replace(run.convolution, name=fused.inputs[0], bias=None)
            parts.insert(0, f"the bias of {fused.inputs[0]}")
        relu = " with ReLU" if any(map(_is_relu, run.operators)) else ""
        self.notes.append(f"{' + '.join(parts)}{relu} in one pass over the maps")

    def _run_from(self, op: LocalResponseNorm | MaxPool2d) -> _Run:
        operators: list[Op] = [op]
        before = self._before(op)
        if before is not None and _is_relu(before) and before.name not in self.fused:
            operators.insert(0, before)
        is_pooled = isinstance(op, MaxPool2d)
        while (after := self._after(operators[-1])) is not None:
            takes_relu = _is_relu(after) and not any(map(_is_relu, operators))
            if not takes_relu and (is_pooled or not _is_square_pool(after)):
                break
            is_pooled = is_pooled or isinstance(after, MaxPool2d)
            operators.append(after)
        source = self._before(operators[0])
        has_bias = isinstance(source, Conv2d) and self._has_shared_bias(source) and len(operators) > 1
        return _Run(source if has_bias and isinstance(source, Conv2d) else None, tuple(operators))

    def _has_shared_bias(self, op: Conv2d) -> bool:
        """Whether a bias a channel is added: one a pixel cannot go along."""
        return op.bias is not None and len(self.program.parameter[op.bias].shape) == 1

    def _before(self, op: Op) -> Op | None:
        """What `op` reads, if nobody else does."""
        source = self.program.values[op.inputs[0]]
        return source if self._after(source) is op else None

    def _after(self, op: Op) -> Op | None:
        """The only reader of `op`, where it is on the same GPU and the value is no output."""
        readers = self.program.readers[op.name]
        if len(readers) != 1 or op.name in self.returned or readers[0].gpu != op.gpu or len(readers[0].inputs) > 1:
            return None
        return readers[0]

    def _note_alone(self, op: LocalResponseNorm | MaxPool2d) -> None:
        """Say why `op` stays by itself, unless an earlier run of this pass has said so: what is around it may have changed."""
        fact = f"{op.name} stays by itself: "
        if not any(note.startswith(fact) for note in self.program.notes):
            self.notes.append(fact + self._reason(op))

    def _reason(self, op: LocalResponseNorm | MaxPool2d) -> str:
        """Why neither what is before nor what is behind `op` fuses with it."""
        if op.name in self.returned:
            return "it is an output of the network"
        readers = [reader.name for reader in self.program.readers[op.name]]
        if len(readers) > 1:
            return f"{', '.join(readers)} read it"
        source = self.program.values[op.inputs[0]]
        if isinstance(source, Activation | LocalResponseNorm) and self._after(source) is not op:
            return f"others read {source.name} as well, or it is an output or on another GPU"
        return f"between {source.name} and {readers[0]} there is nothing to fuse it with"

    def result(self) -> Program:
        notes = tuple(note for note in self.notes if note not in self.program.notes)
        if not self.fused and not notes:
            return self.program
        operators = (self.fused.get(op.name, op) for op in self.program.operators)
        return replace(
            self.program,
            operators=tuple(op for op in operators if op is not None),
            notes=(*self.program.notes, *notes),
        )


def _is_relu(op: Op) -> bool:
    return isinstance(op, Activation) and op.neuron is Neuron.RELU


def _is_square_pool(op: Op) -> TypeGuard[MaxPool2d]:
    """Whether the windows of a pool are the same along rows and columns, as the fused operator takes them."""
    return isinstance(op, MaxPool2d) and all(rows == columns for rows, columns in (op.kernel_size, op.stride, op.start))


def _input_name(run: _Run) -> str:
    """What the run reads: a convolution whose ReLU goes along takes over the name of the layer."""
    first = run.operators[0]
    takes_over = run.convolution is not None and _is_relu(first) and first.layers == run.convolution.layers
    return first.name if takes_over else first.inputs[0]


def _fused(run: _Run) -> FusedLRNPool:
    first, last = run.operators[0], run.operators[-1]
    norm = next((op for op in run.operators if isinstance(op, LocalResponseNorm)), None)
    pool = next((op for op in run.operators if isinstance(op, MaxPool2d)), None)
    return FusedLRNPool(
        name=last.name,
        inputs=(_input_name(run),),
        shape=last.shape,
        layers=tuple(dict.fromkeys(layer for op in run.operators for layer in op.layers)),
        gpu=last.gpu,
        cases=last.cases,
        bias=None if run.convolution is None else run.convolution.bias,
        relu_before=_is_relu(first),
        relu_after=not _is_relu(first) and any(map(_is_relu, run.operators)),
        norm=None if norm is None else LRNWindow(norm.size, norm.alpha, norm.beta, norm.k, norm.groups),
        pool=None if pool is None else PoolWindow(pool.kernel_size, pool.stride, pool.start, pool.ties_share),
    )
