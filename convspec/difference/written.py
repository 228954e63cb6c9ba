"""Values of keys as a spec writes them, so that equal values are equal texts."""

from __future__ import annotations

from convspec.syntax.values import Binding, Name, NeuronCall, ScheduleCall

# Values hold these names in lower case.
_SPELLING = {"tgtfactor": "tgtFactor", "numsteps": "numSteps"}


def written(value: object) -> str:
    """`0.01`, `1,2`, `dexp[base=0.02;tgtFactor=250]`; a list of equal entries is written once, nothing as `none`."""
    match value:
        case None:
            return "none"
        case bool():
            return "1" if value else "0"
        case float():
            return f"{value:.10g}"
        case Name():
            return value.text
        case NeuronCall():
            return f"{value.name}[{','.join(map(written, value.arguments))}]" if value.arguments else value.name
        case ScheduleCall():
            return _schedule(value)
        case Binding():
            return f"{value.name}:{'x'.join(map(str, value.dims))}"
        case tuple() if not hasattr(value, "_fields"):
            entries = list(map(written, value))
            return ",".join(entries[:1] if len(set(entries)) == 1 else entries) or "none"
        case tuple():
            return ",".join(map(written, value))
        case _:
            return str(value) or "none"


def _schedule(call: ScheduleCall) -> str:
    if call.name.lower() == "const" and len(call.arguments) == 1:
        return written(call.arguments[0][1])
    return f"{call.name}[{';'.join(f'{_SPELLING.get(key, key)}={written(value)}' for key, value in call.arguments)}]"
