"""A two-view training step, augmentation and data loading included, against the plain loop that the field uses.

The loop has PIL transforms in a DataLoader with a worker a core, float32 and torch's default memory format; encoder,
objective, batch and threads are the same, and so is the memory allocator's setting (`hardware.keep_memory`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import mlcl.vision  # noqa: F401  # before torchvision

# isort: split
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from benchmarks.compare import RUNS, alternate, write
from mlcl import augment, config, embed, hardware, seeds
from mlcl.data.pack import Class, Source, pack
from mlcl.data.packed import Packed
from mlcl.encoders import Encoder
from mlcl.objectives import Objective
from mlcl.train import set_torch_up
from mlcl.training import Run

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
CORES = os.cpu_count() or 1
WORKERS = min(CORES, 16)
CLASSES = {"train": 20, "val": 5, "test": 5}  # 64 : 16 : 20 in mini-ImageNet
IMAGES = 600 if GPU else 20  # a class
LEVELS = (1, 2, 3, 4)
# Of a view in a training step, forward and backward, and of mini-ImageNet's training.
RESNET12_FLOP, EPOCHS, EPOCH_IMAGES = 21.0e9, 90, 38_400


class Case(NamedTuple):
    encoder: str
    size: int
    channels: int
    batch: int
    steps: int
    """In a timed run; where loading takes the time, as many for each worker, so that all are busy to its end."""

    def row(self) -> dict[str, object]:
        return {"encoder": self.encoder, "size": f"{self.size}x{self.size}x{self.channels}", "batch": self.batch}


CASES = [Case("conv4", 32, 1, 64, 12), Case("conv4", 84, 3, 64, 2), Case("resnet12", 84, 3, 16, 1)]
if GPU:
    CASES = [case._replace(batch=128, steps=2 * WORKERS) for case in CASES]


def make(folder: Path, case: Case) -> Packed:
    """Noise, packed as the pipeline packs images."""
    classes = [Class(f"{split}{i}", split, split) for split, count in CLASSES.items() for i in range(count)]
    labels = np.repeat(np.arange(len(classes)), IMAGES)
    shape = (case.size, case.size, case.channels)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), np.uint8)
    source = Source(
        classes=classes,
        labels=labels,
        origins=pd.DataFrame({"file": "drawn", "place": labels.astype(str)}),
        items=lambda start: iter(images[start:]),
        decode=np.asarray,
        shape=shape,
        flip=True,
        provenance={"dataset": {"source": "noise"}},
    )
    pack(source, folder)
    return Packed(folder)


def method(case: Case) -> config.Method:
    return config.Method(
        encoder=config.Encoder(name=case.encoder),
        objective=config.Objective(contrast="supcon", levels=dict.fromkeys(LEVELS, 1.0)),
        training=config.Training(epochs=EPOCHS, batch_size=case.batch, threads=CORES),
    )


# -- ours ----------------------------------------------------------------------------------------------------


def ours(packed: Packed, case: Case, compiled: bool = False) -> Callable[[], None]:
    run = Run(packed, method(case), 0, DEVICE)
    if compiled:
        run.encoder.compile_network()

    def steps() -> None:
        set_torch_up(DEVICE, CORES)
        for _ in range(case.steps):
            run.advance()

    return steps


# -- the plain loop ------------------------------------------------------------------------------------------


class Pictures(Dataset):
    """Two views of PIL images: as RFS (Tian et al. 2020) augments them, and as SupContrast does."""

    def __init__(self, packed: Packed, size: int):
        base = packed.split("train")
        self.images = [Image.fromarray(image.squeeze()) for image in base.images]
        self.labels = base.labels.tolist()
        finish = [
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(packed.manifest["mean"], packed.manifest["std"]),
        ]
        self.crop = transforms.Compose([
            transforms.RandomCrop(size, padding=size // 10),
            transforms.ColorJitter(0.4, 0.4, 0.4),
            *finish,
        ])  # fmt: skip
        self.simclr = transforms.Compose([
            transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(0.2),
            *finish,
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, int]:
        return self.crop(self.images[i]), self.simclr(self.images[i]), self.labels[i]


class Plain(Encoder):
    """The same encoder in torch's default memory format, for images that the loader has normalised."""

    def __init__(self, spec: config.Encoder, packed: Packed):
        super().__init__(spec, packed.manifest["mean"], packed.manifest["std"])
        self.to(memory_format=torch.contiguous_format)

    def maps(self, images: Tensor) -> list[Tensor]:
        return self.network(images)


