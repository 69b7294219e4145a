"""What the numbers say, in words: sentences made from the tables' numbers by rules that anyone can check.

A difference counts as shown where its p-value, corrected for the number of differences in its table (Holm), lies below
0.05. With several training seeds the interval over the seeds must leave zero out, too, or the sentence says that it
does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlcl import statistics
from mlcl.tables import comparison, contrasts, factorial
from mlcl.tables.contrasts import SHOWN, unsure, verdict
from mlcl.tables.layout import made_by, shown
from mlcl.tables.study import PROCESSING, Study, sides, titles, words


class Finding(NamedTuple):
    text: str
    made_by: tuple[str, ...] = ()
    """The evaluations behind its numbers, as the tables name them."""


class Findings(NamedTuple):
    heading: str
    found: list[Finding]


LEARNT = {
    "choice": "Levels chosen on the validation classes",
    "weights": "Levels weighted on the validation classes",
    "deep_ensembles": "Several encoders together (they are one ensemble of all seeds: no interval over seeds)",
}


def findings(study: Study, frames: Mapping[str, pd.DataFrame]) -> list[Findings]:
    """Of an experiment and the frames of its tables: the paper's claim first, then where a gain comes from."""
    evaluation = study.experiment.evaluation
    first, plain = words(evaluation.classifiers[0]), PROCESSING[evaluation.processing[0]]
    by_gain = {
        "subsets": "Which levels do better than the last alone",
        "classifiers": f"Which classifier and features do better than {first} of features of {plain}",
        "sweeps": "Which other value of a key of the recipe does better than the method's own",
    }
    claims = {factorial.heading(study.experiment, *pair) for pair in factorial.pairs(study.experiment)}
    return [
        *_claim(study, frames["factorial"]),
        *(Findings(heading, list(learnt(frames[name], claims))) for name, heading in LEARNT.items() if name in frames),
        *(Findings(heading, list(better(frames[name]))) for name, heading in by_gain.items() if name in frames),
        Findings(f"The best of our methods, by {first}", list(_best(study))),
        Findings("The best level", list(_levels(study))),
        *([Findings("Beside published numbers", beside)] if (beside := list(_published(study))) else []),
        Findings("How far this reaches", list(_reach(study))),
    ]


def _claim(study: Study, effects: pd.DataFrame) -> Iterator[Findings]:
    names, classifier = titles(study.experiment), words(study.experiment.evaluation.classifiers[0])
    if effects.empty:
        text = f"No two methods differ in nothing but {factorial.LEVELS}: it is not tested here."
        yield Findings("The paper's claim", [Finding(text)])
    for (single, multi), frame in effects.groupby(["single", "multi"], sort=False):
        whole = frame[frame["effect"] == factorial.WHOLE]
        verdicts = [verdict(row) for row in whole.to_dict("records")]
        yield Findings(
            f"The paper's claim: {names[multi]} against {names[single]}",
            [
                Finding(
                    "The claim is that an ensemble over the levels of an encoder trained at several levels does better "
                    f"than an encoder trained at its last level alone. Here, by {classifier}, that is "
                    f"{_count(verdicts)}. The two methods differ in nothing but "
                    f"{factorial.changed(study.experiment, single, multi)}."
                ),
                *_each(whole, "the ensemble of multi-level training", "the last level of single-level training"),
            ],
        )
        parts = {
            factorial.TRAINING_LAST: ("multi-level training", "single-level training, both by their last level"),
            factorial.TRAINING_ENSEMBLE: ("multi-level training", "single-level training, both by their ensemble"),
            factorial.ENSEMBLE_SINGLE: ("after single-level training, the ensemble", "the last level"),
            factorial.ENSEMBLE_MULTI: ("after multi-level training, the ensemble", "the last level"),
        }
        found = [_gathered(frame[frame["effect"] == key], *sides) for key, sides in parts.items()]
        yield Findings(f"Where it comes from: {names[multi]} against {names[single]}", found)


def _count(verdicts: list[int]) -> str:
    """How many of them say yes, no, or nothing: "borne out in 1 of 4 columns, contradicted in 3"."""
    said = {1: "borne out in {}", -1: "contradicted in {}", 0: "neither shown nor contradicted in {}"}
    counts = {text: verdicts.count(value) for value, text in said.items()}
    parts = [text.format(count) for text, count in counts.items() if count]
    return f"{parts[0]} of {len(verdicts)} {'column' if len(verdicts) == 1 else 'columns'}" + "".join(
        f", {part}" for part in parts[1:]
    )


