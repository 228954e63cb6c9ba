"""Commands that a signal meets in the middle: `python -m tests.cli.interrupted FOLDER` prints JSON.

Each runs in a forked child, as the program does, and sends itself the signal where it has a file half written; then the
same command once more, undisturbed. Torch has computed nothing before the forks, so no thread is lost.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from convspec.__main__ import main
from tests.train.racing import RELU, TANH
from tests.train.small_runs import make_run, write_folder

# loaded once for all children
for name in ("ablating", "comparing", "extracting", "finding", "predicting", "preparing", "reporting", "testing"):
    import_module(f"convspec.cli.{name}")

Case = tuple[list[str], str, signal.Signals]
"""Arguments; a function, as MODULE:NAME or MODULE:CLASS.NAME, in whose place the signal comes first; which one."""


def cases(run: Path, data: Path, base: Path) -> dict[str, Case]:
    out, specs = base / "out", base / "specs"
    cpu = ["--device", "cpu"]
    similar = ["similar", str(run), "--samples", "2", "--in", str(data), "-o", str(out / "panel.png"), *cpu]
    tested = ["--predictions", str(out / "p.csv"), "--confusion", str(out / "c.png"), "--batch", "4"]
    raced = ["--data", "digits", "--until", "train_error=0.9", "--steps", "2", "-o", str(base / "race"), *cpu]
    ablated = [
        "--data",
        "digits",
        "--only",
        "crops",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "-o",
        str(base / "ablation"),
        *cpu,
    ]
    return {
        "test": (["test", str(run), *tested, *cpu], "convspec.train.predictions:CsvPredictions.add", signal.SIGTERM),
        "features": (
            ["features", str(run), "--layer", "conv1", "-o", str(out / "f.npz"), *cpu],
            "convspec.train.feature_files:write_npy",
            signal.SIGHUP,
        ),
        "similar": (similar, "convspec.train.features:_write_places", signal.SIGTERM),
        "predict": (
            ["predict", str(run), "--samples", "2", "-o", str(out / "g.png"), *cpu],
            "convspec.cli.write:os.fsync",
            signal.SIGINT,
        ),
        "report": (
            ["report", str(run), "-o", str(out / "r.html"), "--samples", "1"],
            "convspec.cli.write:os.fsync",
            signal.SIGTERM,
        ),
        "data prepare": (
            ["data", "prepare", str(data), str(base / "prepared"), "--size", "8", "--jobs", "1", "--shard-size", "5"],
            "convspec.data.shard_writer:OpenShard.add",
            signal.SIGTERM,
        ),
        "compare": (
            ["compare", str(specs / "relu.cfg"), str(specs / "tanh.cfg"), *raced],
            "convspec.cli.comparing:picture_of_curves",
            signal.SIGTERM,
        ),
        "ablate": (["ablate", str(specs / "relu.cfg"), *ablated], "convspec.train.ablation:_about", signal.SIGHUP),
    }


def interrupting(place: str, number: signal.Signals) -> None:
    """Have a function send this process a signal when it is called, and go on with its work."""
    module, _, path = place.partition(":")
    owner: Any = import_module(module)
    *outer, name = path.split(".")
    for each in outer:
        owner = getattr(owner, each)
    call: Callable[..., Any] = getattr(owner, name)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(number)
        return call(*arguments, **options)

    setattr(owner, name, interrupted)


def in_child(arguments: list[str], errors: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """The exit code of a command, whose standard error goes to a file."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            prepare()
            sys.argv = ["convspec", *arguments]
            code = main()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left(base: Path) -> Iterator[str]:
    """Half written files; not the locks of runs, nor what a preparation goes on with."""
    kept = (".lock", ".prepare", ".checked.json")
    yield from (str(path.relative_to(base)) for path in base.rglob(".*") if path.name not in kept)
    yield from (str(path.relative_to(base)) for path in base.rglob("*.part"))


def report(base: Path) -> dict[str, Any]:
    (base / "out").mkdir()
    (base / "specs").mkdir()
    for name, text in (("relu", RELU), ("tanh", TANH)):
        (base / "specs" / f"{name}.cfg").write_text(text)
    data = write_folder(base / "data")
    # in a child, since torch must not compute in this process
    child = os.fork()
    if child == 0:
        make_run(base / "run", data)
        os._exit(0)
    os.waitpid(child, 0)
    found = {}
    for name, (arguments, place, number) in cases(base / "run", data, base).items():
        errors = base / "errors"
        code = in_child(arguments, errors, partial(interrupting, place, number))
        found[name] = {
            "code": code,
            "said": errors.read_text(),
            "left": sorted(left(base)),
            "written": sorted(path.name for path in (base / "out").iterdir()),
            "again": in_child(arguments, errors),
            "complaint": errors.read_text(),
        }
        for path in (base / "out").iterdir():
            path.unlink()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by the program too
    print(json.dumps(report(Path(sys.argv[1]))))
