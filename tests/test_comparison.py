"""Published numbers in the comparison: grouped, marked, with their notes, and with numbers of one's own."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from test_tables import CONFIG, MINI, evaluate, numbers, read_csv, rewrite, tables_alone

from mlcl import cli, tables
from mlcl.config import Experiment
from mlcl.errors import UserError
from mlcl.tables import published
from mlcl.tables.layout import ABSENT, MINUS, SYMBOLS, Number, Row, Table, latex

BOTH = CONFIG | {
    "datasets": {name: {"source": name} for name in ("mini-imagenet", "tiered-imagenet")},
    "methods": {"cross_entropy": CONFIG["methods"]["cross_entropy"]},
    "seeds": [0, 1, 2],
    "deep_ensembles": True,
    "sweeps": {"rate": {"of": ["cross_entropy"], "key": "training.learning_rate", "values": [0.2]}},
    "evaluation": CONFIG["evaluation"]
    | {"subsets": True, "choose": True, "weigh": True, "processing": ["power_centre", "l2"]},
}
PAPER = "Multi-Level Contrastive Learning (Chen & Zhang)"


def known() -> pd.DataFrame:
    return pd.read_csv(published.PUBLISHED, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folder with the comparison on the two data sets that have published results."""
    out = tmp_path_factory.mktemp("both")
    experiment, files = evaluate(BOTH, out)
    for path in files:  # intervals as wide as those of hundreds of episodes
        rewrite(path, lambda frame: frame.assign(accuracy=0.6 + frame["accuracy"] / 10))
    tables_alone(experiment, files, out)
    return out


def by_block(text: str) -> dict[str, list[str]]:
    """The rows of a markdown table, by their heading."""
    blocks = {}
    for line in text.splitlines():
        if heading := re.match(r"\| \*(.+?)\* \|", line):
            rows = blocks[heading[1]] = []
        elif line.startswith("| ") and blocks:
            rows.append(line)
    return blocks


def of_dataset(out, dataset: str) -> str:
    """The markdown of one data set's table and its notes."""
    (text,) = [
        text
        for text in (out / "tables/comparison.md").read_text().split("## ")
        if text.startswith(f"Comparison on {dataset},")
    ]
    return text


def test_no_published_result_has_a_place_in_the_table_twice():
    rows = known()
    assert len(rows) == 250
    assert not rows.duplicated(["method", "venue_year", "encoder", "dataset", "way", "shot"]).any()
    assert (rows["source"] != "").all()
    assert (rows["appeared"] != "").all()
    assert set(rows["method"][rows["accuracy"] == ""]) == {PAPER}


def test_every_published_result_is_in_the_csv(both):
    rows = read_csv(both, "comparison")
    keys = ["method", "venue_year", "appeared", "encoder", "shot", "source", "kind", "note"]
    cited = [row for row in rows if row["kind"] != "ours"]
    for name in ("mini-ImageNet", "tiered-ImageNet"):
        mine = [row for row in cited if row["dataset"] == name.lower()]
        theirs = known()[known()["dataset"] == name]
        assert [[row[key] for key in keys] for row in mine] == theirs[keys].to_numpy().tolist()
        for column in ("accuracy", "ci95"):
            values = pd.to_numeric(theirs[column])
            np.testing.assert_array_equal([float(row[column] or "nan") for row in mine], values)


def test_published_numbers_do_not_stand_beside_those_of_encoders_from_elsewhere(tmp_path):
    experiment, files = evaluate(BOTH | {"trained_on": {"tiered-imagenet": "mini-imagenet"}}, tmp_path)
    tables_alone(experiment, files, tmp_path)
    published = {row["dataset"] for row in read_csv(tmp_path, "comparison") if row["kind"] != "ours"}
    assert published == {"mini-imagenet"}


