"""Features x processings x episodes x classifiers x representations -> one long table of accuracies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from mlcl import choice, config, evaluations, features, representations, solve
from mlcl.classifiers import CLASSIFIERS
from mlcl.data.packed import Packed
from mlcl.episodes import sample
from mlcl.errors import UserError
from mlcl.processing import process
from mlcl.progress import Progress


def evaluate(
    data: Path,
    folder: Path,
    spec: config.Evaluation,
    run: tuple[str, str, int],
    device: torch.device,
    out: Path,
    choices_out: Path | None = None,
    threads: int = 1,
) -> None:
    """Write the file of `evaluations.write`: a row for each shot, processing, classifier, representation and episode.

    `folder` has the features of the splits, one model's, and `run` (data set, method, seed) names the rows. Where
    `spec.choose` asks for it, `choices_out` gets such a file of episodes of the validation classes, by which levels are
    chosen. The number of `threads` does not change the result. Raises `UserError` where features are missing, of other
    images or of several encoders, and where a split is too small for the episodes.
    """
    packed, chosen = Packed(data), None
    if spec.choose:
        if choices_out is None:
            raise UserError("choose: true solves episodes of the validation classes too; add --choices FILE for them")
        _check_encoder(folder / "val.npy", folder / f"{spec.split}.npy")
        choosing = choice.evaluation(spec)
        rows, levels = _solve(packed, folder, choosing, run, device, threads)
        evaluations.write(choices_out, run, rows, choosing, packed.identity)
        chosen = choice.choose(rows, levels)
    rows, levels = _solve(packed, folder, spec, run, device, threads)
    if chosen:
        rows = choice.add(rows, chosen)
        wanted = representations.names(levels, spec.subsets, spec.choose)
        rows = rows[rows["representation"].isin(wanted)]
    evaluations.write(out, run, rows, spec, packed.identity, chosen)


def _solve(
    packed: Packed,
    folder: Path,
    spec: config.Evaluation,
    run: tuple[str, str, int],
    device: torch.device,
    threads: int,
) -> tuple[pd.DataFrame, range]:
    """The rows of `evaluate` for one split, and the numbers of the levels."""
    split, data = packed.split(spec.split), packed.folder
    file, copies, train = (folder / f"{name}.npy" for name in (spec.split, "copies", "train"))
    queries = _load(file, len(split.labels), f"the {spec.split} split of {data}")
    supports = base = None
    if spec.support_copies:
        number = spec.support_copies * len(split.labels)
        supports = _load(copies, number, f"{spec.support_copies} copies of the {spec.split} split of {data}")
        _check_encoder(copies, file)
    if spec.centred:
        base = _load(train, len(packed.split("train").labels), f"the train split of {data}")
        _check_encoder(train, file)
    tasks = {
        shot: sample(
            split.labels, split=spec.split, episodes=spec.episodes, way=spec.way, shot=shot, queries=spec.queries,
            seed=spec.seed,
        )
        for shot in spec.shots
    }  # fmt: skip
    tables, subsets = [], spec.subsets or spec.choose
    classifiers = {name: CLASSIFIERS[name] for name in spec.classifiers}
    count = len(spec.processing) * len(spec.shots) * spec.episodes
    with Progress("/".join(map(str, run)), count, "episodes") as progress:
        for name in spec.processing:
            bank = solve.Bank(process(queries, name, base), device)
            support = supports and solve.Bank(process(supports, name, base), device, spec.support_copies)
            for shot, episodes in tasks.items():
                found = solve.accuracies(bank, episodes, classifiers, support, threads, progress.advance, subsets)
                for key, values in found.items():
                    names = dict(zip(evaluations.KEYS, (shot, name, *key), strict=True))
                    tables.append(pd.DataFrame({**names, "episode": range(spec.episodes), "accuracy": values}))
    return pd.concat(tables, ignore_index=True), range(1, len(queries.dims) + 1)


def _load(path: Path, images: int, what: str) -> features.Features:
    stored = features.load(path)
    if len(stored.vectors) != images:
        raise UserError(
            f"{path}: has {len(stored.vectors)} images, and {what} has {images}; give the features of those"
        )
    return stored


def _check_encoder(path: Path, of: Path) -> None:
    if features.load(path).dims != features.load(of).dims:
        raise UserError(f"{path}: is of another encoder than {of}; give the features of one model")
