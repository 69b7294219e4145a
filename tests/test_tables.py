"""The tables of synthetic evaluations against numbers computed here, naively, from the same files."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from recompute import recompute
from scipy import stats

from mlcl import choice, evaluations, paths, representations, tables
from mlcl.config import Evaluation, Experiment
from mlcl.errors import UserError
from mlcl.tables import factorial
from mlcl.tables.layout import MINUS, Number, Row, Table, latex, markdown, shown
from mlcl.tables.study import best, solved, titles

EPISODES = 12
CLASSIFIERS = ["nearest_centroid", "cosine_centroid"]
KEYS = ["dataset", "method", "seed", *evaluations.KEYS]
NAMES = ("ablation", "classifiers", "comparison", "differences", "factorial")
TABLES = [f"tables/{name}.{form}" for name in NAMES for form in ("csv", "md", "tex")]
FIGURES = [f"figures/{name}.{form}" for name in paths.FIGURES for form in ("png", "svg")]
CONFIG = {
    "name": "test",
    "datasets": {"random": {"source": "glyphs"}, "script": {"source": "glyphs", "split": "script"}},
    "methods": {
        "cross_entropy": {"objective": {"cross_entropy": 1}},
        "single_level": {"title": "Single_level & 100%", "objective": {"contrast": "supcon", "levels": {4: 1}}},
        "multi_level": {"title": "Multi|level", "objective": {"contrast": "supcon", "levels": {1: 1, 4: 1}}},
    },
    "seeds": [3, 1],
    "evaluation": {"episodes": EPISODES, "classifiers": CLASSIFIERS},
}
MINI = CONFIG | {"datasets": {"mini": {"source": "mini-imagenet"}, "random": {"source": "glyphs"}}, "seeds": [0]}


def evaluate(config: dict, folder: Path) -> tuple[Experiment, list[Path]]:
    """An experiment and evaluations of it with random accuracies."""
    experiment = Experiment.parse(config, "test")
    rng = np.random.default_rng(0)
    spec, files = experiment.evaluation, []
    runs = [*paths.runs(experiment, experiment.recipes), *paths.ensembles(experiment)]
    for dataset, method, seed in (name.split("/") for name in runs):
        alone = seed.isdecimal()  # a deep ensemble learns nothing from the validation classes but by its members
        run, chosen, weights = (dataset, method, int(seed) if alone else seed), None, None
        frame = drawn(spec, rng)
        if spec.choose:
            rows = drawn(choice.evaluation(spec), rng)
            chosen = choice.choose(rows, (1, 2, 3, 4))
            frame = choice.add(frame, chosen)
            if alone:
                evaluations.write(
                    file(folder / "choices", run), run, rows, choice.evaluation(spec), {"images.npy": dataset}, {}
                )
        if spec.weigh and alone:
            keys = itertools.product(spec.shots, spec.processing, spec.classifiers)
            weights = {key: list(rng.dirichlet(np.ones(4))) for key in keys}
        files.append(file(folder / "evaluations", run))
        shuffled = frame.sample(frac=1, random_state=0)
        encoders = (experiment.encoder_of(f"{dataset}/{method}/{each}") for each in seed.split("+"))
        made_by = {"model": "+".join(f"of {encoder}" for encoder in encoders)}
        learnt = (chosen, weights) if alone else ()
        evaluations.write(files[-1], run, shuffled, spec, {"images.npy": dataset}, made_by, *learnt)
    return experiment, files


def drawn(spec: Evaluation, rng: np.random.Generator) -> pd.DataFrame:
    """Random accuracies of every cell but what is chosen."""
    solved_by = representations.names((1, 2, 3, 4), spec.subsets, weigh=spec.weigh)
    cells = itertools.product(spec.shots, spec.processing, spec.classifiers, solved_by, range(spec.episodes))
    frame = pd.DataFrame(cells, columns=[*evaluations.KEYS, "episode"])
    return frame.assign(accuracy=rng.integers(15, 76, len(frame)) / 75)


def file(folder: Path, run: evaluations.Run) -> Path:
    path = folder.joinpath(*map(str, run)).with_suffix(".parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def tables_alone(experiment: Experiment, evaluations: list[Path], out: Path) -> None:
    """Without the figures beside them, which take longer than the tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FIGURES", {})
        tables.write(experiment, evaluations, out)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """The folder with the tables, and all evaluations in one frame, accuracies in percent."""
    out = tmp_path_factory.mktemp("tables")
    experiment, paths = evaluate(CONFIG, out)
    tables.write(experiment, paths, out)
    everything = pd.concat(map(pd.read_parquet, paths)).sort_values([*KEYS, "episode"])
    return out, everything.assign(accuracy=100 * everything["accuracy"])


