"""Side by side: alternating runs in one process, medians, ratios."""

from __future__ import annotations

import csv
import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mlcl import record

RUNS = 5


def alternate(contenders: dict[str, Callable[[], object]], runs: int = RUNS) -> dict[str, float]:
    """Median seconds of each contender, over `runs` rounds in which each runs once, in turn, after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(runs + 1):
        for name, run in contenders.items():
            gc.collect()
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_ > 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


class Memory:
    peak: float
    """MB by which the highest resident memory lay above that at the start."""


@contextmanager
def memory() -> Iterator[Memory]:
    """What the code in its block needs above what is there before it. Linux only: elsewhere NaN."""
    used, status = Memory(), Path("/proc/self/status")
    if not status.exists():
        yield used
        used.peak = float("nan")
        return
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _kilobytes(status, "VmRSS")
    yield used
    used.peak = (_kilobytes(status, "VmHWM") - before) / 1024


def _kilobytes(status: Path, key: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key))


def machine() -> str:
    """The hardware and the versions in a line."""
    found = record.hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    packages = []
    for name in ("torch", "numpy", "scikit-learn", "easyfsl", "pytorch-metric-learning"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    hardware = f"{found['processor']}, {found['cores']} cores, {found['gpu'] or 'no GPU'}"
    return f"{hardware}; Python {platform.python_version()}, {', '.join(packages)}"


def write(out: Path, name: str, about: str, rows: list[dict[str, object]]) -> None:
    """The rows as out/name.csv and, with a line on the machine, as out/name.md."""
    out.mkdir(parents=True, exist_ok=True)
    columns = list(rows[0])
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [about, "", machine(), "", _row(columns), _row("---" for _ in columns)]
    lines += [_row(row.values()) for row in rows]
    (out / f"{name}.md").write_text("\n".join(lines) + "\n")
    print((out / f"{name}.md").read_text(), flush=True)


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"
