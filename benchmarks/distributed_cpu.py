"""A spec on two processes of one thread each beside the same spec folded on two threads: steps a second, and the share of
time that the processes talk.

    python benchmarks/distributed_cpu.py specs/alexnet-small.cfg --batch 64 --steps 10

Both run in turns, round after round, on the same random images. Seconds are medians over the rounds, the ratio is the median
of the ratios of the rounds. What is measured is forward, backward and the sums of gradients; no data, no update.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from convspec.compiler import Compiled, compile_spec
from convspec.emit.load import instantiate, instantiate_part
from convspec.passes.pipeline import Target
from convspec.resources import spec_path
from convspec.train.bench import random_inputs
from convspec_kernels import Peers


def seconds_folded(compiled: Compiled, batch: int, steps: int) -> float:
    """Of a step on two threads."""
    torch.set_num_threads(2)
    net = instantiate(compiled.source, compiled.name).train()
    return _seconds(net, random_inputs(compiled.program, batch, torch.device("cpu")), steps)


def _seconds(net: torch.nn.Module, inputs: dict[str, torch.Tensor], steps: int) -> float:
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        net.objective(net(inputs)).backward()  # type: ignore[operator]
        net.zero_grad()
    return (time.perf_counter() - began) / steps


def _part(rank: int, spec: str, batch: int, steps: int, port: int, answers: mp.SimpleQueue[tuple[float, ...]]) -> None:
    torch.set_num_threads(1)
    compiled = compile_spec(spec, target=Target.SPMD)
    gpus = tuple(compiled.parts)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=len(gpus))
    group = dist.group.WORLD
    assert group is not None
    peers = Peers(group, gpus, torch.device("cpu"))
    net = instantiate_part(compiled.source, gpus[rank], peers).train()
    inputs = random_inputs(compiled.program, batch, torch.device("cpu"))
    _seconds(net, inputs, 1)
    peers.seconds = 0.0
    peers.traffic.clear()
    dist.barrier()
    taken = _seconds(net, inputs, steps)
    answers.put((taken, peers.seconds / (steps + 1) / taken, sum(peers.traffic.values()) / (steps + 1)))
    dist.destroy_process_group()


def seconds_in_parts(spec: str, batch: int, steps: int, port: int) -> tuple[float, float, float]:
    """Of a step, the share of it that the process which waits less for the other talks and waits, and bytes that cross."""
    context = mp.get_context("spawn")
    answers = context.SimpleQueue()
    arguments = (spec, batch, steps, port, answers)
    processes = [context.Process(target=_part, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return max(row[0] for row in found), min(row[1] for row in found), sum(row[2] for row in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("spec", nargs="?", default=str(spec_path("alexnet-small.cfg")))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folded = compile_spec(arguments.spec)
    rows = []
    for i in range(arguments.rounds):
        whole = seconds_folded(folded, arguments.batch, arguments.steps)
        parts, share, crossed = seconds_in_parts(arguments.spec, arguments.batch, arguments.steps, 29600 + i)
        rows.append((whole, parts, share, crossed, whole / parts))
        print(f"round {i + 1}: folded {whole:.3f} s, two processes {parts:.3f} s, talk {share:.0%}", flush=True)
    whole, parts, share, crossed, ratio = (median(column) for column in zip(*rows, strict=True))
    print(f"a step of {arguments.batch}: folded on two threads {whole:.3f} s, two processes {parts:.3f} s")
    print(f"two processes take {ratio:.2f} times as many steps a second, and talk or wait for {share:.1%} of the time")
    print(f"{crossed / 2**20:.1f} MiB cross at each step")


if __name__ == "__main__":
    main()
