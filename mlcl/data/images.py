"""Encoded images to arrays, checked by decoding them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mlcl.errors import UserError

EXTENSIONS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
LARGEST = 100_000_000  # pixels: what asks for more memory than that is no photograph
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which only warns


def below(folder: Path) -> list[Path]:
    """The images in a folder and in those within it or linked there, in the order of their paths.

    What is hidden, such as .ipynb_checkpoints, is passed over.
    """
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        # A link to a folder above would lead here again.
        folders[:] = [
            name for name in folders if name[0] != "." and not here.is_relative_to(here.joinpath(name).resolve())
        ]
        found += [Path(place, name) for name in files if name[0] != "."]
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS)


def decode(encoded: bytes | Path, name: str, size: int, *, mode: str = "RGB", crop: bool = False) -> np.ndarray:
    """An encoded image to uint8 [size, size, C], C being 3, or 1 for `mode` "L".

    The whole image is squeezed into the square, as the ImageNet subsets' makers did; with `crop` it is first turned as
    the camera says that it was held, and its middle square taken. What is transparent shows white. Of 16 bits the upper
    8 are kept. Raises `UserError` that calls it `name` where it cannot be decoded, has more bits, or is unreasonably
    large.
    """
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
            if image.width * image.height > LARGEST:
                raise UserError(f"{name}: is {image.width} x {image.height} pixels large; remove it, or shrink it")
            if image.mode in ("I", "F"):
                raise UserError(f"{name}: has 32 bits a pixel; save it with 8 or 16")
            if crop:
                ImageOps.exif_transpose(image, in_place=True)  # else an upright image is copied for nothing
            picture = _opaque(image).convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: cannot be read as an image ({reason}); replace it with an intact copy") from error
    if crop:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    return _resized(picture, size)


def _opaque(image: Image.Image) -> Image.Image:
    """Eight bits a channel, on white."""
    if image.mode.startswith("I;16"):  # which Pillow would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image


def read(path: Path, size: int, *, mode: str = "RGB", crop: bool = False) -> np.ndarray:
    """The image in a file, as `decode` gives it."""
    return decode(path, str(path), size, mode=mode, crop=crop)


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, C] to [size, size, C]; nothing is done where it has that size."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return _resized(Image.fromarray(pixels.squeeze()), size)


def _resized(picture: Image.Image, size: int) -> np.ndarray:
    if picture.size != (size, size):
        shrinks = min(picture.size) >= size  # averaging over areas is right for shrinking alone
        picture = picture.resize((size, size), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]