def read_csv(out: Path, name: str) -> list[dict[str, str]]:
    with (out / "tables" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def vector(everything: pd.DataFrame, **names) -> np.ndarray:
    """An accuracy an episode, averaged over the seeds."""
    right = np.logical_and.reduce([everything[key].astype(str) == value for key, value in names.items()])
    return everything[right].groupby("episode")["accuracy"].mean().to_numpy()


def numbers(text: str) -> list[tuple[str, ...]]:
    """Every "mean ± half-width (over the seeds)" of a markdown or LaTeX table, in reading order."""
    plain = text.replace("$\\pm$", "±").replace("$-$", "-").replace(MINUS, "-")
    return re.findall(r"([+-]?\d+\.\d\d) ± (\d+\.\d\d)(?: \((\d+\.\d\d)\))?", plain)


def rounded(row: dict[str, str], value: str) -> tuple[str, str, str]:
    """As `numbers` finds it; differences have a sign, and the interval over the seeds in brackets."""
    if value == "difference":
        return f"{float(row[value]):+z.2f}", f"{float(row['ci95']):.2f}", f"{float(row['ci95_over_seeds']):.2f}"
    return f"{float(row[value]):.2f}", f"{float(row['ci95']):.2f}", ""


def test_ablation_is_the_mean_and_interval_of_every_cell(written):
    out, everything = written
    rows = read_csv(out, "ablation")
    assert len(rows) == 2 * 3 * 2 * 2 * 6
    for row in rows:
        names = {key: row[key] for key in ("dataset", "method", "shot", "classifier", "representation")}
        values = vector(everything, **names)
        assert float(row["mean"]) == pytest.approx(values.mean())
        assert float(row["ci95"]) == pytest.approx(2.200985 * values.std(ddof=1) / np.sqrt(EPISODES), rel=1e-6)
        of_seeds = [vector(everything, **names, seed=seed).mean() for seed in ("3", "1")]
        assert float(row["std_over_seeds"]) == pytest.approx(np.std(of_seeds, ddof=1))
        assert (row["seeds"], row["episodes"]) == ("2", str(EPISODES))
        folder = f"evaluations/{row['dataset']}/{row['method']}"
        assert row["evaluations"] == f"{folder}/3.parquet; {folder}/1.parquet"


def test_comparison_is_the_last_level_and_the_ensemble_by_the_first_classifier(written):
    out, _ = written
    ablation = {tuple(row.values())[:6]: row for row in read_csv(out, "ablation")}
    comparison = read_csv(out, "comparison")
    assert [(row["method"], row["representation"]) for row in comparison[::4]] == [
        (title, role)
        for title in ("cross_entropy", "Single_level & 100%", "Multi|level")
        for role in ("last level", "ensemble")
    ]
    names = dict(zip(("cross_entropy", "Single_level & 100%", "Multi|level"), CONFIG["methods"], strict=True))
    for row in comparison:
        representation = {"last level": "level4", "ensemble": "mean_probability"}[row["representation"]]
        same = ablation[row["dataset"], names[row["method"]], row["shot"], "l2", CLASSIFIERS[0], representation]
        assert (row["accuracy"], row["ci95"], row["source"]) == (same["mean"], same["ci95"], same["evaluations"])
        assert (row["kind"], row["encoder"]) == ("ours", "conv4, width 64")


def test_differences_are_paired(written):
    out, everything = written
    rows = read_csv(out, "differences")
    sides = [
        tuple(row[f"{side}_{key}"] for side in ("first", "second") for key in ("method", "representation"))
        for row in rows
    ]
    last, ensemble = "level4", "mean_probability"
    assert set(sides) == (
        {(name, ensemble, name, last) for name in CONFIG["methods"]}
        | {(name, ensemble, "cross_entropy", last) for name in ("single_level", "multi_level")}
        | {
            (first, key, second, key)
            for second, first in itertools.combinations(CONFIG["methods"], 2)
            for key in (last, ensemble)
        }
    )
    assert len(rows) == len(set(sides)) * 4
    for row in rows:
        first, second = (
            vector(
                everything,
                dataset=row["dataset"],
                shot=row["shot"],
                classifier=row[f"{side}_classifier"],
                method=row[f"{side}_method"],
                representation=row[f"{side}_representation"],
            )
            for side in ("first", "second")
        )
        assert float(row["difference"]) == pytest.approx((first - second).mean())
        half_width = 2.200985 * (first - second).std(ddof=1) / np.sqrt(EPISODES)
        assert float(row["ci95"]) == pytest.approx(half_width, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("comparison", "accuracy"),
        ("ablation", "mean"),
        ("differences", "difference"),
        ("classifiers", "difference"),
        ("factorial", "difference"),
    ],
)
def test_every_form_says_the_same(written, name, value):
    out, _ = written
    in_markdown, in_latex = (numbers((out / f"tables/{name}.{form}").read_text()) for form in ("md", "tex"))
    assert in_markdown == in_latex
    assert sorted(in_markdown) == sorted(rounded(row, value) for row in read_csv(out, name))


