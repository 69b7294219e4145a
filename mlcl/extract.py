"""Encoder and packed images -> the representations of every level, in files that `features.load` reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlcl import augment, encoders, features, hardware, seeds
from mlcl.data.naming import comparable
from mlcl.data.packed import SPLITS, Packed, identity
from mlcl.embed import BATCH, batches, embed
from mlcl.errors import UserError
from mlcl.files import allocate, clear_unfinished, replacing, sha256
from mlcl.fingerprint import fingerprint
from mlcl.progress import Progress

CODE = fingerprint("extract")  # now: a process goes on with the code that it has read, whoever changes the files


def extract(
    data: Path,
    model: Path,
    device: torch.device,
    out: Path,
    splits: Sequence[str] = SPLITS,
    overlap: bool = False,
) -> None:
    """Write out/<split>.npy for each of the `splits`: one record an image, one field a level.

    Raises `UserError` where the model does not fit the data or a feature is not finite in float16; and, unless
    `overlap` is asked for, where it was trained on other data whose base classes are among these data's novel ones, or
    may be.
    """
    extractor = Extractor(data, model, device, overlap)
    images = {name: extractor.packed.split(name).images for name in splits}
    with Progress(str(out), sum(map(len, images.values())), "images") as progress:
        for name, some in images.items():
            of = features.origin(extractor.packed, name)
            extractor.write(batches(some, device), len(some), of, out / f"{name}.npy", progress)


def extract_copies(
    data: Path, model: Path, split: str, copies: int, seed: int, device: torch.device, out: Path, overlap: bool = False
) -> None:
    """Write `out` with the features of `copies` augmented copies of every image of a split, image after image.

    A copy is shifted, mirrored and jittered as a training view of the style `crop`: what stands for a support image
    in RFS' evaluation (Tian et al. 2020), which takes 5. Raises `UserError` as `extract` does.
    """
    extractor = Extractor(data, model, device, overlap)
    images, flip = extractor.packed.split(split).images, extractor.packed.manifest["flip"]
    with Progress(str(out), len(images) * copies, "copies") as progress:
        of = features.origin(extractor.packed, split, copies, seed)
        extractor.write(augmented(images, copies, flip, seed, device), len(images) * copies, of, out, progress)


class Extractor:
    """A model that fits the data, ready to write its representations of images."""

    def __init__(self, data: Path, model: Path, device: torch.device, overlap: bool):
        self.packed, self.model, self.device = Packed(data), model, device
        self.encoder, made_by = encoders.load(model)
        self.training = encoders.recipe(made_by, model).training
        takes, channels = len(self.encoder.mean), self.packed.images.shape[-1]
        if channels not in (1, takes):  # grey ones it takes as colours that are all the same
            raise UserError(f"{model}: is for images of {takes} channels; {data} has {channels}")
        if not overlap:
            _check_overlap(self.packed, made_by, model)
        hardware.keep_memory()
        torch.set_num_threads(self.training.threads)
        self.encoder.to(device)
        precision = hardware.precision(device, self.training.precision)
        self.made_by = {"model": sha256(model), "extract": CODE, "precision": precision}

    def write(self, images: Iterable[Tensor], count: int, of: Mapping[str, Any], out: Path, progress: Progress) -> None:
        """Write `out`, a record each of `count` images, of batches float [n, C, H, W] in [0, 1]; `of` says which.

        Raises `UserError` where a feature is not finite in float16.
        """
        clear_unfinished(out)  # gigabytes, after a kill
        with replacing(out) as (temporary,):
            layout = features.layout(self.encoder.dims, of, self.made_by)
            records = np.lib.format.open_memmap(temporary, "w+", layout, (count,))
            allocate(temporary)
            rows = slice(0, 0)
            for vectors in embed(self.encoder, images, self.device, self.training.precision):
                rows = slice(rows.stop, rows.stop + len(vectors[0]))
                for level, values in zip(layout.names, vectors, strict=True):
                    records[level][rows] = values.numpy()
                    if not np.isfinite(records[level][rows]).all():
                        raise UserError(
                            f"{self.model}: gives features beyond float16 at {level}; train it again, with a lower "
                            "training.learning_rate"
                        )
                progress.advance(len(vectors[0]))
            records.flush()


def _check_overlap(packed: Packed, made_by: dict[str, Any], model: Path) -> None:
    base = made_by["base_classes"]
    if identity(made_by["data"]) == packed.identity:
        return
    if not comparable((made_by.get("source"), base), (packed.source, packed.classes["class"])):
        raise UserError(
            f"{model}: was trained on classes of ImageNet, and whether {packed.folder} validates or tests on them is "
            "not to be told, as not both name theirs by WordNet's ids; take files that do, or add --overlap in any case"
        )
    if seen := packed.novel_among(base):
        raise UserError(
            f"{model}: was trained on {len(seen)} classes, {seen[0]} among them, that {packed.folder} validates or "
            "tests on; take an encoder trained on other classes, or add --overlap if you mean it"
        )


def augmented(images: np.ndarray, copies: int, flip: bool, seed: int, device: torch.device) -> Iterator[Tensor]:
    """`copies` augmented copies of every image, image after image, in batches about as large as those of `batches`."""
    size = max(1, BATCH // copies)
    for place, some in enumerate(batches(images, device, size=size)):
        repeated = some.repeat_interleave(copies, 0)
        draws = augment.Draws(len(repeated), seeds.generator(seed, "copies", place * size))
        yield augment.view(repeated, "crop", flip, draws)
