"""Train one method on one data set from one seed: begin or go on, tell how it goes, save, stop in time, and end."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import pickle
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mlcl import config, distributed, hardware, record
from mlcl.data.packed import Packed
from mlcl.encoders import serialised
from mlcl.errors import UserError
from mlcl.files import alone, clear_unfinished, replacing, write_all
from mlcl.fingerprint import fingerprint
from mlcl.progress import Progress
from mlcl.training import Run, pixels

SAVE_SECONDS = 60.0
SAVE_COST = 50  # at the end of an epoch, where this many times as long as a save takes has passed since the last
LOCK_SECONDS = 60.0
LOG_STEPS = 20
CODE = fingerprint("train")  # now: a process goes on with the code that it has read, whoever changes the files
TAGS = {"accuracy": "accuracy/train", "loss": "loss/total"}  # what TensorBoard calls them


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
            "source": packed.source,
            "shape": packed.manifest["shape"],
            "base_classes": run.base.classes,
            "method": method.model_dump(mode="json", exclude={"title"}),
            "seed": seed,
            "code": CODE,
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
                # Several processes have to agree, which takes a while.
                look = run.step % LOG_STEPS == 0 or distributed.size() == 1
                if look and distributed.from_first(time.time() > deadline):
                    if witness:
                        witness.save()
                    distributed.from_first(None)  # the first that ends ends them all: not before all is saved
                    raise UserError(f"{scratch}: at step {run.step} of {run.steps} time is up; run again to continue")
                parts = run.advance()
                row = run.close_epoch() if run.step % run.steps_per_epoch == 0 else None
                if witness:
                    witness.step(parts, row)
        if witness:
            witness.check_weights()
            with replacing(records / "metrics.csv") as (temporary,):
                pd.DataFrame(run.history).to_csv(temporary, index=False, float_format="%.6f")
            images = run.steps * method.training.batch_size
            model = serialised(run.encoder, made_by, run.objective.classifier)
            checksum, took = hashlib.sha256(model).hexdigest(), watch.so_far()
            record.write(records / "run.json", made_by, checksum, took, images, device, distributed.size())
            write_all({out / "model.safetensors": model})  # last: where a model is, its records are
            state_file.unlink(missing_ok=True)


def resume(run: Run, state_file: Path) -> dict[str, Any] | None:
    """Continue from a saved state, if there is one; what the training took until then.

    Raises `UserError` where it cannot be read.
    """
    first = distributed.rank() == 0
    state = distributed.from_first(load_state(state_file) if first else None)
    if state is None:
        for other in state_file.parent.glob("state-*.pt") if first else ():
            print(
                f"{other}: is of another recipe, data, version or device; not continued",
                file=sys.stderr,
                flush=True,
            )
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
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
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
        name, images = str(Path(*scratch.parts[-3:])), run.steps * self.size
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
        content = io.BytesIO()  # of a full disk torch's own writing says nothing
        torch.save({**self.run.state(), "took": self.watch.so_far()}, content)
        with replacing(self.state_file) as (temporary,):
            temporary.write_bytes(content.getbuffer())
        self.saved = time.monotonic()
        self.cost = self.saved - start

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at step {self.run.step}; lower training.learning_rate")

    def check_weights(self) -> None:
        """After the last step, whose loss is of the weights before it."""
        if not all(bool(values.isfinite().all()) for values in self.run.encoder.state_dict().values()):
            raise UserError("the last steps left weights that are not finite; lower training.learning_rate")

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
    """The levels whose contrastive loss stayed, over an epoch, at the log(2N - 1) of projections that are all equal.

    What projections that differ take off it is in proportion to 1 / temperature.
    """
    uninformed, objective = math.log(2 * method.training.batch_size - 1), method.objective
    near = 0.002 / objective.temperature
    return [level for level in objective.levels if abs(row[f"level{level}"] - uninformed) < near]
