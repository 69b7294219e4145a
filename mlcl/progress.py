"""How far a stage is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

LOG_SECONDS = 30.0


class Progress:
    """Counts units of work on standard error; use it as a context manager.

    Where not all units take as long, `work` says how much of the work, on any scale, lies in a first share of them.
    """

    def __init__(
        self, name: str, total: int, unit: str, done: int = 0, work: Callable[[float], float] = lambda share: share
    ):
        self.name, self.total, self.unit, self.done, self.work = name, total, unit, done, work
        self._bar = tqdm(
            total=total, initial=done, unit=f" {unit}", desc=name, unit_scale=True, dynamic_ncols=True,
            disable=not sys.stderr.isatty(), bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{rate_fmt}{postfix}]",
        )  # fmt: skip
        self._start = self._said = time.monotonic()
        self._first, self._said_at = done, -1
        self.status = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        if error is None and self._said_at != self.done:
            self.say(self.status)
        self._bar.close()

    @property
    def rate(self) -> float:
        """Units a second so far."""
        return max(self.done - self._first, 1) / (time.monotonic() - self._start)

    @property
    def left(self) -> str:
        """The time left, as in 01:26."""
        first, now, end = (self.work(units / self.total) for units in (self._first, self.done, self.total))
        elapsed = time.monotonic() - self._start
        return f"{tqdm.format_interval(elapsed * (end - now) / (now - first))} left" if now > first else ""

    def advance(self, units: int) -> None:
        self.done += units
        self._bar.set_postfix_str(f"{self.left} {self.status}".rstrip(), refresh=False)
        self._bar.update(units)
        if self._bar.disable and time.monotonic() - self._said > LOG_SECONDS:
            self.say(self.status)

    def say(self, status: str) -> None:
        """A line with the state: in a log in place of the bar, on a terminal above it."""
        self._said, self._said_at = time.monotonic(), self.done
        pace = ", ".join(filter(None, [f"{self.rate:,.0f} {self.unit}/s", self.left]))
        line = f"{self.name} {self.done / self.total:4.0%} {pace} {status}".rstrip()
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)
