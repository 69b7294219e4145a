"""Features x episodes x classifiers x representations -> one long table of accuracies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from mlcl import config, features, solve
from mlcl.data.packed import Packed
from mlcl.episodes import sample
from mlcl.errors import UserError
from mlcl.files import replacing
from mlcl.progress import Progress


def evaluate(
    data: Path,
    features_file: Path,
    spec: config.Evaluation,
    run: tuple[str, str, int],
    device: torch.device,
    out: Path,
    copies_file: Path | None = None,
    threads: int = 1,
) -> None:
    """Write a parquet file with one row for each shot, classifier, representation and episode, with its accuracy.

    `run` (data set, method, seed) names the rows. The number of `threads` does not change them. Raises `UserError`
    where features are missing or the split is too small for the episodes.
    """
    split = Packed(data).split(spec.split)
    bank = solve.Bank(_load(features_file, len(split.labels), f"the {spec.split} split of {data}"), device)
    support = None
    if spec.support_copies:
        if copies_file is None:
            raise UserError(f"support_copies: {spec.support_copies} needs the copies' features; add --copies FILE")
        number = spec.support_copies * len(split.labels)
        support = solve.Bank(
            _load(copies_file, number, f"{spec.support_copies} copies of the {spec.split} split of {data}"), device,
            spec.support_copies,
        )  # fmt: skip
    tables = []
    with Progress("/".join(map(str, run)), len(spec.shots) * spec.episodes, "episodes") as progress:
        for shot in spec.shots:
            episodes = sample(
                split.labels, split=spec.split, episodes=spec.episodes, way=spec.way, shot=shot,
                queries=spec.queries, seed=spec.seed,
            )  # fmt: skip
            found = solve.accuracies(bank, episodes, spec.classifiers, support, threads, progress.advance)
            for (classifier, representation), values in found.items():
                table = {"shot": shot, "classifier": classifier, "representation": representation}
                tables.append(pd.DataFrame({**table, "episode": range(spec.episodes), "accuracy": values}))
    table = pd.concat(tables, ignore_index=True)
    for place, (key, value) in enumerate(zip(("dataset", "method", "seed"), run, strict=True)):
        table.insert(place, key, value)
    with replacing(out) as (temporary,):
        table.to_parquet(temporary, index=False)


def _load(path: Path, images: int, what: str) -> features.Features:
    stored = features.load(path)
    if len(stored.vectors) != images:
        raise UserError(
            f"{path}: has {len(stored.vectors)} images, and {what} has {images}; give the features of those"
        )
    return stored
