"""How long `convspec check specs/alexnet.cfg` takes, in units of a bare `python -c pass`.

Both are processes started from here in turn; medians. The limit we hold ourselves to is 12.

    python benchmarks/check_start.py [ROUNDS]
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from convspec.resources import spec_path

LIMIT = 12
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import lark, click": ["-c", "import click, lark"],
    "convspec check specs/alexnet.cfg": ["-m", "convspec", "check", str(spec_path("alexnet.cfg"))],
}


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    bare = median(times["python -c pass"])
    for name, values in times.items():
        print(f"{name:<34} {median(values) * 1e3:7.1f} ms {median(values) / bare:6.1f} x")
    print(
        f"limit {LIMIT} x: {'held' if median(times['convspec check specs/alexnet.cfg']) / bare <= LIMIT else 'BROKEN'}"
    )


if __name__ == "__main__":
    main()
