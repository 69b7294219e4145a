"""The embedded data set `glyphs`: a class is a character, drawn by the designers of 16 faces.

Every face that has the character draws it once, large and clean; an image is a random variation of such a drawing:
turned, slanted, scaled, shifted, blurred, in random greys and noisy. Nothing is downloaded: the faces come with
matplotlib. Characters that only their size (o and O) or their context (I and l) tells apart make one class, not two.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from mlcl import config
from mlcl.data import definition
from mlcl.data.pack import Class, Source
from mlcl.data.packed import SPLITS
from mlcl.errors import UserError

FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
)

# Letters without accents, and digits, that the DejaVu faces all have. A character is left out where an earlier one
# looks the same: their drawings, brought to one size, nearly coincide in a quarter of the faces, or the eye confuses
# them. So go Greek and Cyrillic letters that are Latin ones, but also v (like V), 1 (like I) and 8 (like a bold B).
CHARACTERS = {
    "Latin": "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefgijkmnqrtyÆØÞßæð",
    "Digits": "234567",
    "Greek": "ΔΞΣΦΨΩαβγδεζηιλμνξπςστυφχω",
    "Cyrillic": "ЂЉЊЋЏБДЖЛЧШЩЪЫЭЮЯицьђћ",
    "Georgian": "აბგდეთკლმოჟრსტუფქღყჩცწჭჯჰჱჲჳჴჵჶჸჹჺ",
    "Armenian": "ԲԳԴԵԶԷԸԹԺԻԽԾԿՀՁՂՃՄՅՆՇՉՊՋՌՎՐՒՔՖըթլխծձճնչպջփֆ",
}

# Latin and Cyrillic grew out of Greek and share its strokes, as our digits do: all four train. Georgian and Armenian
# have strokes of their own; Armenian, with more letters, is the one to test on.
SCRIPT_SPLIT = {
    "Latin": "train",
    "Digits": "train",
    "Greek": "train",
    "Cyrillic": "train",
    "Georgian": "val",
    "Armenian": "test",
}

VARIATIONS = 4  # images of a character in a face

# The ranges that a variation is drawn from, uniformly: a person still reads every image, but comparing pixels gets less
# than half of the 5-way 1-shot queries right.
TURN = 10.0  # rotation to either side, in degrees
SLANT = 0.15  # horizontal shear to either side
EXTENT = (0.6, 0.9)  # longer side of the glyph, as a share of the image's side
SHIFT = 0.06  # of the glyph off the middle, either way along each axis, as a share of the image's side
BLUR = (0.0, 0.025)  # radius, as a share of the image's side
PAPER = (0.0, 0.2)  # level of the background, from black (0) to white (1)
INK = (0.7, 1.0)  # level of the glyph
NOISE = (0.0, 0.08)  # standard deviation, in the same unit

OVERSAMPLING = 2  # an image is composed at this many times its size, then averaged down: edges stay smooth


def source(spec: config.Glyphs) -> Source:
    """The data set, grey images uint8 [size, size, 1]. Raises `UserError` where a font file cannot be read.

    An image depends on the seed, its character, face and variation alone, so both splits hold the same images.
    """
    faces = [Face.load(name, size=3 * spec.size) for name in FACES]
    split = _split(spec)
    classes = [
        Class(character, script, split[character])
        for script, characters in CHARACTERS.items()
        for character in characters
    ]
    classes.sort(key=lambda c: SPLITS.index(c.split))

    drawings = [(i, number) for i, c in enumerate(classes) for number, face in enumerate(faces) if c.name in face]

    def items(start: int) -> Iterator[tuple[Image.Image, np.random.Generator]]:
        for i, number in drawings[start // VARIATIONS :]:
            drawing = faces[number].draw(classes[i].name)
            for variation in range(start % VARIATIONS, VARIATIONS):
                yield drawing, np.random.default_rng((spec.seed, ord(classes[i].name), number, variation))
            start = 0

    provenance = {
        "dataset": definition.of(spec),
        "characters": len(classes),
        "fonts": {face.file: face.sha256 for face in faces},
        "pillow": features.version("pil"),
        "freetype": features.version("freetype2"),
    }
    places = [(faces[number].file, classes[i].name) for i, number in drawings for _ in range(VARIATIONS)]
    return Source(
        classes=classes,
        labels=np.repeat([i for i, _ in drawings], VARIATIONS),
        origins=pd.DataFrame(places, columns=["file", "place"]),
        items=items,
        decode=partial(_vary, size=spec.size),
        shape=(spec.size, spec.size, 1),
        flip=False,
        provenance=provenance,
    )


@dataclass(frozen=True)
class Face:
    """A typeface in one style, as in DejaVu Sans Bold."""

    file: str
    sha256: str
    font: ImageFont.FreeTypeFont
    code_points: frozenset[int]

    @classmethod
    def load(cls, name: str, size: int) -> Face:
        """The face `name` of matplotlib's, at `size` pixels an em. Raises `UserError` where it cannot be read."""
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
        try:
            content = path.read_bytes()
            # From memory: given a path, Pillow would quietly try the system's font of that name. The basic layout: the
            # other one depends on a library that Pillow may come without.
            font = ImageFont.truetype(BytesIO(content), size, layout_engine=ImageFont.Layout.BASIC)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{path}: cannot be read ({reason}); reinstall matplotlib, which ships it") from error
        code_points = frozenset(FT2Font(BytesIO(content)).get_charmap())
        return cls(path.name, hashlib.sha256(content).hexdigest(), font, code_points)

    def __contains__(self, character: str) -> bool:
        return ord(character) in self.code_points

    def draw(self, character: str) -> Image.Image:
        """The character's coverage, 0 to 255, cropped to its shape with one empty pixel around."""
        left, top, right, bottom = self.font.getbbox(character)
        drawing = Image.new("L", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2))
        ImageDraw.Draw(drawing).text((1 - left, 1 - top), character, fill=255, font=self.font)
        return drawing


