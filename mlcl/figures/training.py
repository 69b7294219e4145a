"""Training curves: each part of the loss, and the accuracy on the validation classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mlcl.errors import UserError
from mlcl.figures.style import drawn, legend_shape, looks, styled
from mlcl.files import write_all

VALIDATION = {"val_last_level": "validation, last level", "val_ensemble": "validation, ensemble"}
NO_PARTS = ("dataset", "title", "epoch", "learning_rate", "loss", "accuracy")  # other columns, not of the loss
COLUMNS = 4
PANEL = 2.2, 1.7  # inches


def draw(metrics: Sequence[Path], datasets: Sequence[str], titles: Mapping[str, str], out: Path) -> None:
    """Write `out`/training.{svg,png} from `metrics`, files <data set>/<method>/<seed>/metrics.csv of any folder.

    `datasets` are the experiment's, in order, `titles` the methods' by name. Raises `UserError` where a file is none of
    these, or unreadable.
    """
    means = read(metrics, datasets, titles)
    write_all({out / f"training.{form}": content for form, content in curves(means).items()})


def read(metrics: Sequence[Path], datasets: Sequence[str], titles: Mapping[str, str]) -> pd.DataFrame:
    """The means over the seeds: a row a dataset, title and epoch, with the columns of the files. Data sets and titles
    are categories in their order.

    Raises `UserError` as `draw` does.
    """
    frames = []
    for path in metrics:
        dataset, method = path.parts[-4:-2] if len(path.parts) >= 4 else ("", "")
        if dataset not in datasets or method not in titles:
            raise UserError(
                f"{path}: is not .../DATASET/METHOD/SEED/metrics.csv with a data set and a method of the experiment's"
            )
        try:
            frame = pd.read_csv(path).astype(float)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read as metrics ({reason}); run mlcl train again") from error
        if not {"epoch", "loss", *VALIDATION} <= set(frame):
            raise UserError(f"{path}: lacks columns of a training's metrics; run mlcl train again")
        frames.append(frame.assign(dataset=dataset, title=titles[method]))
    whole = pd.concat(frames)
    for key, names in {"dataset": datasets, "title": titles.values()}.items():
        present = set(whole[key])
        whole[key] = pd.Categorical(whole[key], [name for name in names if name in present])
    return whole.groupby(["dataset", "title", "epoch"], observed=True).mean().reset_index()


def curves(means: pd.DataFrame) -> dict[str, bytes]:
    """Each part of the loss and the validation accuracies, by epoch: a panel each, below a heading for each data set.

    `means` as `read` gives them. Returns the bytes of an SVG and a PNG.
    """
    datasets, titles = (list(means[key].cat.categories) for key in ("dataset", "title"))
    panels = {**_parts(means), **VALIDATION}
    columns = min(COLUMNS, len(panels))
    rows = ceil(len(panels) / columns)
    with styled():
        width, fitting, above = legend_shape(titles, 0.4 + PANEL[0] * columns)
        height = above + len(datasets) * (0.4 + PANEL[1] * rows)
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        for block, dataset in zip(figure.subfigures(len(datasets), squeeze=False)[:, 0], datasets, strict=True):
            _panels(block, means[means["dataset"] == dataset], panels, titles, (rows, columns))
            block.suptitle(dataset, fontsize="medium")
        handles = [Line2D([], [], label=title, markersize=4.5, **look) for title, look in looks(titles).items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=fitting, frameon=False)
        return drawn(figure)


def _parts(means: pd.DataFrame) -> dict[str, str]:
    """The columns that hold parts of the loss, and what each is called: contrastive losses by level, cross-entropy by
    level, then others, a user's own among them."""
    known = {name: f"contrastive, level {level}" for name, level in _by_level("level", means).items()}
    early = _by_level("cross_entropy_level", means)  # of deep supervision
    known |= {name: f"cross-entropy, level {level}" for name, level in early.items()}
    known |= {"cross_entropy": "cross-entropy, last level"} if "cross_entropy" in means else {}
    others = (name for name in means if name not in {*known, *VALIDATION, *NO_PARTS})
    return known | {name: name.replace("_", " ") for name in others}


def _by_level(prefix: str, columns: Iterable[str]) -> dict[str, int]:
    """The columns `prefix`n with their n, ascending."""
    numbers = sorted(int(name.removeprefix(prefix)) for name in columns if re.fullmatch(rf"{prefix}\d+", name))
    return {f"{prefix}{number}": number for number in numbers}


def _panels(
    block: SubFigure, means: pd.DataFrame, panels: Mapping[str, str], titles: Sequence[str], shape: tuple[int, int]
) -> None:
    """A data set's: losses have one scale and accuracies another, so that panels can be compared."""
    first: dict[bool, Axes] = {}
    for place, (name, heading) in enumerate(panels.items(), 1):
        accuracy = name in VALIDATION
        axes = block.add_subplot(*shape, place, sharey=first.get(accuracy))
        first.setdefault(accuracy, axes)
        for title, look in looks(titles).items():
            known = means.loc[means["title"] == title, ["epoch", name]].dropna()  # validations are rare
            every = max(1, len(known) // 10)  # a marker at each of a hundred epochs would hide the line
            style = look | {"linewidth": 1.2, "markersize": 3.5, "markevery": every}
            axes.plot(known["epoch"], (100 if accuracy else 1) * known[name], **style)
        axes.set_title(heading, fontsize="small")
        axes.tick_params(labelsize="small")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    first[False].set_ylabel("loss on the base classes", fontsize="small")
    first[True].set_ylabel("accuracy (%)", fontsize="small")
    block.supxlabel("epoch", fontsize="small")