def test_markdown_puts_each_number_in_its_row_and_column(written):
    out, _ = written
    of_row = [
        row
        for row in read_csv(out, "comparison")
        if (row["method"], row["representation"]) == ("cross_entropy", "ensemble")
    ]
    lines = (out / "tables/comparison.md").read_text().splitlines()
    for dataset in ("random", "script"):
        assert f"| Method | Encoder | Representation | {dataset} 1-shot | {dataset} 5-shot |" in lines
    rows = [line for line in lines if line.startswith("| cross\\_entropy | conv4, width 64 | ensemble |")]
    assert [(row["dataset"], row["shot"]) for row in of_row] == [
        ("random", "1"),
        ("random", "5"),
        ("script", "1"),
        ("script", "5"),
    ]
    assert numbers("".join(rows)) == [rounded(row, "accuracy") for row in of_row]


def test_the_best_is_the_best_as_shown():
    frame = pd.DataFrame({"dataset": "d", "shot": 1, "accuracy": [97.025, 97.02, 90.0, np.nan]})
    assert [shown(value, np.nan) for value in frame["accuracy"][:2]] == ["97.03", "97.02"]
    assert best(frame, "accuracy").tolist() == [True, False, False, False]
    assert best(frame, "accuracy", rank=2).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("rank", "in_markdown", "in_latex"),
    [(0, r"\*\*.*?\*\*", r"\\textbf\{[^{}]*\}"), (1, r"<u>.*?</u>", r"\\underline\{[^{}]*\}")],
)
def test_the_best_is_bold_and_the_second_best_underlined(written, rank, in_markdown, in_latex):
    out, _ = written
    ranked = set()
    for _, group in pd.DataFrame(read_csv(out, "comparison")).groupby(["dataset", "shot"]):
        shown = [rounded(row, "accuracy") for row in group.to_dict("records")]
        mean = sorted({float(mean) for mean, *_ in shown}, reverse=True)[rank]
        ranked |= {number for number in shown if float(number[0]) == mean}
    for form, pattern in {"md": in_markdown, "tex": in_latex}.items():
        found = re.findall(pattern, (out / f"tables/comparison.{form}").read_text())
        assert set(numbers("".join(found))) == ranked


def test_notes_say_how_it_was_measured(written):
    out, _ = written
    for name in ("comparison", "ablation", "differences"):
        for form in ("md", "tex"):
            text = (out / f"tables/{name}.{form}").read_text()
            for part in ("5-way", "shots: 1, 5", "15 queries a class", "12 episodes of the test split", "seeds: 3, 1"):
                assert part in text
            assert "nearest centroid" in text
            assert "covers the sampling of the episodes, not that of the trainings" in text


