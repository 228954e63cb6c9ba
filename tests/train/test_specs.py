"""One step of training for every spec that comes with convspec, and all of them at their full size.

A spec shrunk to a few maps takes the step on the CPU in float64, and every parameter must move as section 5 of the paper
says: by minus its rate times gradient and decay, from rest. At full size, where a step takes minutes and gigabytes, the
network computes shapes only, on torch's meta device.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import convspec
from convspec.checker import Checked
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.resources import spec_path
from convspec.train.optimizer import PaperSGD
from tests.emit.comparison import lowered, random_batch
from tests.emit.shrinking import CLASSES, shrunk

SPECS = sorted(path.name for path in spec_path("alexnet.cfg").parent.glob("*.cfg"))


def small_net(checked: Checked) -> nn.Module:
    """The module with its initial weights, but for those so small that their gradients vanish: these are drawn anew."""
    net = instantiate(emit(lowered(checked), "net.cfg"), "net").double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            if name.endswith("weight") and tensor.dim() > 1:
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) / fan_in**0.5)
    return net


@pytest.mark.parametrize("name", SPECS)
def test_one_step(name: str) -> None:
    torch.manual_seed(0)
    checked = shrunk(spec_path(name))
    program = lowered(checked)
    net = small_net(checked).train()
    optimizer = PaperSGD(program, net)
    optimizer.set_rates(0.0)
    batch = {layer: torch.from_numpy(value) for layer, value in random_batch(checked, 2, 1).items()}

    outputs = net(batch)
    loss = net.objective(outputs)  # type: ignore[operator]
    loss.backward()
    before = {key: tensor.detach().clone() for key, tensor in net.named_parameters()}
    gradients = {key: tensor.grad.clone() for key, tensor in net.named_parameters() if tensor.grad is not None}
    optimizer.step(0)

    assert torch.isfinite(loss)
    assert outputs["probs"].shape == (2, CLASSES)
    tensors = dict(net.named_parameters())
    assert {parameter.name for parameter in program.parameters} == tensors.keys() == gradients.keys()
    for parameter in program.parameters:
        key, update = parameter.name, parameter.update
        expected = before[key] - update.rate.rate(0.0) * (gradients[key] + update.decay * before[key])
        torch.testing.assert_close(tensors[key], expected, rtol=1e-12, atol=1e-14)
    learning = {key for key, gradient in gradients.items() if gradient.any()}
    assert len(learning) > len(tensors) // 2
    assert not any(torch.equal(tensors[key], before[key]) for key in learning)


@pytest.mark.parametrize("name", SPECS)
def test_full_size_on_the_meta_device(name: str) -> None:
    """No number is computed: what is proved is that all sizes fit, the parameters' and the activations'."""
    checked = convspec.check(spec_path(name))
    classes = checked.graph.net.classes
    with torch.device("meta"):
        net = convspec.load(spec_path(name), device="meta").eval()
        outputs = net({layer: torch.empty(2, *dims) for layer, dims in checked.graph.net.input})
    assert outputs["probs"].shape == (2, classes)
    parameters = sum(tensor.numel() for tensor in net.parameters())
    assert parameters == checked.totals.network.parameters
