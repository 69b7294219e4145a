"""Features x episodes x classifiers x representations -> one long table of accuracies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mlcl import classifiers, config, features
from mlcl.data.packed import Packed
from mlcl.episodes import Episodes, sample
from mlcl.errors import UserError
from mlcl.files import replacing
from mlcl.progress import Progress

CHUNK = 100  # episodes solved at once: memory stays constant however many there are


def evaluate(
    data: Path,
    features_file: Path,
    spec: config.Evaluation,
    run: tuple[str, str, int],
    device: torch.device,
    out: Path,
) -> None:
    """Write a parquet file with one row for each shot, classifier, representation and episode, with its accuracy.

    `run` (data set, method, seed) names the rows. Raises `UserError` where features are missing or the split is too
    small for the episodes.
    """
    torch.set_num_threads(1)
    split = Packed(data).split(spec.split)
    levels = features.load(features_file)
    if len(levels[0]) != len(split.labels):
        raise UserError(
            f"{features_file}: has {len(levels[0])} images, and the {spec.split} split of {data} has "
            f"{len(split.labels)}; give the features of that split"
        )
    tables = []
    with Progress("/".join(map(str, run)), len(spec.shots) * spec.episodes, "episodes") as progress:
        for shot in spec.shots:
            episodes = sample(
                split.labels, split=spec.split, episodes=spec.episodes, way=spec.way, shot=shot,
                queries=spec.queries, seed=spec.seed,
            )  # fmt: skip
            chunks: dict[tuple[str, str], list[Tensor]] = {}
            for start in range(0, spec.episodes, CHUNK):
                some = Episodes(episodes.support[start : start + CHUNK], episodes.query[start : start + CHUNK])
                for classifier, representation, scores in answers(levels, some, spec.classifiers, spec.way, device):
                    chunks.setdefault((classifier, representation), []).append(
                        classifiers.accuracy(scores, spec.way).cpu()
                    )
                progress.advance(len(some.support))
            for (classifier, representation), accuracies in chunks.items():
                table = {"shot": shot, "classifier": classifier, "representation": representation}
                tables.append(
                    pd.DataFrame({**table, "episode": range(spec.episodes), "accuracy": torch.cat(accuracies).numpy()})
                )
    table = pd.concat(tables, ignore_index=True)
    for place, (key, value) in enumerate(zip(("dataset", "method", "seed"), run, strict=True)):
        table.insert(place, key, value)
    with replacing(out) as (temporary,):
        table.to_parquet(temporary, index=False)


def answers(
    levels: Sequence[np.ndarray], episodes: Episodes, names: Sequence[str], way: int, device: torch.device
) -> Iterator[tuple[str, str, Tensor]]:
    """(classifier, representation, log-probabilities or probabilities [E, m, way]) for each level and ensemble.

    `mean_probability` averages the levels' class probabilities. `concatenate` classifies the levels' unit vectors end
    to end, scaled to unit length again: its inner products are the mean of the levels'.
    """
    grams = [classifiers.gram(level, episodes, device) for level in levels]
    together = [torch.stack(products).mean(0) for products in zip(*grams, strict=True)]
    for name in names:
        classify = classifiers.CLASSIFIERS[name]
        alone = [classify(*products, way) for products in grams]
        for level, scores in enumerate(alone, start=1):
            yield name, f"level{level}", scores
        yield name, "concatenate", classify(*together, way)
        yield name, "mean_probability", torch.stack(alone).exp().mean(0)
