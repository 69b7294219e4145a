"""Images -> the encoder's representations of them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from mlcl import encoders, hardware

BATCH = 256


def to_images(rows: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, C, H, W] on the device, channels last in memory as the encoders want them."""
    return hardware.send(torch.tensor(rows), device).permute(0, 3, 1, 2)


def batches(
    images: np.ndarray, device: torch.device, rows: np.ndarray | None = None, size: int = BATCH
) -> Iterator[Tensor]:
    """Images [N, H, W, C], or those `rows` of them, as the encoder takes them: float [n, C, H, W] in [0, 1]."""
    for start in range(0, len(images if rows is None else rows), size):
        some = slice(start, start + size)
        yield to_images(images[some if rows is None else rows[some]], device).float() / 255


@torch.inference_mode()
def embed(
    encoder: encoders.Encoder, images: Iterable[Tensor], device: torch.device, precision: str
) -> Iterator[list[Tensor]]:
    """The representations of batches of images, batch by batch: one float32 [n, D_l] a level, on the CPU."""
    for batch in images:
        with hardware.autocast(device, precision):
            levels = encoder(batch)
        yield [vectors.float().cpu() for vectors in levels]
