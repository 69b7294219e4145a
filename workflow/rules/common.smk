"""The experiment, and what the rules declare of it: a job may depend on nothing else."""

import json
import os
from base64 import urlsafe_b64encode
from itertools import product
from pathlib import Path
from shlex import quote
from textwrap import shorten

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from mlcl.config import Experiment, identity
from mlcl.config_text import read
from mlcl.data import definition
from mlcl.data.packed import Packed
from mlcl.data.sources import MODULES
from mlcl.episodes import check_novel, check_tasks
from mlcl.errors import UserError
from mlcl.fingerprint import fingerprint
from mlcl.hardware import has_gpu
from mlcl.paths import (
    FIGURES,
    UNSEEN_FIGURES,
    Files,
    drawn_methods,
    ensembles,
    runs,
    table_names,
    trainings,
)

try:
    if workflow.is_main_process:
        for file in workflow.configfiles:
            read(file)  # as Snakemake has, but for keys that are there twice
    source = workflow.configfiles[-1] if workflow.configfiles else "config"
    experiment = Experiment.parse(config, str(source))
except UserError as error:
    raise WorkflowError(str(error)) from None

files = Files(Path(workflow.basedir), experiment.name)
real = Files(files.root.resolve(), experiment.name)
if files.folder.resolve() != real.folder:
    raise WorkflowError(
        f"{files.folder}: lies behind a link; link data/ instead, or move the whole checkout"
    )
# Packed data lies outside the experiment's folder: experiments share it.
PACKED = "../../data/packed"
RUNS = {
    "dataset": list(experiment.datasets),
    "method": list(experiment.recipes),
    "seed": list(experiment.seeds),
}
TRAININGS = RUNS | {"dataset": experiment.training_sets}


def named(what, among, name):
    """What the config has under a name that stands in a target."""
    if name not in among:
        those = shorten(", ".join(among), 300, placeholder=" and more")
        raise WorkflowError(f"config: has no {what} {name}; take one of {those}")
    return among[name]


def dataset(wildcards):
    return named("data set", experiment.datasets, wildcards.dataset).model_dump_json()


def packing_code(wildcards):
    source = experiment.datasets[wildcards.dataset].source
    return fingerprint("data.pack", f"data.{MODULES[source]}")


def method(wildcards):
    return identity(experiment.recipes[wildcards.method])


def teacher(wildcards):
    """The model that a training learns from, where its method has a distillation."""
    named("method", experiment.recipes, wildcards.method)
    run = experiment.teacher("{dataset}/{method}/{seed}".format(**wildcards))
    return [f"models/{run}/model.safetensors"] if run else []


def encoder(wildcards):
    """The model that a run is solved by."""
    run = experiment.encoder_of("{dataset}/{method}/{seed}".format(**wildcards))
    return f"models/{run}/model.safetensors"


def methods_on(datasets, methods):
    """The part of the experiment that figures of these methods on these data sets depend on."""
    parts = {"name": True, "datasets": set(datasets), "methods": set(methods)}
    return experiment.model_dump_json(include=parts)


def shown(file, category):
    """An output as `snakemake --report` shows it, under the caption that it has in the report of `mlcl report`."""
    captions = Path(workflow.basedir, "mlcl", "report", "captions")
    return report(
        file, caption=str(captions / f"{Path(file).stem}.rst"), category=category
    )


def training_threads(wildcards):
    return experiment.recipes[wildcards.method].training.threads


def evaluation_memory(wildcards, input):
    """Of an evaluation: processing copies the features, and while one kind is met the next is made."""
    return 2000 + 2 * int(input.size_mb)


def gpus():
    """One where a job will use a GPU, so that no two share it; none elsewhere, so that jobs run abreast on the CPU."""
    return int(experiment.device == "cuda" or experiment.device == "auto" and has_gpu())


def processes():
    """Of a training: one a GPU. Where `auto` finds no GPU, one; `cpu` means it."""
    return experiment.gpus if gpus() or experiment.device == "cpu" else 1


def check_resources():
    """Stop where jobs would share a GPU, or get fewer than they ask for, of which Snakemake says nothing."""
    cores, nodes, offered = (
        (
            workflow.global_resources[name].value
            if name in workflow.global_resources
            else None
        )
        for name in ("_cores", "_nodes", "gpu")
    )
    if cores is None and nodes is not None and experiment.device == "auto":
        raise WorkflowError(
            "config: device: auto asks this machine, where the jobs run on others; add device=cuda or device=cpu to "
            "--config, which takes the place of the profile's"
        )
    submitted = nodes is not None and cores in (None, 1)  # a dry run has one core
    wanted = gpus() * processes()
    if wanted > (offered or 0) and not (offered is None and submitted):
        raise WorkflowError(
            f"config: a training takes {wanted} GPU{'s' if wanted > 1 else ''}, but jobs may have {offered or 0} at a "
            f"time; add gpu={wanted} to --resources, which take the place of the profile's"
        )


if workflow.is_main_process:
    check_resources()


# At once, not after hours of training; here alone, since it imports all of the tables.
if workflow.is_main_process and experiment.published:
    from mlcl.tables import published

    try:
        published.read(experiment, Path(workflow.basedir))
    except UserError as error:
        raise WorkflowError(f"config: published: {error}") from None


def check_packed(name, spec):
    """Stop before any output is deleted where the data that is there does not fit the config."""
    try:
        folder = files.manifest(name).parent
        if manifest := definition.check(folder, definition.of(spec)):
            check_tasks(experiment, name, manifest["splits"])
        elif workflow.is_main_process:  # not after hours of training
            from mlcl.data import sources

            check_tasks(
                experiment, name, sources.foreseen(spec, Path(workflow.basedir))
            )
    except UserError as error:
        raise WorkflowError(str(error)) from None
    except OSError as error:
        raise WorkflowError(f"{error.filename}: {error.strerror}") from None


