"""`python -m convspec_kernels.tune [FILE.json]`: find the fastest configurations for this machine's GPU, by measuring.

The table is written after each problem, and a command that is given again goes on where it ended.
`CONVSPEC_KERNELS_TABLE=FILE.json` lets the kernels use it; in the folder `tables/` of this package, under the name that it
gets without a FILE, it serves everyone with such a device.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from convspec_kernels import gpu_clock

if TYPE_CHECKING:
    from convspec_kernels.triton_tables import Table


def main(arguments: list[str] | None = None) -> int:
    """Tune what the table does not have yet, until the time is up. Returns the exit status."""
    parser = ArgumentParser(prog="python -m convspec_kernels.tune", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE.json", help="without one: named after the device")
    parser.add_argument("--minutes", type=float, default=10.0, help="stop after so many (%(default)s)")
    options = parser.parse_args(arguments)
    if reason := gpu_clock.unable():
        print(reason, file=sys.stderr)
        return 1
    end = time.monotonic() + 60 * options.minutes
    from convspec_kernels import triton_tables

    file = options.file or Path(triton_tables.file_name(gpu_clock.name()))
    clock = gpu_clock.Clock()
    about = gpu_clock.describe(clock.copy_bandwidth())
    try:
        table = _started(file, about)
        triton_tables.write(table, file)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot write {file}: {error.strerror}")
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    try:
        return _tune(table, file, clock, end)
    except KeyboardInterrupt:
        print(f"interrupted: the same command goes on from what is in {file}", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"cannot write {file}: {error.strerror}; what it had is still there", file=sys.stderr)
        return 1


def _started(file: Path, about: dict[str, str]) -> Table:
    """What the file has, if it is of this device and these versions, or an empty table if there is no file.

    Raises:
        ValueError: the file is something else, which is not written over.
    """
    from convspec_kernels import triton_tables

    if not os.path.lexists(file):
        return triton_tables.Table(about, {})
    table = triton_tables.read(file)
    for what in ("device", "triton"):
        if table.about[what] != about[what]:
            raise ValueError(
                f"{file} was measured with {what} {table.about[what]}, this is {about[what]}: name another"
            )
    return table


def _tune(table: Table, file: Path, clock: gpu_clock.Clock, end: float) -> int:
    import torch

    from convspec_kernels import triton_tables, tuning

    everything = [problem for problem in tuning.problems() if tuning.runs_here(problem)]
    entries = dict(table.entries)
    print(
        f"{file}: {sum(problem in entries for problem in everything)} of {len(everything)} problems are there",
        flush=True,
    )
    for number, problem in enumerate(everything, 1):
        if problem in entries:
            continue
        if time.monotonic() > end:
            print(f"the time is up: {len(entries)} of {len(everything)} problems; the same command goes on")
            return 0
        name = f"{number}/{len(everything)} {tuning.name(problem)}"
        try:
            found = tuning.tune(problem, clock)
        except torch.OutOfMemoryError:
            print(f"{name}: does not fit into the device's memory", flush=True)
            continue
        except tuning.Wrong as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        entries[problem] = found.best
        triton_tables.write(triton_tables.Table(table.about, entries), file)
        print(f"{name}: {found}", flush=True)
    print(f"{file}: done")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