def test_the_tables_are_grouped_as_in_the_papers_claim(both):
    apart = ["appeared after July 2021", "transductive", "semi-supervised"]
    for dataset, name in {"mini-imagenet": "mini-ImageNet", "tiered-imagenet": "tiered-ImageNet"}.items():
        blocks = by_block(of_dataset(both, dataset))
        assert list(blocks) == [
            "regular", "ensemble", "single-level contrastive", "this paper", "ours",
            *(f"kept apart: {block}" for block in apart),
        ]  # fmt: skip
        rows = known()[known()["dataset"] == name]
        for block, lines in blocks.items():
            found = {line.split(" | ")[0].removeprefix("| ").replace("\\", "") for line in lines}
            late = (rows["appeared"] > "2021-07") | (rows["appeared"] == "2021")
            match block.removeprefix("kept apart: "):
                case "ours":
                    assert found == {"cross_entropy", "cross_entropy, 3 encoders"}
                case "appeared after July 2021":
                    assert found == set(rows["method"][late & ~rows["kind"].isin(apart)])
                case kind:
                    assert found == set(rows["method"][(rows["kind"] == kind) & (~late | (kind in apart))])
    late = by_block(of_dataset(both, "mini-imagenet"))["kept apart: appeared after July 2021"]
    assert [method for method in ("PAL", "COSOC", "UniSiam", "EASY") if not any(method in line for line in late)] == []
    assert not any("Inv-Equ" in line for line in late)


@pytest.mark.parametrize("mark", [r"\*\*.*?\*\*", "<u>.*?</u>"])
def test_only_what_may_be_compared_is_marked(both, mark):
    rank = mark.startswith("<")
    for dataset in BOTH["datasets"]:
        blocks = by_block(of_dataset(both, dataset))
        cells = [
            [cell.strip() for cell in line.split("|")[5:7]]
            for b, rows in blocks.items()
            if "apart" not in b
            for line in rows
        ]
        for column in zip(*cells, strict=True):
            means = [float(found[0]) if (found := re.findall(r"\d+\.\d\d", cell)) else 0 for cell in column]
            marked = {mean for mean, cell in zip(means, column, strict=True) if re.fullmatch(mark, cell)}
            assert marked == {sorted(set(means), reverse=True)[rank]}
        assert not re.search(mark, "".join("".join(rows) for block, rows in blocks.items() if "apart" in block))


def test_notes_and_sources_stand_below_the_tables_that_use_them(both):
    for dataset, name in {"mini-imagenet": "mini-ImageNet", "tiered-imagenet": "tiered-ImageNet"}.items():
        text = of_dataset(both, dataset)
        rows = known()[known()["dataset"] == name]
        for column, mark in {"source": r"\[(\d+)\]", "note": r"\((\d+)\)"}.items():
            below = re.findall(f"^{mark} (.*)$", text, re.MULTILINE)
            assert [int(n) for n, _ in below] == list(range(1, len(below) + 1))
            assert {line.replace("\\", "") for _, line in below} == set(rows[column]) - {""}
            marks = re.findall(mark, "".join(itertools.chain(*by_block(text).values())))
            assert list(dict.fromkeys(marks)) == [n for n, _ in below]  # numbered as they are met
    text = of_dataset(both, "mini-imagenet")
    assert "| ProtoNet | NeurIPS 2017 [1] | Conv-4 |  | 49.42 ± 0.78 | 68.20 ± 0.66 |" in text
    assert "| MAML | ICML 2017 [2] (1) | Conv-4 (32ch) |" in text


def test_the_papers_own_numbers_are_entered_in_the_csv(both, tmp_path, monkeypatch):
    note = "its own numbers are not public to us"
    for dataset in BOTH["datasets"]:
        (line,) = by_block(of_dataset(both, dataset))["this paper"]
        assert line.endswith(f" | {ABSENT} | {ABSENT} |")
        assert note in of_dataset(both, dataset)
    rows = known()
    rows.loc[rows["method"] == PAPER, ["accuracy", "ci95"]] = "98.76", "0.12"
    rows.to_csv(tmp_path / "published.csv", index=False)
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published.csv")
    tables_alone(*evaluate(BOTH, tmp_path), tmp_path)
    text = (tmp_path / "tables/comparison.md").read_text()
    assert text.count("**98.76 ± 0.12** | **98.76 ± 0.12** |") == 2
    assert note not in text