def link_packed(name):
    """Where another experiment has packed the data, this one need not."""
    manifest, link = files.manifest(name), files.folder / "packed" / f"{name}.json"
    if not manifest.exists():
        # For a job, a file system may show late what another machine has just packed.
        if not workflow.is_main_process:
            return
        link.unlink(missing_ok=True)
        if (files.folder / "models" / name).exists():
            raise WorkflowError(
                f"{manifest.parent}: is missing, and packed by this run it would have everything trained again; first "
                f"run mlcl data {quote(experiment.datasets[name].model_dump_json())} --out data/packed/{name}, by "
                "which only what has changed is"
            )
    elif not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..", PACKED, name, "manifest.json"))
        # As old as the data: what is there already was made after it.
        packed = manifest.stat().st_mtime
        os.utime(link, (packed, packed), follow_symlinks=False)


def check_foreign():
    """Stop before encoders learn the classes of which they are to solve tasks; where both data sets are there."""
    folders = {
        name: files.manifest(name).parent
        for name in {*experiment.trained_on, *experiment.trained_on.values()}
        if files.manifest(name).exists()
    }
    try:
        check_novel(
            experiment, {name: Packed(folder) for name, folder in folders.items()}
        )
    except UserError as error:
        raise WorkflowError(str(error)) from None


for name, spec in experiment.datasets.items():
    check_packed(name, spec)
    link_packed(name)
check_foreign()


def lost():
    """What nothing else would make again: Snakemake misses no file between others that are there, and its record of a
    job that failed has the config and code as they are now, as if the job had made what it was to make.

    Models that were there until a training of another recipe began, which did not end, once the config is as it was;
    that of a run whose record is there was deleted by hand, to save room. And features whose last extraction failed
    after they had been evaluated; those of one that went well were deleted by hand, too.
    """
    if not workflow.is_main_process:
        return
    for run in trainings(experiment, experiment.recipes):
        parts = files.model(run), files.records(run) / "run.json"
        if recorded(files.evaluation(run)) and not any(part.exists() for part in parts):
            yield f"models/{run}/model.safetensors"
    kinds = [*experiment.evaluation.splits]
    kinds += ["copies"] if experiment.evaluation.support_copies else []
    for run, kind in product(runs(experiment, experiment.recipes), kinds):
        evaluation, features = files.evaluation(run), files.features(run, kind)
        if evaluation.exists() and not features.exists():
            part = "copies" if kind == "copies" else "features"
            made = files.folder / "benchmarks" / part / f"{run}.tsv"  # on success alone
            since = made if made.exists() else evaluation
            if ended(features) > since.stat().st_mtime:
                yield f"features/{run}/{kind}.npy"


def kept(kind, path):
    """Where Snakemake keeps what it knows of a file; a name longer than a file system takes is a path of parts."""
    name = urlsafe_b64encode(path.relative_to(files.folder).as_posix().encode())
    *above, last = [name[i : i + 254].decode() for i in range(0, len(name), 254)]
    return files.folder.joinpath(
        ".snakemake", kind, *(f"@{part}" for part in above), last
    )


def recorded(path):
    """Whether Snakemake knows what made a file, or makes it again."""
    return any(kept(kind, path).exists() for kind in ("metadata", "incomplete"))


def last_job(path):
    """Snakemake's record of the last job that was to make a file, whether it did or failed; empty where it has none."""
    try:
        return json.loads(kept("metadata", path).read_text())
    except (OSError, ValueError):
        return {}


def ended(path):
    """When the last job that was to make a file ended; 0 where Snakemake knows of none."""
    return last_job(path).get("endtime") or 0


LOST = list(lost())


def recipe(run):
    return experiment.recipes[run.split("/")[1]]


def believed(run):
    """Whether Snakemake takes a run's model for one of the config's recipe: where it has no record of it, and where its
    record is of a job that was to make such a one, even if something else made what is there.
    """
    model = files.model(run)
    if kept("incomplete", model).exists():
        return False
    params = last_job(model).get("params")
    return params is None or any(identity(recipe(run)) in param for param in params)


def check_recipe(run):
    """Stop where what is there of a run is of another recipe than the config's."""
    from mlcl import record

    path, model = files.records(run) / "run.json", files.model(run)
    try:
        if path.exists():  # else it is trained again
            what = model if model.exists() else path
            record.check(record.read(path)["made_by"], recipe(run), what)
    except UserError as error:
        raise WorkflowError(
            f"{error}; what is of this run goes by: {files.removal(run)}"
        ) from None


# After a checkout without `dvc pull`, `mlcl run`, or a job of a cluster that ended when Snakemake was gone: what is there
# is taken for up to date, whatever made it.
if workflow.is_main_process:
    unknown = []
    for run in runs(experiment, experiment.recipes):
        there = [
            path for path in (files.model(run), files.evaluation(run)) if path.exists()
        ]
        known = all(recorded(path) for path in there)
        if not known:
            unknown.append(run)
        if believed(run) if files.model(run).exists() else not known:
            check_recipe(run)
    if unknown:
        logger.warning(
            f"{files.folder}: holds results of {len(unknown)} runs, {unknown[0]} the first, but not Snakemake's records "
            "of what made them, so that changes of config or code go unnoticed; run 'dvc pull --allow-missing' where DVC "
            "has them, or delete their models and evaluations to make them anew"
        )
