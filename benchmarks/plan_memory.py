"""What `convspec plan` predicts a training step to take on the CPU, beside what it takes.

python benchmarks/plan_memory.py [SPEC:BATCH[:bf16] ...]

Each network trains in a process of its own, on random pictures, as `convspec train` does. A step is measured after two
others, by the peak of the resident set (proc(5)): most that is there at once beyond what is held between steps. glibc is
told to give back each block above 64 KiB as soon as it is freed, so that what is resident is what is alive; by default it
keeps freed blocks for later, and a process takes as much more as the last column says. Large pages are not asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CASES = (
    "alexnet:32 alexnet:128 alexnet:32:bf16 alexnet-1gpu:32 alexnet-2012:32 alexnet-small:32 alexnet-small:256 lenet-digits:256 "
    "lenet-digits:1024 cifar-relu:128 cifar-lrn:128 cifar-tanh:128 cifar-without-lrn:128 resnet20:128 resnet20:32:bf16 "
    "vgg11:16"
).split()
_EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def measure(case: str) -> dict[str, int]:
    """Bytes of a step of one case, measured in this process: `extra`, and `held` by its tensors."""
    import torch

    import convspec
    from convspec.compiler import compile_checked
    from convspec.emit.load import instantiate
    from convspec.resources import spec_path
    from convspec.train.bench import extra_memory, random_inputs
    from convspec.train.optimizer import PaperSGD

    name, batch, *precision = case.split(":")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    compiled = compile_checked(convspec.check(spec_path(f"{name}.cfg")))
    net = instantiate(compiled.source, compiled.name)
    optimizer = PaperSGD(compiled.program, net)
    optimizer.set_rates(0.0)
    drawn = random_inputs(compiled.program, int(batch), torch.device("cpu"))
    # as InputTensors of the trainer lays them out, which for one channel is not what contiguous() thinks
    inputs = {key: value if value.ndim < 4 else _in_channels_last(value) for key, value in drawn.items()}
    net.train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(precision)):
            objective = net.objective(net(inputs))  # type: ignore[operator]
        objective.backward()
        optimizer.step(0)
        optimizer.zero_grad()

    step()
    step()
    extra = extra_memory(step, torch.device("cpu"))
    if extra is None:
        raise SystemExit("nobody counts the memory of a process here: this needs Linux and glibc")
    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    held = 2 * weights + sum(value.numel() * value.element_size() for value in inputs.values())
    return {"extra": extra, "held": held}


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
        "| network | batch | held, MiB | step, predicted | step, measured | ratio | whole, ratio | as glibc is, ratio |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
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
            f"{exact['extra'] / 2**20:,.1f}",
            f"{extra / exact['extra']:.3f}",
            f"{(held + extra) / (held + exact['extra']):.3f}",
            f"{(held + extra) / (held + default['extra']):.3f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
