"""Pickles: what is read comes out as Python reads it; what would do harm does none; what is broken is told."""

from __future__ import annotations

import collections
import gzip
import io
import pickle
import pickletools
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convspec.data.pickles import BrokenPickle, Global, Slice, Stub, describe, loads, read_pickle
from convspec.data.pickles.machine import _STEPS
from convspec.diagnostics import DiagnosticError
from tests.data import hostile

ARRAYS = {
    "float32": np.arange(12, dtype=np.float32).reshape(3, 4),
    "big-endian": np.arange(12, dtype=">f4").reshape(3, 4),
    "Fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "empty": np.zeros((0, 3)),
    "bool": np.array([True, False]),
    "bytes": np.array([b"ab", b"c"]),
    "uint8": np.arange(256, dtype=np.uint8),
    "no axes": np.array(2.5),
}
PLAIN = {
    "numbers": [0, -1, 255, 65536, -(2**31), 10**20, -(10**20), 1.5, float("inf"), True, False, None],
    "text": ["", "a", "é€", "\n'\"\\", "x" * 300],
    "bytes": [b"", b"\x00\xff", b"y" * 300],
    "nests": {"a": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, [], {"b": {}}]},
    "sets": [set(), {1, 2}, {"a"}],
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
}


class Options:
    def __init__(self) -> None:
        self.value = 3


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_come_out_as_python_reads_them(name: str, protocol: int) -> None:
    assert loads(pickle.dumps(PLAIN[name], protocol)) == PLAIN[name]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_out_as_python_reads_them(name: str, protocol: int) -> None:
    data = pickle.dumps({"x": [ARRAYS[name], ARRAYS[name]]}, protocol)
    read, wanted = loads(data)["x"], pickle.loads(data)["x"][0]
    assert read[0] is read[1]
    np.testing.assert_array_equal(read[0], wanted)
    assert read[0].dtype == wanted.dtype
    assert read[0].flags.f_contiguous == wanted.flags.f_contiguous


def test_a_number_of_numpy_is_a_number() -> None:
    assert loads(pickle.dumps([np.float32(2.5), np.int64(-3)], 2)) == [2.5, -3]


def test_what_python_2_wrote() -> None:
    # cPickle.dumps({'a': numpy.array([[1., 2.]], dtype=numpy.float32), 'b': u'\xe9', 'c': 2L, 's': '\xff'}, 2), NumPy 1.6
    data = (
        b"\x80\x02}q\x01(U\x01acnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04"
        b"(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x05U\x02f4K\x00K\x01\x87Rq\x06(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
        b"\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbU\x01bX\x02\x00\x00\x00\xc3\xa9q\x07U\x01c\x8a\x01\x02U\x01sU\x01"
        b"\xffu."
    )
    read = loads(data)
    np.testing.assert_array_equal(read.pop("a"), np.array([[1, 2]], np.float32))
    assert read == {"b": "é", "c": 2, "s": "\xff"}
    assert loads(b"(lp0\nS'a\\x00\\n\\'\\\\'\np1\naI01\naL5L\naF1.5\nag1\na.") == ["a\0\n'\\", True, 5, 1.5, "a\0\n'\\"]


def test_an_object_is_a_stub() -> None:
    [read, again] = loads(pickle.dumps([Options(), Options], 2))
    assert isinstance(read, Stub)
    assert read.made_by == again == Global(__name__, "Options")
    assert read.attribute("value") == 3
    assert read.attribute("other") is None
    assert describe(read) == f"an object of {__name__}.Options"


def test_slices_leave_strings_where_they_are() -> None:
    data = pickle.dumps({"data": [b"x" * 100, b"y"], "mean": np.arange(99.0)}, 4)
    read = loads(data, slices=True)
    long, short = read["data"]
    assert isinstance(long, Slice)
    assert data[long.start : long.stop] == b"x" * 100
    assert short == b"y"
    np.testing.assert_array_equal(read["mean"], np.arange(99.0))


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "executed"


EXECUTING = list(hostile.executing("x"))


def test_there_are_many_hostile_pickles_and_they_would_execute(sentinel: Path) -> None:
    """The broken twin: Python's own unpickler runs what ours must not."""
    assert len(EXECUTING) > 20
    harmful = []
    for name, data in hostile.executing(str(sentinel)).items():
        code = "import pickle, sys; pickle.load(sys.stdin.buffer)"
        if "protocol" in name or name in ("builtins.exec", "INST", "OBJ", "nested pickle"):
            subprocess.run([sys.executable, "-I", "-c", code], input=data, capture_output=True, check=False)
            harmful.append(sentinel.exists())
            sentinel.unlink(missing_ok=True)
    assert len(harmful) == 10
    assert all(harmful)