def test_published_results_are_of_the_data_sets_that_have_some(tmp_path):
    tables_alone(*evaluate(MINI, tmp_path), tmp_path)
    assert {row["dataset"] for row in read_csv(tmp_path, "comparison") if row["kind"] != "ours"} == {"mini"}
    assert "| Method | Encoder | Representation | random 1-shot |" in of_dataset(tmp_path, "random")
    assert "[1]" not in of_dataset(tmp_path, "random")


@pytest.mark.parametrize("evaluation", [{"way": 4}, {"split": "val"}, {"shots": [2]}])
def test_published_results_are_for_the_same_tasks_only(tmp_path, evaluation):
    experiment, paths = evaluate(MINI | {"evaluation": CONFIG["evaluation"] | evaluation}, tmp_path)
    tables_alone(experiment, paths, tmp_path)
    assert {row["kind"] for row in read_csv(tmp_path, "comparison")} == {"ours"}


OWN = """\
method,dataset,shot,accuracy,ci95,encoder,kind,appeared,source
Mine,mini,1,98.7,0.15,ResNet-12,,,
Mine,mini,5,99.1,,ResNet-12,,,"my run, May"
Mine,random,1,20.5,,,,,
Another,mini-ImageNet,1,99.9,,,regular,2023-05,
Another,mini-ImageNet,5,61.3,,,regular,2020-05,of its preprint
Another,tiered-ImageNet,1,99.9,,,regular,2023-05,
Another,tiered-ImageNet,10,99.9,,,regular,2023-05,
"""


