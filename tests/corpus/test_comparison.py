"""The comparison itself: whatever is changed in a pair of files that agrees, it sees."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.corpus.comparison import ask, disagreements
from tests.corpus.originals import CORPUS, REASON, Answer, pairs

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=REASON)
NAMES = {
    "ccn2": "akrizhevsky__layers_layers-imagenet-1gpu",
    "alexnet2012": "computerhistory__layers_layers-147",
    "ccn1_google": "dnouri__example-layers_cifar-layers_layers-fc-13pct",
}


def answer_of(dialect: str) -> Answer:
    return next(answer for answer in pairs() if answer.name == NAMES[dialect])


def changed(answer: Answer, where: str, pattern: str, text: str) -> Answer:
    before = getattr(answer, where)
    after = re.sub(pattern, text, before, count=1)
    assert after != before, pattern
    return replace(answer, **{where: after})


@pytest.mark.parametrize("dialect", NAMES)
def test_what_agrees_agrees(dialect: str) -> None:
    answer = answer_of(dialect)
    assert disagreements(answer, ask(answer)) == []


@pytest.mark.parametrize(
    ("dialect", "where", "pattern", "text", "seen"),
    [
        ("ccn2", "layers_text", r"outputs=4096", "outputs=2048", "outputs"),
        ("ccn2", "layers_text", r"stride=4", "stride=5", "stride"),
        ("ccn2", "layers_text", r"neuron=relu", "neuron=abs", "neuron"),
        ("ccn2", "layers_text", r"padding=2", "padding=1", "padding"),
        ("ccn2", "layers_text", r"gpu=0", "gpu=1", "gpu"),
        ("ccn2", "params_text", r"tgtFactor=250", "tgtFactor=251", "epsW"),
        ("ccn2", "params_text", r"momW=0.9", "momW=0.8", "momW"),
        ("ccn2", "params_text", r"minDiv=2", "minDiv=3", "minDiv"),
        ("ccn2", "params_text", r"topk=5", "topk=4", "topk"),
        ("alexnet2012", "params_text", r"wc=[0-9.]+", "wc=0.125", "wc"),
        ("alexnet2012", "layers_text", r"initW=[0-9.]+\n", "initW=\n", "accepted there"),
        ("ccn1_google", "layers_text", r"outputs=10\b", "outputs=11", "accepted there"),
        ("ccn1_google", "params_text", r"epsB=[0-9.]+", "epsB=0.125", "epsB"),
    ],
)
def test_a_change_is_seen(dialect: str, where: str, pattern: str, text: str, seen: str) -> None:
    answer = changed(answer_of(dialect), where, pattern, text)
    found = disagreements(answer, ask(answer))
    assert any(seen in line for line in found), found


def test_a_wrong_verdict_is_seen() -> None:
    answer = answer_of("ccn2")
    refused = replace(answer, error="Layer 'conv1': parameter 'stride' must be greater than or equal to 1")
    assert disagreements(refused, ask(refused)) == [f"refused there: {refused.error}"]
    at_conv2 = changed(replace(refused, error="Layer 'conv2[0]': no"), "layers_text", r"stride=4", "stride=0")
    assert disagreements(at_conv2, ask(at_conv2))[0].startswith("refused there at conv2")
    at_conv1 = replace(at_conv2, error="Layer 'conv1[0]': no")
    assert disagreements(at_conv1, ask(at_conv1)) == []


def test_a_limit_of_the_kernels_is_no_refusal() -> None:
    answer = answer_of("ccn2")
    limited = replace(answer, error="Layer 'conv1[0]': parameter 'filters' must be divisible by 16")
    assert disagreements(limited, ask(limited)) == []
    broken = changed(limited, "layers_text", r"stride=4", "stride=0")
    assert disagreements(broken, ask(broken))[0].startswith("only a limit of the old kernels")