def test_a_note_says_what_is_not_plain():
    plain = Evaluation(episodes=12)
    assert solved(plain, "nearest_centroid") == "15 queries a class, 12 episodes of the test split, nearest centroid"
    other = plain.model_copy(update={"support_copies": 5, "processing": ("power_centre", "l2")})
    assert solved(other, "nearest_centroid") == (
        "15 queries a class, 12 episodes of the test split, nearest centroid "
        "(features: square root, centred, unit length), 5 augmented copies for each support image"
    )


def test_the_same_bytes_whatever_the_order_of_the_files(written, tmp_path):
    out, _ = written
    experiment, paths = evaluate(CONFIG, tmp_path)
    tables.write(experiment, paths[::-1], tmp_path)
    files = [*TABLES, *FIGURES, "tables/metrics.json"]
    for name in files:
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name
    assert sorted(str(path.relative_to(out)) for path in out.glob("[tf]*/*")) == sorted(files)


def test_the_metrics_are_the_comparisons(written):
    out, _ = written
    metrics = json.loads((out / "tables" / "metrics.json").read_text())
    titles = {method.title or name: name for name, method in Experiment.parse(CONFIG, "test").methods.items()}
    rows = [row for row in read_csv(out, "comparison") if row["kind"] == "ours"]
    assert rows
    for row in rows:
        found = metrics[row["dataset"]][titles[row["method"]]][row["representation"]][f"{row['shot']}-shot"]
        assert found == pytest.approx(float(row["accuracy"]), abs=1e-4)
    assert sum(len(shots) for d in metrics.values() for m in d.values() for shots in m.values()) == len(rows)


def test_deep_ensembles_are_paired_with_the_mean_of_one_encoder(tmp_path):
    experiment, files = evaluate(CONFIG | {"deep_ensembles": True}, tmp_path)
    tables_alone(experiment, files, tmp_path)
    everything = pd.concat(map(pd.read_parquet, files)).assign(accuracy=lambda frame: 100 * frame["accuracy"])
    together = everything["seed"].astype(str) == "3+1"

    def side(row, name):
        method, _, seeds = row[f"{name}_method"].partition("/")
        assert seeds in ("", "3+1")
        names = {"dataset": row["dataset"], "shot": row["shot"], "method": method}
        names |= {key: row[f"{name}_{key}"] for key in ("classifier", "representation")}
        return vector(everything[together if seeds else ~together], **names)

    rows = read_csv(tmp_path, "deep_ensembles")
    last, ensemble = "level4", "mean_probability"
    sides = [
        tuple(row[f"{n}_{key}"] for n in ("first", "second") for key in ("method", "representation")) for row in rows
    ]
    assert set(sides) == (
        {(f"{name}/3+1", key, name, key) for name in CONFIG["methods"] for key in (last, ensemble)}
        | {(name, ensemble, f"{name}/3+1", last) for name in CONFIG["methods"]}
        | {
            (name, key, "cross_entropy/3+1", last)
            for name in ("single_level", "multi_level")
            for key in (last, ensemble)
        }
        | {(name, ensemble, "single_level/3+1", last) for name in ("multi_level", "multi_level/3+1")}
    )
    assert len(rows) == len(set(sides)) * 4
    for row in rows:
        gain = side(row, "first") - side(row, "second")
        assert float(row["difference"]) == pytest.approx(gain.mean())
        assert float(row["ci95"]) == pytest.approx(2.200985 * gain.std(ddof=1) / np.sqrt(EPISODES), rel=1e-6)
        assert row["ci95_over_seeds"] == ""
    ours = [row for row in read_csv(tmp_path, "comparison") if row["method"] == "cross_entropy, 2 encoders"]
    assert {row["encoder"] for row in ours} == {"2 x conv4, width 64"}
    for row in ours:
        key = {"last level": last, "ensemble": ensemble}[row["representation"]]
        names = {"dataset": row["dataset"], "method": "cross_entropy", "shot": row["shot"]}
        own = vector(everything[together], **names, classifier="nearest_centroid", representation=key)
        assert float(row["accuracy"]) == pytest.approx(own.mean())
    assert recompute(tmp_path).wrong == []


