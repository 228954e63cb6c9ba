"""Where a run waits for its device: for the loss of each step, behind the backward pass that is under way, for what is
recorded, and at the ends of epochs. Nowhere else, or the device would stand still while the host gets ready.

Two ways to tell without one. On torch's meta device no value can be had: who asks for one raises. And in a run on the CPU
whatever takes a value off a tensor, or makes a tensor of values, is caught in the act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convspec.compiler import compile_checked, compile_spec
from convspec.emit.load import instantiate
from convspec.resources import spec_path
from convspec.train.bench import random_inputs
from convspec.train.contract import CompiledSpec
from convspec.train.device import HostScalar, Uploads
from convspec.train.display import SilentDisplay
from convspec.train.epoch import EpochSums
from convspec.train.loop import Training
from convspec.train.optimizer import PaperSGD
from convspec.train.records import Records
from convspec.train.trainer import train
from tests.emit.shrinking import shrunk
from tests.train import test_costs, test_replay
from tests.train.runs import go
from tests.train.test_learning_runs import compiled
from tests.train.tinynet import Compiled

T = TypeVar("T")
OPERATORS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "_unique2", "unique_dim"}
FUNCTIONS = {"cpu", "numpy", "tolist", "item", "__bool__", "__float__", "__int__", "__index__", "tensor", "as_tensor"}


class WaitsError(AssertionError):
    """The host waited for a device, or gave it numbers from pages that it cannot fetch, which waits as well."""


class Watch(TorchFunctionMode):
    """Raises where the host waits, but within `allowed`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_allowed = False
        self.below = _Below(self)

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, targets = getattr(func, "__name__", ""), [*args[1:], *(kwargs or {}).values()]
        if name in FUNCTIONS or (name == "to" and any(isinstance(target, str) for target in targets)):
            self.refuse(name)
        with self.below:
            return func(*args, **(kwargs or {}))

    def refuse(self, name: str) -> None:
        if not self.is_allowed:
            raise WaitsError(name)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        before, self.is_allowed = self.is_allowed, True
        try:
            yield
        finally:
            self.is_allowed = before

    def allow(self, function: Callable[..., T], told: list[str]) -> Callable[..., T]:
        def call(*args: Any, **options: Any) -> T:
            told.append(function.__name__)
            with self.allowed():
                return function(*args, **options)

        return call


class _Below(TorchDispatchMode):
    """What functions of torch call below Python, in backward passes too."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.rpartition("::")[2]
        masks = args[1] if name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple) else ()
        if name in OPERATORS or any(isinstance(mask, Tensor) and mask.dtype is torch.bool for mask in masks):
            self.watch.refuse(name)
        return func(*args, **(kwargs or {}))


WAITING: dict[str, Callable[[Tensor], object]] = {
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool((x > 0).all()),
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "cpu": lambda x: x.cpu(),
    "to cpu": lambda x: x.to("cpu"),
    "tolist": lambda x: x.tolist(),
    "equal": lambda x: torch.equal(x, x),
    "numbers": lambda x: x + torch.tensor([1.0, 2.0]),
    "backward": lambda x: (x.requires_grad_() * Asking.apply(x)).sum().backward(),
}


class Asking(torch.autograd.Function):
    """Its gradient looks at a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * float(gradients[0].max())


@pytest.mark.parametrize("name", WAITING)
def test_who_waits_is_caught(name: str) -> None:
    with Watch() as watch:
        x = torch.ones(2)
        with pytest.raises(WaitsError):
            WAITING[name](x)
        with watch.allowed():
            WAITING[name](x)


