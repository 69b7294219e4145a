"""A training in progress: its model, and one step and one epoch of it after the other.

Everything random in a step is a function of (seed, step), so that a training needs to remember only its weights, its
optimiser and its place to continue exactly where it was stopped.
"""

from __future__ import annotations

import contextlib
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlcl import augment, config, distributed, episodes, hardware, seeds, solve
from mlcl.centroids import nearest_centroid
from mlcl.data.packed import Packed
from mlcl.embed import batches, embed, to_images
from mlcl.encoders import Encoder
from mlcl.errors import UserError
from mlcl.features import Features
from mlcl.objectives import Objective
from mlcl.representations import ENSEMBLE, level
from mlcl.sgd import SGD
from mlcl.teacher import Teacher


def learning_rate(spec: config.Training, progress: float) -> float:
    """The learning rate at a share of the training in [0, 1]: linear warm-up, then cosine or steps."""
    schedule = spec.schedule
    if progress < schedule.warmup:
        return spec.learning_rate * progress / schedule.warmup
    if schedule.name == "step":
        return spec.learning_rate * schedule.decay ** sum(progress >= m for m in schedule.milestones)
    return spec.learning_rate * (1 + math.cos(math.pi * (progress - schedule.warmup) / (1 - schedule.warmup))) / 2


def view_side(spec: config.Training, progress: float) -> int | None:
    """The side of the views, in pixels, at a share of the training in [0, 1); None: that of the images."""
    return spec.sides[int(progress * len(spec.sides))] if spec.sides else None


def pixels(spec: config.Training, progress: float) -> float:
    """How much of a training's work lies in a first share of it, in [0, 1]: it goes as the pixels of the views."""
    sides = spec.sides or (1,)
    return sum(side**2 * min(max(progress * len(sides) - i, 0.0), 1.0) for i, side in enumerate(sides))


@lru_cache(maxsize=1)
def order(images: int, seed: int, epoch: int) -> Tensor:
    """The order [images] in which an epoch meets the images."""
    return torch.randperm(images, generator=seeds.generator(seed, "order", epoch))


