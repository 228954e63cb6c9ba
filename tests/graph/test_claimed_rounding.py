"""A claim about a size that was rounded: whoever has written it needs no note of the rounding."""

from __future__ import annotations

import pytest

import convspec
from tests.emit.small_specs import classifier, layer


@pytest.mark.parametrize(
    ("claim", "codes"),
    [({}, ["CS409"]), ({"expect": "5x5x2"}, []), ({"expect": 50}, []), ({"expect": "4x4x2"}, ["CS409", "CS416"])],
    ids=str,
)
def test_a_right_claim_needs_no_note(claim: dict[str, object], codes: list[str]) -> None:
    text = classifier(
        layer("x", type="conv", inputs="data", filters=2, filterSize=2, stride=2, **claim), leaves="x", image="3x9x9"
    )
    assert [d.code for d in convspec.check(text).diagnostics if d.code != "CS207"] == codes


def test_a_claim_about_another_input_says_nothing() -> None:
    text = classifier(
        layer("x", type="conv", inputs="data", filters=2, filterSize=2, stride=2, expect="5x5x2"), leaves="x"
    )
    given = convspec.check(text, inputs={"data": (3, 11, 11)})
    assert [d.code for d in given.diagnostics if d.code != "CS207"] == ["CS409"]
