"""Costs of probabilities computed from what the probabilities were made of, as the originals fuse their gradients
(cuda-convnet2 layer_kernels.cu:286-326, layer.cu:590-620): exact where a probability is 0 or 1."""

from __future__ import annotations

from dataclasses import replace

from convspec.program.costs import BinaryCrossEntropy, CrossEntropy, NegativeLogLikelihood
from convspec.program.features import Activation, Neuron, Softmax
from convspec.program.operators import Op
from convspec.program.program import Program


def fuse_costs(program: Program) -> Program:
    """Costs read the inputs of their softmax or sigmoid, which stays for whoever wants the probabilities."""
    operators = tuple(_fused(op, program) for op in program.operators)
    return replace(program, operators=operators) if operators != program.operators else program


def _fused(op: Op, program: Program) -> Op:
    match op:
        case NegativeLogLikelihood(from_logits=False) | CrossEntropy(from_logits=False):
            source = program.values[op.inputs[1]]
            is_fusible = isinstance(source, Softmax)
        case BinaryCrossEntropy(from_logits=False):
            source = program.values[op.inputs[1]]
            is_fusible = isinstance(source, Activation) and source.neuron is Neuron.LOGISTIC
        case _:
            return op
    return replace(op, inputs=(op.inputs[0], source.inputs[0]), from_logits=True) if is_fusible else op