def test_tasks_of_another_domain_solved_by_other_encoders_are_named(tmp_path):
    experiment, files = evaluate(CONFIG | {"trained_on": {"script": "random"}}, tmp_path)
    tables_alone(experiment, files, tmp_path)
    assert "; script by the encoders trained on random" in (tmp_path / "tables" / "ablation.md").read_text()
    (victim,) = [path for path in files if path.match("script/single_level/3.parquet")]
    found = evaluations.read(victim)
    evaluations.write(victim, found.run, found.rows, experiment.evaluation, found.data, {"model": "another"})
    with pytest.raises(UserError, match=r"single_level/3\.parquet: is not of the encoder that was trained on random"):
        tables_alone(experiment, files, tmp_path)


def test_a_deep_ensemble_of_other_encoders_is_named(tmp_path):
    experiment, files = evaluate(CONFIG | {"deep_ensembles": True}, tmp_path)
    (victim,) = [path for path in files if path.match("script/single_level/3+1.parquet")]
    found = evaluations.read(victim)
    evaluations.write(victim, found.run, found.rows, experiment.evaluation, found.data, {"model": "of a+of b"})
    with pytest.raises(
        UserError, match=r"single_level/3\+1\.parquet: is not of the encoders that the evaluations of its"
    ):
        tables_alone(experiment, files, tmp_path)
    files.remove(victim)
    with pytest.raises(UserError, match=r"no evaluation of script/single_level/3\+1 among those given"):
        tables_alone(experiment, files, tmp_path)


def test_one_seed_has_no_spread(tmp_path):
    experiment, paths = evaluate(MINI, tmp_path)
    tables_alone(experiment, paths, tmp_path)
    assert {row["std_over_seeds"] for row in read_csv(tmp_path, "ablation")} == {""}


def test_methods_with_one_title_are_told_apart(tmp_path):
    objective = {"objective": {"cross_entropy": 1}, "title": "Twin"}
    experiment, paths = evaluate(MINI | {"methods": {"one": objective, "two": objective}}, tmp_path)
    tables_alone(experiment, paths, tmp_path)
    ours = {row["method"] for row in read_csv(tmp_path, "comparison") if row["kind"] == "ours"}
    assert ours == {"Twin (one)", "Twin (two)"}


def rewrite(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], **protocol) -> list[Path]:
    table = pyarrow.parquet.read_table(path)
    about = json.loads(table.schema.metadata[b"mlcl"])
    about["protocol"] |= protocol
    changed = pyarrow.Table.from_pandas(change(table.to_pandas()), preserve_index=False)
    pyarrow.parquet.write_table(changed.replace_schema_metadata({"mlcl": json.dumps(about)}), path)
    return [path]


def drop(path: Path) -> list[Path]:
    path.unlink()
    return []


def truncate(path: Path) -> list[Path]:
    path.write_bytes(path.read_bytes()[:-100])
    return [path]


def lose_a_row(path: Path) -> list[Path]:
    return rewrite(path, lambda frame: frame.query("representation != 'level2' or episode != 5 or shot != 1"))


def repeat_a_row(path: Path) -> list[Path]:
    return rewrite(path, lambda frame: pd.concat([frame, frame[:1]]))


def fewer_episodes(path: Path) -> list[Path]:
    return rewrite(path, lambda frame: frame[frame["episode"] < 5])


def percent(path: Path) -> list[Path]:
    return rewrite(path, lambda frame: frame.assign(accuracy=50.0))


def other_run(path: Path) -> list[Path]:
    other = path.with_name("7.parquet")
    other.write_bytes(path.read_bytes())
    return [path, *rewrite(other, lambda frame: frame.assign(seed=7))]


def twice(path: Path) -> list[Path]:
    other = path.with_name("copy.parquet")
    other.write_bytes(path.read_bytes())
    return [path, other]


def two_runs(path: Path) -> list[Path]:
    return rewrite(path, lambda frame: pd.concat([frame, frame.assign(seed=7)]))


def no_accuracy(path: Path) -> list[Path]:
    return rewrite(path, lambda frame: frame.drop(columns="accuracy"))


def other_way(path: Path) -> list[Path]:
    return rewrite(path, lambda frame: frame, way=10)


def no_protocol(path: Path) -> list[Path]:
    pd.read_parquet(path).to_parquet(path)
    return [path]