def plain(packed: Packed, case: Case) -> Callable[[], None]:
    spec, pictures = method(case), Pictures(packed, case.size)
    encoder = Plain(spec.encoder, packed).to(DEVICE).train()
    objective = Objective(spec.objective, encoder.dims, CLASSES["train"]).to(DEVICE)
    training = spec.training
    optimiser = torch.optim.SGD(
        nn.ModuleList([encoder, objective]).parameters(), training.learning_rate, training.momentum,
        weight_decay=training.weight_decay,
    )  # fmt: skip
    # A run is an epoch of its own: a loader that ran on would load ahead while the other contender is timed.
    loader = DataLoader(
        pictures, case.batch, sampler=RandomSampler(pictures, num_samples=case.batch * case.steps),
        num_workers=WORKERS, pin_memory=GPU, persistent_workers=True,
    )  # fmt: skip

    def steps() -> None:
        torch.set_deterministic_debug_mode("default")
        for first, second, labels in loader:
            views = torch.cat([first, second]).to(DEVICE, non_blocking=True)
            loss = objective(encoder(views), labels.to(DEVICE, non_blocking=True))["loss"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return steps


def against_plain(packed: Packed, case: Case) -> dict[str, float]:
    """Images a second of each."""
    contenders = {"plain loop": plain(packed, case), "ours": ours(packed, case)}
    if GPU:  # does it pay?
        contenders["compiled"] = ours(packed, case, compiled=True)
    seconds = alternate(contenders)
    return {name: case.batch * case.steps / value for name, value in seconds.items()}


# -- where the time goes --------------------------------------------------------------------------------------


class Laps:
    """Seconds of the parts of a run, the GPU's queue emptied after each."""

    def __init__(self):
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def start(self) -> None:
        if GPU:
            torch.cuda.synchronize()
        self.since = time.perf_counter()

    def end(self, part: str) -> None:
        if GPU:
            torch.cuda.synchronize()
        self.seconds[part].append(time.perf_counter() - self.since)
        self.since = time.perf_counter()

    def medians(self) -> dict[str, float]:
        """Without the first run, which warms up."""
        return {part: median(values[1:]) for part, values in self.seconds.items()}


def step_in_parts(run: Run, laps: Laps, seed: int) -> None:
    """What `Run.advance` does, with the time of each part."""
    spec = run.method.training
    generator = seeds.generator(seed, "views")
    rows = torch.randperm(len(run.labels), generator=generator)[: spec.batch_size]
    run.encoder.train()
    laps.start()
    images, labels = run.images(rows), run.labels[rows.to(run.device)]
    laps.end("data")
    views = augment.two_views(images, spec.augmentation, run.flip, augment.Draws(spec.batch_size, generator))
    laps.end("augmentation")
    with hardware.autocast(run.device, spec.precision):
        representations = run.encoder(views)
        laps.end("forward")
        loss = run.objective(representations, labels)["loss"]
    laps.end("loss")
    loss.backward()
    laps.end("backward")
    run.optimiser.step(spec.learning_rate)
    run.model.zero_grad()
    laps.end("optimiser")


def breakdown(packed: Packed, case: Case) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The parts of an epoch, and what augmentation and feature extraction give a second."""
    set_torch_up(DEVICE, CORES)
    run, laps = Run(packed, method(case), 0, DEVICE), Laps()
    for i in range(RUNS + 1):
        step_in_parts(run, laps, i)
        run.validate()
        laps.end("validation")
        images = embed.batches(run.validation.images, DEVICE)
        list(embed.embed(run.encoder, images, DEVICE, run.method.training.precision))
        laps.end("extraction")
    seconds = laps.medians()
    views = 2 * case.batch
    encoder = views / sum(seconds[part] for part in ("forward", "loss", "backward", "optimiser"))
    rates = {
        **case.row(),
        "augmentation, views/s": round(views / seconds["augmentation"]),
        "encoder trains on, views/s": round(encoder), "ratio": round(views / seconds["augmentation"] / encoder, 1),
        "target": 10 if GPU else "",
        "forward while training, views/s": round(views / seconds["forward"]),
        "feature extraction, images/s": round(len(run.validation.labels) / seconds.pop("extraction")),
    }  # fmt: skip
    # Validation comes once in several epochs.
    validation = seconds.pop("validation") / run.method.training.validation.every
    epoch = {part: value * run.steps_per_epoch for part, value in seconds.items()} | {"validation": validation}
    total = sum(epoch.values())
    rows = [
        {**case.row(), "part": part, "seconds an epoch": f"{value:.3f}", "share %": f"{100 * value / total:.1f}"}
        for part, value in epoch.items()
    ]
    return rows, rates


# -- the GPU --------------------------------------------------------------------------------------------------


def matmul_rate(side: int = 8192, repeats: int = 20) -> float:
    """Measured FLOP/s of a bfloat16 matrix product."""
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        for _ in range(repeats):
            torch.mm(a, b)

    return repeats * 2 * side**3 / alternate({"matmul": multiply})["matmul"]


def gpu_rows(images: float) -> list[dict[str, object]]:
    """How much of the GPU a ResNet-12 at so many images a second uses, and what that makes of a training."""
    rate, reached = matmul_rate(), images * 2 * RESNET12_FLOP
    return [{
        "bf16 matmul TFLOP/s": f"{rate / 1e12:.0f}", "resnet12 step TFLOP/s": f"{reached / 1e12:.0f}",
        "share %": f"{100 * reached / rate:.1f}",
        f"minutes for {EPOCHS} epochs of {EPOCH_IMAGES:,} images": f"{EPOCHS * EPOCH_IMAGES / images / 60:.1f}",
    }]  # fmt: skip


def main(out: Path) -> None:
    set_torch_up(DEVICE, CORES)
    speeds, epochs, rates = [], [], []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            packed = make(Path(folder), case)
            speeds.append(against_plain(packed, case))
            rows, rate = breakdown(packed, case)
        epochs += rows
        rates.append(rate)
    training = [
        {
            **case.row(), "plain loop images/s": f"{speed['plain loop']:.1f}", "ours images/s": f"{speed['ours']:.1f}",
            **({"compiled images/s": f"{speed['compiled']:.1f}"} if GPU else {}),
            "ratio": f"{speed['ours'] / speed['plain loop']:.2f}", "target": 5 if GPU else 2,
        }
        for case, speed in zip(CASES, speeds, strict=True)
    ]  # fmt: skip
    about = f"Training on two views an image, supcon at 4 levels, {CORES} threads, {WORKERS} workers of the plain loop."
    of = "-gpu" if GPU else ""  # beside the CPU's tables, of which cost.py takes the rates
    write(out, f"training{of}", about, training)
    about = f"An epoch of {CLASSES['train'] * IMAGES:,} images by part, with its share of a validation every 5 epochs."
    write(out, f"epoch{of}", about, epochs)
    write(out, f"rates{of}", "Augmentation and feature extraction beside the encoder's training.", rates)
    if GPU:
        about = f"ResNet-12 at 84x84 ({RESNET12_FLOP / 1e9} GFLOP a view) against a product of 8192x8192 matrices."
        write(out, "gpu", about, gpu_rows(speeds[-1]["compiled"]))
