"""Images of a packed data set that are equal, pixel by pixel: across splits they leak what is to be unseen."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import pandas as pd

from mlcl.data.packed import Packed

Group = list[int]
"""The row numbers of images that are all equal."""


class Twins(NamedTuple):
    novel: list[Group]
    """Those in the test split and another."""
    across: list[Group]
    """Those in train and val alone."""
    within: list[Group]
    """Those in one split."""


def twins(packed: Packed) -> Twins:
    """All groups of equal images; every image is read once."""
    splits = packed.classes["split"].to_numpy()[packed.labels]
    hashes = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in packed.images]
    found = Twins([], [], [])
    for rows in pd.Series(range(len(hashes))).groupby(hashes).agg(list):
        if len(rows) > 1:
            of = set(splits[rows])
            (found.within if len(of) == 1 else found.novel if "test" in of else found.across).append(rows)
    return found
