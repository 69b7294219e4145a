"""How every figure looks, drawn without pyplot's global state and with the same bytes every time."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from math import ceil

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's palette for the colour-blind without its yellow. The markers tell the methods apart in grey too, and,
# being one more, make 56 different pairs.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE = {
    "font.size": 9,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "0.9",
    "image.composite_image": False,  # an SVG holds the images' own pixels, not as many as the figure has
    "svg.hashsalt": "mlcl",
    "text.parse_math": False,  # a title may hold dollars
}
# What each format would otherwise say about when and by what it was made.
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
EMBEDDED = re.compile(rb"(?<=data:image/png;base64,)[^\"]+")

SEED_DOT = {"linestyle": "none", "marker": ".", "markersize": 3, "alpha": 0.6}
"""A dot for each training seed, beside their mean."""


@contextmanager
def styled() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]):
        yield


def looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The colour and marker of each of `names`, which are the same in every figure that shows them in this order."""
    pairs = zip(names, cycle(COLOURS), cycle(MARKERS), strict=False)
    return {name: {"color": colour, "marker": marker} for name, colour, marker in pairs}


def legend_shape(labels: Sequence[str], width: float) -> tuple[float, int, float]:
    """Of a legend in a figure `width` inches wide: the width, more where the longest of its labels needs that, how many
    columns it has room for, and the inches that its rows take."""
    column = 0.7 + 0.065 * max(map(len, labels))
    columns = max(1, min(len(labels), int(width / column)))
    return max(width, column), columns, 0.2 * ceil(len(labels) / columns)


def short(name: str, length: int = 20) -> str:
    """A class's name in so many characters: its middle gives way, since nested classes differ at their ends."""
    return name if len(name) <= length else f"{name[: length // 2 - 1]}…{name[-length // 2 :]}"


def in_rows(axes: Axes, labels: Sequence[str], above: float = 0.5) -> None:
    """Rows for `axes`, 0 at the top with `above` rows over its middle, the `labels` beside them."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -above)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def drawn(figure: Figure) -> dict[str, bytes]:
    """The bytes of an SVG and a PNG; to be called in the block of `styled`."""
    return {form: _bytes(figure, form) for form in METADATA}


def _bytes(figure: Figure, form: str) -> bytes:
    file = BytesIO()
    figure.savefig(file, format=form, metadata=METADATA[form])
    return EMBEDDED.sub(_smaller, file.getvalue()) if form == "svg" else file.getvalue()


def _smaller(encoded: re.Match[bytes]) -> bytes:
    """A PNG in base64, which matplotlib writes in four channels, by a palette: a third of the bytes."""
    image = Image.open(BytesIO(base64.b64decode(encoded[0])))
    opaque = image.getextrema()[-1] == (255, 255)
    few = image.convert("RGB").quantize(256) if opaque else image.quantize(128, Image.Quantize.FASTOCTREE)
    file = BytesIO()
    few.save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue())
