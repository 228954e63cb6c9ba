"""Where the time of a training step on the CPU goes, by kind of operator: of the plain network of `convspec bench`, and ours.

    python benchmarks/step_profile.py [SPEC] [--batch 32] [--steps 3]

By torch's profiler: the time that each operator spends outside those that it calls, as a share of all of them.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the commands of convspec do

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import convspec
from convspec.compiler import compile_checked
from convspec.emit.load import instantiate
from convspec.resources import spec_path
from convspec.train.bench import plain_source, random_inputs
from convspec.train.optimizer import PaperSGD

KINDS = {
    "convolution": ("convolution", "mkldnn_convolution", "convolution_backward"),
    "update": ("_fused_sgd", "_foreach", "zero_"),
    "LRN, ReLU, pool, fused": ("bias_act_lrn_max_pool2d",),
    "LRN and ReLU apart": ("avg_pool", "mul", "pow", "div", "relu", "threshold", "clamp", "where"),
    "pool apart": ("max_pool2d",),
    "fully connected": ("addmm", "mm", "linear"),
}


def kind(operator: str) -> str:
    name = operator.rpartition("::")[2]
    return next((title for title, parts in KINDS.items() if any(part in name for part in parts)), "other")


def seconds_by_kind(net: nn.Module, optimizer: torch.optim.Optimizer | PaperSGD, inputs: dict, steps: int) -> dict:
    net.train()

    def step() -> None:
        net.objective(net(inputs)).backward()
        optimizer.step(0) if isinstance(optimizer, PaperSGD) else optimizer.step()
        optimizer.zero_grad()

    step()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(steps):
            step()
    seconds: defaultdict[str, float] = defaultdict(float)
    for event in record.key_averages():
        seconds[kind(event.key)] += event.self_cpu_time_total / 1e6 / steps
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("spec", nargs="?", default=str(spec_path("alexnet.cfg")))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    checked = convspec.check(arguments.spec)
    compiled = compile_checked(checked, allow_init_imports=True)
    inputs = random_inputs(compiled.program, arguments.batch, torch.device("cpu"))
    last = {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in inputs.items()
    }
    plain, ours = instantiate(plain_source(checked), "plain"), instantiate(compiled.source, compiled.name)
    fast = PaperSGD(compiled.program, ours)
    fast.set_rates(0.0)
    slow = torch.optim.SGD(plain.parameters(), lr=0.0, momentum=0.9, weight_decay=0.0005)
    columns = [
        seconds_by_kind(plain, slow, inputs, arguments.steps),
        seconds_by_kind(ours, fast, last, arguments.steps),
    ]
    print(f"{'ms a step, batch ' + str(arguments.batch):32}{'plain':>10}{'convspec':>10}")
    for title in [*KINDS, "other"]:
        print(f"{title:32}" + "".join(f"{1e3 * column[title]:10.1f}" for column in columns))
    print(f"{'all':32}" + "".join(f"{1e3 * sum(column.values()):10.1f}" for column in columns))


if __name__ == "__main__":
    main()
