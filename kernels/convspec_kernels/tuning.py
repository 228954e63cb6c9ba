"""The search for the fastest configuration of one problem: candidates, whether they are right, how long they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor
from triton import TritonError

from convspec_kernels import gpu_clock, triton_kernels, triton_lanes, triton_planes, triton_tables
from convspec_kernels.gpu_clock import Clock
from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.triton_configs import MOST_COLUMNS, Climb, Config, Configuration, Direction, Problem, Walk
from convspec_kernels.triton_launch import Launch
from convspec_kernels.triton_tables import Measured


class Layer(NamedTuple):
    """Maps of channels x side x side, the window and groups of a normalisation, kernel and stride of a pool: 0 for none."""

    channels: int
    side: int
    size: int
    groups: int
    kernel: int
    stride: int


ALEXNET = (Layer(96, 55, 5, 2, 3, 2), Layer(256, 27, 5, 2, 3, 2), Layer(256, 13, 0, 1, 3, 2))
OTHERS = (
    Layer(48, 55, 5, 1, 3, 2),  # one tower
    Layer(128, 27, 5, 1, 3, 2),
    Layer(64, 55, 5, 1, 3, 2),  # one wide tower
    Layer(192, 27, 5, 1, 3, 2),
    Layer(256, 27, 5, 2, 0, 1),  # no pool behind it
    Layer(32, 31, 5, 2, 3, 2),  # small pictures
    Layer(64, 15, 5, 2, 3, 2),
    Layer(64, 7, 0, 1, 3, 2),
    Layer(32, 32, 0, 1, 3, 2),
    Layer(64, 24, 0, 1, 3, 2),
    Layer(64, 12, 9, 1, 3, 2),
    Layer(64, 12, 0, 1, 3, 2),
    Layer(96, 55, 0, 1, 3, 2),  # no normalisation
    Layer(256, 27, 0, 1, 3, 2),
    Layer(384, 13, 0, 1, 3, 2),
    Layer(96, 55, 5, 2, 2, 2),  # no overlap
    Layer(256, 27, 5, 2, 2, 2),
    Layer(256, 13, 0, 1, 2, 2),
    Layer(64, 224, 0, 1, 2, 2),  # VGG
    Layer(128, 112, 0, 1, 2, 2),
    Layer(256, 56, 0, 1, 2, 2),
    Layer(512, 28, 0, 1, 2, 2),
    Layer(512, 14, 0, 1, 2, 2),
)
BATCHES, RARE_BATCHES = (128, 32), (256, 1)
WARPS, WARPS_OF_A_TILE, ROUNDS, PARTS = (1, 2, 4), (4, 8, 16), (1, 2, 4, 8), (1, 2, 3, 4, 6, 8, 12, 16)

TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
"""Of the largest number. Other configurations sum a bias's gradient in another order, and may round elsewhere."""

TIES = 1e-4
"""The share of windows in which two pixels may be so near one another that rounding decides which is larger."""

WORTH = 0.02
"""By which share the fastest must be faster than the rule's, for less may be chance."""

FINALISTS = 3
LONG = 50


class Wrong(Exception):
    """The kernels give wrong results on this device."""


@dataclass(frozen=True, slots=True)
class Found:
    """tried: configurations. refused: of them, those that could not run or gave other results than the rule's."""

    best: Measured
    tried: int
    refused: int

    def __str__(self) -> str:
        best = self.best
        return (
            f"{best.microseconds:.1f} us, {best.rule_microseconds / best.microseconds:.2f}x the rule's "
            f"{best.rule_microseconds:.1f}: {best.config} ({self.tried} tried, {self.refused} refused)"
        )


def problems() -> Iterator[Problem]:
    """What is tuned, the most wanted first."""
    dtypes = (torch.bfloat16, torch.float32, torch.float16)
    for batches, layers, kinds, formats in (
        (BATCHES, ALEXNET, dtypes, (True, False)),
        (BATCHES, OTHERS, dtypes[:2], (True,)),
        (RARE_BATCHES, ALEXNET, dtypes[:2], (True,)),
    ):
        for channels_last, cases, layer, dtype in product(formats, batches, layers, kinds):
            for direction in Direction:
                yield _problem(direction, cases, layer, dtype, channels_last)


