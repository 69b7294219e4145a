"""Published numbers: those of published_results.csv, and those of the CSV files that an experiment names."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, ValidationError

from mlcl.config import Experiment, Part, Positive
from mlcl.data.catalogue import PUBLIC
from mlcl.errors import UserError

PUBLISHED = Path(__file__).parents[1] / "published_results.csv"


class Row(Part):
    """A line of the CSV; an empty cell is as good as none."""

    method: str
    venue_year: str = ""
    appeared: Annotated[str, Field(pattern=r"^\d{4}(-(0[1-9]|1[0-2]))?$")] = ""
    """When the method first appeared, by its reference: YYYY-MM, YYYY, or nothing: not late."""
    encoder: str = ""
    dataset: str
    way: Positive | None = None
    """By default the experiment's."""
    shot: Positive
    accuracy: Annotated[float, Field(gt=1, le=100)] | None = None
    """In percent; None: not known to us."""
    ci95: Annotated[float, Field(ge=0, lt=100)] | None = None
    source: str | None = None
    """By default the file."""
    kind: Literal[
        "regular", "ensemble", "single-level contrastive", "this paper", "added", "transductive", "semi-supervised"
    ] = "added"
    note: str = ""


REQUIRED = ("method", "dataset", "shot", "accuracy")


def read(experiment: Experiment, root: Path) -> pd.DataFrame:
    """The fields of `Row`, `dataset` by the experiment's name for it: what is known of its data sets and tasks.

    The relative paths of `experiment.published` start at `root`. Raises `UserError` that names file and line.
    """
    evaluation = experiment.evaluation
    found: dict[tuple, tuple[str, dict]] = {}
    for file in (PUBLISHED, *experiment.published):
        for place, row in _rows(root / file):
            names = _datasets(experiment, row, place)
            if not names:
                continue
            if file != PUBLISHED:
                _check_task(experiment, row, place)
            elif row.way != evaluation.way or row.shot not in evaluation.shots or evaluation.split != "test":
                continue
            for name in names:
                key = (row.method, row.venue_year, row.encoder, name, row.shot)
                if key in found:
                    raise UserError(f"{place}: {row.method}, {name}, {row.shot}-shot is in {found[key][0]}; leave one")
                found[key] = place, row.model_dump() | {"dataset": name, "source": row.source or str(file)}
    return pd.DataFrame([row for _, row in found.values()], columns=list(Row.model_fields)).astype(
        {"accuracy": float, "ci95": float}
    )


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Each row, and its file and line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if len(set(columns)) < len(columns):
                raise UserError(f"{path}, line 1: has a column twice; remove one")
            for column in REQUIRED:
                if column not in columns:
                    raise UserError(f"{path}, line 1: has no column {column}; add it, separated by commas")
            for column in columns:
                if column not in Row.model_fields:
                    known = ", ".join(Row.model_fields)
                    raise UserError(f"{path}, line 1: {column!r} is none of the columns {known}; rename or remove it")
            for cells in reader:
                place = f"{path}, line {reader.line_num}"
                if None in cells:
                    raise UserError(f'{place}: has more cells than columns; put texts with commas in "quotes"')
                yield place, _row(cells, place)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); give the path of a CSV file in UTF-8") from error


def _row(cells: dict[str, str | None], place: str) -> Row:
    try:
        plain = {column: " ".join(text.split()) for column, text in cells.items() if text}
        return Row.model_validate({column: text for column, text in plain.items() if text})
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise UserError(f"{place}: {first['loc'][0]} is empty; fill it in") from error
        raise UserError(f"{place}: {first['loc'][0]}: {first['msg']} (given: {first['input']!r})") from error


def _datasets(experiment: Experiment, row: Row, place: str) -> list[str]:
    """The experiment's data sets that a row is of: the one of its name, or those of the published name that have
    trainings of their own, as the published methods had."""
    if row.dataset in experiment.datasets:
        return [row.dataset]
    if row.dataset.lower() not in PUBLIC:
        known = ", ".join([*experiment.datasets, *(name for name in PUBLIC if name not in experiment.datasets)])
        raise UserError(f"{place}: dataset: {row.dataset} is none of {known}; correct it, or leave the row out")
    return [name for name in experiment.training_sets if experiment.datasets[name].source == row.dataset.lower()]


def _check_task(experiment: Experiment, row: Row, place: str) -> None:
    evaluation = experiment.evaluation
    if evaluation.split != "test":
        raise UserError(
            f"{place}: is of novel classes, and the experiment evaluates the split {evaluation.split}; remove "
            "published from its config"
        )
    if row.shot not in evaluation.shots:
        shots = ", ".join(map(str, evaluation.shots))
        raise UserError(f"{place}: shot: {row.shot} is none of the experiment's ({shots}); leave the row out")
    if row.way not in (None, evaluation.way):
        raise UserError(f"{place}: way: {row.way} is not the experiment's {evaluation.way}; leave the row out")
