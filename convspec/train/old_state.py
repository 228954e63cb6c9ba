"""What a checkpoint of the original programs says beside its layers: where training stood, and with which options.

    {'model_state': {'layers': ..., 'epoch': 12, 'batchnum': 3, ...}, 'op': <options.OptionsParser>}

`epoch` counts from 1; (epoch, batchnum) is the data batch that was trained last (cuda-convnet2 gpumodel.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convspec.data.pickles import Stub, describe, read_pickle
from convspec.diagnostics import Diagnostic, DiagnosticError


@dataclass(frozen=True, slots=True, repr=False)
class OldState:
    """epochs: done in full. share: of the next one, in [0, 1). layers: as pickled. options: those whose values are plain.

    Where the options do not tell the training batches, `share` is 0 for want of knowing.
    """

    path: Path
    epochs: int
    share: float
    layers: object
    options: Mapping[str, Any]

    def batches(self, which: str) -> tuple[int, ...]:
        """Numbers of the data batches of `--train-range` ("train") or `--test-range` ("test"); none if not known."""
        return _integers(self.options.get(f"{which}_batch_range"))

    def number(self, option: str) -> int | None:
        """An option that is a whole number above 0, or None."""
        value = self.options.get(option)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def read_state(path: Path) -> OldState:
    """The checkpoint in a file, or the newest in a folder: as the originals, the last by name, numbers by size.

    Raises DiagnosticError CS101 (not there), CS720 (no pickle), CS721 (not a checkpoint).
    """
    file = newest_file(path) if path.is_dir() else path
    content = read_pickle(file)
    state = content.get("model_state") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise unlike(file, f"it holds {describe(content)} without a 'model_state'")
    options = _options(content.get("op"))
    epoch, batch = state.get("epoch"), state.get("batchnum")
    if type(epoch) is not int or type(batch) is not int or not 1 <= epoch < 1 << 31:
        raise unlike(file, "its 'epoch' and 'batchnum' are no whole numbers from 1 on")
    batches = _integers(options.get("train_batch_range"))
    done = len(batches) * (epoch - 1) + (batches.index(batch) + 1 if batch in batches else 0)
    epochs, rest = divmod(done, len(batches)) if batches else (epoch - 1, 0)
    share = rest / len(batches) if batches else 0.0
    return OldState(file, epochs, share, state.get("layers"), options)


def newest_file(folder: Path) -> Path:
    """`9.10` comes after `9.9`, and `10.1` after both."""
    try:
        files = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    except OSError as error:
        raise DiagnosticError(Diagnostic("CS101", f"{folder} cannot be read: {error.strerror or error}")) from error
    if not files:
        help = "name the folder that holds files such as 90.5, or one of them"
        raise DiagnosticError(Diagnostic("CS101", f"there are no files in {folder}", help=help))
    return max(files, key=lambda file: _alphanumeric(file.name))


def unlike(path: Path, why: str, help: str | None = None) -> DiagnosticError:
    help = help or "name a file that cuda-convnet, cuda-convnet2 or the AlexNet code saved, such as 90.5"
    return DiagnosticError(Diagnostic("CS721", f"{path} is no checkpoint of the original programs: {why}", help=help))


def _alphanumeric(name: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part[:18]), part) if part.isdigit() and part.isascii() else (1, 0, part) for part in parts)


def _options(parser: object) -> dict[str, Any]:
    """Values by name, from the stub of an OptionsParser: numbers, texts and lists of them."""
    entries = parser.attribute("options") if isinstance(parser, Stub) else None
    if not isinstance(entries, dict):
        return {}
    values = {name: each.attribute("value") for name, each in entries.items() if isinstance(each, Stub)}
    return {name: value for name, value in values.items() if isinstance(value, int | float | str | list)}


def _integers(value: object) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) and all(type(each) is int for each in value) else ()
