"""The nearest neighbours of some unseen images, level by level."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlcl.figures.pictures import SIZE, canvas, put, thumbnails
from mlcl.figures.style import COLOURS, drawn, short, styled
from mlcl.figures.unseen import Unseen, rng, unit

QUERIES, NEIGHBOURS = 3, 5
BLOCK = 8192
# By whether the class is the query's: so that the marks read in grey too, their shapes and lines differ.
MARKS = {
    True: {"color": COLOURS[0], "marker": "o", "linestyle": "-"},
    False: {"color": COLOURS[1], "marker": "X", "linestyle": ":"},
}
MEANING = {True: "the query's class", False: "another class"}
CELL = 0.4  # inches a picture


def nearest(vectors: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Of `vectors` [N, D], the rows [Q, count] nearest to the rows `queries` [Q] by cosine, nearest first.

    A query is no neighbour of its own; of equally near rows the first comes first.
    """
    wanted = unit(vectors[queries])
    blocks = [unit(vectors[start : start + BLOCK]) @ wanted.T for start in range(0, len(vectors), BLOCK)]
    similarities = np.concatenate(blocks).T
    similarities[np.arange(len(queries)), queries] = -np.inf
    return np.argsort(-similarities, axis=1, kind="stable")[:, :count]


def chosen(labels: np.ndarray) -> np.ndarray:
    """The rows of `QUERIES` images of different classes, drawn at random."""
    draw = rng("neighbours")
    classes = draw.permutation(np.unique(labels))[:QUERIES]
    return np.array([draw.choice(np.flatnonzero(labels == label)) for label in classes])


def draw(unseen: Unseen) -> dict[str, bytes]:
    """Every query above its neighbours in the whole split: a block of columns a query, of rows a method.

    Returns the bytes of an SVG and a PNG.
    """
    images, labels, classes = unseen.split.images, unseen.split.labels, unseen.split.classes
    queries = chosen(labels)
    found = [
        (title, level, nearest(vectors, queries, min(NEIGHBOURS, len(labels) - 1)))
        for title, features in unseen.features.items()
        for level, vectors in enumerate(features.levels, start=1)
    ]
    shown = np.unique(np.concatenate([queries, *(rows.ravel() for _, _, rows in found)]))
    pictures = dict(zip(shown, thumbnails(images[shown], len(queries) * (1 + NEIGHBOURS * len(found))), strict=True))
    with styled():
        lefts = 1.4 + np.arange(len(queries)) * (NEIGHBOURS + 0.5)
        width, height = lefts[-1] + NEIGHBOURS, 1.3 + len(found) + 0.9 * len(unseen.features)
        figure = Figure(figsize=(CELL * width, CELL * height + 0.3), dpi=150, layout="constrained")
        axes = figure.subplots()
        canvas(axes, width, height)
        for query, left in zip(queries, lefts, strict=True):
            put(axes, pictures[query], left, 0.4)
            axes.text(left, 0.25, f"query: {short(classes[labels[query]], 28)}", fontsize="small", va="bottom")
        y, marked = 1.3, {True: [], False: []}
        for title, level, rows in found:
            if level == 1:
                y += 0.9
                axes.text(lefts[0], y - 0.1, title, va="bottom", weight="bold", fontsize="small")
            axes.text(1.2, y + 0.46, f"level {level}", va="center", ha="right", fontsize="small")
            for query, left, own in zip(queries, lefts, rows, strict=True):
                for place, row in enumerate(own):
                    put(axes, pictures[row], left + place, y)
                    marked[bool(labels[row] == labels[query])].append((left + place, y))
            y += 1
        for right, corners in marked.items():
            _mark(axes, corners, MARKS[right])
        handles = [Line2D([], [], label=MEANING[right], markersize=6, **mark) for right, mark in MARKS.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
        return drawn(figure)


def _mark(axes: Axes, corners: list[tuple[float, float]], mark: dict[str, str]) -> None:
    """Frame the pictures with these upper left corners, and put a symbol on each's lower right one."""
    places = np.array(corners).reshape(-1, 2)
    outline = SIZE * np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    frames = LineCollection(places[:, None] + outline, colors=mark["color"], linestyles=mark["linestyle"])
    axes.add_collection(frames, autolim=False).set(linewidth=1.4, zorder=2)
    style = {"color": mark["color"], "s": 26, "edgecolors": "white", "linewidths": 0.7, "zorder": 3}
    axes.scatter(*(places + 0.8).T, marker=mark["marker"], **style)
