"""Learning rates as parameter files give them: `epsW`, `epsB` of all dialects, `schedW`, `schedB` of the 2012 code.

    epsW=0.01                                        all dialects
    epsW=dexp[base=0.01;tgtFactor=250;numSteps=4]    cuda-convnet2: layer.py:81-105
    schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]    2012, with the base in epsW: layer.py:68-92, 1411-1415
    schedW=dexp[250,0,4]                             2012 and older, in 16 released files

Arguments stand in a fixed order, as the originals wanted it. The last form was refused by the code that was released,
and is refused in its dialect; in ours its meaning is by position: tgtFactor, noiseStdev, numSteps, or tgtFactor, numSteps
of files from before there was noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from convspec.diagnostics import Label, Report, did_you_mean
from convspec.layers.keyed import Keyed
from convspec.program.schedule import Schedule, ScheduleKind
from convspec.syntax.values import SPELLING, DeclineCall, ScheduleCall

NO_DECLINE = DeclineCall("default", ())
MAXIMUM_STEPS = 10_000

_SCHEDULES: dict[str, tuple[str, ...]] = {
    "const": ("base",),
    "linear": ("base", "tgtfactor"),
    "exp": ("base", "tgtfactor"),
    "dexp": ("base", "tgtfactor", "numsteps"),
}
_DECLINES: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("tgtfactor", "noisestdev"),
    "exp": ("tgtfactor", "noisestdev"),
    "dexp": ("tgtfactor", "noisestdev", "numsteps"),
    "jdexp": ("tgtfactor", "noisestdev", "numsteps"),
}
_WITHOUT_NOISE = {name: tuple(a for a in arguments if a != "noisestdev") for name, arguments in _DECLINES.items()}


class Problem(NamedTuple):
    """What is wrong with a rate, and what to write."""

    message: str
    help: str


def validate_rate(
    layer: Keyed,
    base: str,
    given: Sequence[ScheduleCall | None] | None,
    attribute: str,
    decline: DeclineCall | None,
    report: Report,
) -> None:
    """Report what is wrong with a rate, CS211, CS215, CS216, CS221, and remark on what the 2012 code would read otherwise.

    base, attribute: the attributes of `layer` that hold what is `given` and `decline`; None is what could not be read.
    """
    calls = [call for call in dict.fromkeys(given or ()) if call is not None]
    for call in calls:
        if _refuse_call(layer, base, call, _SCHEDULES, ";", report):
            continue
        if (number := dict(call.arguments)["base"]) < 0:
            key = layer.key(base).spelling
            message = f"{key} of {layer.name} is {number:g}, below 0, which freezes what it is for, as 0 does"
            help = f"write {key}=0 to freeze it, or {key}={-number:g} to train it"
            layer.blame(report, "CS215", base, message, help=help)
    if decline is None or (decline.name.lower() == "default" and not decline.arguments):
        return
    named = with_names(decline)
    if named is not decline and not layer.dialect.reads_positions:
        _refuse_positions(layer, attribute, decline, named)
    elif _refuse_call(layer, attribute, named, _DECLINES, ",", report):
        return
    elif any(call.name.lower() != "const" for call in calls):
        layer.is_broken = True
        labels = [Label(layer.span(base), "a schedule already")]
        message = f"{layer.name} has two schedules for one rate"
        layer.blame(report, "CS216", attribute, message, labels=labels, help="keep one of them")
    else:
        _remark_on_decline(layer, attribute, decline, [dict(call.arguments).get("base") for call in calls])


def _refuse_call(
    layer: Keyed,
    attribute: str,
    call: ScheduleCall | DeclineCall,
    kinds: dict[str, tuple[str, ...]],
    separator: str,
    report: Report,
) -> bool:
    """Whether a schedule has been refused (CS211). The original programs looked at no number of one: CS221 there."""
    code = "CS211"
    problem = _arguments_problem(call.name, call.arguments, kinds, separator) or _steps_problem(call)
    if problem is None:
        problem, code = _range_problem(call), "CS211" if layer.dialect.is_ours else "CS221"
    if problem is not None:
        layer.is_broken |= code == "CS211"
        layer.blame(report, code, attribute, f"{problem.message} ({layer.name})", help=problem.help)
    return problem is not None and code == "CS211"


def _refuse_positions(layer: Keyed, attribute: str, decline: DeclineCall, named: DeclineCall) -> None:
    """Remark CS211, an error, on a form that the program of the dialect refused: once for all layers that have it."""
    layer.is_broken = True
    layer.remark(
        "CS211",
        attribute,
        f"{layer.dialect.program}, as it was released, refuses {decline}, whose arguments have no names",
        note=f"to the program before it this was {named}; --dialect convspec reads it so",
        help=f"write {layer.key(attribute).spelling}={named}",
    )


def _remark_on_decline(layer: Keyed, attribute: str, decline: DeclineCall, bases: Sequence[float | None]) -> None:
    key = layer.key(attribute).spelling
    named = with_names(decline)
    if named is not decline:
        layer.remark(
            "CS217",
            attribute,
            f"{key}={decline} is read as {named}",
            note="the 2012 code as it was released refuses this form: unable to parse learning rate schedule",
            help=f"write {key}={named}",
        )
    if named.name.lower() == "exp" and 1 in bases:
        layer.remark(
            "CS217",
            attribute,
            f"{key}={named} makes a rate of 1 fall to {1 / dict(named.arguments)['tgtfactor']:g}",
            note="the 2012 code leaves a rate of exactly 1 as it is, because it divides by its logarithm",
        )


def with_names(call: DeclineCall) -> DeclineCall:
    """A call by position with its names, `dexp[250,0,4]`; the very same call where it has names, or fits no position."""
    numbers = [number for name, number in call.arguments if not name]
    if not numbers or len(numbers) < len(call.arguments):
        return call
    kind = call.name.lower()
    for names in (_DECLINES.get(kind, ()), _WITHOUT_NOISE.get(kind, ())):
        if len(names) == len(numbers):
            given = dict(zip(names, numbers, strict=True))
            return DeclineCall(call.name, tuple((name, given.get(name, 0)) for name in _DECLINES[kind]))
    return call


def schedule_of(call: ScheduleCall, decline: DeclineCall) -> Schedule:
    """The rate of a call in which no problem was found, falling as `decline` says."""
    base = dict(call.arguments)["base"]
    kind, arguments = call.name.lower(), dict(call.arguments)
    if decline.name.lower() != "default":
        named = with_names(decline)
        kind, arguments = named.name.lower(), dict(named.arguments)
    return Schedule(
        ScheduleKind(kind),
        base,
        arguments.get("tgtfactor", 1.0),
        int(arguments.get("numsteps", 1)),
        arguments.get("noisestdev", 0.0),
    )


def _arguments_problem(
    name: str, arguments: tuple[tuple[str, float], ...], kinds: dict[str, tuple[str, ...]], separator: str
) -> Problem | None:
    """A schedule that does not exist, or arguments that are not those it takes, in their order."""
    wanted = kinds.get(name.lower())
    if wanted is None:
        return Problem(f"there is no schedule '{name}'", did_you_mean(name, kinds) or f"there are {', '.join(kinds)}")
    if tuple(argument for argument, _ in arguments) == wanted:
        return None
    if not wanted:
        return Problem(f"schedule {name} takes no arguments", f"write {name} alone")
    spelt = [SPELLING[argument] for argument in wanted]
    form = separator.join(f"{argument}=" for argument in spelt)
    return Problem(
        f"schedule {name} takes {', '.join(spelt)}, in this order", f"write {name.lower()}[{form}] with numbers"
    )


def _range_problem(call: ScheduleCall | DeclineCall) -> Problem | None:
    arguments = dict(call.arguments)
    if arguments.get("tgtfactor", 1) <= 0:
        message = f"tgtFactor is {arguments['tgtfactor']:g}, and the rate is divided by it"
        return Problem(message, "write a factor above 0")
    if arguments.get("noisestdev", 0) < 0:
        return Problem(f"noiseStdev is {arguments['noisestdev']:g}", "write a deviation of at least 0; 0 is no noise")
    if not 1 <= (steps := arguments.get("numsteps", 1)) <= MAXIMUM_STEPS:
        return Problem(f"numSteps is {steps}", f"write a whole number from 1 to {MAXIMUM_STEPS}, without a point")
    return None


def _steps_problem(call: ScheduleCall | DeclineCall) -> Problem | None:
    """Steps that are no whole number, at which the original programs ended."""
    steps = dict(call.arguments).get("numsteps", 1)
    if isinstance(steps, int):
        return None
    return Problem(f"numSteps is {steps}", f"write a whole number from 1 to {MAXIMUM_STEPS}, without a point")
