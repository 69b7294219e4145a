"""The experiment, and what the rules declare of it: a job may depend on nothing else."""

from pathlib import Path

from snakemake.exceptions import WorkflowError

from mlcl.config import Experiment
from mlcl.errors import UserError
from mlcl.fingerprint import fingerprint

try:
    experiment = Experiment.parse(config, "config")
except UserError as error:
    raise WorkflowError(str(error)) from None

# Packed data lies outside the experiment's folder: experiments share it.
PACKED = "../../data/packed"
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
    """One where a job will find a GPU, so that no two share it; none elsewhere, so that the CPU's jobs run abreast."""
    devices = ("/proc/driver/nvidia/gpus", "/dev/dxg", "/dev/kfd")
    return int(experiment.device != "cpu" and any(Path(d).exists() for d in devices))
