"""The long run of which `test_any_text` is the short one: spoilt specs by the hundred thousand.

    python -m tests.faults.fuzz --cases 200000 --seed 1

Each case is a real file, ours or the collection's where that is present, after one to three accidents: lines lost,
doubled or swapped, a value or a name for another, a piece of another file, stray characters. It is checked, its diagnostics are
rendered, and what has no errors is compiled. The run ends at the first exception that is no diagnostic, and at a case
that takes too long, with the text that did it. Memory is capped for the whole of it, so that whatever allocates by a
number in a file ends it too.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from convspec.compiler import compile_checked
from convspec.diagnostics import DiagnosticError
from tests.faults.specs import CORPUS, Spec, corpus, our_specs
from tests.faults.told import assert_lossless, assert_told

SECONDS = 20
"""A case may take so long; on an idle machine the slowest takes a tenth of one."""
MEMORY = 4 << 30
_SHARE_OF_SMALL = 0.8

_NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "1e400",
    "nan",
    "2147483647",
    "99999999999999999999",
    "0.5",
    "-0",
    "1e-400",
    "3x5",
)
_BYTES = "\x00\t\n\r =[];#:,%()$\\\ufeff\u2028é"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--cases", type=int, default=200_000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    began, codes = time.monotonic(), Counter[str]()
    for case in range(options.cases):
        spec, layers, params = drawn(options.seed, case)
        signal.alarm(SECONDS)
        try:
            codes.update(verdict(spec, layers, params))
        except BaseException:
            print(f"case {case} of seed {options.seed}, from {spec.name}:\n{layers}\n--- params\n{params}\n")
            traceback.print_exc()
            return 1
        finally:
            signal.alarm(0)
        if (case + 1) % 5_000 == 0:
            print(f"{case + 1} cases, {(case + 1) / (time.monotonic() - began):.0f} a second", file=sys.stderr)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.cases} cases in {time.monotonic() - began:.0f} s, peak {peak:.0f} MiB: no exception, no hang")
    print(", ".join(f"{code} {count}" for code, count in sorted(codes.items())))
    return 0


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def drawn(seed: int, case: int) -> tuple[Spec, str, str | None]:
    """A spec, and its texts after their accidents: a function of the two numbers."""
    chance = random.Random(f"{seed}/{case}")
    spec = chance.choice(_small() if _small() and chance.random() < _SHARE_OF_SMALL else _specs())
    layers = spoilt(spec.layers, chance)
    spoils_params = spec.params is not None and chance.random() < 0.5
    return spec, layers, spoilt(spec.params, chance) if spoils_params and spec.params else spec.params


def verdict(spec: Spec, layers: str, params: str | None) -> list[str]:
    """The codes that a case gave, and how it ended."""
    checked = spec.check(layers, params)
    assert_told(checked)
    assert_lossless(layers)
    codes = sorted({diagnostic.code for diagnostic in checked.diagnostics})
    if not checked.ok:
        return [*codes, "refused"]
    try:
        compile_checked(checked)
    except DiagnosticError as error:
        return [*codes, *sorted({d.code for d in error.diagnostics}), "not compiled"]
    return [*codes, "compiled"]


@cache
def _specs() -> Sequence[Spec]:
    return (*our_specs(), *corpus(), *_small())


@cache
def _small() -> Sequence[Spec]:
    """Small files of every kind of layer; none where the collection is absent."""
    path = CORPUS / "micro.jsonl"
    if not path.is_file():
        return ()
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return tuple(
        Spec(
            row["name"],
            row["layers"] + "\n",
            row["params"] + "\n",
            tuple((int(index), (count,)) for index, count in row["data_dims"].items()),
            row["num_classes"],
        )
        for row in rows
    )


def spoilt(text: str, chance: random.Random) -> str:
    """The text after one to three accidents."""
    lines = text.splitlines() or [""]
    for _ in range(chance.randint(1, 3)):
        chance.choice(ACCIDENTS)(lines, chance)
        lines = lines or [""]
    return "\n".join(lines) + "\n"


def _delete(lines: list[str], chance: random.Random) -> None:
    start = chance.randrange(len(lines))
    del lines[start : start + chance.choice((1, 1, 1, 5, 20))]


def _repeat(lines: list[str], chance: random.Random) -> None:
    start = chance.randrange(len(lines))
    lines[start:start] = lines[start : start + chance.choice((1, 1, 8))] * chance.choice((1, 1, 30))


def _swap(lines: list[str], chance: random.Random) -> None:
    i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]


def _garble(lines: list[str], chance: random.Random) -> None:
    i = chance.randrange(len(lines))
    at = chance.randint(0, len(lines[i]))
    lines[i] = lines[i][:at] + chance.choice(_BYTES) * chance.choice((1, 1, 3)) + lines[i][at + chance.randint(0, 2) :]


def _value(lines: list[str], chance: random.Random) -> None:
    i = chance.randrange(len(lines))
    key, equals, value = lines[i].partition("=")
    other = chance.choice(lines).partition("=")[2]
    new = chance.choice((chance.choice(_NUMBERS), other, f"{value},{value}", f"{value},{other}", value[:-1], ""))
    lines[i] = key + equals + new


def _rename(lines: list[str], chance: random.Random) -> None:
    """One word that the file uses for another, everywhere or here."""
    words = [word for line in lines for word in line.replace("=", " ").replace(",", " ").split()]
    if words:
        i = chance.randrange(len(lines))
        lines[i] = lines[i].replace(chance.choice(words), chance.choice(words))


def _graft(lines: list[str], chance: random.Random) -> None:
    """A piece of another file."""
    donor = chance.choice(_specs())
    source = (chance.choice((donor.layers, donor.params or donor.layers))).splitlines() or [""]
    start = chance.randrange(len(source))
    at = chance.randint(0, len(lines))
    lines[at:at] = source[start : start + chance.randint(1, 20)]


ACCIDENTS: tuple[Callable[[list[str], random.Random], None], ...] = (
    _delete,
    _repeat,
    _swap,
    _garble,
    _value,
    _value,
    _rename,
    _graft,
)


if __name__ == "__main__":
    sys.exit(main())