def _problem(direction: Direction, cases: int, layer: Layer, dtype: torch.dtype, channels_last: bool) -> Problem:
    shape = (cases, layer.channels, layer.side, layer.side)
    outputs = ceil((layer.side - layer.kernel) / layer.stride) + 1
    pool = Pool(layer.kernel, layer.stride, 0, outputs, outputs) if layer.kernel else None
    return Problem(direction, shape, dtype, channels_last, max(layer.size, 1), layer.groups, pool)


def runs_here(problem: Problem) -> bool:
    return problem.dtype is not torch.bfloat16 or gpu_clock.has_bfloat16()


def name(problem: Problem) -> str:
    shape, pool = "x".join(map(str, problem.shape)), problem.windows
    memory_format = "NHWC" if problem.channels_last else "NCHW"
    dtype = str(problem.dtype).removeprefix("torch.")
    windows = f"window {problem.size}, pool {pool.kernel_size}/{pool.stride}"
    return f"{problem.direction.value} {shape} {dtype} {memory_format} {windows}"


def tune(problem: Problem, clock: Clock) -> Found:
    """Measure.

    Raises:
        Wrong: not even the rule's configuration gives numbers everywhere.
        torch.OutOfMemoryError: the maps are too large for the device.
    """
    trial = Trial.of(problem)
    rule = triton_kernels.rule(problem)
    expected = trial.results(rule)
    if not trial.agree(expected, expected):
        raise Wrong("the rule's results are not numbers everywhere; `make test-gpu` says more")
    times: dict[Configuration, float] = {}

    def time_of(config: Configuration) -> float:
        if config not in times:
            times[config] = float("inf")
            try:
                if trial.agree(trial.results(config), expected):
                    times[config] = clock.seconds(partial(complete, trial.launch(config)), 5)
            except TritonError:
                pass  # more registers or shared memory than there are
        return times[config]

    search(problem, rule, time_of)
    finalists = {rule, *sorted(times, key=lambda config: times[config])[:FINALISTS]}
    seconds = {config: clock.seconds(partial(complete, trial.launch(config)), LONG) for config in finalists}
    best = min(finalists, key=lambda config: (seconds[config], str(config)))
    if seconds[best] > (1 - WORTH) * seconds[rule]:
        best = rule
    microseconds = {config: round(1e6 * taken, 2) for config, taken in seconds.items()}
    refused = sum(taken == float("inf") for taken in times.values())
    return Found(Measured(best, microseconds[best], rule, microseconds[rule]), len(times), refused)


def search(problem: Problem, rule: Configuration, time_of: Callable[[Configuration], float]) -> None:
    """Ask for the times of all that is sensible: of every cut of the maps, and of variants of the fastest."""
    best = min([rule, *_fitting(problem, _cuts(problem, rule))], key=time_of)
    for config in _fitting(problem, _variants(problem, best)):
        time_of(config)


def _fitting(problem: Problem, configs: Iterable[Configuration]) -> list[Configuration]:
    return [config for config in configs if triton_tables.misfit(problem, config) is None]


