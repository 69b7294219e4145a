"""Features x processings x episodes x classifiers x representations -> one long table of accuracies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from mlcl import choice, config, evaluations, features, representations, solve
from mlcl.data.packed import Packed
from mlcl.episodes import sample
from mlcl.errors import UserError
from mlcl.processing import process
from mlcl.progress import Progress


def evaluate(
    data: Path,
    features_file: Path,
    spec: config.Evaluation,
    run: tuple[str, str, int],
    device: torch.device,
    out: Path,
    copies_file: Path | None = None,
    base_file: Path | None = None,
    validation_file: Path | None = None,
    choices_out: Path | None = None,
    threads: int = 1,
) -> None:
    """Write the file of `evaluations.write`: a row for each shot, processing, classifier, representation and episode.

    `run` (data set, method, seed) names the rows; `base_file` has the features of the base classes' images, for the
    processings that centre. Where `spec.choose` asks for it, `validation_file` has the features of the validation
    classes' images, and `choices_out` gets such a file of their episodes, by which levels are chosen. The number of
    `threads` does not change the result. Raises `UserError` where features are missing or a split is too small for the
    episodes.
    """
    packed, chosen = Packed(data), None
    sha256 = packed.identity
    if spec.choose:
        if validation_file is None or choices_out is None:
            raise UserError(
                "choose: true needs the validation classes' features; add --validation FILE and --choices FILE"
            )
        _check_encoder(validation_file, features_file)
        choosing = choice.evaluation(spec)
        rows, levels = _solve(packed, validation_file, choosing, run, device, None, base_file, threads)
        evaluations.write(choices_out, run, rows, choosing, sha256)
        chosen = choice.choose(rows, levels)
    rows, levels = _solve(packed, features_file, spec, run, device, copies_file, base_file, threads)
    if chosen:
        rows = choice.add(rows, chosen)
        wanted = representations.names(levels, spec.subsets, spec.choose)
        rows = rows[rows["representation"].isin(wanted)]
    evaluations.write(out, run, rows, spec, sha256, chosen)


def _solve(
    packed: Packed,
    features_file: Path,
    spec: config.Evaluation,
    run: tuple[str, str, int],
    device: torch.device,
    copies_file: Path | None,
    base_file: Path | None,
    threads: int,
) -> tuple[pd.DataFrame, range]:
    """The rows of `evaluate` for one split, and the numbers of the levels."""
    split, data = packed.split(spec.split), packed.folder
    queries = _load(features_file, len(split.labels), f"the {spec.split} split of {data}")
    supports = base = None
    if spec.support_copies:
        if copies_file is None:
            raise UserError(f"support_copies: {spec.support_copies} needs the copies' features; add --copies FILE")
        number = spec.support_copies * len(split.labels)
        supports = _load(copies_file, number, f"{spec.support_copies} copies of the {spec.split} split of {data}")
        _check_encoder(copies_file, features_file)
    if spec.centred:
        if base_file is None:
            raise UserError(
                f"processing: {', '.join(spec.processing)} needs the base classes' features; add --base FILE"
            )
        base = _load(base_file, len(packed.split("train").labels), f"the train split of {data}")
        _check_encoder(base_file, features_file)
    tasks = {
        shot: sample(
            split.labels, split=spec.split, episodes=spec.episodes, way=spec.way, shot=shot, queries=spec.queries,
            seed=spec.seed,
        )
        for shot in spec.shots
    }  # fmt: skip
    tables, subsets = [], spec.subsets or spec.choose
    count = len(spec.processing) * len(spec.shots) * spec.episodes
    with Progress("/".join(map(str, run)), count, "episodes") as progress:
        for name in spec.processing:
            bank = solve.Bank(process(queries, name, base), device)
            support = supports and solve.Bank(process(supports, name, base), device, spec.support_copies)
            for shot, episodes in tasks.items():
                found = solve.accuracies(bank, episodes, spec.classifiers, support, threads, progress.advance, subsets)
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
