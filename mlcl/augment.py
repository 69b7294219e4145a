"""Two views of every image of a batch, by tensor operations on the batch, each sample with parameters of its own.

A view is one resampling (crop, scale, shift and mirror are one affine map) and one linear map of colours
(brightness, saturation, hue and grey are one 3x3 matrix, contrast an offset). Styles:

    crop     as RFS (Tian et al. 2020): shift by up to a tenth, mirror, jitter 0.4
    simclr   as SimCLR (Chen et al. 2020) in SupContrast's form: random resized crop, mirror, jitter 0.4 and hue 0.1
             for 80% of the samples, grey for 20%

Where the libraries shift the hue in HSV and jitter in random order, here the hue turns about the grey axis and the
order is fixed, which makes the whole jitter linear.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mlcl import config
from mlcl.hardware import send

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PIL and torchvision


class Draws:
    """Draws one number a sample, from a CPU generator: a seed gives the same views on every device.

    Of a batch of `samples`, `share` are the ones whose numbers are wanted: each gets the same, whoever draws for it.
    """

    def __init__(self, samples: int, generator: torch.Generator, share: slice = slice(None)):
        self.samples, self.generator, self.share = samples, generator, share

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.samples, generator=self.generator)[self.share]

    def integers(self, low: int, high: int) -> Tensor:
        """Both ends included."""
        return torch.randint(low, high + 1, (self.samples,), generator=self.generator)[self.share]


def two_views(images: Tensor, spec: config.Augmentation, flip: bool, draws: Draws, side: int | None = None) -> Tensor:
    """uint8 [N, C, H, W] -> float32 [2N, C, side, side] in [0, 1]: the first views above the second ones.

    `flip` says whether mirror images show the same thing. C is 1 (grey) or 3 (RGB). Without `side`, H and W stay.
    """
    images = images.float() / 255
    return torch.cat([view(images, style, flip, draws, spec.scale, side) for style in spec.views])


def view(
    images: Tensor,
    style: str,
    flip: bool,
    draws: Draws,
    area: tuple[float, float] = (1, 1),
    side: int | None = None,
) -> Tensor:
    """float32 [N, C, H, W] in [0, 1] -> one view of every image; `area` is that of `simclr`'s crops."""
    n, _, height, width = images.shape
    if style == "crop":
        # Whole pixels, zeros from outside: the same as a random crop of the padded image.
        shift = torch.stack([draws.integers(-(side // 10), side // 10) * 2 / side for side in (width, height)], 1)
        scale = torch.ones(n, 2)
        jittered, hue, grey = torch.ones(n, dtype=torch.bool), 0.0, 0.0
    else:
        scale, shift = _resized_crop(draws, area)
        jittered, hue, grey = draws.uniform(0, 1) < 0.8, 0.1, 0.2
    mirror = torch.where(draws.uniform(0, 1) < 0.5, -1.0, 1.0) if flip else torch.ones(n)
    return _jitter(resample(images, scale, shift, mirror, side), draws, jittered, hue, grey)


def resample(images: Tensor, scale: Tensor, shift: Tensor, mirror: Tensor, side: int | None = None) -> Tensor:
    """Each image [C, H, W] through a window `scale` times its size, `shift` off its centre, as [C, side, side].

    scale, shift: [N, 2], x before y, where 1 is half a side; mirror: [N], -1 to mirror left and right, else 1. Zeros
    lie outside the image. Without `side`, the window is blown up to [H, W].
    """
    shape = list(images.shape) if side is None else [*images.shape[:2], side, side]
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale[:, 0] * mirror, scale[:, 1], shift
    grid = F.affine_grid(send(theta, images.device), shape, align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _resized_crop(draws: Draws, area: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Scale and centre [N, 2] of boxes with a share of the area in `area` and an aspect ratio in [3/4, 4/3]."""
    share, ratio = draws.uniform(*area), torch.exp(draws.uniform(math.log(3 / 4), math.log(4 / 3)))
    scale = torch.stack([(share * ratio).sqrt(), (share / ratio).sqrt()], 1).clamp(max=1)
    return scale, (1 - scale) * torch.stack([draws.uniform(-1, 1), draws.uniform(-1, 1)], 1)


def _jitter(images: Tensor, draws: Draws, jittered: Tensor, hue: float, grey: float) -> Tensor:
    """Brightness, contrast and saturation by factors in [0.6, 1.4], hue by up to `hue` of a turn, grey at times."""
    channels = images.shape[1]
    brightness, contrast, saturation = (torch.where(jittered, draws.uniform(0.6, 1.4), 1.0) for _ in range(3))
    turn = torch.where(jittered, draws.uniform(-hue, hue), 0.0) * 2 * math.pi
    saturation = torch.where(draws.uniform(0, 1) < grey, 0.0, saturation)
    if channels == 3:
        matrix = _colour_matrix(saturation, turn) * brightness[:, None, None]
    else:
        matrix = brightness[:, None, None]
    matrix, contrast = send(matrix, images.device), send(contrast, images.device)[:, None, None]
    luma = send(torch.tensor(LUMA if channels == 3 else (1.0,)), images.device)
    # Contrast scales about the mean grey of the (brightened) image, which follows from the image's mean colour.
    flat = images.flatten(2)
    offset = torch.einsum("c,ncd,nd->n", luma, matrix, flat.mean(2))[:, None, None] * (1 - contrast)
    matrix = matrix * contrast
    coloured = torch.baddbmm(offset, matrix, flat) if channels == 3 else torch.addcmul(offset, matrix, flat)
    return coloured.clamp_(0, 1).view_as(images)


def _colour_matrix(saturation: Tensor, turn: Tensor) -> Tensor:
    """[N, 3, 3]: keep a colour's luma, scale and turn its chroma, in the YIQ basis where chroma is a plane."""
    to_yiq = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    chroma = torch.zeros(len(turn), 3, 3)
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = saturation * turn.cos()
    chroma[:, 1, 2], chroma[:, 2, 1] = -saturation * turn.sin(), saturation * turn.sin()
    return torch.linalg.inv(to_yiq) @ chroma @ to_yiq
