"""83 pairs of layer and parameter file from public repositories: `convspec` gives the verdict that their program gave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from convspec.checker import check
from convspec.compiler import compile_checked
from convspec.diagnostics import DiagnosticError, Severity
from convspec.layers.dialects import dialect_named
from tests.corpus.comparison import ask, disagreements, given
from tests.corpus.originals import CORPUS, REASON, Answer, pairs

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=REASON)
PAIRS = pytest.mark.parametrize("answer", pairs(), ids=lambda answer: str(answer.name))
# Files of 2012 that were kept with another program than the one whose words they use, and what they are taken for.
TAKEN_FOR = {
    "computerhistory__example-layers_layers-example": "ccn1",
    "computerhistory__layers-cifar_layers-18pct__p-18pct-noisylr": "convspec",
}
# Half rounding has no public source; a function of the author's that makes first values runs when it is allowed to.
NOT_COMPILED = {
    "computerhistory__layers_layers-178__p-170-quant": "CS604",
    "NervanaSystems__layers_layers-nin-2gpu-data": "CS605",
}


@PAIRS
def test_pair(answer: Answer, record_property: pytest.RecordProperty) -> None:
    record_property("corpus", "pairs")
    assert disagreements(answer, ask(answer)) == []


@PAIRS
def test_the_program_of_a_pair_is_recognized(answer: Answer) -> None:
    result = check(answer.layers_text, answer.params_text, **given(answer))
    assert result.graph.dialect.name == TAKEN_FOR.get(answer.name, dialect_named(answer.dialect).name)
    assert result.ok == (answer.error is None)


@PAIRS
def test_one_file_says_the_same(answer: Answer) -> None:
    """What a run keeps of two files, in their dialect still."""
    result = ask(answer)
    if not result.ok:
        return
    kept = check(result.resolved_text, **given(answer))
    assert kept.graph.dialect is result.graph.dialect
    assert [row._replace(line=0) for row in kept.layers] == [row._replace(line=0) for row in result.layers]
    assert disagreements(answer, kept) == []


@PAIRS
def test_what_is_accepted_compiles(answer: Answer) -> None:
    """Unless nobody can know what was computed (CS604), or code of the author's would have to run (CS605)."""
    result = ask(answer)
    if not result.ok:
        return
    try:
        compile(compile_checked(result).source, answer.name, "exec")
    except DiagnosticError as error:
        refusals = {d.code for d in error.diagnostics if d.severity is Severity.ERROR}
        assert answer.name in NOT_COMPILED
        assert refusals == {NOT_COMPILED[answer.name]}


POSITIONAL = [a for a in pairs() if a.error is not None and "learning rate schedule sched" in a.error]


@pytest.mark.parametrize("answer", POSITIONAL, ids=lambda answer: str(answer.name))
def test_schedules_by_position_are_understood_in_our_dialect(answer: Answer) -> None:
    """The code of 2012 refused them as it was released, and so they are refused in its dialect, with the way out."""
    refusals = [d for d in ask(answer).diagnostics if d.code == "CS211"]
    assert refusals
    assert all("--dialect convspec reads it so" in " ".join(d.notes) for d in refusals)
    result = check(answer.layers_text, answer.params_text, **given(answer), dialect="convspec")
    assert result.ok, result.diagnostics
    assert {d.message.partition("=")[0] for d in result.diagnostics if d.code == "CS217"} <= {"schedW", "schedB"}
    assert any(d.code == "CS217" for d in result.diagnostics)
    compile(compile_checked(result).source, answer.name, "exec")


@PAIRS
def test_each_orphan_of_the_parameter_file_is_one_warning(answer: Answer) -> None:
    result = ask(answer)
    assert result.params is not None
    layers = {section.name for section in result.document.sections}
    orphans = [section for section in result.params.sections if section.name not in {*layers, "DEFAULT"}]
    warned = [d.span for d in result.diagnostics if d.code == "CS209"]
    assert warned == [section.span for section in _first_of_each(orphans)]


def _first_of_each(sections: list) -> Iterator:  # type: ignore[type-arg]
    seen: set[str] = set()
    for section in sections:
        if section.name not in seen:
            yield section
        seen.add(section.name)
