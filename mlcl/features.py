"""Encoder and packed images -> the representations of every level, as memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlcl import config, encoders, hardware
from mlcl.data.packed import SPLITS, Packed
from mlcl.errors import UserError
from mlcl.files import replacing
from mlcl.progress import Progress

BATCH = 256


def to_images(rows: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, C, H, W] on the device, channels last in memory as the encoders want them."""
    return torch.tensor(rows).to(device).permute(0, 3, 1, 2)


@torch.inference_mode()
def embed(
    encoder: encoders.Encoder, images: np.ndarray, device: torch.device, precision: str
) -> Iterator[list[Tensor]]:
    """The representations of images [N, H, W, C], batch by batch: one float32 [n, D_l] a level, on the CPU."""
    for start in range(0, len(images), BATCH):
        batch = to_images(images[start : start + BATCH], device).float() / 255
        with hardware.autocast(device, precision):
            yield [vectors.float().cpu() for vectors in encoder(batch)]


def extract(data: Path, model: Path, device: torch.device, out: Path, overlap: bool = False) -> None:
    """Write out/<split>.npy for every split: one record an image, one field a level, as `load` gives them.

    Raises `UserError` where the model does not fit the data or a feature is not finite in float16; and, unless
    `overlap` is asked for, where it was trained on other data whose base classes are among these data's novel ones.
    """
    packed = Packed(data)
    encoder, made_by = encoders.load(model)
    method = config.Method.model_validate(made_by["method"])
    if len(encoder.mean) != packed.images.shape[-1]:
        raise UserError(f"{model}: is for images of {len(encoder.mean)} channels; {data} has {packed.images.shape[-1]}")
    if not overlap:
        _check_overlap(packed, made_by, model)
    torch.set_num_threads(method.training.threads)
    encoder.to(device)
    record = np.dtype(
        [(f"level{level}", np.float16, (dim,)) for level, dim in zip(encoder.spec.levels, encoder.dims, strict=True)]
    )
    with Progress(str(out), len(packed.images), "images") as progress:
        for name in SPLITS:
            images = packed.split(name).images
            with replacing(out / f"{name}.npy") as (temporary,):
                records = np.lib.format.open_memmap(temporary, "w+", record, (len(images),))
                rows = slice(0, 0)
                for vectors in embed(encoder, images, device, method.training.precision):
                    rows = slice(rows.stop, rows.stop + len(vectors[0]))
                    for level, values in zip(record.names, vectors, strict=True):
                        records[level][rows] = values.numpy()
                        if not np.isfinite(records[level][rows]).all():
                            raise UserError(f"{model}: gives features beyond float16 at {level}; train it again")
                    progress.advance(len(vectors[0]))
                records.flush()


def _check_overlap(packed: Packed, made_by: dict[str, Any], model: Path) -> None:
    if made_by["data"] == packed.manifest["sha256"]:
        return
    novel = packed.classes.loc[packed.classes["split"] != "train", "class"]
    seen = sorted(set(made_by["base_classes"]) & set(novel))
    if seen:
        raise UserError(
            f"{model}: was trained on {len(seen)} classes, {seen[0]} among them, that {packed.folder} validates or "
            "tests on; take an encoder trained on other classes, or add --overlap if you mean it"
        )


def load(path: Path) -> list[np.ndarray]:
    """The levels' features of a split, float16 [N, D_l], first to last, memory-mapped.

    All levels of an image lie together on disk, so that an episode reads each of its images in one place.
    Raises `UserError` where the file is missing or damaged.
    """
    try:
        records = np.load(path, mmap_mode="r")
        return [records[level] for level in records.dtype.names]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: holds no readable features ({error}); make them with 'mlcl features'") from error
