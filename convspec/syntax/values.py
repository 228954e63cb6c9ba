"""What stands behind the `=` of a key, as Python values: names, neurons, schedules, sizes. `forms` reads them.

Each is again the text that a spec has for it: `str(NeuronCall("tanh", (1.7, 0.66)))` is `tanh[1.7,0.66]`.
"""

from __future__ import annotations

from typing import NamedTuple

# Names of arguments as files write them; values hold them in lower case.
SPELLING = {"base": "base", "tgtfactor": "tgtFactor", "noisestdev": "noiseStdev", "numsteps": "numSteps"}


class Name(NamedTuple):
    """A layer's name inside a value, and where it stands there."""

    text: str
    start: int
    end: int

    def __str__(self) -> str:
        return self.text


class WeightSource(NamedTuple):
    """`conv1[0]`: the weights of an input of a layer, counted from 0; `conv1` is its first."""

    name: Name
    input: int

    def __str__(self) -> str:
        return f"{self.name.text}[{self.input}]"


class NeuronCall(NamedTuple):
    """`tanh[1.7,0.66]`."""

    name: str
    arguments: tuple[float, ...]

    def __str__(self) -> str:
        return _called(self.name, ",".join(map(_number, self.arguments)))


class ScheduleCall(NamedTuple):
    """`dexp[base=0.02;tgtFactor=250;numSteps=4]`; a bare number is `const` with its base.

    arguments: by name, in lower case. A number that is written without a point is an int.
    """

    name: str
    arguments: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        if self.name.lower() == "const" and len(self.arguments) == 1:
            return _number(self.arguments[0][1])
        return _called(self.name, ";".join(_assignments(self.arguments)))


class DeclineCall(NamedTuple):
    """`dexp[tgtFactor=250,noiseStdev=0,numSteps=4]`, how a rate falls that another key gives; or `default`.

    arguments: as those of ScheduleCall; in the oldest form, `dexp[250,0,4]`, they have no names: "".
    """

    name: str
    arguments: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return _called(self.name, ",".join(_assignments(self.arguments)))


class FunctionCall(NamedTuple):
    """`initw.makew(conv1)`: a function of a module, and what stands between its commas, without blanks around it."""

    function: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.function}({','.join(self.arguments)})" if self.arguments else self.function


class Binding(NamedTuple):
    """`data:3x227x227`."""

    name: str
    dims: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}:{'x'.join(map(str, self.dims))}"


class Extent(NamedTuple):
    """`3x5`: a number for rows and one for columns; `3` is 3 for both."""

    height: int
    width: int

    @property
    def pair(self) -> tuple[int, int]:
        return self.height, self.width

    def __str__(self) -> str:
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"


def _called(name: str, arguments: str) -> str:
    return f"{name}[{arguments}]" if arguments else name


def _assignments(arguments: tuple[tuple[str, float], ...]) -> list[str]:
    return [f"{SPELLING.get(name, name)}={_number(value)}" if name else _number(value) for name, value in arguments]


def _number(value: float) -> str:
    return f"{value:.10g}"
