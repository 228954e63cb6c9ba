"""Runs under limits of the system, in a process of their own: `python -m tests.train.faulty TASK FOLDER` prints JSON."""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from convspec.diagnostics import DiagnosticError
from convspec.train.checkpoint import list_checkpoints
from tests.train.runs import SPEC, go
from tests.train.tinynet import TinyNet

MEBIBYTE = 1 << 20

SHORT = replace(SPEC, train=replace(SPEC.train, epochs=1))


class Wide(TinyNet):
    """Keeps 8 MiB for each case of a minibatch until the backward pass."""

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = super().forward(inputs)
        cases = len(inputs["data"])
        wide = outputs["probs"].sum(1).view(cases, 1).expand(cases, 2 * MEBIBYTE).exp()
        outputs["logprob"] = outputs["logprob"] + 0 * wide.mean()
        return outputs


def used_bytes() -> int:
    """Address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit_memory(folder: Path) -> dict[str, object]:
    """A minibatch of 64 keeps 512 MiB and more, and there are 400 beside what the process has; then the one that it says."""
    go(SHORT, folder / "first", max_steps=1)
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes() + 400 * MEBIBYTE, resource.RLIM_INFINITY))
    try:
        go(SHORT, folder / "run", Wide(), max_steps=1)
    except DiagnosticError as error:
        (diagnostic,) = error.diagnostics
    found = re.search(r"one of (\d+) fits", diagnostic.message)
    fitting = int(found[1]) if found else 0
    again = replace(SHORT, train=replace(SHORT.train, batch=fitting))
    go(again, folder / "again", Wide(), max_steps=2)
    return {"code": diagnostic.code, "fitting": fitting, "again": "fits"}


def limit_files(folder: Path) -> dict[str, object]:
    """Files may have half the size of a checkpoint's weights, once there is a first checkpoint; then without limit."""
    go(SHORT, folder / "whole")
    go(SHORT, folder / "part", max_steps=4)
    checkpoints = folder / "part" / "checkpoints"
    size = (list_checkpoints(checkpoints)[-1] / "weights.safetensors").stat().st_size
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
    codes, left = [], []
    try:
        go(SHORT, resume=folder / "part")
    except DiagnosticError as error:
        codes = [d.code for d in error.diagnostics]
        left = [path.name for path in checkpoints.iterdir()]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    kept = list_checkpoints(checkpoints)[-1].name
    go(SHORT, resume=folder / "part")
    return {"codes": codes, "left": left, "kept": kept}


if __name__ == "__main__":
    torch.set_num_threads(1)
    tasks = {task.__name__: task for task in (limit_memory, limit_files)}
    print(json.dumps(tasks[sys.argv[1]](Path(sys.argv[2]))))
