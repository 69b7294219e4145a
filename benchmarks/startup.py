"""What has to be paid before anything is computed: by a command, and by each job of a stage."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.compare import alternate, write
from benchmarks.training import CASES, make, method

ROOT = Path(__file__).parents[1]


def run(*command: str, folder: Path = ROOT) -> None:
    subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=folder)


def train(packed: Path) -> None:
    """One epoch of six steps, anew each time."""
    spec = method(CASES[0])
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 1})})
    with tempfile.TemporaryDirectory() as made:
        places = ("--out", f"{made}/out", "--scratch", f"{made}/scratch", "--device", "cpu")
        run("-m", "mlcl", "train", "--data", str(packed), "--method", spec.model_dump_json(), *places)


def main(out: Path) -> None:
    stages = ("train", "extract", "evaluate", "tables")
    commands = {
        "mlcl --help": (("-m", "mlcl", "--help"), "0.3"),
        "snakemake -n, all to do": (("-m", "snakemake", "-n", "--forceall"), "3"),
        "snakemake -n": (("-m", "snakemake", "-n"), "3"),
        "import torch": (("-c", "import torch"), ""),
        **{f"a job of {stage}": (("-c", f"import mlcl.{stage}"), "") for stage in stages},
    }
    contenders = {name: partial(run, *command) for name, (command, _) in commands.items()}
    with tempfile.TemporaryDirectory() as folder:
        packed, snakefile = Path(folder) / "packed", Path(folder) / "Snakefile"
        make(packed, CASES[0])
        snakefile.write_text("rule all:\n")
        contenders["snakemake -n, of an empty Snakefile"] = partial(
            run, "-m", "snakemake", "-n", folder=snakefile.parent
        )
        contenders["a whole training of six steps"] = partial(train, packed)
        seconds = alternate(contenders)
    targets = {name: target for name, (_, target) in commands.items()}
    rows = [
        {"command": name, "seconds": f"{value:.2f}", "target": targets.get(name, "")} for name, value in seconds.items()
    ]
    write(out, "startup", "Before anything is computed; a job's share is its imports.", rows)
