"""An experiment's tables, and the figures that show their numbers.

Every number is computed once, into a frame in long form that is the table's CSV; its markdown and LaTeX are that frame
laid out. Accuracies, intervals and differences are in percent, with ten digits in the CSV and two decimals where they
are laid out. The bytes depend on the config, the evaluations and their paths alone, not on the order of the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from mlcl.config import Experiment
from mlcl.figures import accuracy, roles
from mlcl.files import write_all
from mlcl.paths import table_names
from mlcl.tables import (
    ablation,
    choice,
    classifiers,
    comparison,
    deep_ensembles,
    differences,
    factorial,
    subsets,
    sweeps,
    weights,
)
from mlcl.tables.layout import PREAMBLE, csv, latex, markdown
from mlcl.tables.study import Study, read

# Each: a study -> the frame that is its CSV, and its tables to lay out.
TABLES = {
    "comparison": comparison.build,
    "factorial": factorial.build,
    "differences": differences.build,
    "ablation": ablation.build,
    "choice": choice.build,
    "weights": weights.build,
    "deep_ensembles": deep_ensembles.build,
    "subsets": subsets.build,
    "classifiers": classifiers.build,
    "sweeps": sweeps.build,
}
FIGURES: dict[str, Callable[[Study], dict[str, bytes]]] = {
    "levels": lambda study: accuracy.levels(_of_methods(study, study.first)),
    "gain": lambda study: roles.gain(differences.gains(study)),
    "shots": lambda study: roles.shots(_of_methods(study, comparison.compared(study))),
    "episodes": lambda study: roles.episodes(comparison.episodes(study)),
}


def _of_methods(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Without those of deep ensembles: a figure has room for no more."""
    return rows[rows["method"].isin(study.experiment.methods)]


def write(experiment: Experiment, evaluations: Sequence[Path], out: Path, root: Path = Path()) -> None:
    """Write the experiment's tables and figures: `out`/tables/<table>.{md,csv,tex}, `out`/figures/<figure>.{svg,png}
    and, for tools that compare runs, `out`/tables/metrics.json.

    The relative paths of `experiment.published` start at `root`. No file is replaced before all are written; tables
    that the config has nothing to show in are removed. Raises `UserError` as `results.read` and `published.read` do.
    """
    study, names = read(experiment, evaluations, out, root), table_names(experiment)
    contents: dict[Path, bytes] = {}
    for name in names:
        frame, laid_out = TABLES[name](study)
        stem = out / "tables" / name
        contents[stem.with_suffix(".md")] = "\n".join(map(markdown, laid_out)).encode()
        contents[stem.with_suffix(".tex")] = (PREAMBLE + "\n\\bigskip\n\n".join(map(latex, laid_out))).encode()
        contents[stem.with_suffix(".csv")] = csv(frame).encode()
    contents[out / "tables" / "metrics.json"] = _metrics(study).encode()
    for name, draw in FIGURES.items():
        for form, drawn in draw(study).items():
            contents[out / "figures" / f"{name}.{form}"] = drawn
    write_all(contents)
    for name in set(TABLES) - set(names):  # of another config
        for form in ("md", "csv", "tex"):
            (out / "tables" / f"{name}.{form}").unlink(missing_ok=True)


def _metrics(study: Study) -> str:
    """The comparison's accuracies of ours by data set, method, representation and shot."""
    tree: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for row in comparison.compared(study).itertuples():
        shots = tree.setdefault(row.dataset, {}).setdefault(row.method, {}).setdefault(row.representation, {})
        shots[f"{row.shot}-shot"] = round(row.mean, 4)
    return json.dumps(tree, indent=2) + "\n"
