"""What metrics.jsonl records, for TensorBoard as well: event files in the run's folder tensorboard/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.durable import reporting_write_errors


def require_tensorboard() -> None:
    """Raises DiagnosticError CS801 where the package is missing."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ModuleNotFoundError as error:
        message = f"--tensorboard needs {error.name}, which is not installed"
        raise DiagnosticError(Diagnostic("CS801", message, help='pip install "convspec[tensorboard]"')) from None


class TensorBoardLog:
    """Takes records as they are written. A run that goes on from step `first` takes back what stands beyond it."""

    def __init__(self, run: Path, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        with reporting_write_errors(run, run=run):
            # steps are counted from 1, and TensorBoard drops what it had from `purge_step` on
            self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=first + 1)

    def take(self, record: Mapping[str, Any]) -> None:
        with reporting_write_errors(self._run, run=self._run):
            for name, value in scalars(record):
                self._writer.add_scalar(name, value, record["step"])

    def sync(self) -> None:
        with reporting_write_errors(self._run, run=self._run):
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The curves of a record, and their values: `train/logprob`, `test/error`, `ratio/conv1a.weight`, ..."""
    if record["event"] == "step":
        yield from ((f"train/{name}", loss) for name, loss in record["costs"].items())
        yield from ((f"machine/{name}", value) for name, value in record["wall"].items() if name != "seconds")
    if record["event"] == "validation":
        yield from _of_pictures("train", record["train"])
        yield from _of_pictures("test", record["test"])
    for name, entry in record.get("parameters", {}).items():
        for kind in ("weight", "step", "rate"):
            yield f"{kind}/{name}", entry[kind]
        if entry["weight"]:
            yield f"ratio/{name}", entry["step"] / entry["weight"]


def _of_pictures(split: str, means: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Means over an epoch, or over the test pictures. A loss that is not finite stands there as None, and is left out."""
    found = {f"{split}/epoch error": means.get("error"), f"{split}/epoch loss": means.get("loss")}
    for name, cost in means["costs"].items():
        found |= {f"{split}/{name} {key}": value for key, value in _numbers(cost)}
    yield from ((name, value) for name, value in found.items() if isinstance(value, float))


def _numbers(cost: float | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Of training pictures a cost is its value, of test pictures all that is known of it."""
    yield from cost.items() if isinstance(cost, Mapping) else [("loss", cost)]
