"""First values: what `initW` says of their size, and functions that give them, `initWFunc`, `initBFunc`, `initCFunc`
(cuda-convnet2 layer.py:894-942, initw.py).

    initWFunc=initw.makew(conv1)             2012: matrix of the layer conv1 of the one run that initw.py loads
    initWFunc=initw.makew(RUN)               cuda-convnet2: matrix of the layer of the same name of RUN
    initWFunc=initw.makewcat(RUN,fc1,fc2)    matrices of two layers of RUN, side by side
    initBFunc=initw.makeb_vec(0.5,1,2)       the biases themselves

The functions of `initw` are known, and nothing is imported for them. Any other is code of the author's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from convspec.diagnostics import Report, did_you_mean
from convspec.layers.keyed import Keyed
from convspec.program.initial import Called, Copied, Written
from convspec.syntax.values import FunctionCall

# What each gives, by the key that asks for it.
_KNOWN: dict[str, tuple[str, ...]] = {
    "initWFunc": ("initw.makew", "initw.makewcat"),
    "initBFunc": ("initw.makeb", "initw.makebcat", "initw.makeb_vec"),
    "initCFunc": ("initw.makec",),
}
_MODULE = "initw."
# A matrix that makew of 2012 draws, whatever it is asked for (initw.py:9-14).
_DRAWN_BY_MAKEW = ("localcombine", 2)


def deviation(given: float | str, sizes: Sequence[tuple[int, ...]]) -> float:
    """The standard deviation of the first weights of one input: what `initW` says, or what its rule makes of n, the count
    of numbers, over all inputs, that an output is a sum over, without biases.

    he: sqrt(2 / n), which keeps the size of values from layer to layer below relu (He, Zhang, Ren, Sun, Delving Deep into
    Rectifiers, 2015, section 2.2). lecun: sqrt(1 / n), for neurons that are straight around 0, as tanh (LeCun, Bottou,
    Orr, Mueller, Efficient BackProp, 1998, section 4.6). Six digits are kept, so that they can be read.

    sizes: of the weights of each input, (outputs, channels or features, rows, columns, ...).
    """
    if isinstance(given, float | int):
        return abs(given)
    terms = sum(prod(size[1:4]) for size in sizes)
    return float(f"{sqrt((2 if given == 'he' else 1) / terms):.6g}")


def validate_function(layer: Keyed, attribute: str, call: FunctionCall | None, report: Report) -> None:
    """Report CS219 for a call that cannot be, and remark on when the function runs."""
    if call is None:
        return
    key = layer.key(attribute).spelling
    problem = _problem(key, call)
    if problem is not None:
        layer.is_broken = True
        message, help = problem
        layer.blame(report, "CS219", attribute, f"{message} ({layer.name})", help=help)
    elif _is_known(call):
        note = "check reads no run, and a compiled module draws from initW and initB"
        layer.remark("CS220", attribute, "first values are copied when training starts", note=note)
    else:
        layer.remark(
            "CS220",
            attribute,
            f"{call.function} is code that training runs to get first values",
            note="compile and train refuse it without --allow-init-imports; check never runs it",
        )


def source_of(call: FunctionCall, layer: str, index: int) -> Copied | Written | Called | None:
    """What a call without a problem stands for, for the piece of a layer at an input; None for one to be drawn."""
    match call.function:
        case "initw.makew" if (layer, index) == _DRAWN_BY_MAKEW:
            return None
        case "initw.makeb_vec":
            return Written(tuple(map(float, call.arguments)))
        case function if not _is_known(call):
            return Called(function, call.arguments)
        case _:
            place, *layers = call.arguments
            return Copied(place, tuple(layers))


def _is_known(call: FunctionCall) -> bool:
    return call.function.startswith(_MODULE)


def _problem(key: str, call: FunctionCall) -> tuple[str, str] | None:
    if not _is_known(call):
        return None
    known = _KNOWN[key]
    if call.function not in known:
        other = next((spelling for spelling, names in _KNOWN.items() if call.function in names), None)
        what = f"{call.function} is for {other}, not for {key}" if other else f"there is no {call.function}"
        return what, did_you_mean(call.function, known) or f"{key} can be {', '.join(known)}"
    if call.function == "initw.makeb_vec":
        wrong = next((argument for argument in call.arguments if not _is_number(argument)), None)
        if call.arguments and wrong is None:
            return None
        got = "none" if wrong is None else f"'{wrong}'"
        return f"initw.makeb_vec takes a number for each bias, and has {got}", "write initw.makeb_vec(0.5,1), say"
    if call.function.endswith("cat"):
        if len(call.arguments) >= 2:
            return None
        return f"{call.function} takes a run and the layers of it to join", f"write {call.function}(RUN,fc1,fc2), say"
    if len(call.arguments) == 1:
        return None
    message = f"{call.function} takes one argument, a run or a layer of the run in initFrom"
    return message, f"write {call.function}(RUN), say"


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
