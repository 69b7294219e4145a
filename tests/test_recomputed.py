"""Every number of every table, recomputed from the episode files by recompute.py."""

import hashlib
import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from recompute import markdown, recompute
from test_tables import CONFIG, evaluate

from mlcl import encoders, evaluations, paths, tables
from mlcl.representations import spelled
from mlcl.tables.layout import MINUS

RESULTS = Path(__file__).parents[1] / "results"
COMMITTED = sorted(path.parents[1].name for path in RESULTS.glob("*/tables/ablation.csv"))
# Two data sets, one of them with published numbers, three methods and a variant, two seeds: every table there is.
RICH = CONFIG | {
    "datasets": {"mini": {"source": "mini-imagenet"}, "random": {"source": "glyphs"}},
    "seeds": [2, 0],
    "deep_ensembles": True,
    "sweeps": {"temperature": {"of": ["multi_level"], "key": "objective.temperature", "values": [0.2]}},
    "evaluation": CONFIG["evaluation"]
    | {"subsets": True, "choose": True, "weigh": True, "processing": ["power", "l2"]},
}


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    out = tmp_path_factory.mktemp("rich")
    experiment, files = evaluate(RICH, out)
    tables.write(experiment, files, out)
    written = {path.stem for path in (out / "tables").glob("*.csv")}
    assert written == set(paths.table_names(experiment)) == set(tables.TABLES)
    return out


def test_every_number_is_the_episodes(rich):
    found = recompute(rich)
    assert not found.wrong
    for path in (rich / "tables").glob("*.md"):
        rows = [line for line in path.read_text().splitlines() if line.startswith("|")]
        cells = markdown("\n".join(rows))
        assert sum("±" in cell for cell, _ in cells) == sum(line.count("±") for line in rows) > 0


@pytest.mark.results
@pytest.mark.parametrize("name", COMMITTED)
def test_every_committed_number_is_the_episodes(name):
    if not (RESULTS / name / "evaluations").exists():
        pytest.skip(f"the evaluations of {name} are not there")
    found = recompute(RESULTS / name)
    assert not found.wrong
    lines = sum(len(pd.read_csv(path)) for path in (RESULTS / name / "tables").glob("*.csv"))
    assert found.compared > 8 * lines > 0


