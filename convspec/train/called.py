"""First values from a function of the spec's author, called as the original programs called it (layer.py:894-942).

    weights  function(layer, index of the input, (rows, columns), params=[...])
    biases   function(layer, (rows, columns), params=[...])

`params` are the arguments in the spec, as texts. The result is a float32 array of that shape, in the layout of the
originals (`convspec.train.matrices`): a column an output. This module imports code that a spec names, and so runs only
where `--allow-init-imports` was said: `compile_checked` lets no `Called` through without it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.program.initial import Called, InitialValue
from convspec.train.matrices import biases_of, matrix_shape, weights_of

_BIASES_AS_A_COLUMN = ("conv", "local")


def call_function(value: InitialValue, call: Called) -> Tensor:
    """What the function gives, in the layout of PyTorch. Raises DiagnosticError CS717 for whatever goes wrong in it."""
    shape = _original_shape(value)
    with _beside_spec(value.span.file.name):
        function = _function(value, call)
        where = (value.layer,) if value.index is None else (value.layer, value.index)
        try:
            result = function(*where, shape, params=list(call.arguments))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            note = f"{place.filename}, line {place.lineno}, in {place.name}"
            raise _refuse(value, f"{call.function} failed: {_said(error)}", note) from error
    problem = _problem(result, shape)
    if problem is not None:
        raise _refuse(value, f"{call.function} gives {problem} for {value.name}")
    if value.index is None:
        return torch.from_numpy(biases_of(result, value.shape))
    return torch.from_numpy(weights_of(value.layer_type, result, value.shape, value.parts))


def _original_shape(value: InitialValue) -> tuple[int, int]:
    """Rows and columns, as the original program holds the piece."""
    if value.index is not None:
        return matrix_shape(value.layer_type, value.shape, value.parts)
    count = prod(value.shape)
    return (count, 1) if value.layer_type in _BIASES_AS_A_COLUMN else (1, count)


@contextmanager
def _beside_spec(spec: str) -> Iterator[None]:
    """Modules beside the spec come first, as those in the folder of the original program did."""
    folder = str(Path(spec).resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _function(value: InitialValue, call: Called) -> Callable[..., Any]:
    name, _, attribute = call.function.rpartition(".")
    try:
        module: ModuleType = import_module(name)
    except Exception as error:
        raise _refuse(value, f"the module {name} cannot be imported: {_said(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise _refuse(value, f"the module {name} has no function {attribute}")
    result: Callable[..., Any] = function
    return result


def _problem(result: object, shape: tuple[int, int]) -> str | None:
    """What is wrong with a result."""
    wanted = f"a float32 array of {shape[0]}x{shape[1]}"
    if not isinstance(result, np.ndarray):
        return f"{type(result).__name__}, not {wanted},"
    if result.dtype != np.float32 or result.shape != shape:
        return f"{result.dtype} of {'x'.join(map(str, result.shape)) or 'no shape'}, not {wanted},"
    return None if np.isfinite(result).all() else "numbers that are not finite"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refuse(value: InitialValue, message: str, *notes: str) -> DiagnosticError:
    return DiagnosticError(Diagnostic("CS717", message, span=value.span, notes=notes))