def test_numbers_of_ones_own_by_a_csv(tmp_path, monkeypatch):
    config = MINI | {"published": ["numbers/own.csv"]}
    (tmp_path / "root" / "numbers").mkdir(parents=True)
    (tmp_path / "root" / "numbers" / "own.csv").write_text(OWN)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    _, paths = evaluate(config, tmp_path)
    monkeypatch.chdir(tmp_path / "root")
    cli.main(
        ["tables", "--experiment", "../config.yaml", "--evaluations", *map(str, paths), "--out", str(tmp_path)]
    )  # --root is the working directory
    blocks = by_block(of_dataset(tmp_path, "mini"))
    (line,) = blocks["added"]
    assert re.fullmatch(r"\| Mine \| (\[\d+\]){2} \| ResNet-12 \|  \| \*\*98.70 ± 0.15\*\* \| \*\*99.10\*\* \|", line)
    # What stands in two blocks has in each the source of its own number.
    (late,) = (line for line in blocks["kept apart: appeared after July 2021"] if line.startswith("| Another |"))
    (early,) = (line for line in blocks["regular"] if line.startswith("| Another |"))
    marks = [re.fullmatch(r"\| Another \| (\[\d+\]) \| .*", each)[1] for each in (late, early)]
    assert marks[0] != marks[1]
    assert re.search(r"^\[\d+\] numbers/own.csv$", of_dataset(tmp_path, "mini"), re.MULTILINE)
    (line,) = by_block(of_dataset(tmp_path, "random"))["added"]
    assert line.endswith(f" | 20.50 | {ABSENT} |")
    assert len([row for row in read_csv(tmp_path, "comparison") if row["method"] == "Another"]) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["method,dataset,accuracy", "A,mini,50"], "line 1: has no column shot; add it"),
        (["method,dataset,shot,accuracy,ci", "A,mini,1,50,1"], "line 1: 'ci' is none of the columns method, "),
        (["method,dataset,shot,accuracy", "A,mini,1,50", "A,mini,5,fifty"], "line 3: accuracy: Input should be a"),
        (["method,dataset,shot,accuracy", "A,mini,1,0.5"], "line 2: accuracy: Input should be greater than 1 (given: "),
        (["method,dataset,shot,accuracy", "A,mini,one,50"], "line 2: shot: Input should be a valid integer"),
        (["method,dataset,shot,accuracy", "A,mini,3,50"], "line 2: shot: 3 is none of the experiment's (1, 5); leave"),
        (["method,dataset,shot,accuracy,way", "A,mini,1,50,20"], "line 2: way: 20 is not the experiment's 5; leave"),
        (["method,dataset,shot,accuracy", "A,mimi,1,50"], "line 2: dataset: mimi is none of mini, random, mini-"),
        (["method,dataset,shot,accuracy", ",mini,1,50"], "line 2: method is empty; fill it in"),
        (["method,dataset,shot,accuracy,kind", "A,mini,1,50,odd"], "line 2: kind: Input should be 'regular', 'ens"),
        (["method,dataset,shot,accuracy,appeared", "A,mini,1,50,May"], "line 2: appeared: String should match pattern"),
        (["method,dataset,shot,accuracy", "A,mini,1,50", "A,mini,1,51"], "line 3: A, mini, 1-shot is in "),
        (["method,dataset,shot,accuracy", "A, B,mini,1,50"], "line 2: has more cells than columns; put texts"),
        (["method,dataset,shot,accuracy,accuracy", "A,mini,1,50,60"], "line 1: has a column twice; remove one"),
        (["method,dataset,shot,accuracy", "\xe9,mini,1,50"], "cannot be read ("),
        (None, "cannot be read ("),
    ],
)  # fmt: skip
def test_a_wrong_csv_is_named_with_its_line(tmp_path, lines, message):
    if lines is not None:
        (tmp_path / "own.csv").write_text("\n".join(lines), encoding="latin-1")
    experiment = Experiment.parse(MINI | {"published": ["own.csv"]}, "test")
    with pytest.raises(UserError) as caught:
        published.read(experiment, tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "own.csv"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_novel_classes_do_not_stand_beside_validation_classes(tmp_path):
    (tmp_path / "own.csv").write_text("method,dataset,shot,accuracy\nA,mini,1,50\n")
    evaluation = CONFIG["evaluation"] | {"split": "val"}
    experiment = Experiment.parse(MINI | {"published": ["own.csv"], "evaluation": evaluation}, "test")
    with pytest.raises(UserError, match=r"line 2: is of novel classes, and the experiment evaluates the split val"):
        published.read(experiment, tmp_path)


def test_latex_compiles_and_prints_the_numbers_of_the_markdown(both, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here; on Debian, apt install texlive-latex-recommended")
    names = [*tables.TABLES]
    rows = {"": [Row([f"A title with {symbol}"], [Number("1.00")]) for symbol in SYMBOLS]}
    (tmp_path / "symbols.tex").write_text(latex(Table("Symbols", ["Method"], [("x", 1)], rows, [])))
    inputs = "\n".join(f"\\input{{{both}/tables/{name}}}" for name in names)
    (tmp_path / "article.tex").write_text(
        "\\documentclass{article}\n\\usepackage[a4paper,margin=2.5cm]{geometry}\n"
        f"\\usepackage{{array,booktabs,longtable}}\n\\begin{{document}}\n{inputs}\n\\input{{symbols}}\n\\end{{document}}\n"
    )
    for _ in range(3):  # until the widths of the columns have settled
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article.tex"],
            cwd=tmp_path, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    assert not re.search(r"Overfull|Warning|Missing character|undefined", done.stdout), done.stdout
    for name in names:
        in_markdown, in_latex = ((both / f"tables/{name}.{form}").read_text() for form in ("md", "tex"))
        assert numbers(in_markdown) == numbers(in_latex)
        plain = re.compile(r"(?<![\w.])[+-]?\d+\.\d\d(?!\w)")
        tidy = in_latex[in_latex.index(r"\endfoot") :].replace("$-$", MINUS)
        assert plain.findall(re.sub(r"p\{[\d.]+em\}", "", tidy)) == plain.findall(in_markdown)
