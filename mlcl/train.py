"""Train one method on one data set from one seed.

Everything random in a step is a function of (seed, step), so that a run needs to remember only its weights, its
optimiser and its place to continue exactly where it was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import pickle
import sys
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from mlcl import augment, config, distributed, episodes, hardware, record, seeds, solve
from mlcl.centroids import nearest_centroid
from mlcl.data.packed import Packed
from mlcl.embed import batches, embed, to_images
from mlcl.encoders import Encoder, save
from mlcl.errors import UserError
from mlcl.features import Features
from mlcl.files import alone, clear_unfinished, replacing
from mlcl.fingerprint import fingerprint
from mlcl.objectives import Objective
from mlcl.progress import Progress
from mlcl.sgd import SGD
from mlcl.teacher import Teacher

SAVE_SECONDS = 60.0
SAVE_COST = 50  # at the end of an epoch, where this many times as long as a save takes has passed since the last
LOCK_SECONDS = 60.0
LOG_STEPS = 20
TAGS = {"accuracy": "accuracy/train", "loss": "loss/total"}  # what TensorBoard calls them


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
        if len(self.base.labels) < spec.batch_size:
            raise UserError(f"training.batch_size: {spec.batch_size} is more than the {len(self.base.labels)} images")
        if spec.batch_size < distributed.size():
            raise UserError(f"training.batch_size: {spec.batch_size} leaves some of {distributed.size()} GPUs no image")
        side = packed.images.shape[1]
        if spec.sides and 2 * min(spec.sides) < side:
            raise UserError(
                f"training.sides: {min(spec.sides)} is less than half of the images' {side} pixels, of which it would "
                "skip some; take larger views"
            )
        self.check_validation()
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

    def check_validation(self) -> None:
        """Before hours of training, not after: raise `UserError` where the validation split is too small."""
        spec, counts = self.method.training.validation, np.bincount(self.validation.labels)
        try:
            episodes.check("val", len(counts), counts.min(), way=spec.way, shot=spec.shot, queries=spec.queries)
        except UserError as error:
            raise UserError(f"training.validation: {error}") from None

    def validate(self) -> dict[str, float]:
        """Few-shot accuracy on the validation classes by nearest centroids: of the last level, and of all together."""
        spec = self.method.training.validation
        self.encoder.eval()
        images = batches(self.validation.images, self.device)
        # What is compiled is so for training; where nothing is, torch need not load its compiler.
        with torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext():
            levels = embed(self.encoder, images, self.device, self.method.training.precision)
            vectors = np.concatenate([torch.cat(batch, 1).numpy() for batch in levels])
        bank = solve.Bank(Features(vectors, self.encoder.dims), self.device)
        tasks = episodes.sample(
            self.validation.labels, split="val", episodes=spec.episodes, way=spec.way, shot=spec.shot,
            queries=spec.queries, seed=self.seed,
        )  # fmt: skip
        found = solve.accuracies(bank, tasks, {"nearest_centroid": nearest_centroid})
        representations = {"val_last_level": f"level{len(bank.dims)}", "val_ensemble": "mean_probability"}
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


def train(
    data: Path,
    method: config.Method,
    seed: int,
    devices: list[torch.device],
    out: Path,
    records: Path,
    scratch: Path,
    max_minutes: float = math.inf,
    teacher: Path | None = None,
) -> None:
    """Write out/model.safetensors (the encoder), records/metrics.csv (one row an epoch) and records/run.json.

    `scratch` holds what is of use only while training: the state from which a killed run continues, and TensorBoard's
    events. `teacher` is the checkpoint to learn from, where the method has a distillation. On several devices, a
    process each shares every batch; so do the processes that torchrun starts by hand, on several hosts for instance.
    Raises `UserError` for bad input, where the loss stops being finite, where another training uses `scratch`, where
    one of the processes fails, where torchrun's processes are to start some themselves, and after `max_minutes`, its
    state saved.
    """
    if method.objective.distillation and teacher is None:
        raise UserError("objective.distillation: give the teacher's model.safetensors with --teacher")
    if teacher and not method.objective.distillation:
        raise UserError(f"{teacher}: the method has no objective.distillation, and so no use for a teacher")
    arguments = (data, method, seed, devices, out, records, scratch, time.time() + 60 * max_minutes, teacher)
    if len(devices) > 1:
        if torch.distributed.is_torchelastic_launched():
            raise UserError("--gpus: torchrun has started the processes, one a GPU; leave --gpus out")
        distributed.launch(len(devices), _train, *arguments)
    else:
        _train(*arguments)


def set_torch_up(device: torch.device, threads: int) -> None:
    """For a training in this process."""
    hardware.keep_memory()
    torch.set_num_threads(threads)
    # Not by use_deterministic_algorithms, which loads torch's compiler: a third of what a small training takes.
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")
    torch.backends.cudnn.benchmark = True  # many steps have the same shapes: look once for the fastest convolutions
    torch.utils.deterministic.fill_uninitialized_memory = False  # a seventh of a step, and nothing here reads any


def _train(
    data: Path,
    method: config.Method,
    seed: int,
    devices: list[torch.device],
    out: Path,
    records: Path,
    scratch: Path,
    deadline: float,
    teacher: Path | None,
) -> None:
    set_torch_up(devices[0], method.training.threads)
    packed = Packed(data)
    with distributed.joined(devices) as device, contextlib.ExitStack() as held:
        first = distributed.rank() == 0
        if first:  # a training that was killed may take a moment to die
            held.enter_context(alone(scratch, "training there", LOCK_SECONDS))
        run = Run(packed, method, seed, device, teacher)
        # What the result depends on: only a state of the same is continued.
        made_by = {
            "data": packed.identity,
            "shape": packed.manifest["shape"],
            "base_classes": run.base.classes,
            "method": method.model_dump(mode="json", exclude={"title"}),
            "seed": seed,
            "code": fingerprint("train"),
            "torch": torch.__version__,
            "device": device.type,
            "precision": hardware.precision(device, method.training.precision),
        } | ({"teacher": run.teacher.sha256} if run.teacher else {})
        digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
        state_file = scratch / f"state-{digest[:12]}.pt"
        took = resume(run, state_file)
        watch = record.Watch(devices, took, distributed.size())
        with Witness(run, scratch, state_file, watch) if first else contextlib.nullcontext() as witness:
            while run.step < run.steps:
                if run.step % LOG_STEPS == 0 and distributed.from_first(time.time() > deadline):
                    if witness:
                        witness.save()
                    distributed.from_first(None)  # the first that ends ends them all: not before all is saved
                    raise UserError(f"{scratch}: at step {run.step} of {run.steps} time is up; run again to continue")
                parts = run.advance()
                row = run.close_epoch() if run.step % run.steps_per_epoch == 0 else None
                if witness:
                    witness.step(parts, row)
        if witness:
            with replacing(records / "metrics.csv") as (temporary,):
                pd.DataFrame(run.history).to_csv(temporary, index=False, float_format="%.6f")
            images = run.steps * method.training.batch_size
            record.write(records / "run.json", made_by, watch.so_far(), images, device, distributed.size())
            # Last: where a model is, its records are.
            save(run.encoder, out / "model.safetensors", made_by, run.objective.classifier)
            state_file.unlink(missing_ok=True)


def resume(run: Run, state_file: Path) -> dict[str, Any] | None:
    """Continue from a saved state, if there is one; what the training took until then.

    Raises `UserError` where it cannot be read.
    """
    first = distributed.rank() == 0
    state = distributed.from_first(load_state(state_file) if first else None)
    if state is None:
        for other in state_file.parent.glob("state-*.pt") if first else ():
            print(f"{other}: is of another recipe, data or version; not continued", file=sys.stderr, flush=True)
        return None
    run.restore(state)
    if first:
        print(f"{state_file}: continuing from step {run.step} of {run.steps}", file=sys.stderr, flush=True)
    return state["took"]


def load_state(state_file: Path) -> dict[str, Any] | None:
    """A saved state, or None where there is none."""
    clear_unfinished(state_file)
    try:
        return torch.load(state_file, map_location="cpu", weights_only=True) if state_file.exists() else None
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]  # of PyTorch's advice the first sentence
        raise UserError(f"{state_file}: is damaged ({reason}); delete it to train from the start") from error


class Witness:
    """Tells how a training goes (to the terminal and to TensorBoard) and saves its state; a context manager."""

    def __init__(self, run: Run, scratch: Path, state_file: Path, watch: record.Watch):
        self.run, self.state_file, self.watch = run, state_file, watch
        self.saved, self.cost = time.monotonic(), 0.0
        self.writer, self.size = SummaryWriter(scratch, purge_step=run.step), run.method.training.batch_size
        if run.step == 0:
            for i, views in enumerate(run.batch()[0].chunk(2), start=1):
                self.writer.add_images(f"view {i}", views[:64].cpu(), 0)
        name, images = "/".join(scratch.parts[-3:]), run.steps * self.size
        work = partial(pixels, run.method.training)
        self.progress = Progress(name, images, "images", done=run.step * self.size, work=work)

    def __enter__(self) -> Witness:
        self.progress.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.progress.__exit__(*error)
        self.writer.close()

    def step(self, parts: dict[str, Tensor], row: dict[str, float] | None) -> None:
        """After a step: the parts of its loss, and the epoch's row where it closed one.

        Raises `UserError` where the loss is not finite.
        """
        run, method = self.run, self.run.method
        self.progress.advance(self.size)
        if run.step % LOG_STEPS == 0:
            self.progress.status = f"loss {self.log(parts):.3f}"
        if row:
            self.check(row["loss"])
            for key in [key for key in row if key.startswith("val_")]:
                self.writer.add_scalar(f"accuracy/{key}", row[key], run.step)
            self.progress.say(describe(row, method.training.epochs))
            for level in collapsed(row, method):
                self.progress.say(f"level {level}: its projections are all the same; raise training.schedule.warmup")
        since = time.monotonic() - self.saved
        if since > SAVE_SECONDS or (row and since > SAVE_COST * self.cost):
            self.save()

    def save(self) -> None:
        """The state from which the training continues."""
        start = time.monotonic()
        with replacing(self.state_file) as (temporary,):
            torch.save({**self.run.state(), "took": self.watch.so_far()}, temporary)
        self.saved = time.monotonic()
        self.cost = self.saved - start

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at step {self.run.step}; lower training.learning_rate")

    def log(self, parts: dict[str, Tensor]) -> float:
        """Write the step's scalars to TensorBoard; the loss."""
        values = {name: float(value) for name, value in parts.items()}
        self.check(values["loss"])
        for name, value in values.items():
            self.writer.add_scalar(TAGS.get(name, f"loss/{name}"), value, self.run.step)
        self.writer.add_scalar("learning rate", self.run.rate, self.run.step)
        self.writer.add_scalar("images a second", self.progress.rate, self.run.step)
        return values["loss"]


def describe(row: dict[str, float], epochs: int) -> str:
    """An epoch in a line."""
    text = f"epoch {row['epoch']}/{epochs} loss {row['loss']:.3f}"
    if "val_ensemble" in row:
        text += f" val {row['val_last_level']:.1%} (last level) {row['val_ensemble']:.1%} (ensemble)"
    return text


def collapsed(row: dict[str, float], method: config.Method) -> list[int]:
    """The levels whose contrastive loss stayed, over an epoch, at the log(2N - 1) of projections that are all equal."""
    uninformed = math.log(2 * method.training.batch_size - 1)
    return [level for level in method.objective.levels if abs(row[f"level{level}"] - uninformed) < 0.02]


def _on_gpu(images: np.ndarray, device: torch.device) -> Tensor | None:
    """The whole split [N, H, W, C] on the GPU where it takes less than half of what is free; else None."""
    if device.type != "cuda" or images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return None
    return copied(images, device)


def copied(images: np.ndarray, device: torch.device, block: int = 4096) -> Tensor:
    """Mapped images [N, H, W, C] as a tensor on the device, a block at a time: all of them need not fit in memory."""
    tensor = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), block):
        tensor[start : start + block] = torch.tensor(images[start : start + block])
    return tensor
