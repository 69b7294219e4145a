"""Where an experiment's files lie, as the rules in workflow/rules/ have it: for what works beside Snakemake."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Results(NamedTuple):
    """The files of an experiment; `root` holds data/ and results/. A run is DATASET/METHOD/SEED."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / "results" / self.name

    def manifest(self, dataset: str) -> Path:
        return self.root / "data" / "packed" / dataset / "manifest.json"

    def model(self, run: str) -> Path:
        return self.folder / "models" / run / "model.safetensors"

    def records(self, run: str) -> Path:
        """The folder with what is known of a training: run.json and metrics.csv."""
        return self.folder / "runs" / run

    def scratch(self, run: str) -> Path:
        return self.folder / "training" / run

    def features(self, run: str, part: str) -> Path:
        """Of a split, or `copies`."""
        return self.folder / "features" / run / f"{part}.npy"

    def evaluation(self, run: str) -> Path:
        return self.folder / "evaluations" / f"{run}.parquet"

    def log(self, job: str) -> Path:
        return self.folder / "logs" / f"{job}.log"
