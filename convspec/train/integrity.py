"""Whether what stands in a checkpoint can be what a run wrote.

Digests find accidents: bits that flip, files cut short. They say nothing of a state that another version or another hand
wrote, which has the right digest. So each value is looked at here, once, as it is read, and nobody who uses it need doubt it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from convspec.diagnostics import Diagnostic, DiagnosticError

_TOO_MANY = 2**53  # steps, lines, threads
_MOMENTUM = "momentum/"

State = Mapping[str, Any]


def misfits(state: State) -> list[str]:
    """Keys of a state whose values no run writes; those that are not there are none of them."""
    return [key for key, is_right in _RULES.items() if key in state and not is_right(state[key])]


def check_complete(state: State, where: Path) -> None:
    """Raises DiagnosticError CS708 where a state does not have all that a run needs to go on. where: it was found."""
    missing = [key for key in _RULES if key not in state and key not in _MAY_BE_ABSENT]
    if missing:
        message = f"{where} does not tell its {', '.join(missing)}: another version has written it"
        help = "go on with that version, or train anew and begin with these weights: --init"
        raise DiagnosticError(Diagnostic("CS708", message, help=help))


def without_rates(training: Mapping[str, Any], state: State) -> list[str]:
    """Parameters whose momentum is among the tensors of a checkpoint, and the rate that it is kept in is not in the state."""
    names = [name.removeprefix(_MOMENTUM) for name in training if name.startswith(_MOMENTUM)]
    return [name for name in names if name not in state.get("momentum_rates", names)]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _TOO_MANY


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _TOO_MANY and isfinite(value)


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _are_sums(value: Any) -> bool:
    """Of cases, of mistakes, and of the loss of each cost."""
    return type(value) is list and len(value) >= 2 and all(map(_is_number, value))


def _is_plateau(value: Any) -> bool:
    match value:
        case {"best": best, "stalled": stalled, "dropped": dropped, "is_finished": bool()}:
            return _is_number_or_none(best) and _is_count(stalled) and _is_count(dropped)
        case _:
            return False


def _are_rates(value: Any) -> bool:
    return type(value) is dict and all(type(rate) is float and 0 < rate < _TOO_MANY for rate in value.values())


def _is_machine(value: Any) -> bool:
    """An imported run tells of none."""
    kinds = {"torch": str, "device": str, "threads": int}
    return type(value) is dict and all(type(value[key]) is kind for key, kind in kinds.items() if key in value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1


_RULES: Mapping[str, Callable[[Any], bool]] = {
    "epoch": _is_count,
    "step": _is_count,
    "step_in_epoch": _is_count,
    "share_of_epoch": _is_share,
    "finished": _is_bool,
    "best_error": _is_number_or_none,
    "epoch_sums": _are_sums,
    "plateau": _is_plateau,
    "momentum_rates": _are_rates,
    "metrics_lines": _is_count,
    "made_with": _is_machine,
}
_MAY_BE_ABSENT = ("share_of_epoch",)  # of imported runs alone
