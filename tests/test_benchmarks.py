"""Benchmarks call the package below its commands, where no other test sees that a change breaks them."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from benchmarks import dag, evaluation, training
from benchmarks.compare import alternate
from mlcl.data.packed import Packed


@pytest.mark.usefixtures("torch_as_before")
def test_the_training_benchmark_runs(tiny_data, monkeypatch):
    monkeypatch.setattr(training, "RUNS", 1)
    packed, case = Packed(tiny_data), training.Case("conv4", 16, 1, 8, 1)
    training.ours(packed, case)()
    rows, rates = training.breakdown(packed, case)
    parts = {"data", "augmentation", "forward", "loss", "backward", "optimiser", "validation"}
    assert {row["part"] for row in rows} == parts
    assert rates["feature extraction, images/s"] > 0


def test_the_benchmark_of_tables_runs(monkeypatch):
    monkeypatch.setattr(dag, "TABLES", ((2, 1),))
    (row,) = dag.tables()
    assert row["runs"] == 2


@pytest.mark.usefixtures("torch_as_before")
def test_the_benchmark_of_evaluations_runs(tmp_path, monkeypatch):
    small = {"IMAGES": 40, "EPISODES": 5, "LEVELS": (16, 32), "GROWTH": (("levels", 5, 5),), "RUNS": 1, "CORES": 1}
    small |= {"LABELS": np.repeat(np.arange(evaluation.CLASSES), 40), "alternate": partial(alternate, runs=1)}
    for name, value in small.items():
        monkeypatch.setattr(evaluation, name, value)
    evaluation.make(tmp_path)
    assert {row["peer"] for row in evaluation.against_peers(tmp_path)} == {"scikit-learn loop", "easyfsl", "torch loop"}
    assert 0.3 < evaluation.easyfsl(tmp_path, 5) <= 1
    assert all(float(row["same prediction %"]) > 99 for row in evaluation.agreement(tmp_path))
    (row,) = evaluation.growth(tmp_path)
    assert float(row["seconds"]) > 0


def test_the_stand_in_of_a_sweep_is_believed(tmp_path):
    """All of it is executed, and nothing is left to do at the next start."""
    checkout = dag.Checkout(tmp_path, 5)
    checkout.execute(1, "--cores", 2)
    said = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--configfile", "config.yaml"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "Nothing to be done" in said.stdout + said.stderr
