"""The specs that come with convspec against the interpreter: shrunk with all gradients, and AlexNet as it is."""

from __future__ import annotations

import pytest
import torch

import convspec
from convspec.resources import spec_path
from tests.emit.comparison import (
    all_layers,
    assert_close,
    assert_program_is_spec,
    lowered,
    random_batch,
    random_state,
)
from tests.emit.shrinking import shrunk
from tests.interpreter import interpret

SPECS = sorted(path.name for path in spec_path("alexnet.cfg").parent.glob("*.cfg"))


@pytest.mark.parametrize("name", SPECS)
def test_shrunk_spec(name: str) -> None:
    checked = shrunk(spec_path(name))
    assert_program_is_spec(lowered(checked), checked)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked, cases=1)


def test_alexnet_as_it_is() -> None:
    """Forward, one image: both towers of the network of the paper, every number of fc7 and of the probabilities."""
    checked = convspec.check(spec_path("alexnet.cfg"))
    wanted = ("probs", "logprob", "pool5a", "pool5b", "fc7a", "fc7b")
    net = convspec.load(spec_path("alexnet.cfg"), outputs=wanted[2:], dtype=torch.float64).eval()
    state, batch = random_state(net, 0), random_batch(checked, 1, 1)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    with torch.inference_mode():
        outputs = net({name: torch.from_numpy(value) for name, value in batch.items()})
    expected = interpret(checked.graph, batch, state, with_gradients=False)
    assert set(outputs) == set(wanted)
    for name in wanted:
        value = expected.values[name]
        assert_close(name, outputs[name].numpy(), value[0] if name == "logprob" else value)
