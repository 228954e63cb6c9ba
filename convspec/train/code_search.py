"""How good a search among short codes is, measured beside the exact one on rows that the codes were not learned from."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from convspec.train.codes import STEPS, Codes, Encoder, learn_codes, nearest_codes
from convspec.train.nearest import BLOCK_BYTES, Matrix, nearest, recall

HELD_OUT = 5
"""Every so many rows one is left out of learning, and looked for."""

MOST_QUERIES = 1000
SHORT_LIST = 10
"""Codes are also asked for so many times as many rows, among which the exact distances would then choose."""


@dataclass(frozen=True, slots=True)
class CodeFigures:
    """Of searches for the k nearest of `queries` rows among all others.

    recall: share of the exact answer that is in that of the codes, in [0, 1]. short_list_recall: share of it that is among
    the first `short_list` by codes. exact_seconds, code_seconds: for one query, when all are asked at once; writing the
    query as a code is part of it. exact_bytes, code_bytes: that a row takes.
    """

    bits: int
    k: int
    queries: int
    recall: float
    short_list: int
    short_list_recall: float
    exact_seconds: float
    code_seconds: float
    exact_bytes: int
    code_bytes: int


def learn_and_measure(rows: Matrix, bits: int, k: int, *, steps: int = STEPS) -> tuple[Encoder, Codes, CodeFigures]:
    """An encoder, the codes of all rows, (N, D) with N at least `LEAST_ROWS`, and how they do."""
    held_out = np.arange(0, len(rows), HELD_OUT)[: min(MOST_QUERIES, max(1, BLOCK_BYTES // rows[0].nbytes))]
    encoder = learn_codes(rows, bits, left_out=held_out, steps=steps)
    codes = encoder.encode(rows)
    queries = np.asarray(rows[held_out])
    began = time.perf_counter()
    exact = nearest(queries, rows, k, passed_over=held_out)
    between = time.perf_counter()
    found = nearest_codes(encoder.encode(queries), codes, k, passed_over=held_out)
    ended = time.perf_counter()
    short_list = nearest_codes(codes[held_out], codes, SHORT_LIST * k, passed_over=held_out)
    figures = CodeFigures(
        bits=bits,
        k=exact.indices.shape[1],
        queries=len(held_out),
        recall=recall(found.indices, exact, queries, rows),
        short_list=short_list.indices.shape[1],
        short_list_recall=recall(short_list.indices, exact, queries, rows),
        exact_seconds=(between - began) / len(held_out),
        code_seconds=(ended - between) / len(held_out),
        exact_bytes=rows[0].nbytes,
        code_bytes=codes[0].nbytes,
    )
    return encoder, codes, figures
