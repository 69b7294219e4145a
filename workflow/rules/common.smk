"""The experiment, and what the rules declare of it: a job may depend on nothing else."""

import json
from pathlib import Path

from snakemake.exceptions import WorkflowError

from mlcl.config import Experiment
from mlcl.errors import UserError
from mlcl.fingerprint import fingerprint
from mlcl.hardware import has_gpu

try:
    experiment = Experiment.parse(config, "config")
except UserError as error:
    raise WorkflowError(str(error)) from None

# Packed data lies outside the experiment's folder: experiments share it.
PACKED = "../../data/packed"
for name, spec in experiment.datasets.items():
    manifest = Path(workflow.basedir, "data", "packed", name, "manifest.json")
    if manifest.exists() and json.loads(manifest.read_text())[
        "dataset"
    ] != spec.model_dump(exclude={"path"}):
        raise WorkflowError(
            f"{manifest.parent} was packed from another definition of {name}, and other experiments may use it: "
            "give the data set another name in the config, or delete the folder to pack it again"
        )

RUNS = {
    "dataset": list(experiment.datasets),
    "method": list(experiment.methods),
    "seed": list(experiment.seeds),
}


def dataset(wildcards):
    return experiment.datasets[wildcards.dataset].model_dump_json()


def method(wildcards):
    return experiment.methods[wildcards.method].model_dump_json(exclude={"title"})


def training_threads(wildcards):
    return experiment.methods[wildcards.method].training.threads


def gpus(wildcards):
    """One where a job will find a GPU, so that no two share it; none elsewhere, so that jobs run abreast on the CPU."""
    return int(experiment.device != "cpu" and has_gpu())
