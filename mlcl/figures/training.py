"""Training curves: the loss of every level, and the accuracy on the validation classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mlcl.errors import UserError
from mlcl.figures.style import drawn, legend_shape, looks, styled
from mlcl.files import write_all

VALIDATION = {"val_last_level": "-", "val_ensemble": "--"}
NO_PARTS = ("dataset", "title", "epoch", "learning_rate", "loss", "accuracy")  # other columns, not of the loss
HOLLOW = {"val_ensemble": {"markerfacecolor": "white"}}  # a single validation has no line
# The later a level, the fuller its line: those of the last, of the one before it, and so on.
DASHES = ("-", (0, (5, 2)), (0, (3, 1, 1, 1)))
OTHERS = {
    "cross_entropy": (0, (8, 1.5, 1, 1.5, 1, 1.5)),
    "distillation": (0, (8, 1.5, 2.5, 1.5)),
    "self_distillation": (0, (8, 1.5, 2.5, 1.5, 2.5, 1.5)),
}


def draw(metrics: Sequence[Path], titles: Mapping[str, str], out: Path) -> None:
    """Write `out`/training.{svg,png} from `metrics`, files <data set>/<method>/<seed>/metrics.csv of any folder.

    `titles` are the methods' by name, in order. Raises `UserError` where a file is none of these, or unreadable.
    """
    write_all({out / f"training.{form}": content for form, content in curves(read(metrics, titles)).items()})


def read(metrics: Sequence[Path], titles: Mapping[str, str]) -> pd.DataFrame:
    """The means over the seeds: a row a dataset, title and epoch, with the columns of the files.

    Raises `UserError` as `draw` does.
    """
    frames = []
    for path in metrics:
        dataset, method = path.parts[-4:-2] if len(path.parts) >= 4 else ("", "")
        if method not in titles:
            raise UserError(f"{path}: is not .../DATASET/METHOD/SEED/metrics.csv with a method of the experiment's")
        try:
            frame = pd.read_csv(path).astype(float)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read as metrics ({reason}); run mlcl train again") from error
        if not {"epoch", "loss", *VALIDATION} <= set(frame):
            raise UserError(f"{path}: lacks columns of a training's metrics; run mlcl train again")
        frames.append(frame.assign(dataset=dataset, title=titles[method]))
    whole = pd.concat(frames)
    order = {title: place for place, title in enumerate(titles.values())}
    means = whole.groupby(["dataset", "title", "epoch"], sort=False).mean().reset_index()
    return means.sort_values("title", key=lambda column: column.map(order), kind="stable")


def curves(means: pd.DataFrame) -> dict[str, bytes]:
    """The parts of the loss above the validation accuracy, by epoch: a column a data set.

    `means` as `read` gives them. Returns the bytes of an SVG and a PNG.
    """
    datasets, titles = (list(means[key].unique()) for key in ("dataset", "title"))
    lines = _dashes(means)
    with styled():
        width, fitting, above = legend_shape(titles, 0.8 + 3.2 * len(datasets) + 1.4)  # the last is the keys'
        figure = Figure(figsize=(width, 5.2 + above), dpi=150, layout="constrained")
        panels = figure.subplots(2, len(datasets), sharex="col", squeeze=False)
        for (upper, lower), dataset in zip(panels.T, datasets, strict=True):
            for title, look in looks(titles).items():
                own = means[(means["dataset"] == dataset) & (means["title"] == title)]
                _plot(upper, own, lines, look)
                _plot(lower, own, VALIDATION, look)
            upper.set_title(dataset, fontsize="medium")
            lower.set_xlabel("epoch")
            lower.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panels[0, 0].set_ylabel("loss on the base classes")
        panels[1, 0].set_ylabel("validation accuracy (%)")
        present = {name: dash for name, dash in lines.items() if name in means}
        _key(panels[0, -1], dict(reversed(present.items())))
        _key(panels[1, -1], VALIDATION, marker="o")
        handles = [Line2D([], [], label=title, markersize=4.5, **look) for title, look in looks(titles).items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=fitting, frameon=False)
        return drawn(figure)


def _dashes(columns: Iterable[str]) -> dict[str, object]:
    """A dash for each part of the loss that there may be, however many levels there are."""
    levels, early = _numbers("level", columns), _numbers("cross_entropy_level", columns)  # those of deep supervision
    sparser = ((0, (1, 1.5 * gap)) for gap in count(1))
    known = (
        {f"level{level}": dash for level, dash in zip(levels[::-1], chain(DASHES, sparser), strict=False)}
        | {f"cross_entropy_level{level}": (0, (2.5 * level, 1.5)) for level in early}  # the later, the fuller
        | OTHERS
    )
    own = [name for name in columns if name not in {*known, *VALIDATION, *NO_PARTS}]  # a user's losses
    return known | {name: (0, (2, 1, 2, 2 + place)) for place, name in enumerate(own)}


def _numbers(prefix: str, columns: Iterable[str]) -> list[int]:
    """Those n for which there is a column `prefix`n, ascending."""
    return sorted(int(name.removeprefix(prefix)) for name in columns if re.fullmatch(rf"{prefix}\d+", name))


def _plot(axes: Axes, own: pd.DataFrame, lines: Mapping[str, object], look: Mapping[str, str]) -> None:
    """A line of each column that a method has; validations are rare, and the epochs between them are left out."""
    for name, dash in lines.items():
        if name in own and own[name].notna().any():
            known = own[["epoch", name]].dropna()
            scale = 100 if name in VALIDATION else 1
            every = max(1, len(known) // 10)  # a marker at each of a hundred epochs would hide the line
            style = look | {"linestyle": dash, "linewidth": 1.2, "markersize": 3.5, "markevery": every}
            style |= HOLLOW.get(name, {})
            axes.plot(known["epoch"], scale * known[name], **style)


def _key(axes: Axes, dashes: Mapping[str, object], **marked: str) -> None:
    """What the dashes mean, whatever the colour: beside the axes, where it hides no curve."""
    style = {"color": "0.3", "linewidth": 1.2, "markersize": 3.5} | marked
    handles = [
        Line2D([], [], linestyle=dash, label=_words(name), **style | HOLLOW.get(name, {}))
        for name, dash in dashes.items()
    ]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", handlelength=5, frameon=False
    )


def _words(name: str) -> str:
    """level 4 for level4."""
    words = name.removeprefix("val_").replace("level", "level ").replace("_", " ").strip()
    return words.replace("cross entropy", "cross-entropy").replace("self distillation", "self-distillation")
