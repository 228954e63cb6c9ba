"""The part of each GPU: what a cost on another GPU judges crosses as well, for its error rates, under a name of its own."""

from __future__ import annotations

import convspec
from convspec.passes.part_by_gpu import part_by_gpu, with_judged
from convspec.passes.pipeline import PLACED
from convspec.program.moves import Receive, Send, Transfer
from convspec.program.program import Program
from convspec.program.verify import verify_placed
from tests.emit.comparison import lowered
from tests.emit.small_specs import classifier, layer


def judged_elsewhere(name: str) -> Program:
    """Probabilities on GPU 0, their cost on GPU 1; `name`: of the layer below the scores."""
    text = classifier(layer(name, type="fc", inputs="data", outputs=7, gpu=0), leaves=name)
    return lowered(convspec.check(text, overrides=["cost.gpu=1"]), (), PLACED)


def test_what_is_judged_crosses_without_a_gradient() -> None:
    program = judged_elsewhere("fc1")
    whole = verify_placed(with_judged(program))
    [brought] = {op for op in whole.operators if isinstance(op, Transfer)} - set(program.operators)
    assert (brought.inputs, brought.source, brought.gpu) == (("probs",), 0, 1)
    assert [cost.predictions for cost in whole.costs] == [brought.name]
    assert with_judged(whole) == whole
    parts = part_by_gpu(program)
    assert {op.inputs[0]: op.is_judged for op in parts[0].operators if isinstance(op, Send)} == {
        "scores": False,
        "probs": True,
    }
    assert [op.value for op in parts[1].operators if isinstance(op, Receive)] == ["scores", "probs"]


def test_a_layer_may_be_called_as_what_crosses() -> None:
    names = [op.name for op in with_judged(judged_elsewhere("probs on 1")).operators]
    assert len(names) == len(set(names))
    assert {"probs on 1", "probs on 1_"} <= set(names)
