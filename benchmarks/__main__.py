"""python -m benchmarks [NAME...]: run the benchmarks and write their tables to results/benchmarks/."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

NAMES = ("evaluation", "losses", "training", "packing", "startup", "workflow")
OUT = Path(__file__).parents[1] / "results" / "benchmarks"

for name in sys.argv[1:] or NAMES:
    import_module(f"benchmarks.{name}").main(OUT)
import_module("benchmarks.chart").main(OUT)
