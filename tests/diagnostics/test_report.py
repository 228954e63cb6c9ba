"""Suggestions and the limits of a message."""

from __future__ import annotations

import pytest

from convspec.diagnostics import Report, closest, did_you_mean
from convspec.diagnostics.codes import CODES, Severity

MANY = {f"layer{i}": None for i in range(5000)}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("stide", "stride"), ("STRIDE", "stride"), ("filtersiz", "filtersize"), ("zzz", None), ("", None)],
)
def test_closest_of_a_few(word: str, expected: str | None) -> None:
    assert closest(word, ("stride", "filtersize", "padding")) == expected


@pytest.mark.parametrize("word", ["laye4321", "layre4321", "layer4321x", "layer43x1", "Layer77"])
def test_closest_of_thousands_is_one_edit_away(word: str) -> None:
    found = closest(word, MANY)
    assert found in MANY
    assert closest(word, list(MANY)) == found


def test_closest_of_thousands_is_none_two_edits_away() -> None:
    assert closest("laxyr9", MANY) is None


def test_did_you_mean() -> None:
    assert did_you_mean("stide", ["stride"]) == "did you mean 'stride'?"
    assert did_you_mean("x" * 10**6, ["stride"]) is None


def test_messages_have_a_limit() -> None:
    report = Report()
    report.add("CS204", None, "not '" + "9" * 10**6 + "', really", help="x " * 10**6)
    [diagnostic] = report
    assert diagnostic.message.startswith("not '999")
    assert diagnostic.message.endswith("9', really")
    assert len(diagnostic.message) < 120
    assert len(diagnostic.help or "") <= 600


def test_severity_is_that_of_the_code() -> None:
    report = Report()
    for code in CODES:
        report.add(code, None, "")
    assert [d.severity for d in report] == [code.severity for code in CODES.values()]
    assert report.has_errors
    assert not Report().has_errors
    assert Severity.ERROR.value == "error"
