"""What has to be paid before anything is computed: by a command, and by each job of a stage."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.compare import alternate, write

ROOT = Path(__file__).parents[1]


def run(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=ROOT)


def main(out: Path) -> None:
    stages = ("train", "features", "evaluate", "tables")
    commands = {
        "mlcl --help": (("-m", "mlcl", "--help"), "0.3"),
        "snakemake -n, all to do": (("-m", "snakemake", "-n", "--forceall"), "3"),
        "snakemake -n": (("-m", "snakemake", "-n"), "3"),
        "import torch": (("-c", "import torch"), ""),
        **{f"a job of {stage}": (("-c", f"import mlcl.{stage}"), "") for stage in stages},
    }
    seconds = alternate({name: partial(run, *command) for name, (command, _) in commands.items()})
    rows = [
        {"command": name, "seconds": f"{seconds[name]:.2f}", "target": target}
        for name, (_, target) in commands.items()
    ]  # fmt: skip
    write(out, "startup", "Before anything is computed; a job's share is its imports.", rows)
