"""What the host does for a training step: operators that it calls, and the time that they take where there is next to nothing
to compute. Of the plain network of `convspec bench`, and ours.

    python benchmarks/host_step.py [SPEC] [--device cuda]

A GPU computes while the host calls the next operators. So of two networks the one that calls fewer is faster as soon as the
arithmetic is short, and no step is shorter than its calls. Operators are counted as a GPU would be given them, on torch's
meta device and with the kernels for GPUs; those that launch nothing there (views, detached tensors, empty memory, numbers
on the CPU) are left out. Times are medians of steps on the spec made tiny; on the CPU dropout is its composition.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import convspec
from convspec.checker import Checked
from convspec.compiler import compile_checked
from convspec.emit.load import instantiate
from convspec.program.program import Program
from convspec.resources import spec_path
from convspec.train.bench import plain_program, plain_source, random_inputs
from convspec.train.epoch import EpochSums
from convspec.train.optimizer import PaperSGD

PARTS = ("forward", "backward", "update", "sums for metrics")
IDLE = frozenset(
    "alias as_strided detach expand permute select slice split squeeze t transpose unsqueeze view _unsafe_view "
    "empty empty_like empty_strided draw_seed _record_function_enter_new _record_function_exit".split()
)
TINY = {"conv": "filters=8", "fc": "outputs=8"}


class Count(TorchDispatchMode):
    """Of operators that launch something on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.rpartition("::")[2]
        self.found += name not in IDLE and not is_number_on_host(result)
        return result


def is_number_on_host(result: object) -> bool:
    return (
        isinstance(result, Tensor) and result.device.type == "cpu" and result.dtype is torch.int64 and result.ndim == 0
    )


def tiny(path: str) -> Checked:
    """The spec with eight maps or units a layer, but for the classes, and the smallest image that passes."""
    layers = convspec.check(path).require_ok().graph.layers.values()
    last = {source for layer in layers if layer.type == "softmax" for source in layer.input_names}
    sizes = [f"{layer.name}.{TINY[layer.type]}" for layer in layers if layer.type in TINY and layer.name not in last]
    (data, dims), *_ = convspec.check(path).graph.net.input
    checks = (convspec.check(path, inputs={data: (dims[0], side, side)}, overrides=sizes) for side in range(8, dims[1]))
    return next(checked for checked in checks if checked.ok)


class Step:
    """A training step in its parts."""

    def __init__(
        self, net: nn.Module, program: Program, optimizer: torch.optim.Optimizer | PaperSGD, inputs: dict[str, Tensor]
    ) -> None:
        device = next(iter(inputs.values())).device
        self.net, self.optimizer, self.inputs = net.train(), optimizer, inputs
        self.sums = EpochSums(program, device)

    def parts(self) -> Mapping[str, Callable[[], None]]:
        return dict(zip(PARTS, (self.forward, self.backward, self.update, self.count), strict=True))

    def forward(self) -> None:
        self.outputs = self.net(self.inputs)
        self.objective = self.net.objective(self.outputs)

    def backward(self) -> None:
        self.objective.backward()

    def update(self) -> None:
        if isinstance(self.optimizer, PaperSGD):
            self.optimizer.set_rates(0.0)
            self.optimizer.step(0)
        else:
            self.optimizer.step()
        self.optimizer.zero_grad()

    def count(self) -> None:
        self.sums.add(self.outputs, self.inputs, len(self.inputs["data"]))


def steps(checked: Checked, device: str) -> tuple[Step, Step]:
    """Plain and ours. What plain PyTorch is measured with has no metrics of its own: it takes ours."""
    compiled = compile_checked(checked, allow_init_imports=True)
    inputs = random_inputs(compiled.program, 4, torch.device(device))
    with torch.device(device):
        ours = instantiate(compiled.source, compiled.name)
        plain = instantiate(plain_source(checked), "plain")
    # on a GPU torch takes its foreach implementation by itself
    sgd = torch.optim.SGD(plain.parameters(), lr=1e-6, momentum=0.9, weight_decay=0.0005, foreach=True)
    fast = PaperSGD(compiled.program, ours)
    return Step(plain, plain_program(checked), sgd, inputs), Step(ours, compiled.program, fast, inputs)


@contextmanager
def kernels_of_a_gpu() -> Iterator[None]:
    before = os.environ.get("CONVSPEC_KERNELS")
    os.environ["CONVSPEC_KERNELS"] = "triton"
    try:
        yield
    finally:
        os.environ.pop("CONVSPEC_KERNELS") if before is None else os.environ.update(CONVSPEC_KERNELS=before)


def operators(checked: Checked) -> list[list[int]]:
    """By part, plain and ours. The update on the CPU: torch's fused one knows no meta device."""
    with kernels_of_a_gpu():
        passes = [[counted(part) for part in list(step.parts().values())[:2]] for step in steps(checked, "meta")]
    rest = []
    for step in steps(checked, "cpu"):
        for _ in range(2):  # the second has its momentum
            found = [counted(part) for part in step.parts().values()]
        rest.append(found[2:])
    return [*zip(*passes, strict=True), *zip(*rest, strict=True)]


def counted(part: Callable[[], None]) -> int:
    with Count() as count:
        part()
    return count.found


def microseconds(checked: Checked, device: str, rounds: int) -> list[list[float]]:
    """By part, plain and ours in turns. On a GPU the host waits for it after each part, so that the launches are in it."""
    pair = steps(checked, device)
    taken: dict[tuple[str, int], list[float]] = {(name, side): [] for name in PARTS for side in (0, 1)}
    for round_ in range(rounds + 5):
        for side, step in enumerate(pair):
            for name, part in step.parts().items():
                began = time.perf_counter()
                part()
                if device != "cpu":
                    torch.cuda.synchronize()
                if round_ >= 5:
                    taken[name, side].append(1e6 * (time.perf_counter() - began))
    return [[median(taken[name, side]) for side in (0, 1)] for name in PARTS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("spec", nargs="?", default=str(spec_path("alexnet.cfg")))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    checked = tiny(arguments.spec)
    counts, times = operators(checked), microseconds(checked, arguments.device, arguments.rounds)
    print(f"{'':20}{'operators':>20}{'us on ' + arguments.device:>20}")
    print(f"{'':20}{'plain':>10}{'convspec':>10}{'plain':>10}{'convspec':>10}")
    for name, count, took in zip(PARTS, counts, times, strict=True):
        print(f"{name:20}" + "".join(f"{each:10}" for each in count) + "".join(f"{each:10.0f}" for each in took))
    sums = [sum(column) for column in zip(*counts, strict=True)], [sum(column) for column in zip(*times, strict=True)]
    print(f"{'all':20}" + "".join(f"{each:10}" for each in sums[0]) + "".join(f"{each:10.0f}" for each in sums[1]))


if __name__ == "__main__":
    main()
