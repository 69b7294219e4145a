"""How far a stage is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

LOG_SECONDS = 30.0


class Progress:
    """Counts units of work on standard error; use it as a context manager."""

    def __init__(self, name: str, total: int, unit: str, done: int = 0):
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self._bar = tqdm(
            total=total, initial=done, unit=f" {unit}", desc=name, unit_scale=True, dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
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

    def advance(self, units: int) -> None:
        self.done += units
        self._bar.set_postfix_str(self.status, refresh=False)
        self._bar.update(units)
        if self._bar.disable and time.monotonic() - self._said > LOG_SECONDS:
            self.say(self.status)

    def say(self, status: str) -> None:
        """A line with the state: in a log in place of the bar, on a terminal above it."""
        self._said, self._said_at = time.monotonic(), self.done
        share, left = f"{self.done / self.total:4.0%}", (self.total - self.done) / self.rate
        line = (
            f"{self.name} {share} {self.rate:,.0f} {self.unit}/s, {tqdm.format_interval(left)} left {status}".rstrip()
        )
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)
