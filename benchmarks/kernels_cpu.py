"""Times of the CPU kernels on AlexNet's two normalisation layers and on its pictures, as ratios to plain PyTorch.

    python benchmarks/kernels_cpu.py [--quick] [--batches 32 128] [--compile] [--threads 2] [--first-use]

All variants take turns, round after round in one process, so that a neighbour's load falls on each of them. Printed are
medians over the rounds: milliseconds, the ratio of plain PyTorch's time to the variant's in the same round, and the
ratio of the variant's time to that of a plain copy which reads and writes as many bytes as the operator must.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from convspec_kernels import augment, bias_act_lrn_max_pool2d, local_response_norm, max_pool2d

Operator = Callable[[Tensor], Tensor]
Run = Callable[[], object]

SIZE, ALPHA, BETA, K, GROUPS = 5, 5e-4, 0.75, 2.0, 2
AUGMENT = "augment"
PLAIN, COPY = "eager NCHW", "copy of the bytes"


@dataclass(frozen=True)
class Layer:
    name: str
    batch: int
    channels: int
    length: int

    def maps(self) -> Tensor:
        """Large enough for the normaliser to matter."""
        generator = torch.Generator().manual_seed(0)
        return 20 * torch.randn(self.batch, self.channels, self.length, self.length, generator=generator)


LAYERS = [Layer("layer 1", 0, 96, 55), Layer("layer 2", 0, 256, 27)]


def plain_norm(x: Tensor) -> Tensor:
    towers = x.unflatten(1, (GROUPS, -1)).flatten(0, 1)
    return F.local_response_norm(towers, SIZE, ALPHA, BETA, K).view(x.shape)


def plain_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2)


def plain_fused(x: Tensor) -> Tensor:
    return plain_pool(plain_norm(F.relu(x)))


def norm(x: Tensor) -> Tensor:
    return local_response_norm(x, SIZE, alpha=ALPHA, beta=BETA, k=K, groups=GROUPS)


def pool(x: Tensor) -> Tensor:
    return max_pool2d(x, 3, 2)


def fused(x: Tensor) -> Tensor:
    return bias_act_lrn_max_pool2d(
        x, activation="relu", size=SIZE, alpha=ALPHA, beta=BETA, k=K, groups=GROUPS, kernel_size=3, stride=2
    )


OPERATORS: dict[str, tuple[Operator, Operator]] = {
    "ReLU+LRN+pool": (plain_fused, fused),
    "LRN": (plain_norm, norm),
    "pool": (plain_pool, pool),
}


@contextmanager
def forced(choice: str) -> Iterator[None]:
    os.environ["CONVSPEC_KERNELS"] = choice
    try:
        yield
    finally:
        del os.environ["CONVSPEC_KERNELS"]


def call(operator: Operator, x: Tensor, *, backward: bool) -> Run:
    if not backward:

        def forward() -> Tensor:
            with torch.no_grad():
                return operator(x)

        return forward
    leaf = x.clone().requires_grad_()
    gradient = torch.randn_like(operator(leaf))
    return lambda: torch.autograd.grad(operator(leaf), leaf, gradient)


def variants(name: str, x: Tensor, *, backward: bool, compiled: bool) -> dict[str, Run]:
    plain, ours = OPERATORS[name]
    last = x.contiguous(memory_format=torch.channels_last)
    runs = {PLAIN: call(plain, x, backward=backward), "eager channels last": call(plain, last, backward=backward)}
    if compiled:
        runs["torch.compile NCHW"] = call(torch.compile(plain, dynamic=False), x, backward=backward)
        runs["torch.compile channels last"] = call(torch.compile(plain, dynamic=False), last, backward=backward)
    for label, choice, maps in [
        ("ours, without numba", "eager", last),
        ("ours, NCHW", "numba", x),
        ("ours", "numba", last),
    ]:
        with forced(choice):
            run = call(ours, maps, backward=backward)
        runs[label] = with_choice(choice, run)
    source = torch.randn(moved_bytes(name, x, backward=backward) // 8)
    target = torch.empty_like(source)
    runs[COPY] = lambda: target.copy_(source)
    return runs


def with_choice(choice: str, run: Run) -> Run:
    def chosen() -> object:
        with forced(choice):
            return run()

    return chosen


def moved_bytes(name: str, x: Tensor, *, backward: bool) -> int:
    """Each tensor once: maps and results, with the argmax of a pool; backward the maps, their gradient, and both again."""
    maps, results = 4 * x.numel(), 4 * x.numel()
    argmax = 0
    if name != "LRN":
        results = 4 * plain_pool(x[:1]).numel() * x.shape[0]
        argmax = results // 4
    forward = maps + results + argmax
    reread = 0 if name == "pool" else maps
    return forward + (reread + maps + results + argmax if backward else 0)


def augment_variants(cases: int) -> dict[str, Run]:
    """Crops of 227 pixels out of 256, half of them mirrored; plain is a slice, a flip and a copy a picture."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (cases, 256, 256, 3), dtype=torch.uint8, generator=generator)
    offsets = torch.randint(0, 30, (cases, 2), dtype=torch.int32, generator=generator)
    mirrors = torch.rand(cases, generator=generator) < 0.5
    colours = 10 * torch.randn(cases, 3, generator=generator)
    mean = 255 * torch.rand(227, 227, 3, generator=generator)
    kept = torch.empty(cases, 3, 227, 227).to(memory_format=torch.channels_last)

    def plain() -> Tensor:
        y = torch.empty(cases, 227, 227, 3)
        for image, (top, left), mirror, crop in zip(images, offsets.tolist(), mirrors.tolist(), y, strict=True):
            pixels = image[top : top + 227, left : left + 227]
            crop.copy_(pixels.flip(1) if mirror else pixels)
        return y.sub_(mean).add_(colours[:, None, None]).permute(0, 3, 1, 2)

    def ours(out: Tensor | None) -> Run:
        return with_choice("numba", lambda: augment(images, offsets, mirrors, colours, mean, size=227, out=out))

    source = torch.randn(kept.numel() * 5 // 8)
    target = torch.empty_like(source)
    return {
        PLAIN: plain,
        "ours, without numba": with_choice("eager", lambda: augment(images, offsets, mirrors, colours, mean, size=227)),
        "ours": ours(None),
        "ours, into the same tensor": ours(kept),
        COPY: lambda: target.copy_(source),
    }


def measure(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    return times


def report(title: str, times: dict[str, list[float]]) -> None:
    print(f"\n{title}\n{'':32}{'ms':>9}{'x eager':>9}{'x copy':>9}")
    for name, own in times.items():
        faster = median(plain / mine for plain, mine in zip(times[PLAIN], own, strict=True))
        slower = median(mine / copy for copy, mine in zip(times[COPY], own, strict=True))
        print(f"{name:32}{1e3 * median(own):9.2f}{faster:9.2f}{slower:9.2f}", flush=True)


def first_use() -> None:
    """In a process of its own, with numba's folder empty and then as the first left it: the import, and either direction."""
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("no cache", "a cache"):
            environment = os.environ | {"NUMBA_CACHE_DIR": folder, "CONVSPEC_KERNELS": "numba"}
            command = [sys.executable, __file__, "--time-first-use"]
            seconds = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            print(f"first use with {cache}: {seconds}", end="", flush=True)


def time_first_use() -> None:
    x = replace(LAYERS[0], batch=1).maps().contiguous(memory_format=torch.channels_last).requires_grad_()
    times = [time.perf_counter()]
    y = fused(x)
    times.append(time.perf_counter())
    y.sum().backward()
    times.append(time.perf_counter())
    forward, backward = (after - before for before, after in pairwise(times))
    print(f"{forward:.2f} s forward with numba's import, {backward:.2f} s backward")


def found(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 8, three rounds")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128], metavar="N")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--operators", nargs="*", choices=[*OPERATORS, AUGMENT], default=[*OPERATORS, AUGMENT])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    parser.add_argument("--first-use", action="store_true", help="also how long the kernels take to compile")
    parser.add_argument("--time-first-use", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.time_first_use:
        time_first_use()
        return
    torch.set_num_threads(arguments.threads)
    batches, rounds = ([8], 3) if arguments.quick else (arguments.batches, arguments.rounds)
    print(f"{torch.get_num_threads()} threads of {os.cpu_count()} on {platform.machine()}, ", end="")
    print(", ".join(found(package) for package in ("torch", "numba", "numpy")), f"; {rounds} rounds")
    if arguments.first_use:
        first_use()
    for batch in batches if AUGMENT in arguments.operators else []:
        report(f"{AUGMENT}, {batch} pictures", measure(augment_variants(batch), rounds))
    for batch in batches:
        for layer in LAYERS:
            x = replace(layer, batch=batch).maps()
            for name in [name for name in OPERATORS if name in arguments.operators]:
                for backward in (False, True):
                    runs = variants(name, x, backward=backward, compiled=arguments.compile)
                    direction = "forward and backward" if backward else "forward"
                    report(f"{layer.name}, {tuple(x.shape)}, {name}, {direction}", measure(runs, rounds))


if __name__ == "__main__":
    main()
