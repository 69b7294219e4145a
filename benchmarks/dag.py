"""A sweep of many runs: what Snakemake itself takes, in time and memory, and what the tables take.

A run is a data set, method and seed: three jobs. In the place of `mlcl` stands a shell script that writes empty outputs
at once, but for the records that a later start reads, so that what is left is Snakemake's.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from benchmarks.compare import write
from mlcl import evaluations as files
from mlcl import record, representations
from mlcl.config import Experiment

ROOT = Path(__file__).parents[1]
RUNS = (10, 100, 1_000, 10_000)
SEEDS = 5
BATCH = 1_000
# In the proportions of the default experiment's stages (workflow.md), so that a hundred runs take half a minute.
SECONDS = {"train": 2.0, "features": 0.12, "evaluate": 0.06}
PARALLEL = (8, 32)
TABLES = ((2, 5), (20, 5), (20, 50), (200, 5), (20, 500))
STAND_IN = """#!/bin/sh
stage=$1 dataset=$2
[ "$1 $2" = "data show" ] && stage=show
while [ $# -gt 1 ]; do
    shift
    case $1 in --out) out=$2 ;; --records) records=$2 ;; --card) card=$2 ;; --method) method=$2 ;; esac
done
case $stage in
data)
    size='{"classes": 20, "smallest_class": 100}'
    mkdir -p "$out"
    for file in images.npy labels.npy classes.csv; do : > "$out/$file"; done
    splits="{\\"train\\": $size, \\"val\\": $size, \\"test\\": $size}"
    printf '{"dataset": %s, "splits": %s}' "$dataset" "$splits" > "$out/manifest.json" ;;
train)
    sleep ${TRAIN:-0}; : > "$out/model.safetensors"; : > "$records/metrics.csv"
    printf '{"made_by": {"method": %s}, OTHERS}' "$method" > "$records/run.json" ;;
features) sleep ${FEATURES:-0}; : > "$out/train.npy"; : > "$out/val.npy"; : > "$out/test.npy" ;;
evaluate) sleep ${EVALUATE:-0}; : > "$out" ;;
report) : > "$out"; : > "$card" ;;
tables)
    for table in comparison ablation differences factorial classifiers; do
        for form in md csv tex; do : > "$out/tables/$table.$form"; done
    done
    for figure in levels gain shots episodes; do
        for form in svg png; do : > "$out/figures/$figure.$form"; done
    done
    : > "$out/tables/metrics.json" ;;
draw-training) : > "$out/training.svg"; : > "$out/training.png" ;;
draw-features)
    for figure in embedding neighbours pairs; do
        for form in svg png; do : > "$out/$figure.$form"; done
    done ;;
show) : > "$out/sheet.png"; : > "$out/classes.png"; : > "$out/data.json" ;;
esac
"""


class Cost(NamedTuple):
    seconds: float
    cpu: float
    """Seconds of the process and all that it started."""
    mb: float
    """The peak of the process itself."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.cpu + other.cpu, max(self.mb, other.mb))


def run(folder: Path, *command: object, **environment: object) -> Cost:
    """What a Python module costs in a process of its own."""
    values = {
        **os.environ, "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]), "PYTHONPATH": str(folder),
        **{name: str(value) for name, value in environment.items()},
    }  # fmt: skip
    before, peak = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, command)], cwd=folder, env=values, stdout=said, stderr=said
        )
        # The peak by itself: the kernel's account of a child begins with what its parent held when it was forked.
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            peak = max([peak, *map(int, re.findall(r"VmHWM:\s*(\d+)", status.read_text()))])
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode()[-2_000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak / 1024)


def config(methods: int, seeds: int) -> dict:
    rates = {f"method{i}": {"training": {"learning_rate": 0.001 * (i + 1)}} for i in range(methods)}
    return {
        "name": "sweep",
        "datasets": {"glyphs": {"source": "glyphs"}},
        "methods": {name: {"objective": {"cross_entropy": 1}, **rate} for name, rate in rates.items()},
        "seeds": list(range(seeds)),
        "device": "cpu",
    }


