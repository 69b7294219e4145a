"""How far an experiment is, from the files that are there: nothing is asked of the processes that make them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from mlcl.config import Experiment
from mlcl.paths import Results
from mlcl.progress import LOG_SECONDS


class Step(NamedTuple):
    """What one job makes."""

    name: str
    output: Path
    log: Path
    needs: tuple[Path, ...]


def steps(experiment: Experiment, root: Path) -> Iterator[Step]:
    """The jobs of the experiment in the order in which they can run; `root` holds data/ and results/."""
    results = Results(root, experiment.name)
    for dataset in experiment.datasets:
        yield Step(f"data {dataset}", results.manifest(dataset), results.log(f"data/{dataset}"), ())
    evaluations = []
    for dataset, method, seed in product(experiment.datasets, experiment.recipes, experiment.seeds):
        run = f"{dataset}/{method}/{seed}"
        features = results.features(run, experiment.evaluation.split)
        evaluations.append(results.evaluation(run))
        yield Step(f"train {run}", results.model(run), results.log(f"train/{run}"), (results.manifest(dataset),))
        yield Step(f"features {run}", features, results.log(f"features/{run}"), (results.model(run),))
        yield Step(f"evaluate {run}", evaluations[-1], results.log(f"evaluate/{run}"), (features,))
    yield Step("tables", results.folder / "tables" / "comparison.md", results.log("tables"), tuple(evaluations))


def status(experiment: Experiment, root: Path) -> str:
    """A line a job: done, running with its rate and time left, stopped, or waiting and for what.

    Done is what has its output: whether that is still what the config asks for, `snakemake -n` says.
    """
    found = list(steps(experiment, root))
    makers = {step.output: step.name for step in found}
    width = max(len(step.name) for step in found)
    lines = [f"{step.name:{width}}  {_state(step, makers)}" for step in found]
    done = sum(step.output.exists() for step in found)
    return "\n".join([*lines, f"{done} of {len(found)} done"])


def _state(step: Step, makers: dict[Path, str]) -> str:
    if step.output.exists():  # outputs appear at the end of their job, and are deleted at its start
        return "done"
    missing = [makers[path] for path in step.needs if not path.exists()]
    if missing:
        return f"waits for {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    if not step.log.exists():
        return "ready to run"
    last = (step.log.read_text().splitlines() or [""])[-1]
    quiet = time.time() - step.log.stat().st_mtime  # a job that runs says so every LOG_SECONDS
    return f"{'running' if quiet < 4 * LOG_SECONDS else 'stopped'}  {last}".rstrip()
