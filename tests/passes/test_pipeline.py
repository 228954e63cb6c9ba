"""What holds for every pass: run twice it changes nothing, and its result is a legal program."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convspec
from convspec.passes.fuse_costs import fuse_costs
from convspec.passes.pipeline import FOLDED, Pass, run_passes
from convspec.passes.remove_identities import remove_identities
from convspec.passes.remove_unread import remove_unread
from convspec.passes.share_equal import share_equal
from convspec.program.costs import NegativeLogLikelihood
from convspec.program.features import Concat, Dropout
from convspec.program.images import Pad
from convspec.program.moves import Input
from convspec.program.printer import print_program
from convspec.program.verify import verify
from convspec.testing import specs
from tests.emit.comparison import all_layers, lowered
from tests.emit.small_specs import TWO_TOWERS, classifier

NETWORKS = st.one_of(specs(max_side=10), specs(max_side=10, towers=2), specs(max_side=6, towers=3, max_layers=4))


@given(text=NETWORKS, gives_all=st.booleans())
@settings(max_examples=100)
def test_a_pass_run_twice_changes_nothing(text: str, gives_all: bool) -> None:
    checked = convspec.check(text)
    program = lowered(checked, all_layers(checked) if gives_all else (), ())
    for rewrite in FOLDED:
        program = verify(rewrite(program))
        assert rewrite(program) == program, rewrite.__name__


@given(text=NETWORKS)
@settings(max_examples=50)
def test_the_pipeline_run_twice_changes_nothing(text: str) -> None:
    program = lowered(convspec.check(text))
    assert run_passes(program, after=lambda name, program: None) == program


@given(text=NETWORKS)
@settings(max_examples=50)
def test_outputs_and_parameters_survive(text: str) -> None:
    """Passes move blocks of parameters; what is read keeps its name and its size."""
    checked = convspec.check(text)
    before, after = lowered(checked, (), ()), lowered(checked)
    assert [output.layer for output in after.outputs] == [output.layer for output in before.outputs]
    assert [op.name for op in after.inputs] == [op.name for op in before.inputs]
    blocks = {block.name for parameter in before.parameters for block in parameter.blocks}
    assert {block.name for parameter in after.parameters for block in parameter.blocks} == blocks


@pytest.mark.parametrize("rewrite", FOLDED, ids=lambda rewrite: rewrite.__name__)
def test_a_pass_prints(rewrite: Pass) -> None:
    checked = convspec.check(TWO_TOWERS)
    text = print_program(rewrite(lowered(checked, (), ())))
    assert text.startswith("program net\n")
    assert text.endswith("\n")


def test_stages_are_given_in_order() -> None:
    stages = []
    run_passes(lowered(convspec.check(TWO_TOWERS), (), ()), after=lambda name, program: stages.append(name))
    assert stages == ["lower", *(rewrite.__name__ for rewrite in FOLDED)]


def dropouts(**keys: object) -> str:
    lines = "\n".join(f"{key}={value}" for key, value in keys.items())
    return classifier(f"[x]\ninputs=data\n{lines}\n", leaves="x")


@pytest.mark.parametrize(
    ("keys", "is_removed"),
    [
        ({"type": "dropout", "keep": 1}, True),
        ({"type": "dropout", "enable": 0}, True),
        ({"type": "dropout", "keep": 0.5}, False),
        ({"type": "dropout2", "keep": 1}, True),
        ({"type": "dropout2", "keep": 0.5, "enable": 0}, False),
        ({"type": "concat"}, True),
    ],
    ids=str,
)
def test_identities_are_removed(keys: dict[str, object], is_removed: bool) -> None:
    """dropout2 that drops nothing still multiplies by `keep`."""
    before = lowered(convspec.check(dropouts(**keys)), ["x"], ())
    after = remove_identities(before)
    assert ("x" not in after.values) is is_removed
    assert any(isinstance(op, Dropout | Concat) for op in after.operators) is not is_removed
    assert [output.layer for output in after.outputs] == ["probs", "cost", "x"]


def test_a_cost_reads_the_scores_of_its_softmax() -> None:
    program = fuse_costs(lowered(convspec.check(TWO_TOWERS), (), ()))
    (cost,) = (op for op in program.operators if isinstance(op, NegativeLogLikelihood))
    assert (cost.inputs, cost.predictions, cost.from_logits) == (("labels", "scores"), "probs", True)


def test_a_softmax_with_a_neuron_is_not_fused() -> None:
    program = fuse_costs(lowered(convspec.check(TWO_TOWERS, overrides=["probs.neuron=square"]), (), ()))
    (cost,) = (op for op in program.operators if isinstance(op, NegativeLogLikelihood))
    assert (cost.inputs, cost.from_logits) == (("labels", "probs"), False)


def test_towers_share_the_padding_of_their_image() -> None:
    program = lowered(convspec.check(TWO_TOWERS), (), ())
    assert len([op for op in program.operators if isinstance(op, Pad) and op.inputs == ("data",)]) == 2
    assert len([op for op in share_equal(program).operators if isinstance(op, Pad)]) == 1


def test_what_no_output_needs_is_removed() -> None:
    more = "[more]\ntype=fc\ninputs=data\noutputs=3\n"
    checked = convspec.check(classifier(more, leaves="data", net="outputs=more"))
    program = lowered(checked, (), ())
    kept = remove_unread(type(program)(program.name, program.operators, program.parameters, program.outputs[:2]))
    assert "more" in program.values
    assert "more" not in kept.values
    assert {parameter.name for parameter in kept.parameters} == {"scores.weight", "scores.bias"}
    assert [op.name for op in kept.operators if isinstance(op, Input)] == ["data", "labels"]
