"""What `convspec plan` predicts a training step to take on the CPU, beside what it takes.

python benchmarks/plan_memory.py [SPEC:BATCH[:bf16] ...]

Each network trains in a process of its own, on random pictures, as `convspec train` does, and is measured after two steps.
Both counts are of the most that is there at once in a step beyond what is held between steps.

- allocated: bytes that torch's allocator has given and not got back, by the profiler's record of each; on a GPU
  `torch.cuda.max_memory_allocated` counts so. This is what `plan` predicts. Arrays of NumPy are not in it.
- resident: the peak of the resident set (proc(5)), which has those, pages that are held for no tensor, and lacks pages
  that were never written. glibc is told to give back each block above 64 KiB as soon as it is freed; by default it keeps
  freed blocks for later, and a process takes as much more as the last column says. Large pages are not asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from convspec.checker import Checked

CASES = (
    "alexnet:32 alexnet:128 alexnet:32:bf16 alexnet-1gpu:32 alexnet-2012:32 alexnet-small:4 alexnet-small:32 "
    "alexnet-small:256 lenet-digits:16 lenet-digits:256 lenet-digits:1024 cifar-relu:8 cifar-relu:128 cifar-lrn:128 "
    "cifar-tanh:128 cifar-without-lrn:16 cifar-without-lrn:128 resnet20:8 resnet20:128 resnet20:32:bf16 vgg11:16"
).split()
_EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def training_step(checked: Checked, batch: int, *, is_bf16: bool) -> tuple[Callable[[], None], int]:
    """A step of a network on random pictures, laid out as the trainer lays them out; and the bytes of the tensors that are
    held between steps."""
    import torch

    from convspec.compiler import compile_checked
    from convspec.emit.load import instantiate
    from convspec.train.bench import random_inputs
    from convspec.train.optimizer import PaperSGD

    compiled = compile_checked(checked, allow_init_imports=True)
    net = instantiate(compiled.source, compiled.name)
    optimizer = PaperSGD(compiled.program, net)
    optimizer.set_rates(0.0)
    drawn = random_inputs(compiled.program, batch, torch.device("cpu"))
    # as InputTensors of the trainer lays them out, which for one channel is not what contiguous() thinks
    inputs = {key: value if value.ndim < 4 else _in_channels_last(value) for key, value in drawn.items()}
    net.train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            objective = net.objective(net(inputs))  # type: ignore[operator]
        objective.backward()
        optimizer.step(0)
        optimizer.zero_grad()

    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    return step, 2 * weights + sum(value.numel() * value.element_size() for value in inputs.values())


def allocated(run: Callable[[], object]) -> int:
    """The most bytes that torch's allocator for the CPU has given at once during `run`, beyond what it had before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = [each for each in profiler.profiler.kineto_results.events() if each.name() == "[memory]"]
    return max(accumulate(each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())), default=0)


def measure(case: str) -> dict[str, int]:
    """Bytes of a step of one case, measured in this process: `allocated` and `resident`, and `held` by its tensors."""
    import torch

    import convspec
    from convspec.resources import spec_path
    from convspec.train.bench import extra_memory

    name, batch, *precision = case.split(":")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    step, held = training_step(convspec.check(spec_path(f"{name}.cfg")), int(batch), is_bf16=bool(precision))
    step()
    step()
    resident = extra_memory(step, torch.device("cpu"))
    if resident is None:
        raise SystemExit("nobody counts the memory of a process here: this needs Linux and glibc")
    return {"resident": resident, "allocated": allocated(step), "held": held}


def _in_channels_last(maps: Tensor) -> Tensor:
    cases, channels, height, width = maps.shape
    return maps.new_empty(cases, height, width, channels).copy_(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def predict(case: str) -> dict[str, int]:
    """The same by `convspec.plan`."""
    import convspec
    from convspec.plan.memory import plan_memory
    from convspec.plan.recorder import Precision, Processor
    from convspec.resources import spec_path

    name, batch, *precision = case.split(":")
    plan = plan_memory(
        convspec.check(spec_path(f"{name}.cfg")),
        int(batch),
        Precision.BF16 if precision else Precision.FP32,
        Processor.CPU,
    )
    return {"extra": plan.peak.size, "held": plan.held}


def in_process(case: str, environment: dict[str, str]) -> dict[str, int]:
    run = subprocess.run(
        [sys.executable, __file__, "--measure", case],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, int] = json.loads(run.stdout)
    return result


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
        return
    print(
        "| network | batch | held, MiB | step, predicted | allocated | ratio | resident | ratio | whole, ratio "
        "| as glibc is, ratio |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in sys.argv[1:] or CASES:
        name, batch, *precision = case.split(":")
        wanted, exact, default = predict(case), in_process(case, _EXACT), in_process(case, {})
        held, extra = wanted["held"], wanted["extra"]
        assert abs(held - exact["held"]) <= 64, (held, exact["held"])
        cells = [
            name,
            f"{batch}{', bf16' if precision else ''}",
            f"{held / 2**20:,.1f}",
            f"{extra / 2**20:,.1f}",
            f"{exact['allocated'] / 2**20:,.1f}",
            f"{extra / exact['allocated']:.3f}",
            f"{exact['resident'] / 2**20:,.1f}",
            f"{extra / exact['resident']:.3f}",
            f"{(held + extra) / (held + exact['resident']):.3f}",
            f"{(held + extra) / (held + default['resident']):.3f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
