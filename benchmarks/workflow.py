"""Where the time of a finished experiment went, rule by rule, from the files that Snakemake wrote beside it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.compare import write

ROOT = Path(__file__).parents[1]


def main(out: Path, experiment: str = "glyphs") -> None:
    folder = ROOT / "results" / experiment / "benchmarks"
    files = sorted(folder.rglob("*.tsv"))
    if not files:
        print(f"{folder}: is empty; run the workflow first: make results")
        return
    jobs = pd.concat(
        [
            pd.read_csv(file, sep="\t").assign(rule=file.relative_to(folder).parts[0].removesuffix(".tsv"))
            for file in files
        ]
    )
    rules = jobs.groupby("rule").agg(
        jobs=("s", "size"), seconds=("s", "sum"), a_job=("s", "mean"), mb=("max_rss", "max")
    )
    rules = rules.sort_values("seconds", ascending=False)
    rows = [
        {
            "rule": rule,
            "jobs": int(row.jobs),
            "seconds": f"{row.seconds:.1f}",
            "share": f"{row.seconds / jobs['s'].sum():.1%}",
            "seconds a job": f"{row.a_job:.1f}",
            "peak MB": f"{row.mb:.0f}",
        }
        for rule, row in rules.iterrows()
    ]
    write(out, "workflow", f"The experiment {experiment}: seconds of all jobs of a rule, which may run abreast.", rows)
