"""The emitted module against the interpreter: outputs and gradients in float64, for generated networks."""

from __future__ import annotations

from hypothesis import given, reject, settings
from hypothesis import strategies as st

import convspec
from convspec.testing import specs
from tests.emit.comparison import all_layers, assert_program_is_spec, lowered

SEEDS = st.integers(0, 99)


def assert_right(text: str, seed: int, *, gives_all: bool = False) -> None:
    """gives_all: whether every layer is an output. Where numbers grow until a probability is 0, the interpreter has no
    logarithm of it."""
    checked = convspec.check(text)
    program = lowered(checked, all_layers(checked) if gives_all else ())
    try:
        assert_program_is_spec(program, checked, seed)
    except RuntimeWarning:
        reject()


@given(text=specs(max_side=12), seed=SEEDS)
@settings(max_examples=100)
def test_every_layer_of_a_generated_network(text: str, seed: int) -> None:
    assert_right(text, seed, gives_all=True)


@given(text=specs(max_side=12), seed=SEEDS)
@settings(max_examples=100)
def test_generated_network_with_its_sinks_alone(text: str, seed: int) -> None:
    assert_right(text, seed)


@given(text=specs(max_side=9, is_square=False, max_layers=4), seed=SEEDS)
@settings(max_examples=50)
def test_images_that_are_not_square(text: str, seed: int) -> None:
    assert_right(text, seed)


@given(text=specs(max_side=12, towers=2), seed=SEEDS)
@settings(max_examples=150)
def test_generated_towers(text: str, seed: int) -> None:
    assert_right(text, seed)


@given(text=specs(max_side=12, towers=2), seed=SEEDS)
@settings(max_examples=75)
def test_every_layer_of_generated_towers(text: str, seed: int) -> None:
    assert_right(text, seed, gives_all=True)


@given(text=specs(max_side=8, towers=3, max_layers=4), seed=SEEDS)
@settings(max_examples=50)
def test_three_towers(text: str, seed: int) -> None:
    assert_right(text, seed)
