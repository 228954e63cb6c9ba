"""Time of `check` and of `compile` a layer, for chains of 1,000 to 100,000 convolutions: constant if it is linear in the
length. Longer chains than 10,000 are checked alone.

python benchmarks/check_chain.py [LENGTH ...]
"""

from __future__ import annotations

import sys
import time

import convspec
from convspec.compiler import compile_checked

LONGEST_COMPILED = 10_000

HEAD = """[@net]
input=data:3x8x8
outputs=conv{last}

[data]
type=data
dataIdx=0
"""
LAYER = """
[conv{i}]
type=conv
inputs={source}
channels={channels}
filters=8
padding=1
stride=1
filterSize=3
initW=0.01
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
wc=0.004
neuron=relu
"""


def chain(length: int) -> str:
    layers = (
        LAYER.format(i=i, source=f"conv{i - 1}" if i > 1 else "data", channels=8 if i > 1 else 3)
        for i in range(1, length + 1)
    )
    return HEAD.format(last=length) + "".join(layers)


def main() -> None:
    convspec.check(chain(1))
    for length in map(int, sys.argv[1:] or ("1000", "10000", "100000")):
        text = chain(length)
        began = time.perf_counter()
        checked = convspec.check(text)
        seconds = time.perf_counter() - began
        assert checked.ok
        assert checked.totals.network.weights
        size = f"{length:>7} layers {len(text) / 2**20:6.1f} MiB"
        print(f"{size}  check {seconds:8.2f} s {seconds / length * 1e6:7.0f} us a layer", flush=True)
        if length <= LONGEST_COMPILED:
            began = time.perf_counter()
            compile_checked(checked)
            seconds = time.perf_counter() - began
            print(f"{size}  compile {seconds:6.2f} s {seconds / length * 1e6:7.0f} us a layer", flush=True)


if __name__ == "__main__":
    main()