def other_data(path: Path) -> list[Path]:
    found = evaluations.read(path)
    spec = Experiment.parse(CONFIG, "test").evaluation
    evaluations.write(path, found.run, found.rows, spec, {"images.npy": "other"}, {})
    return [path]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, r"no evaluation of script/single_level/3 among those given; run mlcl evaluate first"),
        (truncate, r"single_level/3.parquet: cannot be read as an evaluation \(.+\); run mlcl evaluate again"),
        (no_accuracy, r"single_level/3.parquet: cannot be read as an evaluation \(.*accuracy.*\)"),
        (lose_a_row, r"3.parquet: lacks accuracies from 0 to 1 for shot 1, .* nearest_centroid, .* level2"),
        (percent, r"3.parquet: lacks accuracies from 0 to 1 for shot 1, .* nearest_centroid, .* level1"),
        (other_way, r"3.parquet: was evaluated with way 10, where the config asks for 5; run mlcl evaluate again"),
        (no_protocol, r"3.parquet: does not say what protocol it followed; run mlcl evaluate again"),
        (other_data, r"3.parquet: is of other data than .*script.*.parquet; run mlcl evaluate for both again"),
        (repeat_a_row, r"3.parquet: holds an episode twice"),
        (fewer_episodes, r"3.parquet: holds 5 episodes, where the config asks for those from 0 to 11"),
        (two_runs, r"3.parquet: holds 2 runs"),
        (other_run, r"7.parquet: is of script/single_level/7, no run of experiment test; leave it out"),
        (twice, r"copy.parquet: is of script/single_level/3, as .*3.parquet is; give one of them"),
    ],
)
def test_wrong_evaluations_are_named_and_old_tables_stay(tmp_path, spoil, message):
    experiment, paths = evaluate(CONFIG, tmp_path)
    (tmp_path / "tables").mkdir()
    old = tmp_path / "tables/comparison.md"
    old.write_text("old")
    (victim,) = [path for path in paths if path.match("script/single_level/3.parquet")]
    others = [path for path in paths if path != victim]
    with pytest.raises(UserError, match=message) as caught:
        tables.write(experiment, [*others, *spoil(victim)], tmp_path)
    assert "\n" not in str(caught.value)
    assert old.read_text() == "old"
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["comparison.md"]


def test_names_are_escaped(written):
    out, _ = written
    in_latex = (out / "tables/comparison.tex").read_text()
    assert r"Single\_level \& 100\% & conv4, width 64 & last level &" in in_latex
    assert r"Multi\textbar{}level &" in in_latex
    assert r"| Multi\|level |" in (out / "tables/comparison.md").read_text()
    for line in in_latex.splitlines():
        if re.match(r"(cross|Single|Multi)", line):
            assert len(re.findall(r"(?<!\\)&", line)) == 4
            assert line.endswith(r" \\")


def test_no_two_titles_are_alike():
    given = {"a": "X", "b": "X", "c": "X (a)"}
    methods = {name: {"title": title, "objective": {"cross_entropy": 1}} for name, title in given.items()}
    names = titles(Experiment.parse(CONFIG | {"methods": methods}, "test"))
    assert list(names.values()) == ["X (a) (a)", "X (b)", "X (a) (c)"]


def test_a_title_of_blanks_is_none():
    methods = {"a": {"title": "  ", "objective": {"cross_entropy": 1}}}
    assert titles(Experiment.parse(CONFIG | {"methods": methods}, "test")) == {"a": "a"}


def test_latex_escapes_every_special_character():
    row = Row(['&%$#_{}~^\\<>|[*]"'], [Number(f"{MINUS}1.00 ± 0.50", "bold")])
    table = Table("T_1", ["L"], [("a_b", 1)], {"#1": [row]}, ["50%"])
    lines = latex(table).splitlines()
    assert lines[2] == r"\caption{T\_1} \\"
    assert lines[-3:] == [r"\raggedright", r"50\%", r"\par\endgroup"]
    assert lines[8:18] == [
        r"\toprule",
        r"\multicolumn{1}{l}{} & \multicolumn{1}{c}{a\_b} \\",
        r"\cmidrule(lr){2-2}",
        r"L & 1-shot \\",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        r"\midrule",
        r"\multicolumn{2}{l}{\emph{\#1}} \\*",
        r"\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}\textgreater{}\textbar{}"
        r"{[}{*}{]}'' & \textbf{$-$1.00 $\pm$ 0.50} \\",
    ]


