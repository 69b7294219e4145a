"""The paper's claim in several experiments beside each other: a table and a figure of what their own tables say of it.

It is that the ensemble of an encoder trained at several levels beats the last level of one trained at that level alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from mlcl import evaluations, record, results
from mlcl.config import Experiment, Method
from mlcl.errors import UserError
from mlcl.figures import claims
from mlcl.files import write_all
from mlcl.paths import Files
from mlcl.tables.contrasts import SHOWN, verdict
from mlcl.tables.factorial import WHOLE
from mlcl.tables.layout import csv, lay_out, markdown
from mlcl.tables.study import encoder, titles

TITLE = f"The paper's claim: {WHOLE} training, points of accuracy"
CONTRASTS = {"supcon": "SupCon", "simclr": "SimCLR"}
VERDICTS = {1: "holds", -1: "contradicted", 0: "open"}


def write(configs: Sequence[Path], out: Path, root: Path = Path()) -> list[str]:
    """Write `out`/claim.{md,csv,svg,png} of the experiments, whose tables lie in `root`/results/NAME/tables.

    Returns what was passed over: a line for each config that is wrong, as one of another version, has no tables yet, or
    others than it asks for; and one for those without a pair of methods to compare. Raises `UserError` where nothing is
    left.
    """
    rows: list[dict[str, Any]] = []
    refused, without = [], []
    for path in configs:
        try:
            experiment = Experiment.load(path)
            found = list(_rows(experiment, Files(root, experiment.name), out))
        except UserError as error:
            refused.append(str(error))
            continue
        rows += found
        if not found:
            without.append(experiment.name)
    if without:
        refused.append(f"without a pair of single-level and multi-level methods: {', '.join(without)}")
    if not rows:
        raise UserError(f"no experiment compares single-level with multi-level training; {'; '.join(refused)}")
    frame = _sorted(pd.DataFrame(rows))
    contents = {"md": _markdown(frame).encode(), "csv": csv(frame).encode()}
    contents |= claims.draw(frame, f"{WHOLE} training (points of accuracy)")
    write_all({out / f"claim.{form}": content for form, content in contents.items()})
    return refused


def _rows(experiment: Experiment, files: Files, out: Path) -> Iterator[dict[str, Any]]:
    """A row a pair of methods, data set and number of shots."""
    table = files.table("factorial", "csv")
    if not table.exists():
        raise UserError(f"{table}: is missing; run the experiment first")
    names = titles(experiment)
    kept = ["seeds", "episodes", "difference", "ci95", "p_holm", "ci95_over_seeds"]
    texts = dict.fromkeys(("single", "multi", "dataset"), str)  # a name may look like a number, or like none
    read = pd.read_csv(table, dtype=texts, keep_default_na=False, na_values={"ci95_over_seeds": ""})
    own = read[read["effect"] == WHOLE]
    if own.empty:
        return
    _check_evaluation(experiment, files, own)
    sides = [own[["dataset", side]].itertuples(index=False, name=None) for side in ("single", "multi")]
    for dataset, name in dict.fromkeys(chain(*sides)):
        _check(experiment, files, dataset, name)
    for row in own.to_dict("records"):
        method, split = experiment.methods[row["multi"]], experiment.evaluation.split
        yield {
            "experiment": experiment.name,
            "dataset": row["dataset"] + (", validation classes" if split == "val" else ""),
            "single": names[row["single"]],
            "multi": names[row["multi"]],
            "encoder": _encoder(method),
            "loss": _loss(method),
            "epochs": method.training.epochs,
            "shot": row["shot"],
            **{key: row[key] for key in kept},
            "verdict": VERDICTS[verdict(row)],
            "table": Path(os.path.relpath(table, out)).as_posix(),
        }


def _check_evaluation(experiment: Experiment, files: Files, rows: pd.DataFrame) -> None:
    """Raises `UserError` where the table is of other tasks, or solved otherwise, than the config asks."""
    table, spec = files.table("factorial", "csv"), experiment.evaluation
    asked = {"shot": {*spec.shots}, "processing": {spec.processing[0]}, "classifier": {spec.classifiers[0]}}
    asked |= {"seeds": {len(experiment.seeds)}, "episodes": {spec.episodes}}
    for key, values in asked.items():
        if {*rows[key]} != values:
            raise UserError(
                f"{table}: has {key} {_listed(rows[key])}, where the config asks for {_listed(values)}; run the "
                "experiment again, or give the config that made it"
            )


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted({*values})))


def _check(experiment: Experiment, files: Files, dataset: str, method: str) -> None:
    """Raises `UserError` where the table has what the config has not, is of trainings by other recipes, or of tasks of
    another protocol."""
    if dataset not in experiment.datasets or method not in experiment.methods:
        raise UserError(
            f"{files.table('factorial', 'csv')}: has {dataset}/{method}, which the config has not; run the experiment "
            "again, or give the config that made it"
        )
    for seed in experiment.seeds:
        run = f"{dataset}/{method}/{seed}"
        path, evaluation = files.records(experiment.encoder_of(run)) / "run.json", files.evaluation(run)
        if path.exists():  # of the oldest there are none
            record.check(record.read(path)["made_by"], experiment.methods[method], path)
        if evaluation.exists():
            results.check_protocol(evaluation, evaluations.read(evaluation).protocol, experiment.evaluation)


def _encoder(method: Method) -> str:
    return encoder(method) + (", maxima" if "max" in method.encoder.pooling else "")


def _loss(method: Method) -> str:
    objective = method.objective
    return ("cross-entropy + " if objective.cross_entropy else "") + CONTRASTS[objective.contrast]


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """By data set; there the pairs by what they gain at the fewest shots, the highest first. Runs that two experiments
    share count once."""
    frame = frame.drop_duplicates(["dataset", "encoder", "loss", "epochs", "shot", "difference", "ci95"])
    gain = frame.sort_values("shot").groupby(claims.LINE, sort=False)["difference"].transform("first")
    by = ["dataset", "gain", *claims.LINE[1:], "shot"]
    return frame.assign(gain=-gain).sort_values(by).drop(columns="gain")


def _markdown(frame: pd.DataFrame) -> str:
    counts = frame["verdict"].value_counts()
    holds, contradicted, left = (counts.get(VERDICTS[sign], 0) for sign in (1, -1, 0))
    notes = [
        "Encoder: that of multi-level training; where it has branches, single-level training has none to train.",
        f"Of {len(frame)} differences {holds} bear the claim out, {contradicted} contradict it, {left} leave it open.",
        "Each is the one of its experiment's tables/factorial.md: paired over the episodes, whose 95% interval stands "
        "after ±, in brackets the half-width of the interval over the training seeds. Bold: the p-value, "
        f"corrected for the number of differences in that table (Holm), lies below {SHOWN}, and the interval over the "
        "seeds, where there are several, leaves out zero; else the claim is left open.",
    ]
    labels = {"experiment": "Experiment", "single": "Single-level", "multi": "Multi-level", "encoder": "Encoder"}
    labels |= {"epochs": "Epochs", "seeds": "Seeds"}
    marked = frame.astype(dict.fromkeys(labels, str))
    marked = marked.assign(block=frame["dataset"], dataset="difference", bold=frame["verdict"] != VERDICTS[0])
    columns = [("difference", shot) for shot in sorted(frame["shot"].unique())]
    return markdown(lay_out(TITLE, marked, columns, labels, "difference", notes, differences=True))
