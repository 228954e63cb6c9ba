"""For single faults in real specs the first diagnostic stands on the faulty line or names the faulty layer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from convspec.diagnostics import Diagnostic, Severity
from tests.faults.faults import Fault, seeded_faults
from tests.faults.specs import Spec, clean_corpus, our_specs

COUNT = 200
RATE = 0.95
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def first_of(diagnostics: Sequence[Diagnostic]) -> Diagnostic | None:
    """What a reader turns to first: an error before a warning, and in the order of the file."""
    return min(diagnostics, key=lambda d: _ORDER.index(d.severity), default=None)


def stands_on(fault: Fault, diagnostic: Diagnostic) -> bool:
    """Whether the place of the diagnostic, or of one of its labels, is the line of the fault."""
    spans = [diagnostic.span, *(label.span for label in diagnostic.labels)]
    return any(span is not None and span.file.text == fault.text and span.line == fault.line for span in spans)


def names(fault: Fault, diagnostic: Diagnostic) -> bool:
    """Whether its message names the layer of the fault; of settings, that hold for all layers, the key."""
    word = fault.key if fault.section.startswith("@") and fault.key else fault.section
    texts = [diagnostic.message, *(label.text for label in diagnostic.labels)]
    pattern = rf"(?<![\w.-]){re.escape(word)}(?![\w-])"
    return any(re.search(pattern, text, re.IGNORECASE) for text in texts)


def report(faults: Sequence[Fault]) -> tuple[float, str]:
    """The share of faults whose first diagnostic is good, and a text for people."""
    on_line, named, missed = 0, 0, []
    for fault in faults:
        edited = {"params" if fault.in_params else "layers": fault.text}
        known = {(d.code, d.message) for d in fault.spec.diagnostics}
        first = first_of([d for d in fault.spec.check(**edited).diagnostics if (d.code, d.message) not in known])
        if first is not None and stands_on(fault, first):
            on_line += 1
        elif first is not None and names(fault, first):
            named += 1
        else:
            found = "no diagnostic" if first is None else f"{first.code} {first.message}"
            missed.append(f"  {fault.spec.name}:{fault.line} {fault.section}.{fault.key} {fault.kind}: {found}")
    rate = (on_line + named) / len(faults)
    lines = [f"{len(faults)} faults: {on_line} on the line, {named} by name, {len(missed)} missed: {rate:.1%}"]
    return rate, "\n".join(lines + missed)


def assert_good(specs: tuple[Spec, ...]) -> None:
    rate, text = report(list(seeded_faults(specs, COUNT)))
    print(text)
    assert rate >= RATE, text


def test_first_diagnostic_of_faults_in_our_specs() -> None:
    assert_good(our_specs())


def test_first_diagnostic_of_faults_in_specs_from_elsewhere() -> None:
    if not clean_corpus():
        pytest.skip("the collection of layer files is not beside this repository")
    assert_good(clean_corpus())
