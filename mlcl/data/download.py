"""A file of a data set, verified: as it stands in its folder, from the user's own copy, or from its public sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from mlcl.data import transfer
from mlcl.data.catalogue import Dataset, File
from mlcl.errors import UserError
from mlcl.files import alone, replacing


def fetch(file: File, folder: Path, copy: Path | None = None) -> Path:
    """The verified file in `folder`: as it stands there, else from `copy` (the file or its folder), else downloaded.

    A copy is linked where the disk allows, and never changed; a wrong file in `folder` is kept as NAME.wrong.
    Raises `UserError` where the file cannot be had, `copy` is wrong, or the disk refuses.
    """
    path = Path(folder) / file.name
    try:
        if path.exists() and _fault(path, file) is None:
            return path  # before anything is written: the folder may be read-only
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path, "fetching it"):
            if path.exists() and (fault := _fault(path, file)):
                aside = path.with_name(f"{path.name}.wrong")
                os.replace(path, aside)
                _say(f"{path}: {fault}; kept as {aside.name}")
            if not path.exists() and not (copy and _adopt(Path(copy), file, path)):
                transfer.download(file, path)
            transfer.Part(path).discard()
    except OSError as error:
        place = error.filename or path
        raise UserError(f"{place}: {error.strerror or error}; give access to it, or room on its disk") from error
    return path


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fault(path: Path, file: File) -> str | None:
    """What is wrong with the file at `path`, in a few words."""
    with open(path, "rb") as opened:
        if transfer.is_web_page(opened.read(512)):
            return "is a web page saved under the file's name"
        opened.seek(0)
        if file.checksum:
            algorithm, digest = file.checksum.split(":")
            if (found := hashlib.file_digest(opened, algorithm).hexdigest()) != digest:
                return f"has {algorithm} {found} instead of {digest}"
    return None


def _adopt(copy: Path, file: File, path: Path) -> bool:
    """Link or copy the user's file to `path`; False where `copy` is a folder without it."""
    source = copy / file.name if copy.is_dir() else copy
    if not source.is_file():
        if not copy.is_dir():
            raise UserError(f"{copy}: is missing; give the path of {file.name} or of its folder")
        _say(f"{copy}: has no {file.name}; looking for it at its public sources")
        return False
    with replacing(path) as [temporary]:
        try:
            os.link(source.resolve(), temporary)
        except OSError:  # on another disk, or one without links
            shutil.copyfile(source, temporary)
        if fault := _fault(temporary, file):
            raise UserError(f"{source}: {fault}; give an intact copy of {file.name}")
    return True


def complete(dataset: Dataset, folder: Path, copy: Path | None = None) -> Path:
    """Fetch the files of a public data set that `folder` lacks; the folder to read the data set from.

    In a folder where a download is begun, it is completed, in an empty one the first layout that can be downloaded; a
    folder with anything else is left to its reader. A `copy` is what is read, whatever the folder holds: a folder where
    it lies, but for archives, which are linked to `folder` to be unpacked there. Raises `UserError` as `fetch` does,
    and where a person must fetch the files.
    """
    layout = _begun(dataset, folder) if copy is None else _archives(dataset, copy)
    if layout is None:
        return copy or folder
    for file in layout:
        fetch(file, folder, copy)
    return folder


Layout = tuple[File, ...]


def _names(layout: Layout) -> set[str]:
    return {file.name for file in layout}


def _begun(dataset: Dataset, folder: Path) -> Layout | None:
    """The layout to complete; None for a folder with files that are of no download of ours, or may be of another."""
    direct = [layout for layout in dataset.layouts if all(file.urls for file in layout)]
    seen = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    # Hidden: our locks and notes, what systems leave of their own.
    found = {name.removesuffix(".part").removesuffix(".wrong") for name in seen if not name.startswith(".")}
    if not found:
        return next(iter(direct), dataset.layouts[0])
    layouts_with = dataset.names
    for layout in direct:
        own = _names(layout)
        # What layouts share, as tiered-ImageNet's labels, is no beginning; but downloads begin with the first file.
        begins = {layout[0].name} | {name for name in own if layouts_with[name] == 1}
        if found & begins and found & layouts_with.keys() <= own:
            return layout
    return None


def _archives(dataset: Dataset, copy: Path) -> Layout | None:
    """The archives that are to be unpacked in the data set's folder; None for a copy to be read where it lies."""
    if copy.is_dir():
        held = {path.name for path in copy.iterdir()}
        verified = (lay for lay in dataset.layouts if all(file.urls and file.checksum for file in lay))
        return next((layout for layout in verified if _names(layout) <= held), None)
    of = [layout for layout in dataset.layouts if copy.name in _names(layout)]
    if not of:
        names = ", ".join(file.name for file in dataset.layouts[0])
        raise UserError(f"{copy}: is no file of {dataset.name}, such as {names}")
    whole = next((layout for layout in of if len(layout) == 1), None)
    if whole is None:
        raise UserError(f"{copy}: is one of several files of {dataset.name}; give the folder that holds them all")
    return whole
