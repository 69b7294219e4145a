"""How far an experiment is, from the files that are there: nothing is asked of the processes that make them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mlcl.config import Experiment
from mlcl.paths import Files, drawn_methods, ensembles, runs, trainings
from mlcl.progress import LOG_SECONDS


class Step(NamedTuple):
    """What one job makes."""

    name: str
    output: Path
    log: Path
    needs: tuple[Path, ...]
    proof: Path | None = None
    """What is there only where the output was, too, and may have been deleted since, to save room."""


def steps(experiment: Experiment, root: Path) -> Iterator[Step]:
    """The jobs of the experiment in the order in which they can run; `root` holds data/ and results/."""
    results = Files(root, experiment.name)
    for dataset in experiment.datasets:
        yield Step(f"data {dataset}", results.manifest(dataset), results.log(f"data/{dataset}"), ())
    for run in runs(experiment, experiment.recipes):
        manifest, features = results.manifest(run.split("/")[0]), results.features(run, experiment.evaluation.split)
        source = experiment.encoder_of(run)
        evaluation, model = results.evaluation(run), results.model(source)
        inputs, encoder = (features,), (manifest, model)
        if source == run:
            encoder, teacher, metrics = (model,), experiment.teacher(run), results.records(run) / "metrics.csv"
            needs = (manifest, results.model(teacher)) if teacher else (manifest,)
            yield Step(f"train {run}", model, results.log(f"train/{run}"), needs, metrics)
        yield Step(f"features {run}", features, results.log(f"features/{run}"), encoder, evaluation)
        if experiment.evaluation.support_copies:
            inputs = (features, results.features(run, "copies"))
            yield Step(f"copies {run}", inputs[1], results.log(f"copies/{run}"), encoder, evaluation)
        yield Step(f"evaluate {run}", evaluation, results.log(f"evaluate/{run}"), inputs)
    for ensemble in ensembles(experiment):
        members = tuple(results.evaluation(f"{ensemble.rpartition('/')[0]}/{seed}") for seed in experiment.seeds)
        yield Step(f"evaluate {ensemble}", results.evaluation(ensemble), results.log(f"evaluate/{ensemble}"), members)
    evaluated = *runs(experiment, experiment.recipes), *ensembles(experiment)
    evaluations = tuple(map(results.evaluation, evaluated))
    drawings = list(figures(experiment, results))
    yield Step("tables", results.table("comparison"), results.log("tables"), evaluations)
    yield from drawings
    made = (results.table("comparison"), *(step.output for step in drawings))
    yield Step("report", results.folder / "report.html", results.log("report"), made)


def figures(experiment: Experiment, results: Files) -> Iterator[Step]:
    """The jobs that draw the methods: not what sweeps vary around them."""
    folder, log = results.folder / "figures", results.log("figures/training")
    metrics = tuple(results.records(run) / "metrics.csv" for run in trainings(experiment, experiment.methods))
    yield Step("draw training", folder / "training.png", log, metrics)
    for dataset in experiment.datasets:
        shown = [f"{dataset}/{method}/{experiment.seeds[0]}" for method in drawn_methods(experiment)]
        features = tuple(results.features(run, experiment.evaluation.split) for run in shown)
        log = results.log(f"figures/{dataset}/features")
        yield Step(f"draw features {dataset}", folder / dataset / "embedding.png", log, features)
        log = results.log(f"figures/{dataset}/data")
        yield Step(f"draw data {dataset}", folder / dataset / "sheet.png", log, (results.manifest(dataset),))


def status(experiment: Experiment, root: Path) -> str:
    """A line a job: done, running with its rate and time left, stopped, or waiting and for what.

    Done is what has its output, or had it: whether that is still what the config asks for, `snakemake -n` says.
    """
    found = list(steps(experiment, root))
    makers = {step.proof: step.name for step in found} | {step.output: step.name for step in found}
    width = max(len(step.name) for step in found)
    states = [_state(step, makers) for step in found]
    lines = [f"{step.name:{width}}  {state}" for step, state in zip(found, states, strict=True)]
    done = sum(state.startswith("done") for state in states)
    return "\n".join([*lines, f"{done} of {len(found)} done"])


def _state(step: Step, makers: dict[Path, str]) -> str:
    if step.output.exists():  # outputs appear at the end of their job, and are deleted at its start
        return "done"
    if step.proof and step.proof.exists() and not _runs(step.log):
        return "done, and deleted since"
    missing = [makers[path] for path in step.needs if not path.exists()]
    if missing:
        return f"waits for {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    if not step.log.exists():
        return "ready to run"
    last = (step.log.read_text().splitlines() or [""])[-1]
    running = _runs(step.log) and not last.startswith("mlcl ")  # which is an error's beginning
    return f"{'running' if running else 'stopped'}  {last}".rstrip()


def _runs(log: Path) -> bool:
    """Whether a job writes it, which it does every LOG_SECONDS."""
    return log.exists() and time.time() - log.stat().st_mtime < 4 * LOG_SECONDS
