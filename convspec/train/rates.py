"""All learning rates of a spec, multiplied by one factor: what a choice between rates changes, and nothing else.

The rate of a spec is the largest `epsW` of its layers that learn, at the beginning of the run. To train it at another one
each `epsW` and `epsB`, wherever it stands, is multiplied by the ratio of the two: rates of biases stay twice those of
weights where they were, frozen layers stay frozen, and schedules fall as they fell, from another base.
"""

from __future__ import annotations

from decimal import Decimal

from convspec.checker import Checked
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.layers.weights import WeightLayer
from convspec.syntax.forms import SCHEDULES
from convspec.syntax.values import SPELLING, ScheduleCall

_KEYS = ("epsw", "epsb")


def rate_of(checked: Checked) -> float:
    """The largest `epsW` of a network without errors. Raises DiagnosticError CS602 where all of it is frozen."""
    layers = (layer for layer in checked.graph.layers.values() if isinstance(layer, WeightLayer))
    rates = [_base(call) for layer in layers for call in layer.eps_w or ()]
    largest = max(rates, default=0.0)
    if largest <= 0:
        message = f"every learning rate of {checked.document.file.name} is 0, so there is none to choose from"
        raise DiagnosticError(Diagnostic("CS602", message, help="write epsW=0.01 and epsB=0.01 under [@params]"))
    return largest


def at_rate(checked: Checked, rate: float) -> tuple[str, ...]:
    """Overrides, as `--set` takes them, that bring the rate of a network to `rate`, and all others along."""
    factor = rate / rate_of(checked)
    return tuple(
        f"{name}.{entry.written_key}={_scaled(entry.value, factor)}"
        for name, section in checked.sections.joined.items()
        for entry in section.entries.values()
        if entry.key in _KEYS
    )


def _base(call: ScheduleCall) -> float:
    return dict(call.arguments)["base"]


def _scaled(text: str, factor: float) -> str:
    return ",".join(_written(call, factor) for call in SCHEDULES.parse(text))


def _written(call: ScheduleCall, factor: float) -> str:
    base = _plain(float(f"{_base(call) * factor:.9g}"))
    if call.name == "const":
        return base
    others = "".join(f";{SPELLING[name]}={_plain(value)}" for name, value in call.arguments if name != "base")
    return f"{call.name}[base={base}{others}]"


def _plain(number: float) -> str:
    """Without an exponent, which cuda-convnet2 does not read."""
    return format(Decimal(repr(number)), "f").removesuffix(".0")
