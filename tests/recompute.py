"""Recompute every number of an experiment's tables from its episode files, by code that shares nothing with mlcl.

    python tests/recompute.py results/omniglot

reads, for every line of results/omniglot/tables/*.csv, the evaluations that the line itself names, and compares: the
CSV's numbers with its own, and cell by cell the texts, bold and underlined, in Markdown and LaTeX. It prints how many
numbers it compared and every one that differs.
"""

import json
import math
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

PUBLISHED = Path(__file__).parents[1] / "mlcl" / "published_results.csv"
DIFFERENCES = ("differences", "deep_ensembles", "factorial", "choice", "weights", "classifiers", "subsets", "sweeps")
NUMBERS = ("mean", "accuracy", "difference", "ci95", "std_over_seeds", "ci95_over_seeds", "p", "p_holm",
           "bootstrap_low", "bootstrap_high")  # fmt: skip
TEXTS = dict.fromkeys(["appeared", "encoder", "venue_year", "representation"], str)
PM, MINUS, ABSENT = "±", "\N{MINUS SIGN}", "\N{EN DASH}"
# Weights of (single-level or multi-level training, last level or ensemble).
EFFECTS = {
    f"multi-level {MINUS} single-level training, last level": {("m", "l"): 1, ("s", "l"): -1},
    f"multi-level {MINUS} single-level training, ensemble": {("m", "e"): 1, ("s", "e"): -1},
    f"ensemble {MINUS} last level, single-level training": {("s", "e"): 1, ("s", "l"): -1},
    f"ensemble {MINUS} last level, multi-level training": {("m", "e"): 1, ("m", "l"): -1},
    f"ensemble of multi-level {MINUS} last level of single-level": {("m", "e"): 1, ("s", "l"): -1},
    "interaction": {("m", "e"): 1, ("m", "l"): -1, ("s", "e"): -1, ("s", "l"): 1},
}


class Evaluation(NamedTuple):
    dataset: str
    method: str
    path: str
    """Where it lies, by the run that it says it is of."""
    accuracies: dict[tuple, np.ndarray]
    """In percent, episode by episode, by (shot, processing, classifier, representation)."""


class Tables:
    """The tables of a folder; `wrong` and `compared` fill as they are checked."""

    def __init__(self, folder: Path):
        self.folder, self.wrong, self.compared = folder, [], 0
        self.evaluation = cache(self._evaluation)

    def _evaluation(self, path: str) -> Evaluation:
        frame = pd.read_parquet(self.folder / path, partitioning=None).sort_values("episode")
        groups = frame.groupby(["shot", "processing", "classifier", "representation"])["accuracy"]
        found = {key: 100 * values.to_numpy() for key, values in groups}
        dataset, method, seed = frame[["dataset", "method", "seed"]].iloc[0]
        # The tables' name of a deep ensemble has its seeds.
        name = f"{method}/{seed}" if "+" in str(seed) else method
        return Evaluation(dataset, name, f"evaluations/{dataset}/{method}/{seed}.parquet", found)

    def episodes(self, paths: str, dataset: str, method: str | None, *key) -> np.ndarray:
        """[seeds, episodes]"""
        runs = [self.evaluation(path) for path in paths.split("; ")]
        for path, run in zip(paths.split("; "), runs, strict=True):
            self.equal(f"run of {path}", path, run.path)
            self.equal(f"data set of {path}", dataset, run.dataset)
            self.equal(f"method of {path}", method or run.method, run.method)
        return np.stack([run.accuracies[key] for run in runs])

    def role(self, paths: str, name: str) -> str:
        if name in ("ensemble", "e"):
            return "mean_probability"
        if name in ("chosen levels", "weighted levels"):
            return name.removesuffix(" levels")
        names = {key[3] for key in self.evaluation(paths.split("; ")[0]).accuracies}
        return max(name for name in names if re.fullmatch(r"level\d", name))

    def equal(self, what: str, found, expected) -> None:
        self.compared += 1
        if found != expected:
            self.wrong.append(f"{what}: {found}, recomputed {expected}")

    def close(self, what: str, row: pd.Series, expected: dict[str, float]) -> None:
        """Every number of a line of a CSV, which has ten digits."""
        for column in (name for name in NUMBERS if name in row.index):
            self.compared += 1
            found, wanted = row[column], expected[column]
            # A p-value or difference that is nothing but rounding has no digits of its own.
            same = math.isclose(found, wanted, rel_tol=2e-9, abs_tol=1e-12)
            if not same and not (math.isnan(found) and math.isnan(wanted)):
                self.wrong.append(f"{what}: {column} {found}, recomputed {wanted}")

    def texts(self, name: str, expected: list[tuple[str, str]]) -> None:
        """The numbers of the Markdown and the LaTeX in reading order, each with its mark."""
        for form, cells in (("md", markdown), ("tex", latex)):
            found = cells((self.folder / "tables" / f"{name}.{form}").read_text())
            self.equal(f"{name}.{form}: cells", len(found), len(expected))
            for place, (one, other) in enumerate(zip(found, expected, strict=False)):
                self.equal(f"{name}.{form}: cell {place}", one, other)


