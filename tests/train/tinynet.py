"""A hand-made network that follows the contract of emitted modules, and a compiled spec around it: no compiler needed."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convspec.program.costs import NegativeLogLikelihood
from convspec.program.features import Dropout, Softmax
from convspec.program.initial import InitialValue
from convspec.program.moves import Input
from convspec.program.program import Block, Initialization, Output, Parameter, Program, Update
from convspec.program.schedule import Schedule
from convspec.program.shape import Shape
from convspec.program.weighted import Conv2d, Linear

SIDE = 8
MAPS = 4
CLASSES = 10


def constant(rate: float, momentum: float = 0.9, decay: float = 0.0) -> Update:
    return Update(Schedule.constant(rate), momentum, decay)


def parameter(name: str, shape: tuple[int, ...], update: Update, *blocks: Block) -> Parameter:
    """One block of the same name unless `blocks` say otherwise."""
    whole = Block(name, (0, shape[0]), (0, shape[1]) if len(shape) > 1 else None)
    return Parameter(name, shape, Initialization(0.1), update, blocks or (whole,))


def tiny_program(weights: Update | None = None, biases: Update | None = None, classes: int = CLASSES) -> Program:
    """Data -> conv1 (3x3, 4 maps, ReLU) -> dropout -> fc2 (10) -> probs; cost logprob."""
    weights, biases = weights or constant(0.2, decay=0.0005), biases or constant(0.4)
    maps = Shape.of_maps(MAPS, SIDE, SIDE)
    vector = Shape.of_vector(classes)
    operators = (
        Input(name="data", inputs=(), shape=Shape.of_maps(1, SIDE, SIDE), layers=("data",), data_index=0),
        Input(name="labels", inputs=(), shape=Shape.of_vector(1), layers=("labels",), data_index=1),
        Conv2d(
            name="conv1",
            inputs=("data",),
            shape=maps,
            layers=("conv1",),
            weight="conv1.weight",
            bias="conv1.bias",
            kernel_size=(3, 3),
            stride=1,
            padding=1,
            groups=1,
        ),
        Dropout(name="drop", inputs=("conv1",), shape=maps, layers=("drop",), keep=0.8, rescale_at_test=False),
        Linear(name="fc2", inputs=("drop",), shape=vector, layers=("fc2",), weight="fc2.weight", bias="fc2.bias"),
        Softmax(name="probs", inputs=("fc2",), shape=vector, layers=("probs",)),
        NegativeLogLikelihood(
            name="logprob",
            inputs=("labels", "probs"),
            shape=Shape.of_vector(1),
            layers=("logprob",),
            coefficient=1.0,
            top_k=3,
            predictions="probs",
        ),
    )
    features = MAPS * SIDE * SIDE
    parameters = (
        parameter("conv1.weight", (MAPS, 1, 3, 3), weights),
        parameter("conv1.bias", (MAPS,), biases),
        parameter("fc2.weight", (classes, features), weights),
        parameter("fc2.bias", (classes,), biases),
    )
    return Program("tiny", operators, parameters, (Output("probs", "probs"), Output("logprob", "logprob")))


class TinyNet(nn.Module):
    """What the emitter would write for `tiny_program`."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, MAPS, 3, padding=1)
        self.drop = nn.Dropout(0.2)
        self.fc2 = nn.Linear(MAPS * SIDE * SIDE, classes)

    def reset_parameters(self) -> None:
        for layer in (self.conv1, self.fc2):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        features = self.drop(F.relu(self.conv1(inputs["data"] / 255))).flatten(1)
        logits = self.fc2(features)
        outputs = {"probs": torch.softmax(logits, 1)}
        if "labels" in inputs:
            outputs["logprob"] = F.cross_entropy(logits, inputs["labels"])
        return outputs

    def objective(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["logprob"]


@dataclass(frozen=True)
class Train:
    batch: int = 64
    epochs: int = 2
    schedule: str = "spec"
    plateau_factor: float = 10.0
    plateau_patience: int = 3
    plateau_drops: int = 3
    seed: int = 0
    precision: str = "fp32"
    validate_every: int = 1
    checkpoint_every: int = 0
    keep_checkpoints: int = 2
    init: str = ""
    init_from: str = ""


@dataclass(frozen=True)
class Data:
    provider: str = "digits"
    path: str = ""
    size: int = SIDE
    crop: str = "random"
    mirror: bool = False
    mean: str = "image"
    color_noise: float = 0.0
    color_scale: bool = False
    samples: int = 8
    test_samples: int = 4
    train_batches: str = ""
    test_batches: str = ""


@dataclass(frozen=True)
class Compiled:
    name: str = "tiny"
    program: Program = field(default_factory=tiny_program)
    source: str = "# the emitted module\n"
    spec_text: str = "[conv1]\ntype=conv\nfilters=4\n"
    resolved_text: str = "[conv1]\ntype=conv\nfilters=4\npadding=1\n"
    train: Train = field(default_factory=Train)
    data: Data = field(default_factory=Data)
    initial_values: tuple[InitialValue, ...] = ()
