"""Encoded images to arrays, checked by decoding them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from mlcl.errors import UserError

# Also of what some versions of Pillow cannot read: that one is named is better than that it is passed over.
EXTENSIONS = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"}
EXTENSIONS |= {".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LARGEST = 250_000_000  # pixels, more than telephones take: what asks for more memory than that is no photograph
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which only warns


class Below(NamedTuple):
    """What a folder holds, each in the order of the paths."""

    images: list[Path]
    others: list[Path]
    """Other files."""
    folders: list[Path]
    """It and those in it."""


def below(folder: Path) -> Below:
    """What is in a folder and in those within it or linked there.

    What is hidden, such as .ipynb_checkpoints, is passed over. Raises OSError where a folder may not be read.
    """
    found = Below([], [], [])
    for path, is_folder in sorted(_walk(folder, ())):
        file = found.images if path.suffix.lower() in EXTENSIONS else found.others
        (found.folders if is_folder else file).append(path)
    return found


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, bool]]:
    """Every path, and whether it is a folder."""
    here = folder.resolve()
    # A link to a folder above, or to one through which the way led here, would lead here again.
    if any(place.is_relative_to(here) for place in above):
        return
    yield folder, True
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), (*above, here))
            else:
                yield Path(entry.path), False


def decode(encoded: bytes | Path, name: str, size: int, *, mode: str = "RGB", crop: bool = False) -> np.ndarray:
    """An encoded image to uint8 [size, size, C], C being 3, or 1 for `mode` "L".

    The whole image is squeezed into the square, as the ImageNet subsets' makers did; with `crop` it is first turned as
    the camera says that it was held, and its middle square taken. What is transparent shows white. Of 16 bits, or
    the 12 of a TIFF, the upper 8 are kept. Raises `UserError` that calls it `name` where it cannot be decoded, has more
    bits, or is unreasonably large.
    """
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
            if image.width * image.height > LARGEST:
                raise UserError(f"{name}: is {image.width} x {image.height} pixels large; remove it, or shrink it")
            if image.mode in ("I", "F"):
                raise UserError(f"{name}: has 32 bits a pixel, which are not read; save it as a PNG with 8 or 16")
            turn = _turn(image) if crop else None
            picture = _opaque(image).convert(mode)
            if turn is not None:
                picture = picture.transpose(turn)
    except UserError:
        raise
    except Exception as error:  # Pillow's readers fail in many ways on what is damaged
        if isinstance(error, OSError) and error.strerror:
            raise UserError(f"{name}: cannot be read: {error.strerror}") from error
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: cannot be read as an image ({reason}); replace it by a sound JPEG or PNG") from error
    if crop:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    return _resized(picture, size)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Pillow's `exif_transpose` writes what else the EXIF says anew, and fails where a tag is of the wrong type."""
    image.load()  # a PNG's EXIF may follow its pixels
    return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))


def _opaque(image: Image.Image) -> Image.Image:
    """Eight bits a channel, on white."""
    if image.mode.startswith("I;16"):  # which Pillow would clip at 255
        return Image.fromarray(_upper_bits(image))
    if image.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image


def _upper_bits(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] of an "I;16" image. A TIFF may have 12 bits, and zero for white, as Pillow sees in those of 8."""
    tags, pixels = getattr(image, "tag_v2", {}), np.asarray(image)
    bits = max(np.atleast_1d(tags.get(ExifTags.Base.BitsPerSample, 16)))
    upper = (pixels >> (bits - 8)).astype(np.uint8)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        upper = 255 - upper
    upper[pixels == image.info.get("transparency", -1)] = 255
    return upper


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