def _each(rows: pd.DataFrame, first: str, second: str) -> list[Finding]:
    return [
        Finding(f"{row['dataset']}, {row['shot']}-shot: {said(row, first, second)}", made_by(row))
        for row in rows.to_dict("records")
    ]


def _gathered(rows: pd.DataFrame, first: str, second: str) -> Finding:
    """One effect in a sentence, its columns gathered by verdict."""
    said = {1: f"{first} does better than {second}", -1: f"{first} does worse than {second}", 0: "not told apart"}
    columns: dict[int, list[str]] = {value: [] for value in said}
    for row in rows.to_dict("records"):
        columns[verdict(row)].append(f"{row['dataset']} {row['shot']}-shot ({_amount(row)})")
    if not columns[1] and not columns[-1]:
        said[0] = f"{first} and {second} are not told apart"
    text = "; ".join(f"{said[value]} on {', '.join(where)}" for value, where in columns.items() if where)
    return Finding(f"{text[0].upper()}{text[1:]}.", made_by(*rows.to_dict("records")))


def said(row: dict, first: str, second: str) -> str:
    """One difference, `first` minus `second`, in a sentence: "first does better than second by 1.20 points (...)."."""
    amount = f"{abs(row['difference']):.2f} points"
    interval = (
        f"95% interval {points(row['difference'], row['ci95'])} over episodes, corrected p {p_value(row['p_holm'])}"
    )
    if row["p_holm"] >= SHOWN:
        return f"{first} and {second} are not told apart ({interval})."
    better = "better" if row["difference"] > 0 else "worse"
    sentence = f"{first} does {better} than {second} by {amount} ({interval})"
    if np.isnan(row["ci95_over_seeds"]):
        return f"{sentence}."
    over_seeds = row["difference"], row["ci95_over_seeds"]
    if unsure(*over_seeds):
        return (
            f"{first} and {second} are not told apart over training seeds, whose interval is {points(*over_seeds)}; "
            f"with these trainings it does {better} by {amount} ({interval})."
        )
    return f"{sentence}, and over training seeds too ({points(*over_seeds)})."


def _amount(row: dict) -> str:
    over_seeds = "" if np.isnan(row["ci95_over_seeds"]) else f", over seeds ± {row['ci95_over_seeds']:.2f}"
    return shown(row["difference"], row["ci95"], sign="+") + over_seeds


def points(mean: float, half_width: float) -> str:
    """An interval by its ends."""
    return " to ".join(shown(end, np.nan, sign="+") for end in (mean - half_width, mean + half_width))


