"""How every figure looks, drawn without pyplot's global state and with the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import matplotlib.style
from matplotlib.figure import Figure

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
    "svg.hashsalt": "mlcl",
    "text.parse_math": False,  # a title may hold dollars
}
# What each format would otherwise say about when and by what it was made.
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


@contextmanager
def styled() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]):
        yield


def drawn(figure: Figure) -> dict[str, bytes]:
    """The bytes of an SVG and a PNG; to be called in the block of `styled`."""
    return {form: _bytes(figure, form) for form in METADATA}


def _bytes(figure: Figure, form: str) -> bytes:
    file = BytesIO()
    figure.savefig(file, format=form, metadata=METADATA[form])
    return file.getvalue()
