"""-log softmax computed from the softmax's inputs, as the originals fuse their gradients (cuda-convnet2
layer_kernels.cu:286-326): exact where a probability is 0 or 1."""

from __future__ import annotations

from dataclasses import replace

from convspec.program.operators import NegativeLogLikelihood, Op, Softmax
from convspec.program.program import Program


def fuse_softmax_cost(program: Program) -> Program:
    """Costs read the inputs of their softmax; the softmax stays for whoever wants the probabilities."""
    return replace(program, operators=tuple(_fused(op, program) for op in program.operators))


def _fused(op: Op, program: Program) -> Op:
    if not isinstance(op, NegativeLogLikelihood) or op.from_logits:
        return op
    labels, predictions = op.inputs
    source = program.values[predictions]
    return replace(op, inputs=(labels, source.inputs[0]), from_logits=True) if isinstance(source, Softmax) else op
