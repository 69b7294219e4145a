"""Images of a data set inside of figures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from mlcl.data.images import resize

# An SVG holds every pixel as text, a bit more than a byte of it at so few colours.
PIXELS, COLOURS = 150_000, 64
SIZE = 0.92  # of a picture, where one and its gap take 1


def thumbnails(images: Iterable[np.ndarray], count: int) -> list[np.ndarray]:
    """Images uint8 [H, W, C] as [h, w, 3], so small and of so few colours that `count` of them fit into an SVG."""
    side = int((PIXELS / count) ** 0.5)
    small = [_rgb(resize(image, min(side, image.shape[0]))) for image in images]
    strip = Image.fromarray(np.concatenate(small))
    few = np.asarray(strip.quantize(COLOURS).convert("RGB"))
    return np.split(few, len(small))


def _rgb(image: np.ndarray) -> np.ndarray:
    return np.broadcast_to(image, (*image.shape[:2], 3))


def canvas(axes: Axes, width: float, height: float) -> None:
    """Panels of pictures: no frame, no ticks; one unit a picture, y downwards."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")


def put(axes: Axes, picture: np.ndarray, x: float, y: float) -> None:
    """The picture with its upper left corner at x, y."""
    axes.imshow(picture, extent=(x, x + SIZE, y + SIZE, y), interpolation="none", zorder=1)
