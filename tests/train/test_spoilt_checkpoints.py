"""Whatever stands in a checkpoint, importing it ends in a network or in diagnostics, never in a traceback or a hang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convspec.data.pickles import Global, Stub
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.diagnostics.render import Format, render
from convspec.train import imported as importing
from convspec.train.old_state import OldState
from convspec.train.old_weights import read_weights
from tests.train.test_imported import NETS

NUMBERS = st.one_of(
    st.integers(-3, 20),
    st.sampled_from([2**31, 2**62, -(2**62), 10**30, 1e300, 1e-300, float("nan"), float("inf"), -0.5, True]),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["conv", "fc", "relu", "data", "max", "tanh[1,2]", "\n[x]", "a,b", "%(x)s", " ;"]),
)
PLAIN = st.one_of(st.none(), NUMBERS, TEXTS)
VALUES = st.recursive(
    st.one_of(
        PLAIN,
        st.just(Stub(Global("os", "system"))),
        st.sampled_from([np.zeros((0, 3)), np.float32([[1, 2]]), np.zeros(3, np.int8), np.array([b"x"])]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(TEXTS, st.sampled_from(["type", "params", "base"])), inner, max_size=3),
    ),
    max_leaves=6,
)


def import_or_tell(layers: object, options: dict[str, Any]) -> None:
    state = OldState(Path("90.5"), 2, 0.5, layers, options)
    told: tuple[Diagnostic, ...] = ()
    try:
        restored = importing._restored(state)
        compiled = importing._compile(state, restored, ())
        read_weights(state, restored, compiled.program, lambda diagnostic: None)
    except DiagnosticError as error:
        told = error.diagnostics
    for form in Format:
        render(told, form, color=False).encode("utf-8")


def layers_of(name: str) -> Any:
    return NETS[name]().state()["layers"]


def a_key(choose: st.DataObject, layers: Any) -> tuple[dict[str, Any], str]:
    listed = layers if isinstance(layers, list) else list(layers.values())
    fields = choose.draw(st.sampled_from(listed))
    return fields, choose.draw(st.sampled_from(sorted(fields)))


@settings(max_examples=150)
@given(name=st.sampled_from(sorted(NETS)), choose=st.data())
def test_values_of_any_kind(name: str, choose: st.DataObject) -> None:
    layers = layers_of(name)
    for _ in range(choose.draw(st.integers(1, 3))):
        fields, key = a_key(choose, layers)
        if choose.draw(st.booleans()):
            del fields[key]
        else:
            fields[key] = choose.draw(VALUES)
        if not fields:
            break
    import_or_tell(layers, choose.draw(st.dictionaries(st.sampled_from(["num_epochs", "dp_type"]), VALUES, max_size=2)))


@given(layers=VALUES)
def test_layers_of_any_kind(layers: object) -> None:
    import_or_tell(layers, {})


@pytest.mark.parametrize("name", NETS)
def test_a_value_that_holds_itself_by_the_thousand(name: str) -> None:
    """A billion values that are a hundred objects: nothing may walk them."""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    layers = layers_of(name)
    listed = layers if isinstance(layers, list) else list(layers.values())
    for key in list(listed[2]):
        kept = listed[2][key]
        listed[2][key] = value
        import_or_tell(layers, {"num_epochs": value, "dp_type": value, "train_batch_range": value})
        listed[2][key] = kept
