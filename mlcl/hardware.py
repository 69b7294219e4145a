"""What to compute on, and in which precision. torch is imported only by what needs it: workflows ask `has_gpu` too."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from mlcl.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# What the drivers of NVIDIA, of Windows' Linux subsystem and of AMD show.
GPU_DRIVERS = ("/proc/driver/nvidia/gpus", "/dev/dxg", "/dev/kfd")
_TAKEN: list[FileLock] = []  # the locks of this process: one that is dropped is released


def has_gpu() -> bool:
    """Whether a GPU's driver is here; whether torch can use it, only torch knows."""
    return any(Path(path).exists() for path in GPU_DRIVERS)


def devices(name: str, count: int = 1) -> list[torch.device]:
    """So many devices: GPUs that no other process of this user took in this way, as far as there are.

    `auto` is GPUs where torch sees one, else the CPU, which counts as often as asked for. A GPU stays taken until this
    process ends. Raises `UserError` where torch sees fewer GPUs.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device: {name} is none of auto, cpu, cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return [torch.device("cpu")] * count
    gpus = range(torch.cuda.device_count())
    if not gpus:
        raise UserError("device: cuda, but torch sees no GPU here; set device: cpu, or install a GPU build of torch")
    if count > len(gpus):
        raise UserError(f"gpus: {count}, but torch sees {len(gpus)} here; lower gpus")
    taken: list[int] = []
    for gpu in gpus:
        if len(taken) < count and _take(str(torch.cuda.get_device_properties(gpu).uuid)):
            taken.append(gpu)
    # Where the others are at work too, sharing one is better than waiting: it is asked for by hand then.
    taken += [gpu for gpu in gpus if gpu not in taken][: count - len(taken)]
    return [torch.device("cuda", gpu) for gpu in taken]


def _take(gpu: str) -> bool:
    """Whether this process could take the GPU of that uuid (on a cluster, every job's GPU may have the index 0)."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # in a container it may have no name
    lock = FileLock(Path(tempfile.gettempdir(), f"mlcl-{user}-{gpu}.lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return False
    _TAKEN.append(lock)
    return True


def precision(on: torch.device, wanted: str) -> str:
    """`auto` is bfloat16 where the hardware has an instruction to multiply in it, else float32."""
    import torch

    if wanted != "auto":
        return wanted
    if on.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch we run on
        has = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if has else "float32"


def autocast(on: torch.device, wanted: str) -> torch.autocast:
    """Matrix products and convolutions in the precision wanted."""
    import torch

    return torch.autocast(on.type, torch.bfloat16, enabled=precision(on, wanted) == "bfloat16")


def send(values: Tensor, to: torch.device) -> Tensor:
    """A tensor on the CPU to the device, without waiting: a plain copy would wait for all that the GPU has to do."""
    return values.pin_memory().to(to, non_blocking=True) if to.type == "cuda" else values.to(to)


def keep_memory() -> None:
    """Keep freed memory for the next step, where the C library is glibc: by default it goes back to the system.

    Every step would have it zeroed and mapped again, page by page, which takes an eighth of the step.
    """
    import ctypes

    try:
        tune = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        tune(parameter, 2**31 - 1)
