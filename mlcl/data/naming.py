"""Whether class names tell which classes two data sets share: ImageNet's have WordNet's ids in some files, words or
nothing but numbers in others."""

from __future__ import annotations

import re
from collections.abc import Collection

from mlcl.data.catalogue import IMAGENET


def in_wordnet(classes: Collection[str]) -> bool:
    """Whether the classes are named as ImageNet names them."""
    return len(classes) > 0 and all(re.fullmatch(r"n\d{8}", name) for name in classes)


def comparable(*named: tuple[str | None, Collection[str]]) -> bool:
    """Of the sources and classes of data sets: not where several are of ImageNet, and not all named by WordNet's ids.

    The source may be unknown; then what is named so is ImageNet's.
    """
    return len({in_wordnet(classes) for source, classes in named if source in IMAGENET or in_wordnet(classes)}) < 2