def t_interval(values: np.ndarray) -> float:
    if len(values) < 2:
        return np.nan
    return quantile(len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))


@cache
def quantile(freedom: int) -> float:
    return stats.t.ppf(0.975, freedom)


def over_runs(values: np.ndarray) -> dict[str, float]:
    by_seed, by_episode = values.mean(1), values.mean(0)
    return {
        "mean": by_episode.mean(),
        "ci95": t_interval(by_episode),
        "std_over_seeds": np.std(by_seed, ddof=1) if len(by_seed) > 1 else np.nan,
        "ci95_over_seeds": t_interval(by_seed),
    }


@cache
def resamples(episodes: int) -> np.ndarray:
    """How often each episode is in each of the resamples."""
    rows = np.random.default_rng(0).integers(episodes, size=(10_000, episodes))
    return np.stack([np.bincount(row, minlength=episodes).astype(float) for row in rows])


def of_difference(values: np.ndarray) -> dict[str, float]:
    found, by_episode = over_runs(values), values.mean(0)
    if np.ptp(by_episode) < 1e-9:
        p = float(abs(by_episode[0]) < 1e-9)
    else:
        p = stats.ttest_rel(by_episode, np.zeros_like(by_episode)).pvalue
    low, high = np.quantile(resamples(len(by_episode)) @ by_episode / len(by_episode), [0.025, 0.975])
    found |= {"difference": found["mean"], "p": p, "bootstrap_low": low, "bootstrap_high": high}
    return found


def holm(p: list[float]) -> list[float]:
    corrected, order, largest = [0.0] * len(p), sorted(range(len(p)), key=p.__getitem__), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = largest
    return corrected


def text(mean: float, half_width: float, sign: str = "") -> str:
    if np.isnan(mean):
        return ABSENT
    shown = format(round(mean, 2) + 0.0, f"{sign}.2f").replace("-", MINUS)
    return shown if np.isnan(half_width) else f"{shown} {PM} {half_width:.2f}"


def ranks(cells: dict) -> dict:
    """The mark of each cell (column, ...) -> mean: its rank among the different means of its column, as shown."""
    columns = defaultdict(set)
    for key, mean in cells.items():
        if not np.isnan(mean):
            columns[key[0]].add(round(mean, 2))
    marks = {0: "bold", 1: "underlined"}
    return {
        key: "" if np.isnan(mean) else marks.get(sorted(columns[key[0]], reverse=True).index(round(mean, 2)), "")
        for key, mean in cells.items()
    }


def markdown(content: str) -> list[tuple[str, str]]:
    rows = [line[2:-2].split(" | ") for line in content.splitlines() if line.startswith("| ")]
    cells = [cell for row in rows for cell in row]
    forms = {"bold": r"\*\*(.+)\*\*", "underlined": r"<u>(.+)</u>", "": r"(.+)"}
    return numbers(cells, forms)


def latex(content: str) -> list[tuple[str, str]]:
    bodies = re.findall(r"\\endfoot\n(.*?)\\end\{longtable\}", content, re.DOTALL)
    cells = [cell for body in bodies for line in body.splitlines() for cell in line.removesuffix(r" \\").split(" & ")]
    plain = [cell.replace(r"$\pm$", PM).replace("$-$", MINUS).replace("--", ABSENT) for cell in cells]
    return numbers(plain, {"bold": r"\\textbf\{(.+)\}", "underlined": r"\\underline\{(.+)\}", "": r"(.+)"})


def numbers(cells: list[str], forms: dict[str, str]) -> list[tuple[str, str]]:
    """Of all cells those with numbers, and the marks that they bear."""
    number = rf"[+{MINUS}]?\d+\.\d\d( {PM} \d+\.\d\d( \(\d+\.\d\d\))?)?|{ABSENT}"
    found = []
    for cell in cells:
        for mark, form in forms.items():
            match = re.fullmatch(form, cell)
            if match and re.fullmatch(number, match[1]):
                found.append((match[1], mark))
                break
    return found


