"""Networks on the GPUs that their specs name compute what the interpreter computes, which knows nothing of GPUs."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import convspec
from convspec.passes.pipeline import PLACED
from convspec.program.verify import verify_placed
from convspec.testing import specs
from tests.emit.comparison import all_layers, assert_program_is_spec, emitted, lowered
from tests.emit.small_specs import TWO_TOWERS, classifier, layer, scattered

TOWERS = st.one_of(specs(towers=2, max_side=10), specs(towers=3, max_side=8, max_layers=4))
REPLICAS = st.one_of(
    specs(replicas=2, max_side=8, max_layers=4),
    specs(replicas=4, max_side=8, max_layers=4),
    specs(towers=2, replicas=2, max_side=8, max_layers=4),
)


SCATTERED = scattered(max_side=10)


@given(
    text=st.one_of(TOWERS, REPLICAS, SCATTERED),
    seed=st.integers(0, 99),
    cases=st.integers(1, 5),
    gives_all=st.booleans(),
)
@settings(max_examples=100)
def test_generated_networks(text: str, seed: int, cases: int, gives_all: bool) -> None:
    checked = convspec.check(text)
    program = verify_placed(lowered(checked, all_layers(checked) if gives_all else (), PLACED))
    assert_program_is_spec(program, checked, seed, cases)


def test_a_device_may_stand_for_several_gpus() -> None:
    """What crosses between them stays where it is."""
    net = emitted(lowered(convspec.check(TWO_TOWERS), (), PLACED))
    net.place("cpu", "cpu")  # type: ignore[operator]
    inputs = {"data": torch.ones(2, 3, 16, 16, dtype=torch.float64)}
    assert net(inputs)["probs"].shape == (2, 4)


def test_layers_may_be_called_like_devices() -> None:
    """`gpu0`, `slice2` and the like are variables and attributes of the module."""
    names = ("gpu0", "gpus", "place", "slice2", "gpu1")
    layers, source = "", "data"
    for name in names:
        layers += layer(name, type="conv", inputs=source, filters=2, filterSize=2, gpu="0,1")
        source = name
    checked = convspec.check(classifier(layers, leaves=source))
    assert_program_is_spec(lowered(checked, all_layers(checked), PLACED), checked, cases=3)
