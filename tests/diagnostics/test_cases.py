"""A bad file for each diagnostic, with what is expected on the very line: `stride=0 ;~ CS205`.

A file has to give what its lines say and nothing else, so that no mistake causes a second message. `NAME.params.cfg` is
the parameter file of `NAME.cfg`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import convspec
from convspec.checker import check
from convspec.diagnostics.codes import CODES

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.stem for path in CASES.glob("*.cfg") if not path.stem.endswith(".params"))

# What no layer file alone can bring about: unreadable files, marks before the text, `--set`, `--gpus`, and the stages
# after `check`.
ELSEWHERE = {
    code
    for code in CODES
    if code in ("CS101", "CS102", "CS114", "CS119", "CS213", "CS418", "CS504", "CS510") or code >= "CS6"
}

Found = set[tuple[str, int, str]]


def expected(path: Path) -> Found:
    lines = enumerate(path.read_text().splitlines(), start=1)
    marks = ((number, match.group(1)) for number, line in lines if (match := re.search(r";~ (.*)", line)))
    return {(path.name, number, code.strip()) for number, codes in marks for code in codes.split(",")}


@pytest.mark.parametrize("name", NAMES)
def test_each_line_gives_what_it_says_and_nothing_else(name: str) -> None:
    layers, params = CASES / f"{name}.cfg", CASES / f"{name}.params.cfg"
    has_params = params.exists()

    diagnostics = check(layers, params if has_params else None).diagnostics

    found = {(Path(d.span.file.name).name, d.span.line, d.code) for d in diagnostics if d.span is not None}
    assert found == expected(layers) | (expected(params) if has_params else set())
    assert len(found) == len(diagnostics)


def test_every_diagnostic_of_check_has_a_case() -> None:
    assert {name.split("-")[0] for name in NAMES} - {"several"} == CODES.keys() - ELSEWHERE


def test_every_other_diagnostic_is_expected_by_some_test() -> None:
    """By its code, in another file than this one, which has them all."""
    texts = [path.read_text() for path in Path(__file__).parents[1].rglob("*.py") if path != Path(__file__)]
    expected = {code for text in texts for code in re.findall(r"CS\d{3}", text)}
    assert ELSEWHERE - expected == set()


def test_every_diagnostic_is_given_somewhere() -> None:
    root = Path(convspec.__file__).parent
    modules = [path for path in root.rglob("*.py") if path.name != "codes.py"]
    given = {code for path in modules for code in re.findall(r"CS\d{3}", path.read_text())}
    assert CODES.keys() - given == set()