def test_markdown_escapes_what_would_be_markup():
    rows = [
        Row(["a*b_c|d`<e\\"], [Number("1.00", "bold")]),
        Row(["[f](g) [1] ~h~ $i$ &lt; & j"], [Number("0.90", "underlined")]),
    ]
    table = Table("T", ["L"], [("a", 1)], {"": rows}, ["Of https://a.b/c_d_e.md (a_b)."])
    assert markdown(table).splitlines() == [
        "## T",
        "",
        "| L | a 1-shot |",
        "| :-- | --: |",
        r"| a\*b\_c\|d\`\<e\\ | **1.00** |",
        r"| [f\](g) [1] \~h\~ \$i\$ \&lt; & j | <u>0.90</u> |",
        "",
        r"Of https://a.b/c_d_e.md (a\_b).",
    ]


def test_the_factorial_is_the_contrasts_of_four_corners(written):
    out, everything = written
    rows = read_csv(out, "factorial")
    assert {(row["single"], row["multi"]) for row in rows} == {("single_level", "multi_level")}
    assert len(rows) == 6 * 4
    for dataset, shot in itertools.product(CONFIG["datasets"], ("1", "5")):
        corner = {
            (method[0], representation[0]): vector(
                everything, dataset=dataset, shot=shot, classifier=CLASSIFIERS[0], method=method,
                representation=representation,
            )
            for method in ("single_level", "multi_level") for representation in ("level4", "mean_probability")
        }  # fmt: skip
        effects = [
            corner["m", "l"] - corner["s", "l"],
            corner["m", "m"] - corner["s", "m"],
            corner["s", "m"] - corner["s", "l"],
            corner["m", "m"] - corner["m", "l"],
            corner["m", "m"] - corner["s", "l"],
            (corner["m", "m"] - corner["m", "l"]) - (corner["s", "m"] - corner["s", "l"]),
        ]
        found = [row for row in rows if (row["dataset"], row["shot"]) == (dataset, shot)]
        for row, values in zip(found, effects, strict=True):
            assert float(row["difference"]) == pytest.approx(values.mean())
            assert float(row["p"]) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert [float(row["p_holm"]) for row in rows] == pytest.approx(naive_holm([float(row["p"]) for row in rows]))


def naive_holm(p):
    """From the definition: the largest of the corrected p-values up to one's own."""
    ordered = sorted(p)
    return [max(min(1, (len(p) - i) * ordered[i]) for i in range(ordered.index(value) + 1)) for value in p]


def test_bold_differences_are_those_that_holm_and_the_seeds_leave(tmp_path):
    experiment, files = evaluate(CONFIG, tmp_path)
    for path in files:  # one method is ahead with both seeds, another with one alone
        if path.parent.name == "multi_level" or path.match("cross_entropy/3.parquet"):
            rewrite(path, lambda frame: frame.assign(accuracy=frame["accuracy"] / 8 + 0.875))
    tables_alone(experiment, files, tmp_path)
    rows = [row for name in ("differences", "factorial") for row in read_csv(tmp_path, name)]
    shown = [row for row in rows if float(row["p_holm"]) < 0.05]
    sure = [row for row in shown if abs(float(row["difference"])) > float(row["ci95_over_seeds"])]
    assert 0 < len(sure) < len(shown) < len(rows)
    for form, bold in (("md", r"\*\*.*?\*\*"), ("tex", r"\\textbf\{.*?\)\}")):
        texts = ((tmp_path / f"tables/{name}.{form}").read_text() for name in ("differences", "factorial"))
        marked = [found for text in texts for found in numbers("".join(re.findall(bold, text)))]
        assert sorted(marked) == sorted(rounded(row, "difference") for row in sure)


def test_of_one_seed_nothing_stands_in_brackets(tmp_path):
    tables_alone(*evaluate(CONFIG | {"seeds": [3]}, tmp_path), tmp_path)
    text = (tmp_path / "tables/differences.md").read_text()
    assert len(numbers(text)) == len(read_csv(tmp_path, "differences"))
    assert {over_seeds for _, _, over_seeds in numbers(text)} == {""}
    assert "brackets" not in text