def _split(spec: config.Glyphs) -> dict[str, str]:
    """The split of each character: its script's, or those same ones dealt out at random."""
    split = {character: SCRIPT_SPLIT[script] for script, characters in CHARACTERS.items() for character in characters}
    if spec.split == "random":
        dealt = np.random.default_rng(spec.seed).permutation(list(split.values()))
        split = dict(zip(split, dealt.tolist(), strict=True))
    return split


def _vary(item: tuple[Image.Image, np.random.Generator], size: int) -> np.ndarray:
    """A random variation of a drawing, uint8 [size, size, 1], with all of the glyph inside."""
    drawing, rng = item
    canvas = OVERSAMPLING * size
    turn, slant = math.radians(rng.uniform(-TURN, TURN)), rng.uniform(-SLANT, SLANT)
    # A shear, then a rotation: from the drawing to the canvas up to scale, with determinant 1.
    a, b = math.cos(turn), math.cos(turn) * slant - math.sin(turn)
    c, d = math.sin(turn), math.sin(turn) * slant + math.cos(turn)
    width, height = drawing.size
    spread = np.array([abs(a) * width + abs(b) * height, abs(c) * width + abs(d) * height])
    scale = rng.uniform(*EXTENT) * canvas / spread.max()
    room = np.minimum(SHIFT * canvas, (canvas - scale * spread) / 2)
    x, y = canvas / 2 + rng.uniform(-room, room)
    # Pillow asks for the way back: for each pixel of the canvas, its place in the drawing.
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    back = (a, b, width / 2 - a * x - b * y, c, d, height / 2 - c * x - d * y)
    glyph = drawing.transform((canvas, canvas), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    glyph = glyph.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR) * canvas)).reduce(OVERSAMPLING)
    paper, ink = rng.uniform(*PAPER), rng.uniform(*INK)
    image = paper + (ink - paper) * np.asarray(glyph)[..., None] / 255
    image += rng.uniform(*NOISE) * rng.standard_normal(image.shape)
    return (255 * image.clip(0, 1)).round().astype(np.uint8)
