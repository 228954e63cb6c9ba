"""How fast the kernels are on a GPU: time, bytes, fraction of what a copy reaches, ratio to eager and to torch.compile.

The bytes are the fewest that the operator could move: each input read once, each output written once. What is compared
with is plain PyTorch on NCHW. `gpu_clock` says how times are taken.
"""

from __future__ import annotations

import csv
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, fields
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from convspec_kernels.augmentation import augment
from convspec_kernels.bench_targets import Row, verdicts
from convspec_kernels.gpu_clock import DEVICE, Clock, Run, describe, has_bfloat16, unable
from convspec_kernels.operators import fused
from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.reference import augmented

SHAPES = {"conv1": (96, 55, 55), "conv2": (256, 27, 27)}
BATCHES = (128, 32)
"""The one that is to reach the targets first."""

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
NORM = LRN(size=5, alpha=5e-4, beta=0.75, k=2.0, groups=2)
PICTURE, CROP, PICTURES = 256, 227, 1024


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and write it to the CSV file that the arguments name, if they do, line by line."""
    parser = ArgumentParser(prog="python -m convspec_kernels.bench", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE.csv", help="where to write the table as well")
    parser.add_argument(
        "--minutes",
        type=float,
        default=4.0,
        help="leave torch.compile, which takes most, out after so many (%(default)s)",
    )
    options = parser.parse_args(arguments)
    file: Path | None = options.file
    end = time.monotonic() + 60 * options.minutes
    if reason := unable():
        print(reason, file=sys.stderr)
        return 1
    try:
        output = nullcontext() if file is None else file.open("w", newline="")
    except OSError as error:
        parser.error(f"cannot write {file}: {error.strerror}")
    clock = Clock()
    copy = clock.copy_bandwidth()
    about = describe(copy)
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(
        f"\n{'operator':<18}{'shape':<18}{'dtype':<10}{'format':<8}{'us':>9}{'MB':>9}{'copy':>7}{'eager':>8}{'compile':>9}"
    )
    with output as lines:
        if lines is not None:
            lines.writelines(f"# {name}: {value}\n" for name, value in about.items())
        writer = None if lines is None else csv.DictWriter(lines, [field.name for field in fields(Row)])
        if writer is not None:
            writer.writeheader()
        rows = []
        for row in _rows(clock, copy, end):
            rows.append(row)
            print(_line(row), flush=True)
            if writer is not None and lines is not None:
                writer.writerow(asdict(row))
                lines.flush()
    print("\n".join(["", *verdicts(rows)]))
    return 0


def _rows(clock: Clock, copy: float, end: float) -> Iterator[Row]:
    """All that fits into the device's memory, in the types that it has; compiled comparisons until `end`."""
    dtypes = [dtype for dtype in DTYPES if dtype is not torch.bfloat16 or has_bfloat16()]
    if len(dtypes) < len(DTYPES):
        print("this GPU has no bfloat16: left out", file=sys.stderr)
    for batch, (name, (channels, height, width)), dtype in product(BATCHES, SHAPES.items(), dtypes):
        shape = (batch, channels, height, width)
        yield from _fitting(
            partial(_fused_rows, clock, copy, name, shape, dtype, end), f"{name} {batch} {_name(dtype)}"
        )
    for dtype in dtypes:
        yield from _fitting(partial(_augment_rows, clock, copy, dtype, end), f"augment {_name(dtype)}")


def _fitting(rows: Callable[[], Iterator[Row]], name: str) -> Iterator[Row]:
    """The rows, as far as there is memory for them; what does not fit is told of."""
    try:
        yield from rows()
    except torch.OutOfMemoryError:
        print(f"{name}: does not fit into the GPU's memory, left out", file=sys.stderr)


