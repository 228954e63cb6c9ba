"""Values of keys as a spec writes them, so that equal values are equal texts."""

from __future__ import annotations

from convspec.syntax.values import (
    Binding,
    DeclineCall,
    Extent,
    FunctionCall,
    Name,
    NeuronCall,
    ScheduleCall,
    WeightSource,
)

# Values hold these names in lower case.
_SPELLING = {"tgtfactor": "tgtFactor", "numsteps": "numSteps"}


def written(value: object) -> str:
    """`0.01`, `1,2`, `3x5`, `dexp[base=0.02;tgtFactor=250]`; a list of equal entries is written once, nothing as `none`."""
    match value:
        case None:
            return "none"
        case bool():
            return "1" if value else "0"
        case float():
            return f"{value:.10g}"
        case tuple() if not hasattr(value, "_fields"):
            entries = list(map(written, value))
            return ",".join(entries[:1] if len(set(entries)) == 1 else entries) or "none"
        case tuple():
            return _form(value)
        case _:
            return str(value) or "none"


def _form(value: tuple[object, ...]) -> str:
    """A value of a language of its own."""
    match value:
        case Name():
            return value.text
        case NeuronCall():
            return f"{value.name}[{','.join(map(written, value.arguments))}]" if value.arguments else value.name
        case ScheduleCall() | DeclineCall():
            return _call(value)
        case FunctionCall():
            return f"{value.function}({','.join(value.arguments)})"
        case Binding():
            return f"{value.name}:{'x'.join(map(str, value.dims))}"
        case Extent() | WeightSource():
            return str(value)
        case _:
            return ",".join(map(written, value))


def _call(call: ScheduleCall | DeclineCall) -> str:
    if call.name.lower() == "const" and len(call.arguments) == 1:
        return written(call.arguments[0][1])
    arguments = (
        f"{_SPELLING.get(key, key)}={written(value)}" if key else written(value) for key, value in call.arguments
    )
    return f"{call.name}[{';'.join(arguments)}]" if call.arguments else call.name
