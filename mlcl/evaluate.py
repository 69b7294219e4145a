"""Features x processings x episodes x classifiers x representations -> one long table of accuracies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from mlcl import choice, config, evaluations, features, representations, solve
from mlcl.classifiers import CLASSIFIERS
from mlcl.data.packed import Packed
from mlcl.episodes import Episodes, sample
from mlcl.errors import UserError
from mlcl.fingerprint import fingerprint
from mlcl.processing import process
from mlcl.progress import Progress
from mlcl.weights import fit

CODE = fingerprint("evaluate")  # now, as in extract.py


def evaluate(
    data: Path,
    folder: Path,
    spec: config.Evaluation,
    run: evaluations.Run,
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
    packed, validation = Packed(data), choice.evaluation(spec)
    if spec.choose and choices_out is None:
        raise UserError("choose: true solves episodes of the validation classes too; add --choices FILE for them")
    if spec.validates:
        _check_encoder(folder / "val.npy", folder / f"{spec.split}.npy")
    made_by = {**features.load(folder / f"{spec.split}.npy").made_by, "evaluate": CODE}
    chosen = weights = None
    if spec.choose:
        rows, levels = _solve(make_tasks(packed, folder, validation, device), validation, run, threads)
        evaluations.write(choices_out, run, rows, validation, packed.identity, made_by)
        chosen = choice.choose(rows, levels)
    if spec.weigh:
        weights = _weigh(make_tasks(packed, folder, validation, device), validation, run, threads)
    rows, levels = _solve(make_tasks(packed, folder, spec, device), spec, run, threads, weights)
    if chosen:
        rows = choice.add(rows, chosen)
    evaluations.write(out, run, asked(rows, spec, levels), spec, packed.identity, made_by, chosen, weights)


class Task(NamedTuple):
    """The episodes of one number of shots, and the features that they are solved by."""

    shot: int
    processing: str
    bank: solve.Bank
    support: solve.Bank | None
    """Of the support images' copies, if they have any."""
    episodes: Episodes


def _solve(
    tasks: Iterable[Task],
    spec: config.Evaluation,
    run: evaluations.Run,
    threads: int,
    weights: dict[evaluations.Key, list[float]] | None = None,
) -> tuple[pd.DataFrame, range]:
    """The rows of `evaluate` for one split, and the numbers of the levels."""
    tables = []
    with progress(spec, run) as bar:
        for shot, processing, bank, support, episodes in tasks:
            of_levels = weights and {name: weights[shot, processing, name] for name in spec.classifiers}
            found = solve.accuracies(
                bank, episodes, classifiers(spec), support, threads, bar.advance, spec.solves_subsets, of_levels
            )
            tables += frames(shot, processing, found)
    return pd.concat(tables, ignore_index=True), range(1, len(bank.dims) + 1)


def _weigh(
    tasks: Iterable[Task], spec: config.Evaluation, run: evaluations.Run, threads: int
) -> dict[evaluations.Key, list[float]]:
    """The levels' weights by tasks of the validation classes."""
    found = {}
    with progress(spec, run) as bar:
        for shot, processing, bank, _, episodes in tasks:
            of_classifiers = solve.logits(bank, episodes, classifiers(spec), threads, bar.advance)
            with solve.one_thread():  # whose number would change the last digits
                found |= {(shot, processing, name): fit(logits) for name, logits in of_classifiers.items()}
    return found


def frames(shot: int, processing: str, found: Mapping[tuple[str, str], np.ndarray]) -> list[pd.DataFrame]:
    """The rows of a task's accuracies, `found` as `solve.accuracies` gives them."""
    return [
        pd.DataFrame(
            dict(zip(evaluations.KEYS, (shot, processing, *key), strict=True))
            | {"episode": range(len(values)), "accuracy": values}
        )
        for key, values in found.items()
    ]


def asked(rows: pd.DataFrame, spec: config.Evaluation, levels: range) -> pd.DataFrame:
    """Without the representations that were solved for others to be chosen from."""
    wanted = representations.names(levels, spec.subsets, spec.choose, spec.weigh)
    return rows[rows["representation"].isin(wanted)]


def classifiers(spec: config.Evaluation) -> dict[str, solve.Classifier]:
    return {name: CLASSIFIERS[name] for name in spec.classifiers}


def progress(spec: config.Evaluation, run: evaluations.Run) -> Progress:
    return Progress("/".join(map(str, run)), len(spec.processing) * len(spec.shots) * spec.episodes, "episodes")


def make_tasks(packed: Packed, folder: Path, spec: config.Evaluation, device: torch.device) -> Iterator[Task]:
    """Those of a split, processing by processing."""
    split = packed.split(spec.split)
    file, copies, train = (folder / f"{name}.npy" for name in (spec.split, "copies", "train"))
    queries = features.load(file, features.origin(packed, spec.split))
    supports = base = None
    if spec.support_copies:
        supports = features.load(copies, features.origin(packed, spec.split, spec.support_copies, spec.seed))
        _check_encoder(copies, file)
    if spec.centred:
        base = features.load(train, features.origin(packed, "train"))
        _check_encoder(train, file)
    of_shots = {
        shot: sample(
            split.labels, split=spec.split, episodes=spec.episodes, way=spec.way, shot=shot, queries=spec.queries,
            seed=spec.seed,
        )
        for shot in spec.shots
    }  # fmt: skip
    for name in spec.processing:
        bank = solve.Bank(process(queries, name, base), device)
        support = supports and solve.Bank(process(supports, name, base), device, spec.support_copies)
        for shot, episodes in of_shots.items():
            yield Task(shot, name, bank, support, episodes)


def _check_encoder(path: Path, of: Path) -> None:
    one, other = features.load(path), features.load(of)
    if (one.dims, one.made_by) != (other.dims, other.made_by):
        raise UserError(f"{path}: is not of one encoder, code and precision with {of}; make both again")
