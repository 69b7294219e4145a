"""python -m benchmarks [NAME...]: run the benchmarks and write their tables to results/benchmarks/.

Without names all but `dag`, which takes half an hour, and `cost`, which counts and times nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

NAMES = ("evaluation", "losses", "training", "packing", "startup", "workflow")
OUT = Path(__file__).parents[1] / "results" / "benchmarks"

for name in sys.argv[1:] or NAMES:
    import_module(f"benchmarks.{name}").main(OUT)
import_module("benchmarks.chart").main(OUT)
