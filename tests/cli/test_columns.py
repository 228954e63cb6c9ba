"""Tables of plain text."""

from __future__ import annotations

from convspec.cli.columns import aligned


def test_words_to_the_left_and_numbers_to_the_right() -> None:
    rows = [("layer", "parameters", "gpu"), ("conv1", "17,472", "0"), ("a longer name", "3", "")]
    assert aligned(rows, left=(0, 2)) == [
        "layer          parameters  gpu",
        "conv1              17,472  0",
        "a longer name           3",
    ]
    assert aligned([("a", "1"), ("bb", "22")], left=()) == [" a   1", "bb  22"]
