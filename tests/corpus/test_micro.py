"""128 small configurations, one for each message and corner, each as four original programs answered it."""

from __future__ import annotations

import pytest

from tests.corpus.comparison import ask, disagreements
from tests.corpus.originals import CORPUS, REASON, Answer, micro

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=REASON)


@pytest.mark.parametrize("answer", micro(), ids=lambda answer: f"{answer.name}-{answer.dialect}")
def test_configuration(answer: Answer, record_property: pytest.RecordProperty) -> None:
    record_property("corpus", f"small configurations by {answer.dialect}")
    assert disagreements(answer, ask(answer)) == []