def test_the_encoders_in_git_are_those_that_were_evaluated():
    listed = subprocess.run(
        ["git", "ls-files", "results/*/models/*"], cwd=RESULTS.parent, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a checkout of git")
    assert listed.stdout
    for path in map(RESULTS.parent.joinpath, listed.stdout.split()):
        *_, dataset, method, seed = path.parent.parts
        experiment = path.parents[4]
        record = json.loads((experiment / "runs" / dataset / method / seed / "run.json").read_text())
        evaluation = evaluations.read(experiment / "evaluations" / dataset / method / f"{seed}.parquet")
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        assert checksum == record["model"] == evaluation.made_by["model"], path
        encoder, made_by = encoders.load(path)
        assert made_by["method"] == record["made_by"]["method"]
        assert len(encoder(torch.zeros(1, made_by["shape"][2], *made_by["shape"][:2]))) == 4


ROLES = {
    "last level": "level4", "ensemble": "mean_probability", "chosen levels": "chosen", "weighted levels": "weighted",
}  # fmt: skip
TITLES = {"cross_entropy": "cross_entropy", "Single_level & 100%": "single_level", "Multi|level": "multi_level"}
SQUARE_ROOT, UNIT = "square root, unit length", "unit length"


def said(table: str, block: str, label: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Method, representation, processing and classifier of both sides of a difference, by the words of its line."""
    usual = ("power", "nearest_centroid")
    if table == "subsets":
        levels = label.replace(" ", "")
        own = "mean_probability" if levels == "1+2+3+4" else f"level{levels}"
        return (TITLES[block], own, *usual), (TITLES[block], "level4", *usual)
    if table == "classifiers":
        (method, role), (classifier, processing) = block.split("; solved by its "), label.split(", ", 1)
        side, name = (TITLES[method], ROLES[role]), classifier.replace(" ", "_")
        return (*side, {SQUARE_ROOT: "power", UNIT: "l2"}[processing], name), (*side, *usual)
    if table == "sweeps":
        value, role = label.rsplit(", ", 1)
        return ("multi_level.temperature." + value, ROLES[role], *usual), ("multi_level", ROLES[role], *usual)
    if table == "deep_ensembles":
        return deep_ensemble(block, label, usual)
    if " of multi-level " in label:
        first, second = (side.split(" of ")[0] for side in label.split(f" {MINUS} "))
        return ("multi_level", ROLES[first], *usual), ("single_level", ROLES[second], *usual)
    first, second = block.removesuffix(", same method").split(f" {MINUS} ")
    second, *of = second.split(" of ")
    methods = label.split(f" {MINUS} ") if f" {MINUS} " in label else [label, of[0] if of else label]
    return tuple((TITLES[method], ROLES[role], *usual) for method, role in zip(methods, (first, second), strict=True))


def deep_ensemble(block: str, label: str, usual: tuple[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Block: ROLE, 2 encoders - one, or ROLE of N - ROLE of N; or label: ROLE of N, TRAINING - ROLE of N, TRAINING."""
    number = {"one encoder": "", "2 encoders": "/2+0"}
    if match := re.fullmatch(rf"(.+), 2 encoders {MINUS} one, same method", block):
        method, role = TITLES[label], ROLES[match[1]]
        return (method + "/2+0", role, *usual), (method, role, *usual)
    if match := re.fullmatch(
        rf"(.+) of one encoder {MINUS} last level of 2 encoders, (same method|cross_entropy)", block
    ):
        second = TITLES[label if match[2] == "same method" else match[2]]
        sides = [(match[1], "one encoder", TITLES[label]), ("last level", "2 encoders", second)]
    else:
        words = [side.replace(", ", " of ").split(" of ") for side in label.split(f" {MINUS} ")]
        sides = [(role, count, training.replace("-", "_")) for role, count, training in words]
    return tuple((method + number[count], ROLES[role], *usual) for role, count, method in sides)


@pytest.mark.parametrize(
    "table", ["differences", "deep_ensembles", "choice", "weights", "subsets", "classifiers", "sweeps"]
)
def test_the_words_of_a_difference_are_its_sides(rich, table):
    rows = pd.read_csv(rich / "tables" / f"{table}.csv").drop_duplicates(["block", "label"])
    assert len(rows) > 3
    for row in rows.to_dict("records"):
        keys = ("method", "representation", "processing", "classifier")
        found = tuple(tuple(row[f"{side}_{key}"] for key in keys) for side in ("first", "second"))
        assert found == said(table, row["block"], row["label"])


def test_the_notes_say_what_the_validation_classes_gave(rich):
    """Of the first processing and classifier, the mean over the seeds, data set and shot by themselves."""
    text, choices = ((rich / "tables" / f"{name}.md").read_text().replace("\\", "") for name in ("weights", "choice"))
    for title, method in TITLES.items():
        runs = [
            (dataset, shot, [run.weights[shot, "power", "nearest_centroid"] for run in runs])
            for dataset in ("mini", "random")
            for runs in [[evaluations.read(rich / f"evaluations/{dataset}/{method}/{seed}.parquet") for seed in (2, 0)]]
            for shot in (1, 5)
        ]
        said = [
            f"{', '.join(f'{sum(w) / 2:.2f}' for w in zip(*weights, strict=True))} on {dataset} {shot}-shot"
            for dataset, shot, weights in runs
        ]
        assert f"{title}: {'; '.join(said)}." in text
        (chosen,) = re.findall(rf"^{re.escape(title)}: (.*)\.$", choices, re.MULTILINE)
        for (dataset, shot, _), words in zip(runs, chosen.split("; "), strict=True):
            found = {
                spelled(evaluations.read(path).chosen[shot, "power", "nearest_centroid"], (1, 2, 3, 4))
                for path in (rich / f"evaluations/{dataset}/{method}").glob("?.parquet")
            }
            assert words.endswith(f" on {dataset} {shot}-shot")
            assert set(re.sub(r" \(\d\)", "", words.rpartition(" on ")[0]).split(" or ")) == found


def test_levels_that_the_validation_classes_do_not_choose_are_found(rich, tmp_path):
    shutil.copytree(rich, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "choices" / "mini" / "multi_level" / "0.parquet"
    frame = pd.read_parquet(path)
    frame.loc[frame["representation"] == "level1+3", "accuracy"] = 1.0
    frame.to_parquet(path)
    assert any(message.startswith(f"{path.relative_to(tmp_path)}: chosen") for message in recompute(tmp_path).wrong)


# A number as it stands in each form, up to the digit that is altered.
NUMBER = {
    ".md": r"(?<=\| )\W*\d+\.\d\d",
    ".tex": r"(?<=& )(\\textbf\{|\\underline\{)?[$+-]*\d+\.\d\d",
    ".csv": r"(?<=,)-?\d+\.\d\d(?=\d*[,\n])",
    ".json": r"\d+\.\d\d",
}


def test_an_altered_number_is_found_in_every_file(rich, tmp_path):
    shutil.copytree(rich, tmp_path, dirs_exist_ok=True)
    drawn, altered = random.Random(0), {}
    for path in sorted((tmp_path / "tables").iterdir()):
        text = path.read_text()
        place = drawn.choice([number.end() - 1 for number in re.finditer(NUMBER[path.suffix], text)])
        path.write_text(text[:place] + str((int(text[place]) + 5) % 10) + text[place + 1 :])
        altered[path.name] = text[max(0, place - 60) : place + 20]
    wrong = recompute(tmp_path).wrong
    assert len(altered) == 3 * len(tables.TABLES) + 1
    for name, where in altered.items():
        assert any(message.startswith(name) for message in wrong), (name, where)
