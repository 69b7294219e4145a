"""Writing files so that a reader never sees half of one, and nothing that was there is lost to a failure."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mlcl.errors import UserError


@contextmanager
def replacing(*paths: str | Path) -> Iterator[list[Path]]:
    """Temporary paths beside `paths`, to be written in the body; they take the real names, one by one in order, when
    it ends.

    If the body raises, the temporary files go and the old ones stay. Raises `UserError` as `check_place` does.
    """
    finals = [Path(path) for path in paths]
    for path in finals:
        check_place(path)
    temporaries = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in finals]
    for path in finals:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(finals[0] if len(finals) == 1 else finals[0].parent):
            yield temporaries
        for temporary, final in zip(temporaries, finals, strict=True):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())  # the contents before the name, also through a power cut
            os.replace(temporary, final)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raise `UserError` where no file may take the place of what is there, as of a folder, or for all of /dev/null."""
    if path.parent.resolve() == Path("/dev") or (path.exists() and not path.is_file()):
        raise UserError(f"{path}: is no file; name one to write")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of the body that names no file, as one of writing does not, gets the name of `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Replace the files by these contents, one by one in order: the first not before all are written."""
    with replacing(*contents) as temporaries:
        for temporary, content in zip(temporaries, contents.values(), strict=True):
            temporary.write_bytes(content)


def clear_unfinished(path: str | Path) -> None:
    """Remove what writers of `path` left that were killed; for files that only one process writes at a time."""
    for leftover in Path(path).parent.glob(f".{Path(path).name}.*.part"):
        leftover.unlink(missing_ok=True)


@contextmanager
def alone(path: Path, doing: str, seconds: float = -1) -> Iterator[bool]:
    """Hold `path` against other processes, of which one that comes later waits and says so; whether this one waited.

    The system frees it when the holder dies; where a file system knows no locks, on the holder's machine alone. Raises
    `UserError` where it waited for so many `seconds`, if given.
    """
    whole = path.absolute()  # "." has no name
    lock, waited = FileLock(whole.with_name(f".{whole.name}.lock")), False
    whole.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waited = True
        print(f"{path}: another process is {doing}; waiting", file=sys.stderr, flush=True)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            raise UserError(
                f"{path}: another process is {doing}; wait for its end, or end it; if there is none, delete "
                f"{lock.lock_file}"
            ) from None
    try:
        yield waited
    finally:
        lock.release()


def allocate(path: Path) -> None:
    """Take the room on the disk that a file with holes is to fill: a process whose memory map finds none is killed.

    Raises OSError where there is not so much. Where the system cannot tell (macOS), nothing is done.
    """
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
