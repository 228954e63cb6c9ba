"""Short binary codes: search among bits in place of thousands of floats, as section 6.1 of the paper proposes.

An autoencoder learns to write a row of features as N bits and to tell the row from them again (Krizhevsky and Hinton,
Using very deep autoencoders for content-based image retrieval, 2011; here one hidden layer either way). In training
the signs of the bottleneck pass on its outputs, and the gradient of a tanh passes back (straight-through estimator).
Normalisation before the signs keeps each bit on for about half of the rows: a bit that is always on tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convspec.train.nearest import BLOCK_BYTES, Matrix, Neighbours, blocks

Codes = NDArray[np.uint64]
"""(N, words): bits in words of 64, those that fill up the last one 0."""

STEPS = 2000
MOST_BITS = 4096
LEAST_ROWS = 10
"""Fewer rows teach nothing."""

_WORD = 64
_HIDDEN = 256
_BATCH = 128
_RATE = 3e-3
# How steep the tanh is that passes the gradient back, for outputs of deviation 1.
_SLOPE = 0.3
_MOST_MEASURED = 8192


@dataclass(frozen=True)
class Encoder:
    """Writes features as codes. bits: of a code. net: from standardised features to numbers whose signs are the bits.

    mean: of the features, (D,). scale: their deviation, one number, so that distances keep their proportions.
    """

    bits: int
    net: nn.Module
    mean: NDArray[np.float32]
    scale: float

    def encode(self, rows: Matrix) -> Codes:
        """Codes of features, (N, D), in memory or mapped into it."""
        codes = np.empty((len(rows), -(-self.bits // _WORD)), np.uint64)
        for part in blocks(len(rows), max(1, BLOCK_BYTES // (16 * rows.shape[1]))):
            with torch.inference_mode():
                codes[part] = packed(self.net(self.standardised(rows[part])).numpy() >= 0)
        return codes

    def standardised(self, rows: Matrix) -> Tensor:
        return torch.from_numpy(((rows - self.mean) / self.scale).astype(np.float32))


def learn_codes(
    rows: Matrix, bits: int, *, left_out: NDArray[np.int64] | None = None, seed: int = 0, steps: int = STEPS
) -> Encoder:
    """An encoder that was trained on rows of features, (N, D), at least `LEAST_ROWS` of them. On the CPU.

    bits: 1 to `MOST_BITS`. left_out: rows that it must not see, to judge it by. The same arguments give the same encoder
    on the same number of threads; torch's own random numbers are left as they are.
    """
    seen = np.setdiff1d(np.arange(len(rows)), [] if left_out is None else left_out)
    mean, scale = _standards(rows, seen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = rows.shape[1]
        encoder = nn.Sequential(*_layers(features, bits), nn.BatchNorm1d(bits, affine=False, momentum=0.05))
        learned = Encoder(bits, encoder, mean, scale)
        _fit(learned, nn.Sequential(*_layers(bits, features)), rows, seen, steps)
    encoder.eval().requires_grad_(False)
    return learned


def nearest_codes(
    queries: Codes,
    codes: Codes,
    k: int,
    *,
    passed_over: NDArray[np.int64] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Neighbours:
    """The k codes that differ from each query in the fewest bits, of equal ones the first; as `nearest` otherwise.

    queries, codes: (M, words) and (N, words). Distances are numbers of bits.
    """
    count = len(codes)
    k = max(0, min(k, count - (passed_over is not None)))
    # the number of bits and the index in one number: all differ, and their order is that of the answer
    best = np.full((len(queries), k), np.iinfo(np.int64).max)
    height = max(1, min(count, block_bytes // 256))
    for part in blocks(len(queries) if k else 0, max(1, block_bytes // (64 * height))):
        for block in blocks(count, height):
            found = hamming(queries[part], codes[block]) * count + np.arange(block.start, block.stop)
            if passed_over is not None:
                here = passed_over[part] - block.start
                inside = np.flatnonzero((here >= 0) & (here < found.shape[1]))
                found[inside, here[inside]] = np.iinfo(np.int64).max
            if found.shape[1] > k:
                found = np.partition(found, k - 1, axis=1)[:, :k]
            best[part] = np.sort(np.concatenate([best[part], found], axis=1), axis=1)[:, :k]
    return Neighbours(best % max(1, count), (best // max(1, count)).astype(np.float64))


def hamming(queries: Codes, codes: Codes) -> NDArray[np.int64]:
    """In how many bits each query differs from each code, (M, N)."""
    differing = np.zeros((len(queries), len(codes)), np.int64)
    for word in range(codes.shape[1]):
        differing += np.bitwise_count(np.bitwise_xor.outer(queries[:, word], codes[:, word]))
    return differing


def packed(bits: NDArray[np.bool_]) -> Codes:
    """Codes from (N, bits), of True and False."""
    filled = np.zeros((len(bits), -(-bits.shape[1] // _WORD) * _WORD), np.bool_)
    filled[:, : bits.shape[1]] = bits
    return np.packbits(filled, axis=1).view(np.uint64)


def _standards(rows: Matrix, seen: NDArray[np.int64]) -> tuple[NDArray[np.float32], float]:
    """Mean of each feature and deviation of all, over evenly spaced rows of those seen."""
    most = max(1, min(_MOST_MEASURED, BLOCK_BYTES // (16 * rows.shape[1])))
    sample = np.asarray(rows[seen[:: -(-len(seen) // most)]], np.float64)
    mean = sample.mean(axis=0)
    deviation = float(np.sqrt(np.square(sample - mean).mean()))
    return mean.astype(np.float32), deviation or 1.0


def _layers(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, outputs)]


def _fit(encoder: Encoder, decoder: nn.Module, rows: Matrix, seen: NDArray[np.int64], steps: int) -> None:
    """Train both by the squared error of the features that the decoder tells."""
    parameters = [*encoder.net.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, _RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    waiting = np.empty(0, np.int64)
    for _ in range(steps):
        if len(waiting) < min(_BATCH, len(seen)):
            waiting = np.concatenate([waiting, seen[torch.randperm(len(seen)).numpy()]])
        batch, waiting = np.sort(waiting[:_BATCH]), waiting[_BATCH:]
        features = encoder.standardised(rows[batch])
        loss = (decoder(_signs(encoder.net(features))) - features).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _signs(outputs: Tensor) -> Tensor:
    soft = torch.tanh(_SLOPE * outputs)
    return soft + (torch.where(outputs >= 0, 1.0, -1.0) - soft).detach()
