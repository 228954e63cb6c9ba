"""Networks on the GPUs that their specs name compute what the interpreter computes, which knows nothing of GPUs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import convspec
from convspec.passes.pipeline import PLACED
from convspec.program.verify import verify_placed
from convspec.testing import specs
from tests.emit.comparison import all_layers, assert_program_is_spec, lowered

TOWERS = st.one_of(specs(towers=2, max_side=10), specs(towers=3, max_side=8, max_layers=4))
REPLICAS = st.one_of(
    specs(replicas=2, max_side=8, max_layers=4),
    specs(replicas=4, max_side=8, max_layers=4),
    specs(towers=2, replicas=2, max_side=8, max_layers=4),
)


@given(text=st.one_of(TOWERS, REPLICAS), seed=st.integers(0, 99), cases=st.integers(1, 5), gives_all=st.booleans())
@settings(max_examples=100)
def test_generated_networks(text: str, seed: int, cases: int, gives_all: bool) -> None:
    checked = convspec.check(text)
    program = verify_placed(lowered(checked, all_layers(checked) if gives_all else (), PLACED))
    assert_program_is_spec(program, checked, seed, cases)
