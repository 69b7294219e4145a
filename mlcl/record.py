"""The record of a training: what made it, of which versions, on what, when, and what it took."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mlcl import config
from mlcl.data.packed import Packed, identity
from mlcl.energy import Meter
from mlcl.errors import UserError
from mlcl.files import replacing, sha256

if TYPE_CHECKING:
    import torch

PACKAGE = Path(__file__).parent
FIELDS = (
    "made_by", "commit", "versions", "hardware", "started", "sessions", "seconds", "joules", "images_per_second",
)  # fmt: skip
VERSIONS = ("mlcl", "torch", "torchvision", "numpy")


class Watch:
    """What a training took so far, over all the sessions in which it ran."""

    def __init__(self, devices: Sequence[torch.device], before: dict[str, Any] | None, processes: int = 1):
        """`before`: what `so_far` gave at the state from which the training continues.

        `processes` train together. Where they are more than `devices`, some have others, whose joules nobody reads.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.before = before or {"started": now, "sessions": 0, "seconds": 0.0, "joules": 0.0}
        self.commit = commit()  # before anyone makes the next while it trains
        self.start, self.meter = time.monotonic(), Meter(devices) if processes <= len(devices) else None

    def so_far(self) -> dict[str, Any]:
        """The commit of this session, when the training started (ISO 8601, UTC), sessions, seconds, and joules, None
        where they cannot be read."""
        here, before = self.meter and self.meter.read(), self.before["joules"]
        return {
            "commit": self.commit,
            "started": self.before["started"],
            "sessions": self.before["sessions"] + 1,
            "seconds": self.before["seconds"] + time.monotonic() - self.start,
            "joules": None if here is None or before is None else before + here,
        }


def write(
    path: Path,
    made_by: dict[str, Any],
    model: str,
    took: dict[str, Any],
    images: int,
    device: torch.device,
    processes: int = 1,
) -> None:
    """One JSON file: `made_by` of the checkpoint and its SHA-256, what the training on so many images took, and with
    what."""
    record = {
        "made_by": made_by,
        "model": model,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in VERSIONS}},
        "hardware": {**hardware(device), "processes": processes},
        **took,
        "images_per_second": images / took["seconds"],
    }
    with replacing(path) as (temporary,):
        temporary.write_text(json.dumps(record, indent=2) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Raises `UserError` where it is no record."""
    try:
        record = json.loads(path.read_text())
        missing = [key for key in FIELDS if key not in record]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        return record
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is no record of a training ({error}); run mlcl train again") from error


def check(
    made_by: dict[str, Any], method: config.Method, path: Path, data: Packed | None = None, teacher: Path | None = None
) -> None:
    """Raises `UserError` where what is at `path` was made by another recipe than the method's or, if given, of other
    data or with another teacher; a teacher's file that is not there may be any."""
    same = False
    with suppress(ValidationError):  # of a version of this package that had other keys
        same = config.identity(config.Method.model_validate(made_by.get("method"))) == config.identity(method)
    if not same:
        raise UserError(
            f"{path}: was trained by another recipe than the config's; give the method another name, or delete it"
        )
    if data and identity(made_by.get("data") or {}) != data.identity:
        raise UserError(f"{path}: was trained on other data than those in {data.folder}; delete it to train anew")
    if teacher and teacher.exists() and made_by.get("teacher") != sha256(teacher):
        raise UserError(f"{path}: has learnt from another model than {teacher}; delete it to train anew")


@cache  # a process goes on with the code that it has read
def commit() -> dict[str, Any] | None:
    """The package's commit and whether its files differed from it when this process first asked; None where it is not
    under git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # not some repository around an installed package
        return {"id": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return None


def hardware(device: torch.device) -> dict[str, Any]:
    """The processor's name, its logical cores, and the GPU's name, None where none was used."""
    import torch

    on_gpu = device.type == "cuda"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
    }


def _processor() -> str:
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