def _cuts(problem: Problem, rule: Configuration) -> Iterator[Configuration]:
    """Strips of each width and length, each length as even as it can be; blocks of each height, and the channels in more and
    more parts; tiles up to twice as large either way."""
    match rule:
        case Walk():
            height, _ = triton_lanes.extent(problem)
            lengths = sorted({ceil(height / segments) for segments in range(1, height + 1)})
            for columns, rows in product(range(1, MOST_COLUMNS + 1), lengths):
                yield replace(rule, columns=columns, rows=rows)
        case Climb():
            for rows, parts in product(range(1, triton_planes.MOST_ROWS + 1), PARTS):
                yield replace(rule, rows=rows, channels=ceil(problem.group / parts))
        case Config(block_pixels=pixels, block_channels=channels):
            for more_pixels, more_channels in product((pixels // 2, pixels, 2 * pixels), (channels // 2, channels)):
                yield replace(rule, block_pixels=more_pixels, block_channels=more_channels)


def _variants(problem: Problem, best: Configuration) -> Iterator[Configuration]:
    """With other warps, and for tiles backward with other rounds: other code for the same cut."""
    match best:
        case Walk() | Climb():
            for warps in WARPS:
                yield replace(best, warps=warps)
        case Config():
            rounds = ROUNDS if problem.direction is Direction.BACKWARD else (1,)
            for warps, turns in product(WARPS_OF_A_TILE, rounds):
                yield replace(best, warps=warps, rounds=turns)


WRITTEN = {Direction.FORWARD: ("y", "argmax"), Direction.BACKWARD: ("grad_x", "grad_bias")}


@dataclass(frozen=True, slots=True)
class Trial:
    """Maps for a problem, and what else its direction reads. The normaliser matters in them: alpha is 0.5."""

    problem: Problem
    options: FusedOptions
    x: Tensor
    bias: Tensor
    grad_y: Tensor
    argmax: Tensor | None

    @classmethod
    def of(cls, problem: Problem) -> Trial:
        lrn = LRN(problem.size, 0.5, 0.75, 2.0, problem.groups) if problem.size > 1 else None
        options = FusedOptions(relu_before=True, lrn=lrn, pool=problem.pool)
        generator = torch.Generator(gpu_clock.DEVICE).manual_seed(0)

        def normal(*shape: int) -> Tensor:
            numbers = torch.randn(shape, generator=generator, device=gpu_clock.DEVICE).mul(2).to(problem.dtype)
            last = problem.channels_last and numbers.ndim == 4
            return numbers.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

        x, bias = normal(*problem.shape), normal(problem.shape[1])
        forward = triton_kernels.rule(problem._replace(direction=Direction.FORWARD))
        y, argmax = triton_kernels.empty_outputs(x, options)
        triton_kernels.forward_launch(x, bias, y, argmax, options, forward).run()
        return cls(problem, options, x, bias, normal(*y.shape), argmax)

    def launch(self, config: Configuration) -> Launch:
        """Into memory of its own."""
        if self.problem.direction is Direction.FORWARD:
            y, argmax = triton_kernels.empty_outputs(self.x, self.options)
            return triton_kernels.forward_launch(self.x, self.bias, y, argmax, self.options, config)
        grad_x = torch.empty_like(self.x)
        return triton_kernels.backward_launch(self.grad_y, self.x, self.bias, self.argmax, grad_x, self.options, config)

    def results(self, config: Configuration) -> list[Tensor]:
        """What a configuration writes over NaN."""
        launch = self.launch(config)
        written = [launch.arguments[name] for name in WRITTEN[self.problem.direction]]
        outputs = [tensor for tensor in written if isinstance(tensor, Tensor)]
        for tensor in outputs:
            tensor.fill_(torch.nan if tensor.is_floating_point() else 255)
        launch.run()
        partial_sums = launch.arguments.get("grad_bias")
        return [tensor.sum(0) if tensor is partial_sums else tensor for tensor in outputs]

    def agree(self, actual: list[Tensor], expected: list[Tensor]) -> bool:
        """Whether two configurations gave the same; NaN is never the same."""
        for a, b in zip(actual, expected, strict=True):
            if a.dtype is torch.uint8:
                if (a != b).float().mean().item() > TIES:
                    return False
                continue
            if not ((a.float() - b.float()).abs() <= TOLERANCES[self.problem.dtype] * b.float().abs().max()).all():
                return False
        return True


def complete(launch: Launch) -> None:
    """Run, and sum up what programs summed for the bias: how many rows there are depends on the configuration."""
    launch.run()
    sums = launch.arguments.get("grad_bias")
    if isinstance(sums, Tensor):
        sums.sum(0)
