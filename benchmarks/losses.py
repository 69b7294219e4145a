"""The supervised contrastive loss, forward and backward, against pytorch-metric-learning's and SupContrast's.

An image is two rows of unit vectors, one a view. Memory is the peak above what was in use before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor
from torch.nn import functional as F

from benchmarks.compare import alternate, memory, milliseconds, write
from mlcl.objectives import contrast

DIM, CLASSES, TEMPERATURE, RUNS = 128, 64, 0.1, 11
CASES = ((512, 1), (1024, 1), (1024, 4))  # images, levels summed
CORES = os.cpu_count() or 1
GPU = torch.cuda.is_available()

Loss = Callable[[list[Tensor], Tensor], Tensor]
"""Unit vectors, one tensor a level, and labels -> the levels' losses summed."""


def supcontrast(z: Tensor, labels: Tensor) -> Tensor:
    """As SupContrast's losses.py has it (Khosla et al. 2020), for z already normalised."""
    positive = torch.eq(labels[:, None], labels[None, :]).float()
    others = torch.ones_like(positive).fill_diagonal_(0)
    positive = positive * others
    logits = z @ z.T / TEMPERATURE
    logits = logits - logits.max(1, keepdim=True).values.detach()
    exponentials = torch.exp(logits) * others
    log_probability = logits - torch.log(exponentials.sum(1, keepdim=True))
    return -((positive * log_probability).sum(1) / positive.sum(1)).mean()


REFERENCE, OURS = "SupContrast's formulation", "ours"


def level_by_level(loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    return lambda levels, labels: sum(loss(z, labels) for z in levels)


LOSSES: dict[str, Loss] = {
    "pytorch-metric-learning": level_by_level(SupConLoss(TEMPERATURE)),
    REFERENCE: level_by_level(supcontrast),
    OURS: lambda levels, labels: contrast(torch.stack(levels), labels, TEMPERATURE).sum(),
}


def make(images: int, levels: int) -> tuple[list[Tensor], Tensor]:
    """Unit vectors [2 * images, DIM] of every level, which want a gradient, and their labels."""
    generator = torch.Generator().manual_seed(0)
    device = "cuda" if GPU else "cpu"
    labels = torch.randint(CLASSES, (images,), generator=generator).repeat(2)
    centres = torch.randn(CLASSES, DIM, generator=generator)
    noise = torch.randn(levels, 2 * images, DIM, generator=generator)
    vectors = F.normalize(0.5 * centres[labels] + noise, dim=2).to(device)
    return [z.requires_grad_() for z in vectors.unbind()], labels.to(device)


def step(loss: Loss, vectors: list[Tensor], labels: Tensor) -> Tensor:
    """The loss; its gradient is left in the vectors."""
    for z in vectors:
        z.grad = None
    total = loss(vectors, labels)
    total.backward()
    return total.detach()


def against_peers() -> list[dict[str, object]]:
    rows = []
    for images, levels in CASES:
        vectors, labels = make(images, levels)
        megabytes = {name: peak(name, images, levels) for name in LOSSES}
        value, gradient = difference(LOSSES[OURS], vectors, labels)
        for threads in [CORES] if GPU else sorted({1, CORES}):
            torch.set_num_threads(threads)
            runs = {name: partial(step, loss, vectors, labels) for name, loss in LOSSES.items()}
            seconds = alternate(runs, RUNS)
            for peer in [name for name in LOSSES if name != OURS]:
                rows.append({
                    "images": images, "levels": levels, "threads": threads, "peer": peer,
                    "peer ms": milliseconds(seconds[peer]), "ours ms": milliseconds(seconds[OURS]),
                    "ratio": round(seconds[peer] / seconds[OURS], 1), "peer MB": f"{megabytes[peer]:.0f}",
                    "ours MB": f"{megabytes[OURS]:.0f}", "value off by": f"{value:.0e}",
                    "gradient off by": f"{gradient:.0e}",
                })  # fmt: skip
    return rows


def difference(loss: Loss, vectors: list[Tensor], labels: Tensor) -> tuple[float, float]:
    """How far value and gradient are from the reference's in float64, relative to the largest of these.

    Of the gradient, the part along the sphere: the one that a normalised projection lets through.
    """
    exact = [z.detach().double().requires_grad_() for z in vectors]
    value, found = step(LOSSES[REFERENCE], exact, labels), step(loss, vectors, labels)
    wanted, gradients = (torch.stack([along_sphere(z) for z in of]) for of in (exact, vectors))
    return (
        float((found - value).abs() / value.abs()),
        float((gradients - wanted).abs().max() / wanted.abs().max()),
    )


def along_sphere(z: Tensor) -> Tensor:
    rows = z.detach()
    return z.grad - (z.grad * rows).sum(1, keepdim=True) * rows


# -- memory --------------------------------------------------------------------------------------------------


def peak(name: str, images: int, levels: int) -> float:
    """Megabytes, in a fresh process: what one run frees, the next would take without a trace."""
    command = [sys.executable, "-m", "benchmarks.losses", name, str(images), str(levels)]
    # Whatever is large is taken from the system and goes back when freed: else the peak changes from run to run.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def one(name: str, images: int, levels: int) -> None:
    """Print the megabytes by which a step raises the peak."""
    step(LOSSES[name], *make(64, 1))  # the libraries' own memory
    vectors, labels = make(images, levels)
    if GPU:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(LOSSES[name], vectors, labels)
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    with memory() as used:
        step(LOSSES[name], vectors, labels)
    print(used.peak)


def main(out: Path) -> None:
    about = (
        f"Supervised contrastive loss, forward and backward: {DIM} dimensions, {CLASSES} classes, temperature "
        f"{TEMPERATURE}, two views an image; off by: ours from SupContrast's formulation in float64, relative."
    )
    write(out, "losses", about, against_peers())


if __name__ == "__main__":
    one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