@pytest.mark.parametrize("name", EXECUTING)
def test_a_hostile_pickle_is_inert(name: str, sentinel: Path) -> None:
    modules = set(sys.modules)
    data = hostile.executing(str(sentinel))[name]
    try:
        value = loads(data)
    except BrokenPickle as error:
        assert str(error)  # noqa: PT017  # refused is as good as inert
    else:
        assert describe(value)
    assert not sentinel.exists()
    assert set(sys.modules) == modules


@pytest.mark.parametrize("name", hostile.refused())
def test_what_has_no_place_is_refused(name: str) -> None:
    began = time.monotonic()
    with pytest.raises(BrokenPickle):
        loads(hostile.refused()[name])
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", hostile.exhausting())
def test_what_is_made_to_exhaust_is_read(name: str) -> None:
    began = time.monotonic()
    value = loads(hostile.exhausting()[name])
    assert describe(value)
    del value
    assert time.monotonic() - began < 20


def test_memory_stays_within_its_budget() -> None:
    """In a process that may not have a gigabyte, all of them."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from convspec.data.pickles import BrokenPickle, loads
from tests.data import hostile
for name, data in (hostile.refused() | hostile.exhausting() | hostile.executing("/nonexistent/x")).items():
    try:
        loads(data)
    except BrokenPickle:
        pass
    except MemoryError:
        print(name)
"""
    environment = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_opcode_is_known_or_refused_by_name() -> None:
    outside = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "STOP"}
    names = {op.name for op in pickletools.opcodes if ord(op.code) not in _STEPS}
    assert names == outside


@pytest.mark.parametrize("protocol", range(6))
def test_any_prefix_is_told_to_be_short(protocol: int) -> None:
    data = pickle.dumps({**PLAIN, **ARRAYS, "o": Options()}, protocol)
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(BrokenPickle):
            loads(data[:end])


# files


def packed(kind: str, data: bytes) -> bytes:
    if kind == "gzip":
        return gzip.compress(data)
    if kind == "two gzips":
        return gzip.compress(data[:5]) + gzip.compress(data[5:])
    if kind == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data", data)
        return file.getvalue()
    return data


KINDS = ("plain", "gzip", "two gzips", "zip")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_however_it_is_packed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "90.5"
    path.write_bytes(packed(kind, pickle.dumps(PLAIN, 2)))
    assert read_pickle(path) == PLAIN


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_short_is_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "90.5"
    data = packed(kind, pickle.dumps(PLAIN, 2))
    for end in range(1, len(data), 37):
        path.write_bytes(data[:end])
        assert code_of(path) == "CS720"


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_a_bomb_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(packed(kind, b"\0" * (80 << 20)))
    with pytest.raises(DiagnosticError, match="unpacks to more than 64 MiB"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"garbage", "cannot be read as a pickle"),
        (packed("zip", b"")[:10] + b"\0" * 90, "zip file is damaged"),
        (b"\x1f\x8b" + b"x" * 50, "gzip file is damaged"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "byte 0 is no opcode"),
    ],
)
def test_garbage_is_told(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(DiagnosticError, match=says):
        read_pickle(path)


def test_a_zip_without_the_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("other", b"N.")
    with pytest.raises(DiagnosticError, match="without a member 'data'"):
        read_pickle(tmp_path / "x")


def test_what_is_no_file(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "CS101"
    assert code_of(tmp_path / "nothing") == "CS101"
    assert code_of(Path("/dev/zero")) == "CS101"


def code_of(path: Path) -> Any:
    with pytest.raises(DiagnosticError) as caught:
        read_pickle(path)
    return caught.value.diagnostics[0].code


# noise


MIXED = {**PLAIN, **ARRAYS, "o": Options()}


def read_or_told(data: bytes) -> None:
    try:
        assert describe(loads(data))
        assert describe(loads(data, slices=True))
    except BrokenPickle as error:
        assert str(error)  # noqa: PT017  # either is right


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told(data: bytes) -> None:
    read_or_told(data)


@given(st.lists(st.sampled_from([*_STEPS, *range(16)]), max_size=60).map(bytes))
def test_any_opcodes_are_read_or_told(data: bytes) -> None:
    read_or_told(data + b".")


@given(st.integers(0, 5), st.data())
def test_mutated_pickles_are_read_or_told(protocol: int, choose: st.DataObject) -> None:
    data = bytearray(pickle.dumps(MIXED, protocol))
    for _ in range(choose.draw(st.integers(1, 4))):
        at = choose.draw(st.integers(0, len(data) - 1))
        data[at : at + choose.draw(st.integers(0, 3))] = choose.draw(st.binary(max_size=4))
    read_or_told(bytes(data))