def check_ablation(tables: Tables, frame: pd.DataFrame) -> None:
    found = {}
    for _, row in frame.iterrows():
        key = row["shot"], row["processing"], row["classifier"], row["representation"]
        values = tables.episodes(row["evaluations"], row["dataset"], row["method"], *key)
        found[row["classifier"], row["method"], row["representation"], row["dataset"], row["shot"]] = over_runs(values)
        tables.close(f"ablation.csv, {' '.join(map(str, row.iloc[:6]))}", row, over_runs(values))
        tables.equal("ablation.csv: seeds, episodes", (row["seeds"], row["episodes"]), values.shape)
    columns = list(dict.fromkeys(zip(frame["dataset"], frame["shot"], strict=True)))
    expected = []
    for classifier in frame["classifier"].unique():
        own = {key: of["mean"] for key, of in found.items() if key[0] == classifier}
        marks = ranks({(key[3:], key): mean for key, mean in own.items()})
        for method in frame["method"].unique():
            for representation in frame.loc[frame["method"] == method, "representation"].unique():
                for column in columns:
                    key = (classifier, method, representation, *column)
                    mark = marks[key[3:], key]
                    shown = text(found[key]["mean"], found[key]["ci95"])
                    expected.append((shown, mark if mark == "bold" else ""))
    tables.texts("ablation", expected)


def check_comparison(tables: Tables, frame: pd.DataFrame, first: tuple[str, str]) -> None:
    published = pd.read_csv(PUBLISHED, dtype=TEXTS).fillna(dict.fromkeys(TEXTS, ""))
    metrics, cells, compared = defaultdict(dict), [], {}
    for place, row in frame.iterrows():
        if row["kind"] == "ours":
            run = tables.evaluation(row["source"].split("; ")[0])[:2]
            key = (row["shot"], *first, tables.role(row["source"], row["representation"]))
            of = over_runs(tables.episodes(row["source"], row["dataset"], None, *key))
            mean, half_width = of["mean"], of["ci95"]
            metrics[run].setdefault(row["representation"], {})[f"{row['shot']}-shot"] = round(mean, 4)
        elif row["source"] not in set(published["source"]):
            mean, half_width = row["accuracy"], row["ci95"]  # a user's own
        else:
            same = published[
                (published["method"] == row["method"]) & (published["shot"] == row["shot"])
                & (published["encoder"] == row["encoder"]) & (published["source"] == row["source"])
                & (published["venue_year"] == row["venue_year"])
                & published["dataset"].str.lower().eq(("mini" if "mini" in row["dataset"] else "tiered") + "-imagenet")
            ]  # fmt: skip
            tables.equal(f"comparison.csv, {row['method']}: lines in published_results.csv", len(same), 1)
            mean, half_width = same[["accuracy", "ci95"]].iloc[0].astype(float)
        tables.close(f"comparison.csv, {row['method']}", row, {"accuracy": mean, "ci95": half_width})
        late = (
            row["appeared"] != ""
            and (row["appeared"] if "-" in row["appeared"] else row["appeared"] + "-12") > "2021-07"
        )
        apart = row["kind"] in ("transductive", "semi-supervised")
        block = row["kind"] if apart else "late" if late and row["kind"] != "ours" else row["kind"]
        if not apart and block != "late":
            compared[(row["dataset"], row["shot"]), place] = mean
        cells.append((row["dataset"], block, place, row["shot"], mean, half_width))
    marks = ranks(compared)
    blocks = ["regular", "ensemble", "single-level contrastive", "this paper", "added", "ours", "late", "transductive",
              "semi-supervised"]  # fmt: skip
    expected = []
    shots = frame.loc[frame["kind"] == "ours", "shot"].unique()
    for dataset in frame["dataset"].unique():
        for block in blocks:
            lines = defaultdict(dict)
            for of, kind, place, shot, mean, half_width in cells:
                if (of, kind) == (dataset, block):
                    row = frame.loc[place]
                    line = tuple(row[["method", "venue_year", "encoder", "representation"]].fillna(""))
                    lines[line][shot] = (text(mean, half_width), marks.get(((dataset, shot), place), ""))
            expected += [line.get(shot, (ABSENT, "")) for line in lines.values() for shot in shots]
    tables.texts("comparison", expected)
    written = json.loads((tables.folder / "tables" / "metrics.json").read_text())
    for (dataset, method), roles in metrics.items():
        for role, shots in roles.items():
            for shot, mean in shots.items():
                tables.equal(f"metrics.json, {dataset} {method}", written[dataset][method][role].get(shot), mean)


