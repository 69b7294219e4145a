"""Pickles from strangers, read as data: nothing in the file is imported, called or executed.

`pickle.load` does whatever the file says. This reader knows only what lists, tuples, dictionaries, strings, bytes,
numbers and NumPy arrays of numbers or strings are written with, in protocols 0 to 5, by Python 2 and 3; every other
name or instruction is refused, and so are long strings in protocol 0, a line each.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mlcl.data.pickle_arrays import RefusedError
from mlcl.data.pickle_machine import Machine
from mlcl.errors import UserError

_PLAIN = (list, tuple, dict, str, bytes, bytearray, int, float, type(None), np.ndarray, np.generic)


def load(path: str | Path) -> Any:
    """What the pickle at `path` holds, as `pickle.load(file, encoding="latin1")` would give it.

    Special dictionaries come as `dict`, arrays read-only. An array of 16 MiB or more is a memory map of the file if its
    bytes are there as they are, and is decoded piece by piece if not (protocols 1 and 2 written by Python 3).
    Raises `UserError` where the file is broken, holds anything but data, or more small objects than any known data set.
    """
    with _reading(path) as machine:
        while machine.step() != pickle.STOP:
            pass
        _check_plain(machine.stack)
        return machine.stack[0]


def entries(path: str | Path, *keys: str, optional: str | None = None) -> list[Any]:
    """The entries of the dictionary that the pickle at `path` holds, whether Python 2 or 3 wrote its keys.

    The `optional` one comes last, None where it is missing. Raises `UserError` as `load` does, and where another is.
    """
    by_name = named(path)
    for key in keys:
        if key not in by_name:
            raise UserError(f"{path}: has no entry {key}; fetch the file again")
    return [by_name[key] for key in keys] + ([by_name.get(optional)] if optional else [])


def named(path: str | Path) -> dict[str, Any]:
    """The dictionary that the pickle at `path` holds, its keys as text. Raises `UserError` as `load` does, and where it
    holds something else."""
    content = load(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no dictionary; fetch the file again")
    with expected(path):
        return {text(key): value for key, value in content.items()}


@contextmanager
def expected(path: str | Path) -> Iterator[None]:
    """Around code that takes the content of `path` to be of a certain structure: `UserError` where it is not."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise UserError(f"{path}: does not hold what it should ({reason}); fetch the file again") from error


def text(name: str | bytes) -> str:
    """A name that Python 2 may have pickled as bytes."""
    return name.decode() if isinstance(name, bytes) else str(name)


def stream(path: str | Path) -> Iterator[np.ndarray | bytes]:
    """The items of the list that the pickle at `path` holds, one after the other, never all in memory.

    To go on at item k, use `itertools.islice`. Raises `UserError` as `load` does, and where the pickle is not a list
    of arrays or bytes; of a broken file, the items before the fault are given.
    """
    ends = (pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.STOP)
    with _reading(path) as machine:
        code = b""
        while code != pickle.STOP:
            code = machine.step()
            if code not in ends or machine.outer or len(machine.stack) != 1:
                continue
            root = machine.stack[0]
            if type(root) is not list:
                raise RefusedError(f"holds a {type(root).__name__}, not a list of images; take the images' file")
            items, root[:] = root[:], []
            machine.forget()
            for item in items:
                if type(item) not in (np.ndarray, bytes):
                    raise RefusedError(f"lists a {type(item).__name__}, not only images; take the images' file")
                yield item


@contextmanager
def _reading(path: str | Path) -> Iterator[Machine]:
    try:
        with open(path, "rb") as file:
            yield Machine(file)
    except RefusedError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); put the data set there") from error
    except Exception as error:  # a broken file can make any instruction fail in any way
        reason = ascii(str(error))[1:-1][:100]
        raise UserError(
            f"{path}: is no pickle, or a broken one ({type(error).__name__}: {reason}); download it again"
        ) from error


def _check_plain(values: list[Any]) -> None:
    """Raise where a stand-in is left among the values; without recursion, as they may lie deep."""
    seen: set[int] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if not isinstance(value, _PLAIN):
            raise ValueError(f"{type(value).__name__} outside an array")
        if isinstance(value, (list, tuple, dict)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
