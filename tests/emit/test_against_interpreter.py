"""The emitted module against the interpreter: outputs and gradients in float64, for generated networks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import convspec
from convspec.testing import specs
from tests.emit.comparison import all_layers, assert_program_is_spec, lowered


@given(text=specs(max_side=12), seed=st.integers(0, 99))
@settings(max_examples=100)
def test_every_layer_of_a_generated_network(text: str, seed: int) -> None:
    checked = convspec.check(text)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked, seed)


@given(text=specs(max_side=12), seed=st.integers(0, 99))
@settings(max_examples=100)
def test_generated_network_with_its_sinks_alone(text: str, seed: int) -> None:
    checked = convspec.check(text)
    assert_program_is_spec(lowered(checked), checked, seed)


@given(text=specs(max_side=9, is_square=False, max_layers=4), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_images_that_are_not_square(text: str, seed: int) -> None:
    checked = convspec.check(text)
    assert_program_is_spec(lowered(checked), checked, seed)


@given(text=specs(max_side=12, towers=2), seed=st.integers(0, 99))
@settings(max_examples=150)
def test_generated_towers(text: str, seed: int) -> None:
    checked = convspec.check(text)
    assert_program_is_spec(lowered(checked), checked, seed)


@given(text=specs(max_side=12, towers=2), seed=st.integers(0, 99))
@settings(max_examples=75)
def test_every_layer_of_generated_towers(text: str, seed: int) -> None:
    checked = convspec.check(text)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked, seed)


@given(text=specs(max_side=8, towers=3, max_layers=4), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_three_towers(text: str, seed: int) -> None:
    checked = convspec.check(text)
    assert_program_is_spec(lowered(checked), checked, seed)