def check_differences(tables: Tables, name: str, frame: pd.DataFrame, first: tuple[str, str]) -> None:
    recomputed = []
    for _, row in frame.iterrows():
        values = 0
        if name == "factorial":
            tables.equal("factorial.csv: by", (row["processing"], row["classifier"]), first)
            half = len(row["evaluations"].split("; ")) // 2
            paths = row["evaluations"].split("; ")
            sides = {"s": (row["single"], "; ".join(paths[:half])), "m": (row["multi"], "; ".join(paths[half:]))}
            for (training, role), weight in EFFECTS[row["effect"]].items():
                method, files = sides[training]
                key = (row["shot"], *first, tables.role(files, role))
                values = values + weight * tables.episodes(files, row["dataset"], method, *key)
        else:
            sides = []
            for side in ("first", "second"):
                key = [row[f"{side}_{part}"] for part in ("processing", "classifier", "representation")]
                files = row[f"{side}_evaluations"]
                sides.append(tables.episodes(files, row["dataset"], row[f"{side}_method"], row["shot"], *key))
            if len(sides[0]) != len(sides[1]):  # a deep ensemble of all seeds beside one encoder a seed
                sides = [values.mean(0)[None] for values in sides]
            values = sides[0] - sides[1]
        recomputed.append(of_difference(values))
        tables.equal(f"{name}.csv: seeds, episodes", (row["seeds"], row["episodes"]), values.shape)
    corrected = holm([of["p"] for of in recomputed])
    expected = []
    for (_, row), of, p_holm in zip(frame.iterrows(), recomputed, corrected, strict=True):
        tables.close(f"{name}.csv, {' '.join(map(str, row.iloc[:4]))}", row, of | {"p_holm": p_holm})
        shown, over_seeds = text(of["mean"], of["ci95"], "+"), of["ci95_over_seeds"]
        shown += "" if np.isnan(over_seeds) else f" ({over_seeds:.2f})"
        expected.append((shown, "bold" if p_holm < 0.05 and not abs(of["mean"]) <= over_seeds else ""))
    tables.texts(name, expected)


def check_choices(tables: Tables) -> None:
    """Of every run and key: what was chosen is what the validation classes choose, where all candidates are there."""
    for path in sorted((tables.folder / "choices").glob("*/*/*.parquet")):
        name = str(path.relative_to(tables.folder))
        validation, test = tables.evaluation(name), tables.evaluation(name.replace("choices", "evaluations", 1))
        for key in {key[:3] for key in validation.accuracies}:
            by_name = {of[3]: values for of, values in validation.accuracies.items() if of[:3] == key}
            del by_name["concatenate"]
            last = max(one for one in by_name if re.fullmatch(r"level\d", one))
            highest = max(values.mean() for values in by_name.values())
            best = [one for one, values in by_name.items() if np.isclose(values.mean(), highest, rtol=1e-12)]
            gains = [by_name[one] - by_name[last] for one in best]
            best = [one if gain.mean() > t_interval(gain) else last for one, gain in zip(best, gains, strict=True)]
            found = [test.accuracies.get((*key, one)) for one in best]
            if all(values is not None for values in found):
                same = [np.array_equal(values, test.accuracies[*key, "chosen"]) for values in found]
                what = f"{name}: chosen for {' '.join(map(str, key))} is one of {', '.join(best)}"
                tables.equal(what, any(same), True)


def recompute(folder: Path) -> Tables:
    tables = Tables(folder)
    check_choices(tables)
    frames = {
        path.stem: pd.read_csv(path, dtype=TEXTS).fillna(dict.fromkeys(TEXTS, ""))
        for path in sorted((folder / "tables").glob("*.csv"))
    }
    first = tuple(frames["ablation"][["processing", "classifier"]].iloc[0])
    check_ablation(tables, frames.pop("ablation"))
    check_comparison(tables, frames.pop("comparison"), first)
    for name, frame in frames.items():
        if name not in DIFFERENCES:
            tables.wrong.append(f"{name}.csv: a table that nobody recomputes")
        elif len(frame):
            check_differences(tables, name, frame, first)
    return tables


if __name__ == "__main__":
    checked = recompute(Path(sys.argv[1]))
    print(f"{checked.compared} compared, {len(checked.wrong)} differ", *checked.wrong, sep="\n")
    sys.exit(bool(checked.wrong))