class Learner(nn.Module):
    """Encoder and objective as one model: images to loss."""

    def __init__(self, encoder: Encoder, objective: Objective):
        super().__init__()
        self.encoder, self.objective = encoder, objective

    def forward(self, views: Tensor, labels: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return self.objective(self.encoder(views), labels, target)


class Run:
    """A training in progress: all that changes from step to step."""

    def __init__(
        self, packed: Packed, method: config.Method, seed: int, device: torch.device, teacher: Path | None = None
    ):
        spec, manifest = method.training, packed.manifest
        self.method, self.seed, self.device, self.flip = method, seed, device, manifest["flip"]
        self.base, self.validation = packed.split("train"), packed.split("val")
        spec.check(len(self.base.labels), packed.images.shape[1], distributed.size())
        self.tasks, self.met = self.validation_tasks()
        self.steps_per_epoch = len(self.base.labels) // spec.batch_size
        self.steps = spec.epochs * self.steps_per_epoch
        torch.manual_seed(seeds.derive(seed, "weights"))
        self.encoder = Encoder(method.encoder, manifest["mean"], manifest["std"]).to(device)
        self.objective = Objective(method.objective, self.encoder.dims, len(self.base.classes)).to(device)
        self.compiled = spec.compile and device.type == "cuda"
        if self.compiled:
            self.encoder.compile_network()
        self.teacher = Teacher(teacher, self.base.classes, device, self.compiled) if teacher else None
        self.model = distributed.together(Learner(self.encoder, self.objective), device)
        parameters = [*self.encoder.parameters(), *self.objective.parameters()]
        self.optimiser = SGD(parameters, spec.momentum, spec.weight_decay)
        self.step = 0
        self.sums: dict[str, Tensor] = {}  # of the losses in this epoch, float64
        self.history: list[dict[str, float]] = []  # one row an epoch
        self.labels = torch.from_numpy(self.base.labels).to(device)
        self.resident = _on_gpu(self.base.images, device)

    # -- one step ---------------------------------------------------------------------------------------------

    def batch(self) -> tuple[Tensor, Tensor]:
        """Two views of the step's images, float [2n, C, side, side], and the labels [N] of the whole batch.

        The images are this process' share: all N, unless several processes train together.
        """
        epoch, place = divmod(self.step, self.steps_per_epoch)
        spec, size = self.method.training, self.method.training.batch_size
        rows, own = order(len(self.labels), self.seed, epoch)[place * size :][:size], distributed.share(size)
        draws = augment.Draws(size, seeds.generator(self.seed, "views", self.step), own)
        side = view_side(spec, self.step / self.steps)
        views = augment.two_views(self.images(rows[own]), spec.augmentation, self.flip, draws, side)
        return views, self.labels[hardware.send(rows, self.device)]

    def images(self, rows: Tensor) -> Tensor:
        """The base images `rows` [N], uint8 [N, C, H, W] on the device."""
        if self.resident is None:
            return to_images(self.base.images[rows.numpy()], self.device)
        return self.resident[hardware.send(rows, self.device)].permute(0, 3, 1, 2)

    def advance(self) -> dict[str, Tensor]:
        """One step of SGD; the parts of its loss."""
        self.model.train()
        self.rate = learning_rate(self.method.training, self.step / self.steps)
        views, labels = self.batch()
        torch.manual_seed(seeds.derive(self.seed, "drop", self.step, distributed.rank()))
        with hardware.autocast(self.device, self.method.training.precision):
            parts = self.model(views, labels, self.teacher(views) if self.teacher else None)
        self.model.zero_grad()
        parts["loss"].backward()
        self.optimiser.step(self.rate)
        self.step += 1
        parts = {name: value.detach() for name, value in parts.items()}
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0) + value.double()
        return parts

    # -- the end of an epoch ----------------------------------------------------------------------------------

    def close_epoch(self) -> dict[str, float]:
        """The epoch's row of metrics, added to the history."""
        spec, epoch = self.method.training, self.step // self.steps_per_epoch
        row: dict[str, float] = {"epoch": epoch, "learning_rate": self.rate}
        row |= {name: float(total) / self.steps_per_epoch for name, total in self.sums.items()}
        if epoch % spec.validation.every == 0 or epoch == spec.epochs:
            row |= self.validate()
        self.sums = {}
        self.history.append(row)
        return row

    def validation_tasks(self) -> tuple[episodes.Episodes, np.ndarray]:
        """The tasks of every validation, as rows of the images that they meet, and these among all, ascending.

        Raises `UserError` where the validation split is too small: before hours of training, not after.
        """
        spec = self.method.training.validation
        try:
            tasks = episodes.sample(
                self.validation.labels, split="val", episodes=spec.episodes, way=spec.way, shot=spec.shot,
                queries=spec.queries, seed=self.seed,
            )  # fmt: skip
        except UserError as error:
            raise UserError(f"training.validation: {error}") from None
        met = np.union1d(tasks.support, tasks.query)
        return episodes.Episodes(np.searchsorted(met, tasks.support), np.searchsorted(met, tasks.query)), met

    def validate(self) -> dict[str, float]:
        """Few-shot accuracy on the validation classes by nearest centroids: of the last level, and of all together."""
        self.encoder.eval()
        images = batches(self.validation.images, self.device, self.met)
        # What is compiled is so for training; where nothing is, torch need not load its compiler.
        with torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext():
            levels = embed(self.encoder, images, self.device, self.method.training.precision)
            vectors = np.concatenate([torch.cat(batch, 1).numpy() for batch in levels])
        bank = solve.Bank(Features(vectors, self.encoder.dims), self.device)
        found = solve.accuracies(bank, self.tasks, {"nearest_centroid": nearest_centroid})
        representations = {"val_last_level": level(len(bank.dims)), "val_ensemble": ENSEMBLE}
        return {key: float(found["nearest_centroid", name].mean()) for key, name in representations.items()}

    # -- to stop and go on ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Tensors and Python's own numbers alone: `load_state` reads nothing else."""
        return {
            "step": self.step,
            "encoder": self.encoder.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state(),
            "sums": self.sums,
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.restore(state["optimiser"])
        self.step, self.sums, self.history = state["step"], state["sums"], state["history"]


def _on_gpu(images: np.ndarray, device: torch.device) -> Tensor | None:
    """The whole split [N, H, W, C] on the GPU where it takes less than half of what is free; else None."""
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()  # what a training before this one left reserved is free
    if images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return None
    return copied(images, device)


def copied(images: np.ndarray, device: torch.device, block: int = 4096) -> Tensor:
    """Mapped images [N, H, W, C] as a tensor on the device, a block at a time: all of them need not fit in memory."""
    tensor = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), block):
        tensor[start : start + block] = torch.tensor(images[start : start + block])
    return tensor
