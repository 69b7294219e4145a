"""What a task may be solved by: an encoder's levels one by one, and ensembles over them. Their names in every file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

JOINT = "concatenate"
ENSEMBLE = "mean_probability"
CHOSEN = "chosen"
WEIGHTED = "weighted"


def level(number: int | str) -> str:
    return f"level{number}"


def names(levels: Sequence[int], subsets: bool = False, choose: bool = False, weigh: bool = False) -> list[str]:
    """The representations of an encoder with these levels: each level, both ensembles of all of them and, if asked
    for, the ensembles of some, what is chosen of the levels and their ensembles on the validation classes, and all
    levels with the weights that those classes give them."""
    some = [subset(chosen) for chosen in partial(levels)] if subsets else []
    return [*map(level, levels), JOINT, ENSEMBLE, *some, *([CHOSEN] if choose else []), *([WEIGHTED] if weigh else [])]


def ensembles(levels: Sequence[int]) -> list[str]:
    """Every ensemble by the mean of class probabilities, from one level to all, those of the fewest levels first."""
    return [*map(level, levels), *map(subset, partial(levels)), ENSEMBLE]


def averaged(representation: str) -> bool:
    """Whether it is the mean of some levels' class probabilities."""
    return representation == ENSEMBLE or "+" in representation


def spelled(representation: str, levels: Sequence[int]) -> str:
    """The levels that one of `ensembles` spans: 2 + 3 for level2+3."""
    return " + ".join(
        map(str, levels) if representation == ENSEMBLE else representation.removeprefix("level").split("+")
    )


def partial(levels: Sequence[int]) -> list[tuple[int, ...]]:
    """The subsets of more than one level and fewer than all."""
    return [chosen for count in range(2, len(levels)) for chosen in combinations(levels, count)]


def subset(levels: Sequence[int]) -> str:
    """The ensemble of some levels, by the mean of their class probabilities: level1+3."""
    return level("+".join(map(str, levels)))