def p_value(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def better(frame: pd.DataFrame) -> Iterator[Finding]:
    """Block by block of a table of differences, the line that gains most in each column of those that are shown to."""
    for block, rows in frame.groupby("block", sort=False):
        said, none, best = [], [], []
        for (dataset, shot), some in rows.groupby(["dataset", "shot"], sort=False):
            better = [row for row in some.to_dict("records") if verdict(row) > 0]
            if not better:
                none.append(f"{dataset} {shot}-shot")
                continue
            most = max(better, key=itemgetter("difference"))
            more = f", of {len(better)} that do" if len(better) > 1 else ""
            said.append(f"{most['label']} on {dataset} {shot}-shot ({_amount(most)}{more})")
            best.append(most)
        if none:
            said.append(f"none is shown to on {', '.join(none)}" if said else "none is shown to in any column")
        yield Finding(f"{block}: {'; '.join(said)}.", made_by(*best))


def learnt(frame: pd.DataFrame, claims: Collection[str]) -> Iterator[Finding]:
    """Difference by difference of a table of `LEARNT`: how often it is better and worse, and where by most. In a block
    of `claims`, of a pair of methods, a line is a difference; any other block is one, of several methods."""
    apart = frame["block"].isin(claims)
    what = frame["block"].where(~apart, frame["block"] + ": " + frame["label"])
    for name, rows in frame.groupby(what, sort=False):
        lines = rows.to_dict("records")
        verdicts = [verdict(row) for row in lines]
        text = f"{name}: better in {verdicts.count(1)} of {len(lines)}, worse in {verdicts.count(-1)}"
        if gains := [row for row, value in zip(lines, verdicts, strict=True) if value > 0]:
            most = max(gains, key=itemgetter("difference"))
            of = "" if most["block"] in claims else f"of {most['label']} "
            text += f"; most {of}on {most['dataset']} {most['shot']}-shot ({_amount(most)})"
        yield Finding(f"{text}.", made_by(*lines))


def _best(study: Study) -> Iterator[Finding]:
    """Of every column the best that the comparison shows of ours, and whether it leads the next by more than chance."""
    names, of = titles(study.experiment), sides(study.experiment)
    for (dataset, shot), rows in comparison.compared(study).groupby(["dataset", "shot"], sort=False):
        first, *others = rows.sort_values("mean", ascending=False, kind="stable").to_dict("records")
        ours, *theirs = (of[row["method"], row["representation"]] for row in (first, *others))
        text = f"{dataset}, {shot}-shot: {names[first['method']]}, {first['representation']}"
        text += f", with {shown(first['mean'], first['ci95'])}%"
        # Chosen levels may be the last one: the next is the first with accuracies of its own.
        leads = [contrasts.weighted(study, dataset, shot, {ours: 1, side: -1}) for side in theirs]
        pairs = list(zip(others, leads, strict=True))
        second, ahead = next((pair for pair in pairs if pair[1].any()), pairs[0])
        found = statistics.effect(ahead)
        lead = f"{names[second['method']]}, {second['representation']}"
        by = f"{points(found.mean, found.half_width)} over episodes, p {p_value(found.p)}"
        text += f"; {'ahead of' if found.p < SHOWN else 'not told apart from'} {lead} ({by}, uncorrected)"
        over_seeds = found.mean, found.half_width_over_seeds
        if found.p < SHOWN and unsure(*over_seeds):
            text += (
                f", but over training seeds the interval is {points(*over_seeds)}: another training may turn it around"
            )
        yield Finding(f"{text}.", made_by(first, second))


def _levels(study: Study) -> Iterator[Finding]:
    """Which single level of each method does best in each column."""
    single = study.first[study.first["representation"].str.fullmatch(r"level\d+")]
    names = titles(study.experiment)
    for method in study.experiment.methods:
        rows = single[single["method"] == method]
        best = rows.loc[rows.groupby(["dataset", "shot"], sort=False)["mean"].idxmax()]
        columns = {
            words(level): ", ".join(
                f"{row.dataset} {row.shot}-shot ({shown(row.mean, row.ci95)}%)" for row in some.itertuples()
            )
            for level, some in best.groupby("representation")
        }
        said = "; ".join(f"{level} on {where}" for level, where in columns.items())
        yield Finding(f"{names[method]}: {said}.", made_by(*best.to_dict("records")))


def _published(study: Study) -> Iterator[Finding]:
    known = comparison.comparable(study).dropna(subset="accuracy")
    for (dataset, shot), rows in comparison.compared(study).groupby(["dataset", "shot"], sort=False):
        others = known[(known["dataset"] == dataset) & (known["shot"] == shot)]
        if others.empty:
            continue
        ours, theirs = rows.loc[rows["mean"].idxmax()], others.loc[others["accuracy"].idxmax()]
        apart = ours["mean"] - theirs["accuracy"]
        mine, other = shown(ours["mean"], ours["ci95"]), shown(theirs["accuracy"], theirs["ci95"])
        yield Finding(
            f"{dataset}, {shot}-shot: the best of ours, {mine}%, lies {abs(apart):.2f} points "
            f"{'above' if apart > 0 else 'below'} the best published number that may be compared, "
            f"{other}% of {theirs['method']} ({theirs['encoder'] or 'encoder not given'}); ours is {ours['encoder']}.",
            ours["evaluations"],
        )


def _reach(study: Study) -> Iterator[Finding]:
    seeds, evaluation = study.experiment.seeds, study.experiment.evaluation
    if len(seeds) == 1:
        yield Finding(
            "There is one training seed: the intervals cover the sampling of the episodes alone, and how far other "
            "trainings of the same recipe would fall from these, no number here says."
        )
    else:
        yield Finding(
            f"There are {len(seeds)} training seeds: an interval over seeds has {len(seeds) - 1} "
            f"{'degree' if len(seeds) == 2 else 'degrees'} of freedom, and is wide for that reason alone."
        )
    first, *others = evaluation.classifiers
    yield Finding(
        f"Every method met the same {evaluation.episodes} episodes of the {evaluation.split} split, by {words(first)}"
        f"{'; numbers of other classifiers are in the table level by level' if others else ''}."
    )
