"""Error rates, with ties, and the test pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from convspec.data import Batch
from convspec.train.evaluate import Validation, evaluate
from convspec.train.inputs import InputTensors
from convspec.train.scores import credit
from tests.train.tinynet import SIDE, TinyNet, tiny_program

NO_AUTOCAST = torch.autocast("cpu", torch.bfloat16, enabled=False)


@pytest.mark.parametrize(
    ("probabilities", "label", "k", "expected"),
    [
        ([0.1, 0.6, 0.3], 1, 1, 1.0),
        ([0.1, 0.6, 0.3], 2, 1, 0.0),
        ([0.1, 0.6, 0.3], 2, 2, 1.0),
        ([0.4, 0.4, 0.2], 0, 1, 0.5),  # two share the first place
        ([0.4, 0.4, 0.2], 2, 1, 0.0),
        ([0.25, 0.25, 0.25, 0.25], 3, 1, 0.25),
        ([0.25, 0.25, 0.25, 0.25], 3, 3, 0.75),
        ([0.25, 0.25, 0.25, 0.25], 3, 4, 1.0),
        ([0.4, 0.2, 0.2, 0.2], 2, 2, 1 / 3),  # one place left for three
        ([0.4, 0.2, 0.2, 0.2], 2, 3, 2 / 3),
        ([0.5, 0.3, 0.1, 0.1], 3, 2, 0.0),
        ([float("nan")] * 3, 1, 2, 0.0),
    ],
)
def test_credit_is_shared_between_ties(probabilities: list[float], label: int, k: int, expected: float) -> None:
    found = credit(torch.tensor([probabilities]), torch.tensor([label]), k)
    assert found.tolist() == pytest.approx([expected])


def test_counting_argmax_would_not_do() -> None:
    """The broken twin: argmax gives a constant network a full point for class 0."""
    constant = torch.full((10, 10), 0.1)
    labels = torch.arange(10)
    assert (constant.argmax(1) == labels).tolist() == [True] + [False] * 9
    assert credit(constant, labels, 1).tolist() == pytest.approx([0.1] * 10)


def batches_of(count: int) -> Iterator[Batch]:
    random = np.random.default_rng(0)
    for size in (32, 32, count - 64):
        yield Batch(random.integers(0, 256, (size, SIDE, SIDE, 1), np.uint8), random.integers(0, 10, size))


def run(should_stop: bool = False) -> tuple[TinyNet, Validation | None]:
    torch.manual_seed(0)
    net = TinyNet()
    inputs = InputTensors(tiny_program(), np.zeros((SIDE, SIDE, 1), np.float32), torch.device("cpu"), 32)
    result = evaluate(
        net, tiny_program(), batches_of(70), inputs, autocast=NO_AUTOCAST, should_stop=lambda: should_stop
    )
    return net, result


def test_means_over_cases_not_over_batches() -> None:
    net, result = run()
    batches = [Batch(b.images.copy(), b.labels.copy()) for b in batches_of(70)]
    images = torch.from_numpy(np.concatenate([b.images for b in batches])).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(np.concatenate([b.labels for b in batches]))
    net.eval()
    with torch.no_grad():
        outputs = net({"data": images, "labels": labels})
    right = outputs["probs"].argmax(1) == labels
    in_three = (outputs["probs"].topk(3).indices == labels[:, None]).any(1)
    assert result is not None
    assert result.cases == 70
    assert result.error == pytest.approx(1 - right.double().mean().item())
    cost = result.costs["logprob"]
    assert cost.loss == pytest.approx(outputs["logprob"].item(), rel=1e-6)
    assert (cost.k, cost.topk_error) == (3, pytest.approx(1 - in_three.double().mean().item()))


def test_leaves_the_network_training() -> None:
    net, _ = run()
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_can_be_stopped() -> None:
    assert run(should_stop=True)[1] is None
