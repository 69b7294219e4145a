"""The energy that processors and GPUs took, from their own counters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Where Linux shows the counters (RAPL) of processors of Intel and AMD, one a socket; most systems let only root read.
SOCKETS = Path("/sys/class/powercap")


class Meter:
    """Joules since it was made, of the whole processors and of the GPUs given, whoever else uses them.

    To be read every few minutes: a processor's counter starts again at zero after some 100 kJ or more.
    """

    def __init__(self, devices: Sequence[torch.device], sockets: Path = SOCKETS):
        self.counters = [*_processors(sockets), *_gpus(devices)]
        self.last = [read() for read, _ in self.counters]
        self.joules = 0.0

    def read(self) -> float | None:
        """None where a processor, or a GPU in use, has no counter that may be read."""
        if None in self.last:
            return None
        for i, (read, size) in enumerate(self.counters):
            now = read()
            if now is None:
                self.last[i] = None
                return None
            self.joules += (now - self.last[i]) % size
            self.last[i] = now
        return self.joules


Counter = tuple[Callable[[], float | None], float]
"""What reads it, in joules, and the joules at which it starts again."""


def _processors(sockets: Path) -> list[Counter]:
    # Laptops have another domain beside the packages, psys, which counts them again.
    found = [_file(path) for path in sorted(sockets.glob("intel-rapl:?")) if _name(path).startswith("package")]
    return found or [(lambda: None, float("inf"))]


def _name(folder: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (folder / "name").read_text()
    return ""


def _file(folder: Path) -> Counter:
    def read(name: str = "energy_uj") -> float | None:
        with suppress(OSError, ValueError):
            return int((folder / name).read_text()) / 1e6
        return None

    return read, read("max_energy_range_uj") or float("inf")


def _gpus(devices: Sequence[torch.device]) -> list[Counter]:
    devices = [device for device in devices if device.type == "cuda"]
    if not devices:
        return []
    import pynvml
    import torch

    def handle(device: torch.device):
        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode())
        return None

    def counter(gpu) -> Counter:
        def read() -> float | None:
            with suppress(pynvml.NVMLError):
                return pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3 if gpu else None
            return None

        return read, float("inf")

    return [counter(handle(device)) for device in devices]
