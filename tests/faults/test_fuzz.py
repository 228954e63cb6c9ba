"""A short stretch of the long run."""

from __future__ import annotations

import pytest

from tests.faults.fuzz import drawn, verdict

ENDS = {"refused", "compiled", "not compiled"}


@pytest.mark.parametrize("seed", range(4))
def test_spoilt_files_are_refused_or_compiled(seed: int) -> None:
    ends = {verdict(*drawn(seed, case))[-1] for case in range(60)}
    assert ends <= ENDS
    assert "refused" in ends


def test_a_case_is_a_function_of_its_numbers() -> None:
    assert drawn(1, 7) == drawn(1, 7)
    assert drawn(1, 7) != drawn(2, 7)
