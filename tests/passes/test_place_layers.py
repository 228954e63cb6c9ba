"""Layers with replicas become an operator on each GPU, and what they read and give is parted and joined."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convspec
from convspec.passes.insert_transfers import insert_transfers
from convspec.passes.pipeline import PLACED
from convspec.passes.place_layers import place_layers
from convspec.program.costs import CostOperator
from convspec.program.moves import JoinCases, TakeCases
from convspec.program.operator import Cases
from convspec.program.printer import print_program
from convspec.program.program import Program
from convspec.program.verify import InvalidProgramError, verify, verify_placed
from convspec.program.weighted import BatchNorm, Conv2d, Linear
from convspec.testing import specs
from tests.emit.comparison import lowered
from tests.emit.small_specs import classifier, layer, replicated


def placed(text: str) -> Program:
    return verify(place_layers(lowered(convspec.check(text), (), ())))


def test_each_replica_has_a_slice_of_the_minibatch() -> None:
    convolutions = [op for op in placed(replicated()).operators if isinstance(op, Conv2d)]
    assert [(op.gpu, op.cases) for op in convolutions] == [(gpu, Cases(gpu, gpu + 1, 4)) for gpu in range(4)]
    assert {op.weight for op in convolutions} == {"conv1.weight"}


def test_slices_go_by_the_order_in_which_gpus_are_named() -> None:
    convolutions = [op for op in placed(replicated(conv="5,2")).operators if isinstance(op, Conv2d)]
    assert [(op.gpu, op.cases) for op in convolutions] == [(5, Cases(0, 1, 2)), (2, Cases(1, 2, 2))]


def test_data_are_cut_where_they_are() -> None:
    program = placed(replicated())
    taken = [op for op in program.operators if isinstance(op, TakeCases)]
    assert [(op.inputs, op.gpu, op.cases and op.cases.first) for op in taken] == [
        (("data",), None, i) for i in range(4)
    ]


def test_a_layer_with_one_replica_has_all_cases() -> None:
    program = placed(replicated())
    (join,) = (op for op in program.operators if isinstance(op, JoinCases))
    assert (join.gpu, join.cases) == (0, None)
    assert join.inputs == ("conv1@0", "conv1@1", "conv1@2", "conv1@3")
    (linear,) = (op for op in program.operators if isinstance(op, Linear) and op.weight == "fc2.weight")
    assert (linear.inputs, linear.cases) == ((join.name,), None)


def test_a_layer_with_fewer_replicas_takes_some_of_those_below() -> None:
    text = replicated(fc="0,1")
    linear = [op for op in placed(text).operators if isinstance(op, Linear) and op.weight == "fc2.weight"]
    assert [(op.gpu, op.cases) for op in linear] == [(0, Cases(0, 2, 4)), (1, Cases(2, 4, 4))]


def test_readers_on_one_gpu_share_what_was_joined() -> None:
    layers = "".join(layer(f"fc{i}", type="fc", inputs="conv1", outputs=3, gpu=i % 2) for i in range(2, 6))
    text = classifier(
        layer("conv1", type="conv", inputs="data", filters=4, filterSize=3, gpu="0,1") + layers,
        leaves="fc2,fc3,fc4,fc5",
    )
    assert [op.gpu for op in placed(text).operators if isinstance(op, JoinCases)] == [0, 1]


def test_what_judges_a_minibatch_is_there_once() -> None:
    text = classifier(layer("norm", type="batchnorm", inputs="data", gpu="1,0"), leaves="norm", image="2x3x3").replace(
        "gpu=0\n", "gpu=0,1\n"
    )
    program = placed(text)
    assert [(op.gpu, op.cases) for op in program.operators if isinstance(op, BatchNorm | CostOperator)] == [
        (1, None),
        (0, None),
    ]


def test_outputs_and_what_is_judged_keep_their_names() -> None:
    program = placed(replicated().replace("gpu=0\n", "gpu=0,1\n").replace("gpu=0,1,2,3", "gpu=0,1"))
    assert [output.value for output in program.outputs] == ["probs", "cost"]
    probs = program.values["probs"]
    assert isinstance(probs, JoinCases)
    assert probs.inputs == ("probs@0", "probs@1")


def test_layers_on_one_gpu_each_are_left_alone() -> None:
    program = lowered(convspec.check(replicated(conv="0")), (), ())
    assert place_layers(program) is program


NETWORKS = st.one_of(
    specs(towers=2, max_side=10),
    specs(towers=4, max_side=6, max_layers=3),
    specs(replicas=3, max_side=8, max_layers=4),
    specs(towers=2, replicas=2, max_side=8, max_layers=4),
)


@given(text=NETWORKS)
@settings(max_examples=50)
def test_a_pass_run_twice_changes_nothing(text: str) -> None:
    program = lowered(convspec.check(text), (), ())
    for rewrite in PLACED:
        program = verify(rewrite(program))
        assert rewrite(program) == program, rewrite.__name__
    verify_placed(program)
    assert print_program(program).startswith("program net\n")


def test_a_program_that_reads_across_gpus_is_illegal() -> None:
    program = placed(replicated())
    with pytest.raises(InvalidProgramError, match="reads a value that is not there"):
        verify_placed(program)
    verify_placed(insert_transfers(program))


@pytest.mark.parametrize("cases", [None, Cases(0, 1, 2), Cases(1, 2, 4), Cases(0, 3, 4)])
def test_other_cases_than_those_that_are_read_are_illegal(cases: Cases | None) -> None:
    program = placed(replicated())
    wrong = [replace(op, cases=cases) if op.name == "conv1@0" else op for op in program.operators]
    with pytest.raises(InvalidProgramError):
        verify(replace(program, operators=tuple(wrong)))