def watched_steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Watches the steps of runs. In what is returned are the steps, and what was allowed to wait in them, as it came."""
    told: list[str] = []
    watch, step = Watch(), Training.step_on
    for owner, name in ((HostScalar, "value"), (Records, "_record_step"), (Records, "_record_weights")):
        monkeypatch.setattr(owner, name, watch.allow(getattr(owner, name), told))
    # what it copies comes from the host; `test_uploads` has its order
    monkeypatch.setattr(Uploads, "__call__", watch.allow(Uploads.__call__, []))

    def step_watched(training: Training, batch: Any) -> None:
        told.append("|")
        with watch:
            step(training, batch)

    monkeypatch.setattr(Training, "step_on", step_watched)
    return told


def test_a_step_waits_for_its_loss_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one in so many for what is recorded, which has the loss in it again."""
    told = watched_steps(monkeypatch)
    go(Compiled(), tmp_path / "run", log_every=3)
    recorded = ["value", "_record_step", "value"]
    steps = " ".join(told).split("| ")[1:]
    assert len(steps) == 46
    for i, step in enumerate(steps):
        weighed = ["_record_weights"] if i % 23 == 0 else []
        assert step.split() == [*recorded, *weighed] if i % 23 % 3 == 0 else ["value"]


def step_without_memory(compiled: CompiledSpec) -> None:
    """Three steps on torch's meta device, the last with a rate of 0, watched from when the device has weights and inputs."""
    program = compiled.program
    with torch.device("meta"):
        net = instantiate(compiled.source, compiled.name).train()
    optimizer, sums = PaperSGD(program, net), EpochSums(program, torch.device("meta"))
    inputs = random_inputs(program, 4, torch.device("meta"))
    for number, factor in enumerate((1.0, 0.5, 0.0)):
        with Watch():
            outputs = net(inputs)
            net.objective(outputs).backward()  # type: ignore[operator]
            optimizer.set_rates(0.5, factor)
            optimizer.step(number)
            optimizer.zero_grad()
            sums.add(outputs, inputs, 4)


@pytest.mark.parametrize("name", ["alexnet-2012", "alexnet-small", "cifar-relu", "lenet-digits", "resnet20", "vgg11"])
def test_specs_wait_for_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the operators that stand for Triton's kernels."""
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("CONVSPEC_KERNELS", "triton")
    name = f"{name}.cfg"
    step_without_memory(compile_checked(shrunk(spec_path(name)), allow_init_imports=True))


LEARNING = {
    "bounds": ("alexnet2012", "wball=0.3"),
    "exact bounds": ("ccn2", "wball=0.3\nwcNormMin=0.1\nwcNormMax=0.2"),
    "periods": ("ccn2", "updatePeriod=2"),
    "normalised": ("alexnet2012", "superEps=0.1"),
    "noise": ("alexnet2012", "schedW=dexp[tgtFactor=250,noiseStdev=0.2,numSteps=4]"),
}


@pytest.mark.parametrize("name", test_costs.COSTS)
def test_costs_wait_for_nothing(name: str) -> None:
    step_without_memory(test_costs.compiled(test_costs.spec(name)))


@pytest.mark.parametrize("name", LEARNING)
def test_rules_of_learning_wait_for_nothing(name: str) -> None:
    dialect, keys = LEARNING[name]
    step_without_memory(
        compiled(dialect, conv1=keys, fc3="" if "updatePeriod" in keys else keys.partition("\nwcNorm")[0])
    )


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", ["0", "1"])
def test_a_gpu_says_so_too(graphs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's own watch over what waits for it: after the first steps, in which a recording is made and compared."""
    monkeypatch.setenv("CONVSPEC_GRAPHS", graphs)
    watched, step = [], Training.step_on

    def step_watched(training: Training, batch: Any) -> None:
        is_watched = training.position.step > 3
        torch.cuda.set_sync_debug_mode("error" if is_watched else "default")
        try:
            step(training, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        watched.append(is_watched)

    monkeypatch.setattr(Training, "step_on", step_watched)
    spec = compile_spec(test_replay.SPEC.format(norm="cmrnorm", more="size=5", precision="bf16"))
    train(spec, run_dir=tmp_path / "run", device="cuda", display=SilentDisplay(), log_every=1000)
    assert sum(watched) == 2 * (test_replay.STEPS - 4)
