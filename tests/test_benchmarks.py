"""Benchmarks call the package below its commands, where no other test sees that a change breaks them."""

import pytest

from benchmarks import dag, training
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
