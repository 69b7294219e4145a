"""Unpacking zip and tar archives from strangers: only plain files, only below one folder, only so many bytes."""

from __future__ import annotations

import bz2
import gzip
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mlcl.errors import UserError
from mlcl.files import alone

CHUNK = 1 << 20
MOST_MEMBERS = 2_000_000
LARGEST = 1 << 34  # bytes that an archive of a public data set may hold
MOST_FOLDERS = 64
LONGEST_HEADER = 1 << 20
LONGEST_PADDING = 1 << 24

REMEDY = "take the archive from its authors"


def unpack(archive: Path, into: Path, limit_bytes: int, top: str = "") -> None:
    """Unpack the files of `archive` whose names begin with `top`, and without it, into the new folder `into`: all of
    them or none.

    Times, owners and permissions stay behind. `limit_bytes` is for all that the archive holds, unwanted files included.
    Raises `UserError` where the archive is larger, broken, encrypted, no zip, tar, tar.gz or tar.bz2, or holds anything
    but files and folders, a name twice or one that leads out of the folder; and where `into` holds anything already.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UserError(f"{into}: is there already; remove it to unpack {archive} again")
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{into.name}.", dir=into.parent) as temporary:
            files = Path(temporary, "files")
            for member in _files(archive, limit_bytes):
                if not member.name.startswith(top):
                    continue
                path = files / member.name.removeprefix(top)
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as file:  # names may differ and yet be one to the file system
                    for chunk in member.chunks():
                        file.write(chunk)
            if not files.exists():
                raise UserError(f"{archive}: holds none of the files needed; take the data set's archive")
            os.replace(files, into)
    except OSError as error:
        raise UserError(f"{archive}: cannot be unpacked into {into} ({error}); make room or a folder there") from error


def unpacked(archive: Path, folder: Path) -> Path:
    """`folder`, which stands at the top of `archive` and beside it: unpacked from it where it is not there yet, by one
    process while others wait.

    Raises `UserError` as `unpack` does, and where neither is there.
    """
    if not folder.is_dir():
        if not archive.exists():
            raise UserError(f"{folder}: is missing, and so is {archive.name} beside it; put either there")
        try:
            with alone(folder, "unpacking it"):
                if not folder.is_dir():
                    for leftover in folder.parent.glob(f".{folder.name}.*/"):  # of one that was killed
                        shutil.rmtree(leftover)
                    unpack(archive, folder, LARGEST, f"{folder.name}/")
        except OSError as error:
            raise UserError(f"{archive}: cannot be unpacked to {folder} ({error}); make room for it there") from error
    return folder


@dataclass
class _Member:
    archive: Path
    name: str
    is_folder: bool
    size: int
    open: Callable[[], AbstractContextManager[Any]]

    def refused(self, reason: str, remedy: str = REMEDY) -> UserError:
        return UserError(f"{self.archive}: {ascii(self.name)[:200]} {reason}; {remedy}")

    def chunks(self) -> Iterator[bytes]:
        with _explained(self.archive, self.name), self.open() as file:
            left = self.size
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise EOFError("it is cut off")
                left -= len(chunk)
                yield chunk


def _files(archive: Path, limit_bytes: int) -> Iterator[_Member]:
    """The archive's files, every member checked, under names without detours."""
    seen: set[str] = set()
    total = 0
    with _explained(archive):
        for count, member in enumerate(_members(archive), 1):
            total += member.size
            if total > limit_bytes or count > MOST_MEMBERS:
                raise member.refused(f"is more than the {limit_bytes} bytes or {MOST_MEMBERS} members allowed")
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or re.search(r"[\\:\x00-\x1f]", member.name):
                raise member.refused("leads out of the folder")
            if member.is_folder:
                continue
            if not 0 < len(path.parts) <= MOST_FOLDERS:
                raise member.refused("is no name for a file")
            member.name = str(path)
            if member.name in seen:
                raise member.refused("is there twice")
            seen.add(member.name)
            yield member
        if not seen:
            raise ValueError("it holds no files")


def _members(archive: Path) -> Iterator[_Member]:
    with open(archive, "rb") as file:
        start = file.read(2)
    if start == b"PK":
        return _zip_members(archive)
    return _tar_members(archive, {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}.get(start, open))


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        # zipfile does not compare: a broken length in the list can hide the entries after it
        file.fp.seek(-22 - len(file.comment), os.SEEK_END)
        declared = int.from_bytes(file.fp.read(22)[10:12], "little")
        if declared not in (len(file.infolist()), 0xFFFF):  # the latter: too many for this field
            raise ValueError(f"it lists {len(file.infolist())} files and declares {declared}")
        for info in file.infolist():
            # `filename` ends at a zero byte, so what is checked would not be what the archive says
            member = _Member(archive, info.orig_filename, info.is_dir(), info.file_size, partial(file.open, info))
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise member.refused("is a link or a device")
            if info.flag_bits & 0x41:
                raise member.refused("is encrypted", "decrypt the archive first")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise member.refused("is compressed in an unusual way", "unpack the archive by hand")
            if info.CRC and not info.file_size:
                raise ValueError("a file of no bytes has a checksum")  # which is not looked at where nothing is read
            yield member


def _tar_members(archive: Path, opener: Callable[..., Any]) -> Iterator[_Member]:
    with opener(archive, "rb") as file:
        source = _TarSource(file)
        tar = tarfile.TarFile(fileobj=source)
        while info := tar.next():
            tar.members.clear()  # it would keep them all
            member = _Member(archive, info.name, info.isdir(), info.size, partial(nullcontext, source))
            if info.issparse() or not (info.isreg() or info.isdir()):
                raise member.refused("is a link, a device or a sparse file")
            if info.size < 0:
                raise ValueError("a negative size")
            source.left = info.size
            yield member
            source.left = LONGEST_HEADER
        if source.last != bytes(tarfile.BLOCKSIZE):
            raise EOFError("a header is cut off or broken")
        source.left = LONGEST_PADDING
        while padding := source.read(CHUNK):  # up to its end, as only there a checksum tells of faults
            if padding.strip(b"\0"):
                raise ValueError("it goes on after its end")


class _TarSource:
    """A file for `TarFile`, which takes headers of any length into memory and any broken one for the archive's end."""

    def __init__(self, file: BinaryIO):
        self.file, self.left, self.last = file, LONGEST_HEADER, b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise ValueError("a header is too long")
        self.left -= size
        self.last = self.file.read(size)
        return self.last


@contextmanager
def _explained(archive: Path, member: str = "") -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the decoders fail in many ways; some of them raise OSError without a number
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{archive}: cannot be read ({error.strerror}); put the archive there") from error
        place = f" at {ascii(member)[:200]}" if member else ""
        reason = ascii(str(error))[1:-1][:100]
        raise UserError(
            f"{archive}: is no zip or tar archive, or a broken one{place} ({type(error).__name__}: {reason}); "
            "download it again"
        ) from error
