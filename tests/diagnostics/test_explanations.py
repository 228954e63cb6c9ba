"""Each diagnostic has a page, and the examples on the pages do what the pages say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convspec import diagnostics
from convspec.checker import check
from convspec.diagnostics import DiagnosticError, Severity
from convspec.diagnostics.codes import CODES
from convspec.diagnostics.explain import document, explanation

PAGES = Path(diagnostics.__file__).parent / "explanations"
ROOT = Path(__file__).parents[2]


def examples(code: str) -> dict[str, str]:
    """The specs on a page by kind: wrong, right, and the parameter files wrong-params, right-params."""
    return dict(re.findall(r"```cfg ([\w-]+)\n(.*?)```", explanation(code), re.DOTALL))


WITH_EXAMPLES = [code for code in CODES if "wrong" in examples(code)]


def test_each_code_has_a_page_and_each_page_a_code() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_page_begins_with_title_and_severity(code: str) -> None:
    title, _, severity, *_ = explanation(code).splitlines()
    assert title == f"# {code}: {CODES[code].title}"
    assert severity == f"Severity: {CODES[code].severity.value}."


def test_what_check_finds_has_an_example() -> None:
    by_hand = {"CS101", "CS102", "CS113", "CS114", "CS119", "CS213", "CS418", "CS504", "CS510"}
    assert set(WITH_EXAMPLES) == {code for code in CODES if code < "CS6"} - by_hand


@pytest.mark.parametrize("code", WITH_EXAMPLES)
def test_wrong_example_is_wrong_and_right_one_is_right(code: str) -> None:
    specs = examples(code)

    wrong = check(specs["wrong"], specs.get("wrong-params"))
    right = check(specs["right"], specs.get("right-params"))

    assert code in {d.code for d in wrong.diagnostics}
    assert {d.code for d in right.diagnostics if d.severity is not Severity.NOTE} == set()
    assert code not in {d.code for d in right.diagnostics}


def test_case_of_a_code_does_not_matter() -> None:
    assert explanation(" cs402 ") == explanation("CS402")


@pytest.mark.parametrize(("code", "help"), [("CS8O2", "did you mean 'CS802'?"), ("x", "type convspec explain for")])
def test_unknown_code(code: str, help: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        explanation(code)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == "CS802"
    assert help in (diagnostic.help or "")


def test_document_is_made_from_the_pages() -> None:
    written = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    assert written == document(), "run: python -m convspec.diagnostics.explain > docs/diagnostics.md"