class Checkout:
    """A copy of what the workflow is made of, with the stand-in, and a sweep of so many runs."""

    def __init__(self, folder: Path, runs: int):
        self.folder, self.jobs = folder, 3 * runs + 6
        for name in ("workflow", "profiles", "mlcl"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(config(runs // SEEDS, SEEDS)))
        (folder / "bin").mkdir()
        others = ", ".join(f'"{field}": null' for field in record.FIELDS if field != "made_by")
        (folder / "bin" / "mlcl").write_text(STAND_IN.replace("OTHERS", others))
        (folder / "bin" / "mlcl").chmod(0o755)

    def snakemake(self, *arguments: object, **environment: object) -> Cost:
        return run(self.folder, "snakemake", "--quiet", "all", "--configfile", "config.yaml", *arguments, **environment)

    def execute(self, batches: int, *arguments: object) -> Cost:
        parts = [("--batch", f"make_tables={i}/{batches}", "tables") for i in range(1, batches + 1) if batches > 1]
        total = Cost(0, 0, 0)
        for part in [*parts, ()]:  # the figures of features and trainings last
            total += self.snakemake(*part, *arguments)
        return total

    def clear(self) -> None:
        for name in ("results", "data"):
            shutil.rmtree(self.folder / name)


def growth(costs: list[Cost]) -> Iterator[str]:
    """How many times the CPU seconds of the size before, a tenth."""
    yield ""
    for before, cost in pairwise(costs):
        yield f"{cost.cpu / before.cpu:.1f}"


def measure() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Dry runs, and the execution in between."""
    dry: dict[str, list[Cost]] = {"all to do": [], "nothing to do": []}
    executed = []
    for runs in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            checkout = Checkout(Path(folder), runs)
            dry["all to do"].append(checkout.snakemake("-n"))
            ways = {"greedy, 100 sampled": (max(1, runs // BATCH), "--scheduler-subsample", 100)}
            if runs <= BATCH:  # the others' time grows with the square
                ways = {"ilp": (1, "--scheduler", "ilp"), "greedy": (1,)} | ways
            for place, (scheduler, (batches, *arguments)) in enumerate(ways.items()):
                if place:
                    checkout.clear()
                cost = checkout.execute(batches, *arguments)
                executed.append({
                    "runs": runs, "jobs": checkout.jobs, "scheduler": scheduler, "batches": batches,
                    "seconds": f"{cost.seconds:.0f}", "jobs/s": f"{checkout.jobs / cost.seconds:.0f}",
                    "CPU ms a job": f"{1e3 * cost.cpu / checkout.jobs:.0f}", "peak MB": f"{cost.mb:.0f}",
                })  # fmt: skip
                print(executed[-1], flush=True)
            dry["nothing to do"].append(checkout.snakemake("-n"))
    rows = [
        {
            "snakemake -n": what, "runs": runs, "jobs": 3 * runs + 6, "seconds": f"{cost.seconds:.1f}",
            "CPU seconds": f"{cost.cpu:.1f}", "growth": grown, "peak MB": f"{cost.mb:.0f}",
        }
        for what, costs in dry.items()
        for runs, cost, grown in zip(RUNS, costs, growth(costs), strict=True)
    ]  # fmt: skip
    return rows, executed


def busy(runs: int = 100) -> list[dict[str, object]]:
    """How much of the time so many jobs at a time are kept busy, with jobs that sleep."""
    rows = []
    slept = runs * sum(SECONDS.values())
    for jobs in PARALLEL:
        with tempfile.TemporaryDirectory() as folder:
            environment = {stage.upper(): value for stage, value in SECONDS.items()}
            cost = Checkout(Path(folder), runs).snakemake("--cores", jobs, **environment)
        rows.append({
            "runs": runs, "jobs at a time": jobs, "seconds of work": f"{slept:.0f}",
            "at best": f"{slept / jobs:.1f}", "seconds": f"{cost.seconds:.1f}",
            "busy %": f"{100 * slept / jobs / cost.seconds:.0f}",
        })  # fmt: skip
    return rows


def evaluations(experiment: Experiment, folder: Path) -> list[Path]:
    """What `mlcl evaluate` would write, with random accuracies."""
    spec, paths = experiment.evaluation, []
    solved_by = representations.names(experiment.encoder.levels)
    rows = product(spec.shots, spec.processing, spec.classifiers, solved_by, range(spec.episodes))
    frame = pd.DataFrame(rows, columns=[*files.KEYS, "episode"])
    rng = np.random.default_rng(0)
    for dataset, method, seed in product(experiment.datasets, experiment.methods, experiment.seeds):
        paths.append(folder / dataset / method / f"{seed}.parquet")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        accuracy = rng.integers(15, 76, len(frame)) / 75
        made = frame.assign(accuracy=accuracy)
        files.write(paths[-1], (dataset, method, seed), made, spec, {"images.npy": dataset}, {})
    return paths


def tables() -> list[dict[str, object]]:
    rows = []
    for methods, seeds in TABLES:
        with tempfile.TemporaryDirectory() as folder:
            values = config(methods, seeds)
            out, file = Path(folder), Path(folder) / "config.yaml"
            file.write_text(yaml.safe_dump(values))
            paths = evaluations(Experiment.parse(values, "config"), out / "evaluations")
            cost = run(ROOT, "mlcl", "tables", "--experiment", file, "--evaluations", *paths, "--out", out)
            written = sum(path.stat().st_size for name in ("tables", "figures") for path in (out / name).iterdir())
        rows.append({
            "runs": methods * seeds, "methods": methods, "seeds": seeds, "CPU seconds": f"{cost.cpu:.0f}",
            "peak MB": f"{cost.mb:.0f}", "MB written": f"{written / 1e6:.1f}",
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def main(out: Path) -> None:
    about = "Dry runs of a sweep; growth: CPU seconds, times those of a tenth of the runs."
    dry, executed = measure()
    write(out, "dag", about, dry)
    about = f"Executing jobs that do nothing; seconds of {os.cpu_count()} cores, which the jobs' shells share."
    write(out, "dag-jobs", about, executed)
    stages = ", ".join(f"{stage} {seconds:g} s" for stage, seconds in SECONDS.items())
    write(out, "dag-busy", f"Jobs that sleep ({stages}); seconds from the start of Snakemake to its end.", busy())
    write(out, "dag-tables", "`mlcl tables` of a sweep on one data set, evaluations made up.", tables())
