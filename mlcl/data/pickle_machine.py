"""The stack machine that pickles are written for, with the instructions that data needs and no others."""

from __future__ import annotations

import codecs
import pickle
import pickletools
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from mlcl.data.pickle_arrays import ENCODE, FUNCTIONS, TRUST, Function, Long, LongText, RefusedError, Unbuilt

LONG = 1 << 24
"""Strings of so many bytes stay in the file until an array needs them."""
BUDGET = 10_000_000
"""Instructions, or 64 bytes each of short strings, whose results may be held at a time: at most about 2 GB."""
KEPT = 10_000
"""Small memo entries that `forget` keeps."""

_KEYS = (str, bytes, int, float, np.generic)  # a tuple's hash recurses without a limit


class Machine:
    """Reads `file` from its start. `stack` is what lies above the last open mark, `outer` what lies below each."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.size = file.seek(0, 2)
        file.seek(0)
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.memoized = 0
        self.recent: list[int] = []
        self.kept = 0
        self.budget = BUDGET

    def step(self) -> bytes:
        """Carry out one instruction and return its code."""
        code = self.file.read(1)
        handler = _HANDLERS.get(code)
        if handler is None:
            if not code:
                raise EOFError("it is cut off")
            if code.decode("latin1") not in pickletools.code2op:
                raise ValueError(f"no instruction {code!r}")
            raise RefusedError(f"uses {pickletools.code2op[code.decode('latin1')].name}, which no data needs; {TRUST}")
        self.spend(1)
        handler(self)
        return code

    def spend(self, amount: int) -> None:
        self.budget -= amount
        if self.budget < 0:
            raise RefusedError("holds more small objects than any known data set; take the data set as published")

    def forget(self) -> None:
        """Drop from the memo what was read since the last time, but not the small values that images share."""
        for key in self.recent:
            if self.kept < KEPT and _small(self.memo.get(key)):
                self.kept += 1
            else:
                self.memo.pop(key, None)
        self.recent = []
        self.budget = BUDGET

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.file.read(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        line = self.file.readline(LONG)
        if len(line) == LONG:
            raise RefusedError("holds images as text (protocol 0); write it with protocol 2 or later")
        if not line.endswith(b"\n"):
            raise EOFError("a line is cut off")
        self.spend(len(line) >> 6)
        return line[:-1]

    def string(self, form: str, decode: Callable[[bytes], Any] = bytes, long: type[Long] = Long) -> Any:
        """The string whose length comes first, in `form`."""
        size = self.number(form)
        if size > self.size - self.file.tell():
            raise EOFError("a string goes on past the end")
        if size >= LONG:
            left = long(self.file, size)
            self.file.seek(size, 1)
            return left
        self.spend(size >> 6)
        return decode(self.file.read(size))

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def pushed(self, size: int) -> list[Any]:
        if len(self.stack) < size:
            raise IndexError("too few items")
        items = self.stack[-size:]
        del self.stack[-size:]
        return items

    def get(self, key: int) -> None:
        if key not in self.memo:
            raise RefusedError(f"refers to entry {key}, which is missing or an earlier image; download it again")
        value = self.memo[key]
        built = isinstance(value, Unbuilt) and value.value is not None
        self.stack.append(value.value if built else value)

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        self.memoized += 1
        self.recent.append(key)

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError(f"{type(self.stack[-1]).__name__} is appended to")
        self.stack[-1].extend(items)

    def set(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise TypeError(f"{type(self.stack[-1]).__name__} is given items")
        self.stack[-1].update(_dict(items))

    def name(self, module: Any, name: Any) -> None:
        whole = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "no name"
        if whole not in FUNCTIONS:
            raise RefusedError(f"asks for {ascii(whole[:80])[1:-1]}, which no data needs; {TRUST}")
        self.stack.append(FUNCTIONS[whole])

    def instance(self) -> None:
        self.name(str(self.line(), "utf-8"), str(self.line(), "utf-8"))
        raise TypeError("a type is called")

    def reduce(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Function):
            raise TypeError(f"{type(function).__name__} is called")
        if function is ENCODE and isinstance(arguments[0], str):
            self.spend(len(arguments[0]) >> 6)  # a file can encode the same string again and again
        self.stack.append(function.call(*arguments))

    def build(self, unbuilt: Any, state: Any) -> None:
        if not isinstance(unbuilt, Unbuilt):
            raise TypeError(f"{type(unbuilt).__name__} is given a state")
        unbuilt.value = unbuilt.build(*state)
        self.stack.append(unbuilt.value)

    def stop(self) -> None:
        if self.outer or len(self.stack) != 1 or self.file.read(1):
            raise ValueError("it stops before its end")


def _small(value: Any) -> bool:
    if isinstance(value, (str, bytes)):
        return len(value) <= 64
    if isinstance(value, tuple):
        return len(value) <= 4 and all(isinstance(item, int) for item in value)
    return isinstance(value, Function) or (isinstance(value, Unbuilt) and isinstance(value.value, np.dtype))


def _dict(items: list[Any]) -> dict[Any, Any]:
    for key in items[::2]:
        if not isinstance(key, _KEYS):
            raise TypeError(f"{type(key).__name__} is a key")
    return dict(zip(items[::2], items[1::2], strict=True))


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1] != line[0]:
        raise ValueError("a string without quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")


def _integer(line: bytes) -> int | bool:
    return line == b"01" if line in (b"00", b"01") else int(line)


_latin1 = partial(str, encoding="latin1")
_utf8 = partial(str, encoding="utf-8")

_HANDLERS: dict[bytes, Callable[[Machine], Any]] = {
    pickle.PROTO: lambda m: m.number("B"),
    pickle.FRAME: lambda m: m.number("<Q"),
    pickle.STOP: Machine.stop,
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.INT: lambda m: m.push(_integer(m.line())),
    pickle.BININT: lambda m: m.push(m.number("<i")),
    pickle.BININT1: lambda m: m.push(m.number("B")),
    pickle.BININT2: lambda m: m.push(m.number("<H")),
    pickle.LONG: lambda m: m.push(int(m.line().removesuffix(b"L"))),
    pickle.LONG1: lambda m: m.push(m.string("B", pickle.decode_long)),
    pickle.FLOAT: lambda m: m.push(float(m.line())),
    pickle.BINFLOAT: lambda m: m.push(m.number(">d")),
    pickle.STRING: lambda m: m.push(_quoted(m.line())),
    pickle.BINSTRING: lambda m: m.push(m.string("<I", _latin1)),
    pickle.SHORT_BINSTRING: lambda m: m.push(m.string("B", _latin1)),
    pickle.BINBYTES: lambda m: m.push(m.string("<I")),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.string("B")),
    pickle.BINBYTES8: lambda m: m.push(m.string("<Q")),
    pickle.BYTEARRAY8: lambda m: m.push(m.string("<Q", bytearray)),
    pickle.UNICODE: lambda m: m.push(str(m.line(), "raw-unicode-escape")),
    pickle.BINUNICODE: lambda m: m.push(m.string("<I", _utf8, LongText)),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.string("B", _utf8)),
    pickle.BINUNICODE8: lambda m: m.push(m.string("<Q", _utf8, LongText)),
    pickle.MARK: Machine.mark,
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.push(tuple(m.pushed(1))),
    pickle.TUPLE2: lambda m: m.push(tuple(m.pushed(2))),
    pickle.TUPLE3: lambda m: m.push(tuple(m.pushed(3))),
    pickle.TUPLE: lambda m: m.push(tuple(m.marked())),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.LIST: lambda m: m.push(m.marked()),
    pickle.APPEND: lambda m: m.append(m.pushed(1)),
    pickle.APPENDS: lambda m: m.append(m.marked()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.DICT: lambda m: m.push(_dict(m.marked())),
    pickle.SETITEM: lambda m: m.set(m.pushed(2)),
    pickle.SETITEMS: lambda m: m.set(m.marked()),
    pickle.GET: lambda m: m.get(int(m.line())),
    pickle.BINGET: lambda m: m.get(m.number("B")),
    pickle.LONG_BINGET: lambda m: m.get(m.number("<I")),
    pickle.PUT: lambda m: m.put(int(m.line())),
    pickle.BINPUT: lambda m: m.put(m.number("B")),
    pickle.LONG_BINPUT: lambda m: m.put(m.number("<I")),
    pickle.MEMOIZE: lambda m: m.put(m.memoized),
    pickle.GLOBAL: lambda m: m.name(str(m.line(), "utf-8"), str(m.line(), "utf-8")),
    pickle.INST: Machine.instance,
    pickle.STACK_GLOBAL: lambda m: m.name(*m.pushed(2)),
    pickle.REDUCE: lambda m: m.reduce(*m.pushed(2)),
    pickle.BUILD: lambda m: m.build(*m.pushed(2)),
}
