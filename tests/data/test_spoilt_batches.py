"""Whatever batches and their description hold, opening them gives a dataset that can be read, or diagnostics."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convspec.data import Split
from convspec.diagnostics import DiagnosticError
from tests.data.batch_files import (
    LABELS,
    cases,
    jpeg_meta,
    matrix,
    opened,
    pictures,
    strings,
    write_jpegs,
    write_matrices,
)
from tests.data.python2 import Instance, dumps

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([2**31 - 1, -(2**31), 0.5, float("nan"), float("inf"), "", "x", "\xff" * 300]),
)
ARRAYS = st.sampled_from(
    [
        np.zeros((192, 6), np.uint8),
        np.zeros((6, 192), np.uint8),
        np.zeros((0, 6), np.uint8),
        np.zeros((6, 0), np.uint8),
        np.zeros((1, 1), np.uint8),
        np.zeros(6, np.float32),
        np.full(3, np.nan),
        np.eye(3),
        np.array([b"a", b"b"]),
        np.array(3),
    ]
)
VALUES = st.recursive(
    st.one_of(PLAIN, ARRAYS, st.just(strings(1)[0]).map(lambda data: data.decode("latin-1"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text("ab"), inner, max_size=2),
    ),
    max_leaves=8,
)
MATRIX_KEYS = ("data", "labels", "fine_labels", "filenames")
META_KEYS = ("label_names", "data_mean", "num_vis", "num_colors", "label_offset", "color_pca", "batch_size")
CHANGES = st.dictionaries(st.sampled_from(MATRIX_KEYS), VALUES, max_size=2)
META_CHANGES = st.dictionaries(st.sampled_from(META_KEYS), VALUES, max_size=2)


def open_or_tell(root: Path) -> None:
    try:
        dataset = opened(root, shape=(3, 1, 1))
        try:
            for split in Split:
                images, labels = pictures(dataset, split)
                assert len(images) == len(labels) >= 1
                assert all(0 <= label < len(dataset.classes) for label in labels)
                sets = dataset.label_sets(split, np.arange(len(labels)))
                assert sets is None or all(row[label] for row, label in zip(sets, labels, strict=True))
        finally:
            dataset.close()
    except DiagnosticError as error:
        told = error.diagnostics
        assert all(d.message for d in told)  # either is right


@settings(max_examples=60)
@given(batch=CHANGES, meta=META_CHANGES)
def test_matrices_of_any_kind(batch: dict[str, Any], meta: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_matrices(Path(folder) / "set", "column")
        images, labels = cases(1)
        (root / "data_batch_1").write_bytes(dumps({"data": matrix(images, "column"), "labels": labels, **batch}))
        (root / "batches.meta").write_bytes(dumps({"label_names": ["a", "b", "c", "d"], "num_vis": 192, **meta}))
        open_or_tell(root)


@settings(max_examples=60)
@given(batch=CHANGES, meta=META_CHANGES)
def test_jpeg_files_of_any_kind(batch: dict[str, Any], meta: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_jpegs(Path(folder) / "set")
        (root / "data_batch_2").write_bytes(dumps({"data": strings(2), "labels": LABELS, **batch}))
        (root / "batches.meta").write_bytes(dumps({**jpeg_meta(), **meta}))
        open_or_tell(root)


@settings(max_examples=40)
@given(value=VALUES)
def test_files_of_any_kind(value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_matrices(Path(folder) / "set", "column")
        for name in ("data_batch_1", "batches.meta"):
            kept = (root / name).read_bytes()
            (root / name).write_bytes(dumps(value))
            open_or_tell(root)
            (root / name).write_bytes(kept)


@pytest.mark.parametrize("write", [write_matrices, write_jpegs])
def test_an_object_in_the_place_of_each_entry(write: Callable[..., Path], tmp_path: Path) -> None:
    stranger = Instance("os", "system", {"command": "true"})
    root = write(tmp_path / "set", *(["column"] if write is write_matrices else []))
    meta = (root / "batches.meta").read_bytes()
    for key in META_KEYS:
        (root / "batches.meta").write_bytes(dumps({**jpeg_meta(), key: stranger}))
        open_or_tell(root)
    (root / "batches.meta").write_bytes(meta)
    for key in MATRIX_KEYS:
        (root / "data_batch_2").write_bytes(dumps({"data": strings(2), "labels": LABELS, key: stranger}))
        open_or_tell(root)