def test_without_a_pair_the_factorial_says_so(tmp_path):
    methods = {"cross_entropy": CONFIG["methods"]["cross_entropy"]}
    experiment, paths = evaluate(CONFIG | {"methods": methods}, tmp_path)
    tables_alone(experiment, paths, tmp_path)
    assert "No two methods" in (tmp_path / "tables/factorial.md").read_text()


def test_tables_that_the_config_no_longer_asks_for_go(tmp_path):
    for form in ("md", "csv", "tex"):
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / f"tables/sweeps.{form}").write_text("of the last config")
    (tmp_path / "tables/mine.csv").write_text("kept")
    tables_alone(*evaluate(CONFIG, tmp_path), tmp_path)
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {*NAMES, "metrics", "mine"}


def test_the_claims_methods_differ_in_their_levels_and_branches_alone():
    every = {1: 1, 4: 1}
    methods = {
        "first": {"objective": {"contrast": "supcon", "levels": {1: 1}}},
        "last": {"objective": {"contrast": "supcon", "levels": {4: 1}}},
        "all": {"title": "All of them", "objective": {"contrast": "supcon", "levels": every}},
        "weighted": {"objective": {"contrast": "supcon", "levels": {1: 0.5, 4: 1}}},
        "light": {"objective": {"contrast": "supcon", "levels": {1: 0.5, 4: 0.5}}},
        "early": {"objective": {"contrast": "supcon", "levels": {1: 1, 2: 1}}},
        "hot": {"objective": {"contrast": "supcon", "levels": every, "temperature": 0.5}},
        "simclr": {"objective": {"contrast": "simclr", "levels": every}},
        "long": {"objective": {"contrast": "supcon", "levels": every}, "training": {"epochs": 3}},
        "wide": {"objective": {"contrast": "supcon", "levels": every}, "encoder": {"width": 3}},
        "branches": {
            "objective": {"contrast": "supcon", "levels": dict.fromkeys(range(1, 5), 1)},
            "encoder": {"branches": True},
        },
    }
    experiment = Experiment.parse(CONFIG | {"methods": methods}, "test")
    assert factorial.pairs(experiment) == [("last", name) for name in ("all", "weighted", "light", "early", "branches")]
    levels = "the levels that get the contrastive loss"
    for multi in ("all", "weighted", "early"):
        assert factorial.changed(experiment, "last", multi) == levels
    assert factorial.changed(experiment, "last", "light") == f"{levels}, and in the weight of the last one"
    assert factorial.changed(experiment, "last", "branches") == f"{levels}, and in the branches of the earlier ones"


def test_two_sweeps_of_one_key_stand_apart(tmp_path):
    halves = {"early": {"half": {1: 0.5, 4: 1}}, "late": {"half": {3: 0.5, 4: 1}}}
    sweeps = {name: {"of": ["multi_level"], "key": "objective.levels", "values": each} for name, each in halves.items()}
    experiment, paths = evaluate(CONFIG | {"sweeps": sweeps}, tmp_path)
    tables_alone(experiment, paths, tmp_path)
    found = numbers((tmp_path / "tables/sweeps.md").read_text())
    assert sorted(found) == sorted(rounded(row, "difference") for row in read_csv(tmp_path, "sweeps"))
    assert len(found) == 2 * 2 * 4


def test_two_numbers_of_one_place_are_refused():
    row = {"block": "", "method": "a", "dataset": "d", "shot": 1, "mean": 0.5, "ci95": 0.1, "bold": False}
    with pytest.raises(ValueError, match=r"two numbers have one place: \{'method': 'a'\}"):
        tables.layout.lay_out("T", pd.DataFrame([row, row]), [("d", 1)], {"method": "M"}, "mean", [])


def test_training_at_several_levels_by_cross_entropy_is_no_single_level_training():
    deep = {"cross_entropy": 1, "deep_supervision": {1: 1}, "contrast": "supcon"}
    methods = {"one": {"objective": deep | {"levels": {4: 1}}}, "more": {"objective": deep | {"levels": {1: 1, 4: 1}}}}
    assert factorial.pairs(Experiment.parse(CONFIG | {"methods": methods}, "test")) == []