def _fused_rows(
    clock: Clock, copy: float, layer: str, shape: tuple[int, int, int, int], dtype: torch.dtype, end: float
) -> Iterator[Row]:
    """Forward, backward and both, in either memory format, against the plain composition in NCHW."""
    from convspec_kernels import triton_kernels

    cases, channels, height, width = shape
    pool = Pool(3, 2, 0, -(-(height - 3) // 2) + 1, -(-(width - 3) // 2) + 1)
    options = FusedOptions(relu_before=True, lrn=NORM, pool=pool)
    maps = torch.randn(shape, device=DEVICE).mul(10).to(dtype).requires_grad_()
    bias = torch.randn(channels, device=DEVICE).to(dtype).requires_grad_()
    upstream = torch.randn(cases, channels, pool.out_height, pool.out_width, device=DEVICE).to(dtype)
    eager, compiled = (
        {} if function is None else _plain_seconds(clock, function, maps, bias, upstream)
        for function in _rivals(plain, end)
    )
    shift = bias.detach()
    inputs, outputs, itemsize = maps.numel(), upstream.numel(), dtype.itemsize
    sizes = {
        "forward": inputs * itemsize + outputs * (itemsize + 1),
        "backward": 2 * inputs * itemsize + outputs * (itemsize + 1),
    }
    sizes["both"] = sizes["forward"] + sizes["backward"]
    for memory_format, label in ((torch.channels_last, "NHWC"), (torch.contiguous_format, "NCHW")):
        x = maps.detach().contiguous(memory_format=memory_format).requires_grad_()
        gradient = upstream.contiguous(memory_format=memory_format)
        _, argmax = triton_kernels.fused_forward(x.detach(), shift, options)
        runs: dict[str, Run] = {
            "forward": partial(triton_kernels.fused_forward, x.detach(), shift, options),
            "backward": partial(triton_kernels.fused_backward, gradient, x.detach(), shift, argmax, options),
            "both": partial(_both, partial(fused, options=options), x, bias, gradient),
        }
        for name, run in runs.items():
            seconds = clock.seconds(run)
            ratios = [other[name] / seconds if name in other else None for other in (eager, compiled)]
            of_copy = sizes[name] / seconds / copy
            where = f"{layer} {cases}x{channels}x{height}"
            yield Row(name, where, _name(dtype), label, seconds * 1e6, sizes[name] / 1e6, of_copy, *ratios)


def plain(x: Tensor, bias: Tensor) -> Tensor:
    """The composition as a two-tower PyTorch module has it: the towers are cases to the normalisation."""
    cases, channels, height, width = x.shape
    y = F.relu(x + bias[:, None, None]).view(cases * NORM.groups, channels // NORM.groups, height, width)
    y = F.local_response_norm(y, NORM.size, NORM.alpha, NORM.beta, NORM.k).view(x.shape)
    return F.max_pool2d(y, 3, 2, ceil_mode=True)


def compiled_anew(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.compile` for the next shape alone. It compiles a function for a few shapes only, and would then go on without
    compiling, or for any shape at once: both are slower."""
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False, fullgraph=True)


def _rivals(function: Callable[..., Tensor], end: float) -> tuple[Callable[..., Tensor], Callable[..., Tensor] | None]:
    """The function as it is and compiled, the latter until `end`."""
    return function, compiled_anew(function) if time.monotonic() < end else None


def _plain_seconds(
    clock: Clock, function: Callable[[Tensor, Tensor], Tensor], x: Tensor, bias: Tensor, gradient: Tensor
) -> dict[str, float]:
    with torch.no_grad():
        forward = clock.seconds(partial(function, x, bias))
    return {"forward": forward, "both": clock.seconds(partial(_both, function, x, bias, gradient))}


def _both(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, bias: Tensor, gradient: Tensor) -> object:
    return torch.autograd.grad(function(x, bias), (x, bias), gradient)


def _augment_rows(clock: Clock, copy: float, dtype: torch.dtype, end: float) -> Iterator[Row]:
    images = torch.randint(0, 256, (PICTURES, PICTURE, PICTURE, 3), dtype=torch.uint8, device=DEVICE)
    offsets = torch.randint(0, PICTURE - CROP + 1, (PICTURES, 2), dtype=torch.int32, device=DEVICE)
    mirrors = torch.rand(PICTURES, device=DEVICE) < 0.5
    colours = torch.randn(PICTURES, 3, device=DEVICE) * 10
    mean = torch.rand(CROP, CROP, 3, device=DEVICE) * 255
    tensors = (images, offsets, mirrors, colours, mean)
    seconds = clock.seconds(partial(augment, *tensors, size=CROP, dtype=dtype))
    ratios = [
        None if function is None else clock.seconds(partial(function, *tensors, dtype=dtype)) / seconds
        for function in _rivals(_augment_plainly, end)
    ]
    size = PICTURES * CROP * CROP * 3 * (1 + dtype.itemsize) + mean.nbytes
    where = f"{PICTURES}x3x{CROP}"
    yield Row("augment", where, _name(dtype), "NHWC", seconds * 1e6, size / 1e6, size / seconds / copy, *ratios)


def _augment_plainly(*tensors: Tensor, dtype: torch.dtype) -> Tensor:
    images, offsets, mirrors, colours, mean = tensors
    return augmented(images, offsets, mirrors, colours, mean, CROP, 1.0).to(dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _line(row: Row) -> str:
    ratios = "".join(
        f"{'-' if ratio is None else f'{ratio:.1f}x':>{width}}" for ratio, width in ((row.eager, 8), (row.compiled, 9))
    )
    return (
        f"{row.operator:<18}{row.shape:<18}{row.dtype:<10}{row.format:<8}"
        f"{row.microseconds:>9.1f}{row.megabytes:>9.1f}{row.of_copy:>7.0%}{ratios}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
