"""What a task may be solved by: an encoder's levels one by one, and ensembles over them. Their names in every file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

JOINT = "concatenate"
ENSEMBLE = "mean_probability"


def level(number: int | str) -> str:
    return f"level{number}"


def names(levels: Sequence[int], subsets: bool = False) -> list[str]:
    """The representations of an encoder with these levels: each level, both ensembles of all of them and, if asked
    for, the ensembles of some."""
    some = [subset(chosen) for chosen in partial(levels)] if subsets else []
    return [*map(level, levels), *([JOINT, ENSEMBLE] if len(levels) > 1 else []), *some]


def partial(levels: Sequence[int]) -> list[tuple[int, ...]]:
    """The subsets of more than one level and fewer than all."""
    return [chosen for count in range(2, len(levels)) for chosen in combinations(levels, count)]


def subset(levels: Sequence[int]) -> str:
    """The ensemble of some levels, by the mean of their class probabilities: level1+3."""
    return level("+".join(map(str, levels)))
