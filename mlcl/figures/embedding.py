"""Some unseen classes in two dimensions, level by level."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from mlcl.figures.style import COLOURS, drawn, legend_shape, looks, short, styled
from mlcl.figures.unseen import Unseen, rng, unit

CLASSES, IMAGES = len(COLOURS), 30  # at most; a colour each


def pca(vectors: np.ndarray) -> np.ndarray:
    """[n, D] -> [n, 2], the first two principal components."""
    return PCA(2, svd_solver="full").fit_transform(vectors)


def tsne(vectors: np.ndarray) -> np.ndarray:
    """[n, D] -> [n, 2] by t-SNE (van der Maaten and Hinton 2008), started from the principal components."""
    perplexity = min(30, (len(vectors) - 1) / 3)
    with threadpool_limits(1):  # several would add up in any order
        return TSNE(2, perplexity=perplexity, max_iter=500, init="pca", random_state=0).fit_transform(vectors)


MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"PCA": pca, "t-SNE": tsne}


def flat(vectors: np.ndarray, name: str) -> np.ndarray:
    """[n, D] -> [n, 2] by one of `MAPS`; what a training let collapse to a point stays one."""
    wide = np.pad(vectors, ((0, 0), (0, max(0, 2 - vectors.shape[1]))))  # of one dimension there is no second
    return MAPS[name](wide) if np.ptp(vectors, axis=0).any() else np.zeros((len(vectors), 2))


def chosen(labels: np.ndarray) -> np.ndarray:
    """The rows of at most `IMAGES` images of each of at most `CLASSES` classes, drawn at random, class after class."""
    draw, classes = rng("embedding"), np.unique(labels)
    some = np.sort(draw.permutation(classes)[:CLASSES])
    return np.concatenate([np.sort(draw.permutation(np.flatnonzero(labels == label))[:IMAGES]) for label in some])


def draw(unseen: Unseen) -> dict[str, bytes]:
    """The same images by PCA and by t-SNE of their unit vectors: a row a method, a column a level.

    Returns the bytes of an SVG and a PNG.
    """
    rows = chosen(unseen.split.labels)
    labels = unseen.split.labels[rows]
    names = {label: unseen.split.classes[label] for label in np.unique(labels)}
    columns = max(len(features.dims) for features in unseen.features.values())
    lines = [(name, title) for name in MAPS for title in unseen.features]
    with styled():
        texts = [*map(short, names.values())]
        width, fitting, above = legend_shape(texts, 0.5 + 1.5 * max(2, columns))
        figure = Figure(figsize=(width, 0.3 + 1.4 * len(lines) + above), dpi=150, layout="constrained")
        panels = figure.subplots(len(lines), columns, squeeze=False)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.set_visible(False)
        for place, (name, title) in enumerate(lines):
            panels[place, 0].set_ylabel(f"{name}\n" + "\n".join(textwrap.wrap(title, 18)), fontsize="small")
            levels = enumerate(unseen.features[title].levels, start=1)
            for axes, (level, vectors) in zip(panels[place], levels, strict=False):
                axes.set_visible(True)
                if not any(above.get_visible() for above in panels[:place, level - 1]):  # the first that has it
                    axes.set_title(f"level {level}", fontsize="small")
                points = flat(unit(vectors[rows]), name)
                for label, look in looks(list(names)).items():
                    own = points[labels == label].T
                    # As pixels: the points of all panels would make a page of megabytes.
                    axes.scatter(*own, s=7, linewidths=0, rasterized=True, **look)
        handles = [*panels[0, 0].collections]  # not by labels of theirs: matplotlib hides one that begins with "_"
        figure.legend(handles, texts, loc="outside upper center", ncols=fitting, frameon=False, markerscale=2)
        return drawn(figure)
