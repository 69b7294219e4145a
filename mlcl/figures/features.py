"""The figures of the unseen classes' features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlcl.figures import embedding, neighbours, pairs, unseen
from mlcl.files import write_all

FIGURES = {"embedding": embedding.draw, "neighbours": neighbours.draw, "pairs": pairs.draw}


def draw(data: Path, features: Sequence[Path], titles: Mapping[str, str], out: Path) -> None:
    """Write `out`/<figure>.{svg,png} of a packed data set and the features that `unseen.read` takes.

    Raises `UserError` as `unseen.read` does, and where the classes are too few or too small to be compared.
    """
    seen = unseen.read(data, features, titles)
    contents = {
        out / f"{name}.{form}": content for name, draw in FIGURES.items() for form, content in draw(seen).items()
    }
    write_all(contents)
