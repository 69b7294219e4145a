"""The arrays inside a pickle: what the functions that such a file names stand for, without NumPy's own unpickling."""

from __future__ import annotations

import codecs
import mmap
import re
from collections.abc import Callable
from functools import cached_property, partial
from math import prod
from typing import Any, BinaryIO

import numpy as np

CHUNK = 1 << 20
TRUST = "nothing was executed; take the file from its authors"


class RefusedError(Exception):
    """Understood and not wanted; the message goes on after the file's name."""


class Function:
    """Stands in for a function or type that the file names."""

    def __init__(self, call: Callable[..., Any]):
        self.call = call


class Unbuilt:
    """An array or dtype of which the file has not given the contents yet."""

    def __init__(self, build: Callable[..., Any]):
        self.build, self.value = build, None


class Long:
    """A string left in the file, from where `file` stands."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size, self.start = file, size, file.tell()

    @cached_property
    def buffer(self) -> memoryview:
        whole = memoryview(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ))
        return whole[self.start : self.start + self.size]


class LongText(Long):
    """UTF-8 text left in the file."""

    @cached_property
    def buffer(self) -> memoryview:
        """The text in latin1; decoded once, however often it is asked for, and in constant extra memory."""
        out, filled = np.empty(self.size, np.uint8), 0  # memory that is not written to is not taken
        decoder = codecs.getincrementaldecoder("utf-8")()
        back = self.file.tell()
        self.file.seek(self.start)
        for done in range(0, self.size, CHUNK):
            raw = self.file.read(min(CHUNK, self.size - done))
            piece = decoder.decode(raw, final=done + CHUNK >= self.size).encode("latin1")
            out[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
        self.file.seek(back)
        return memoryview(out[:filled])


def array(shape: Any, dtype: Any, fortran: Any, data: Any) -> np.ndarray:
    """A read-only view of `data`. Raises TypeError or ValueError where they do not fit each other."""
    if isinstance(data, Long):
        data = data.buffer
    elif isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(dtype, np.dtype) or not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"an array of {type(data).__name__}")
    if len(shape) > 32 or prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes do not fit an array's shape")
    if dtype.kind == "U" and (np.ndarray(len(data) // 4, f"{dtype.byteorder}u4", data) > 0x10FFFF).any():
        raise ValueError("no such character")
    result = np.ndarray(shape, dtype, data, order="F" if fortran else "C")
    result.flags.writeable = False
    return result


def _dtype(code: str, *_: Any) -> Unbuilt:
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,4}", code):
        raise RefusedError(f"holds an array of dtype {ascii(code)[:40]}, not of numbers or strings; {TRUST}")
    return Unbuilt(partial(_dtype_state, np.dtype(code)))


def _dtype_state(dtype: np.dtype, version: int, order: str, *rest: Any) -> np.dtype:
    if rest[:3] != (None, None, None):
        raise RefusedError(f"holds an array of records, not of numbers or strings; {TRUST}")
    return dtype.newbyteorder(order)


def _encode(text: str | LongText, encoding: str) -> bytes | LongText:
    """How Python 3 writes bytes in protocols 0 to 2."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"encodes text as {ascii(encoding)[:40]}, not as bytes are; {TRUST}")
    return text if isinstance(text, LongText) else text.encode("latin1")


def _from_buffer(
    data: Any, dtype: np.dtype, shape: tuple[int, ...], order: str, axes: tuple[int, ...] | None = None
) -> np.ndarray:
    """How NumPy writes an array in protocol 5, with `axes` where it lies in the order of neither C nor Fortran."""
    found = array(shape, dtype, order == "F", data)
    return found if axes is None else found.transpose(axes)


def _uncallable(*_: Any) -> None:
    raise TypeError("a type is called")


ENCODE = Function(_encode)
FUNCTIONS = {
    "_codecs.encode": ENCODE,
    "numpy.dtype": Function(_dtype),
    "numpy.ndarray": Function(_uncallable),
    "collections.OrderedDict": Function(lambda: {}),
    "collections.defaultdict": Function(lambda *_: {}),
}
for _module in ("builtins", "__builtin__"):  # Python 3 and 2
    FUNCTIONS |= {
        f"{_module}.bytes": Function(lambda: b""),
        f"{_module}.list": Function(_uncallable),  # a defaultdict's factories
        f"{_module}.int": Function(_uncallable),
        f"{_module}.long": Function(_uncallable),
    }
for _module in ("numpy.core", "numpy._core"):  # before NumPy 2 and since
    FUNCTIONS |= {
        f"{_module}.multiarray._reconstruct": Function(lambda *_: Unbuilt(lambda version, *state: array(*state))),
        f"{_module}.multiarray.scalar": Function(lambda dtype, data: array((), dtype, False, data)[()]),
        f"{_module}.numeric._frombuffer": Function(_from_buffer),
    }
"""All that a file may name."""
