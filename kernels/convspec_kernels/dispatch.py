"""Which implementation computes the fused operator, `augment` and dropout.

`CONVSPEC_KERNELS=auto|reference|eager|numba|triton` forces one.

auto        on a GPU Triton's kernels, on the CPU numba's, and where they cannot run `eager`
reference   torch's own composition; float64, other devices and the gradient to every tied pixel take it too, unless
            another is forced; and pools whose rows and columns differ in number always do
"""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from convspec_kernels import eager
from convspec_kernels.options import FusedOptions, Ties

VARIABLE = "CONVSPEC_KERNELS"
CHOICES = ("auto", "reference", "eager", "numba", "triton")
_MODULES = {
    "eager": "convspec_kernels.eager",
    "numba": "convspec_kernels.numba_kernels",
    "triton": "convspec_kernels.triton_kernels",
}
_AUGMENT = {
    "reference": "convspec_kernels.reference",
    "eager": "convspec_kernels.eager",
    "numba": "convspec_kernels.numba_augment",
    "triton": "convspec_kernels.triton_augment",
}
_BY_DEVICE = {"cpu": "numba", "cuda": "triton"}
_log = logging.getLogger("convspec_kernels")


class ChoiceError(Exception):
    """What the environment asks for cannot be had; the message says what that is, and why."""


class UnknownChoiceError(ChoiceError, ValueError):
    """There is no such implementation."""


class ForcedChoiceError(ChoiceError, RuntimeError):
    """The implementation is not there, or does not run on such maps."""


def is_composed(device_type: str, dtype: torch.dtype, ties: Ties) -> bool:
    """Whether maps go to `reference`, in sight of autograd and of compilers, and not to the operator."""
    choice = _choice()
    outside = dtype is torch.float64 or device_type not in _BY_DEVICE or ties is not Ties.FIRST
    return choice == "reference" or (choice == "auto" and outside)


def drops_in_one(device_type: str, dtype: torch.dtype) -> bool:
    """Whether dropout there is a kernel of Triton's, and no composition. Raises ForcedChoiceError where Triton is forced and
    is not there."""
    choice, devices = _choice(), {"auto": ("cuda",), "triton": ("cuda", "meta")}
    if device_type not in devices.get(choice, ()) or dtype is torch.float64:
        return False
    module, reason = _load("convspec_kernels.triton_dropout")
    if module is None and choice == "triton":
        raise ForcedChoiceError(f"{VARIABLE}=triton cannot run: {reason}")
    return module is not None


def choose(x: Tensor, options: FusedOptions) -> ModuleType:
    """The module that computes the operator on these maps.

    Raises:
        ForcedChoiceError, a RuntimeError: the implementation that the environment forces cannot run, or not on these maps.
        UnknownChoiceError, a ValueError: the environment names no implementation.
    """
    choice = _choice()
    name = choice if choice in _MODULES else _BY_DEVICE.get(x.device.type, "eager")
    module, reason = _load(_MODULES[name])
    if module is not None:
        reason = module.unsupported(x, options)
        if reason is None:
            return module
    if choice == name:
        raise ForcedChoiceError(f"{VARIABLE}={choice} cannot run: {reason}")
    if module is None:
        _say_once(name, reason)
    return eager


def choose_augment(device_type: str) -> ModuleType:
    """The module that augments pictures on such a device. Raises as `choose`."""
    choice, name = _choice(), _fastest(device_type)
    module, reason = _load(_AUGMENT[name])
    if module is not None and name in _BY_DEVICE.values() and _BY_DEVICE.get(device_type) != name:
        module, reason = None, f"it does not run on {device_type}"
    if module is not None:
        return module
    if choice == name:
        raise ForcedChoiceError(f"{VARIABLE}={choice} cannot run: {reason}")
    _say_once(name, reason)
    return import_module(_AUGMENT["eager" if device_type == "cpu" else "reference"])


def describe(device_type: str) -> str:
    """Who computes the fused operator on float32 maps of such a device, in a word, and why it is not the fastest."""
    name = _fastest(device_type)
    if name not in _MODULES or _load(_MODULES[name])[0] is not None:
        return name
    return f"eager ({name} is not there)"


def _fastest(device_type: str) -> str:
    """The implementation that the environment forces, or the fastest for such a device, whether it is there or not."""
    choice = _choice()
    return choice if choice != "auto" else _BY_DEVICE.get(device_type, "reference")


def _choice() -> str:
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in CHOICES:
        raise UnknownChoiceError(f"{VARIABLE}={choice}: must be one of {', '.join(CHOICES)}")
    return choice


@cache
def _load(path: str) -> tuple[ModuleType | None, str | None]:
    """The module, or why it cannot be imported."""
    try:
        return import_module(path), None
    except ImportError as error:
        return None, str(error)


@cache
def _say_once(name: str, reason: str | None) -> None:
    _log.warning("%s is not there (%s): torch's operators compute in its place, several times slower", name, reason)
