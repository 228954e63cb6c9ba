"""Sums over the pictures of an epoch, against loops of NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from convspec.train.epoch import EpochSums
from tests.train.tinynet import CLASSES, tiny_program

CPU = torch.device("cpu")
MEANS = ["cases", "loss", "error", "costs"]


def batches(*sizes: int) -> list[tuple[dict[str, Tensor], dict[str, Tensor], int]]:
    """What a network gave for minibatches of these sizes, what it read, and how many cases there are in each."""
    random = np.random.default_rng(7)
    found = []
    for size in sizes:
        scores = random.normal(size=(size, CLASSES)).astype(np.float32)
        labels = random.integers(0, CLASSES, size)
        probabilities = torch.softmax(torch.from_numpy(scores), 1)
        loss = -probabilities[range(size), labels].log().mean()
        tensors = {"data": torch.zeros(size, 1, 8, 8), "labels": torch.from_numpy(labels)}
        found.append(({"probs": probabilities, "logprob": loss}, tensors, size))
    return found


def by_hand(seen: list[tuple[dict[str, Tensor], dict[str, Tensor], int]]) -> tuple[int, float, float]:
    """Cases, mean loss, and the share of cases whose class is not the likeliest."""
    losses, wrong = [], []
    for outputs, tensors, _ in seen:
        rows, labels = outputs["probs"].numpy().astype(np.float64), tensors["labels"].numpy()
        for row, label in zip(rows, labels, strict=True):
            losses.append(-np.log(row[label]))
            wrong.append(int(row.argmax() != label))
    return len(losses), float(np.mean(losses)), float(np.mean(wrong))


def summed(seen: list[tuple[dict[str, Tensor], dict[str, Tensor], int]]) -> EpochSums:
    sums = EpochSums(tiny_program(), CPU)
    for outputs, tensors, size in seen:
        sums.add(outputs, tensors, size)
    return sums


def test_means_weigh_each_minibatch_by_its_cases() -> None:
    seen = batches(64, 64, 7, 1)
    cases, loss, error = by_hand(seen)
    means = summed(seen).means()
    assert [*means] == MEANS
    assert means["cases"] == cases == 136
    assert means["loss"] == means["costs"]["logprob"] == pytest.approx(loss, rel=1e-6)
    assert means["error"] == pytest.approx(error, rel=1e-12)
    unweighted = np.mean([float(outputs["logprob"]) for outputs, _, _ in seen])
    assert abs(unweighted - loss) > 1e-3, "the minibatches differ enough to tell"


def test_ten_thousand_minibatches_lose_nothing_to_rounding() -> None:
    """In float32 the sum of cases would stand still at 2^24, and that of losses drift long before."""
    [(outputs, tensors, _)] = batches(3)
    sums = EpochSums(tiny_program(), CPU)
    for _ in range(10_000):
        sums.add(outputs, tensors, 4001)
    means = sums.means()
    assert means["cases"] == 40_010_000
    assert means["loss"] == pytest.approx(float(outputs["logprob"]), rel=1e-12)


def test_sums_go_on_from_a_checkpoint_to_the_bit() -> None:
    seen = batches(64, 64, 30)
    first = summed(seen[:2])
    again = summed(batches(5))
    again.load(first.state())
    for sums in (first, again):
        sums.add(*seen[2])
    assert again.state() == first.state() == summed(seen).state()
    assert len(first.state()) == first.count == 3


def test_an_epoch_begins_at_nothing() -> None:
    seen = batches(64, 30)
    sums = summed(seen)
    sums.clear()
    assert sums.state() == [0.0, 0.0, 0.0]
    sums.add(*seen[1])
    assert sums.means() == summed(seen[1:]).means()


def test_no_gradient_and_no_graph_is_kept() -> None:
    [(outputs, tensors, size)] = batches(6)
    loss = outputs["logprob"].clone().requires_grad_()
    sums = EpochSums(tiny_program(), CPU)
    sums.add({**outputs, "logprob": loss}, tensors, size)
    assert not sums._sums.requires_grad
