"""Pickles of the original programs, read without importing, calling or running anything that they name.

Python's own unpickler is not used, restricted or not: it allocates what a file of ten bytes claims, and hashes tuples
that nest a million deep. `machine` runs the opcodes itself, counts what they cost, and builds what `values` lists:
numbers, strings, lists, tuples, dicts, sets and NumPy arrays of numbers. An object of any other class becomes a `Stub`.
"""

from convspec.data.pickles.files import PickleFile, open_pickle, read_pickle
from convspec.data.pickles.machine import loads
from convspec.data.pickles.values import BrokenPickle, Global, Slice, Stub, describe

__all__ = [
    "BrokenPickle",
    "Global",
    "PickleFile",
    "Slice",
    "Stub",
    "describe",
    "loads",
    "open_pickle",
    "read_pickle",
]
