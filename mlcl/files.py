"""Writing files so that a reader never sees half of one, and nothing that was there is lost to a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(*paths: str | Path) -> Iterator[list[Path]]:
    """Temporary paths beside `paths`, to be written in the body; they take the real names, in order, when it ends.

    If the body raises, the temporary files go and the old ones stay.
    """
    finals = [Path(path) for path in paths]
    temporaries = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in finals]
    for path in finals:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporaries
        for temporary, final in zip(temporaries, finals, strict=True):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())  # the contents before the name, also through a power cut
            os.replace(temporary, final)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def clear_unfinished(path: str | Path) -> None:
    """Remove what writers of `path` left that were killed; for files that only one process writes at a time."""
    for leftover in Path(path).parent.glob(f".{Path(path).name}.*.part"):
        leftover.unlink(missing_ok=True)
