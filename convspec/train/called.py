"""First values from a function of the spec's author, called as the original programs called it (layer.py:894-942).

    weights      function(layer, index of the input, (rows, columns), params=[...])
    biases       function(layer, (rows, columns), params=[...])
    connections  function(layer, index of the input, (groups, channels, channels of a filter), params=[...])

`params` are the arguments in the spec, as texts. The result is a float32 array of that shape, in the layout of the
originals (`convspec.train.matrices`): a column an output; of connections, indices of channels, each once before any
comes again. This module imports code that a spec names, and so runs only
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
from convspec.program.initial import Called, InitialValue, Piece
from convspec.train.matrices import biases_of, matrix_shape, weights_of

_BIASES_AS_A_COLUMN = ("conv", "local")


def call_function(value: InitialValue, call: Called) -> Tensor:
    """What the function gives, in the layout of PyTorch. Raises DiagnosticError CS717 for whatever goes wrong in it."""
    with _beside_spec(value.span.file.name):
        function = _function(value, call)
        try:
            result = function(*_arguments(value), params=list(call.arguments))
        except (Exception, SystemExit) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            note = f"{place.filename}, line {place.lineno}, in {place.name}"
            raise _refuse(value, f"{call.function} failed: {_said(error)}", note) from error
    problem = _problem_of_connections(result, value) if value.piece is Piece.CONNECTIONS else _problem(result, value)
    if problem is not None:
        raise _refuse(value, f"{call.function} gives {problem} for {value.name}")
    match value.piece:
        case Piece.WEIGHTS:
            weights = torch.from_numpy(weights_of(value.layer_type, result, value.shape, value.parts))
            weights[len(weights) if value.rows is None else value.rows :] = 0
            return weights
        case Piece.BIASES:
            return torch.from_numpy(biases_of(result, value.shape))
        case Piece.CONNECTIONS:
            return torch.tensor(result)


def _arguments(value: InitialValue) -> tuple[Any, ...]:
    """What the original program passes before `params`."""
    match value.piece:
        case Piece.WEIGHTS:
            return value.layer, value.index, _matrix_shape(value)
        case Piece.BIASES:
            return value.layer, _matrix_shape(value)
        case Piece.CONNECTIONS:
            return value.layer, value.index, value.sparse


def _matrix_shape(value: InitialValue) -> tuple[int, int]:
    """Rows and columns, as the original program holds weights or biases."""
    if value.piece is Piece.WEIGHTS:
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
    except (Exception, SystemExit) as error:
        raise _refuse(value, f"the module {name} cannot be imported: {_said(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise _refuse(value, f"the module {name} has no function {attribute}")
    result: Callable[..., Any] = function
    return result


def _problem(result: object, value: InitialValue) -> str | None:
    """What is wrong with weights or biases."""
    shape = _matrix_shape(value)
    wanted = f"a float32 array of {shape[0]}x{shape[1]}"
    if not isinstance(result, np.ndarray):
        return f"{type(result).__name__}, not {wanted},"
    if result.dtype != np.float32 or result.shape != shape:
        return f"{result.dtype} of {'x'.join(map(str, result.shape)) or 'no shape'}, not {wanted},"
    return None if np.isfinite(result).all() else "numbers that are not finite"


def _problem_of_connections(result: object, value: InitialValue) -> str | None:
    """What is wrong with connections: they are whole orders of the channels, one after another."""
    count, channels = value.shape[0], value.sparse[1]
    indices = result.tolist() if isinstance(result, np.ndarray) else result
    if not isinstance(indices, list) or len(indices) != count:
        return f"{len(indices) if isinstance(indices, list) else type(result).__name__}, not {count} indices,"
    runs = (indices[start : start + channels] for start in range(0, count, channels))
    if all(map(_is_index, indices)) and all(set(run) == set(range(channels)) for run in runs):
        return None
    return f"indices that are not the {channels} channels, each once before any comes again,"


def _is_index(index: object) -> bool:
    return isinstance(index, int) and not isinstance(index, bool)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refuse(value: InitialValue, message: str, *notes: str) -> DiagnosticError:
    return DiagnosticError(Diagnostic("CS717", message, span=value.span, notes=notes))
