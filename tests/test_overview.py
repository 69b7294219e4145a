"""What several experiments say of the paper's claim, against their own tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from test_report import TOOK
from test_tables import CONFIG, evaluate, tables_alone

from mlcl import cli, record
from mlcl.config import Experiment
from mlcl.figures.claims import LINE
from mlcl.overview import write
from mlcl.tables.factorial import WHOLE


def experiment(root, name, **changes):
    """The config of an experiment with tables, of random accuracies but where it is told which."""
    config = CONFIG | {"name": name} | changes
    path, out = root / f"{name}.yaml", root / "results" / name
    path.write_text(yaml.safe_dump(config))
    tables_alone(*evaluate(config, out), out)
    return path


def factorial(root, name):
    table = pd.read_csv(root / "results" / name / "tables" / "factorial.csv")
    return table[table["effect"] == WHOLE]


def set_difference(root, name, difference, p_holm, over_seeds):
    path = root / "results" / name / "tables" / "factorial.csv"
    table = pd.read_csv(path)
    own, values = table["effect"] == WHOLE, {"difference": difference, "p_holm": p_holm, "ci95_over_seeds": over_seeds}
    table.assign(**{key: table[key].where(~own, value) for key, value in values.items()}).to_csv(path, index=False)


def test_every_pairs_difference_stands_as_in_its_own_table(tmp_path):
    without = {name: CONFIG["methods"][name] for name in ("cross_entropy", "single_level")}
    configs = [
        experiment(tmp_path, "two", evaluation=CONFIG["evaluation"] | {"split": "val"}),
        experiment(tmp_path, "one", seeds=[0], encoder={"pooling": "max"}),
        experiment(tmp_path, "none", methods=without),
    ]
    (tmp_path / "old.yaml").write_text("name: old\nrotation: 1\n")
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(CONFIG | {"name": "new"}))
    others = [tmp_path / f"{name}.yaml" for name in ("old", "new")]
    refused = write([*configs, *others], tmp_path / "out", tmp_path)
    assert [reason.rpartition("/")[2].partition(":")[0] for reason in refused] == [
        "old.yaml", "factorial.csv", "without a pair of single-level and multi-level methods",
    ]  # fmt: skip
    assert refused[2].endswith(": none")
    found = pd.read_csv(tmp_path / "out" / "claim.csv")
    assert len(found) == 2 * 2 * 2  # experiments, data sets, shots
    for name in ("one", "two"):
        own = found[found["experiment"] == name].sort_values(["dataset", "shot"])
        expected = factorial(tmp_path, name).sort_values(["dataset", "shot"])
        for key in ("shot", "seeds", "difference", "ci95", "p_holm", "ci95_over_seeds"):
            np.testing.assert_array_equal(own[key], expected[key])
        assert {str((tmp_path / "out" / path).resolve()) for path in own["table"]} == {
            str(tmp_path / "results" / name / "tables" / "factorial.csv")
        }
    assert set(found["dataset"]) == {
        f"{name}{ending}" for name in ("random", "script") for ending in ("", ", validation classes")
    }
    assert set(found["encoder"]) == {"conv4, width 64", "conv4, width 64, maxima"}
    assert (tmp_path / "out" / "claim.png").stat().st_size > 10_000
    assert b"validation classes" in (tmp_path / "out" / "claim.svg").read_bytes()


@pytest.mark.parametrize(
    ("difference", "p_holm", "over_seeds", "verdict", "shown"),
    [
        (2.0, 0.01, 1.0, "holds", "**+2.00 ± "),
        (-2.0, 0.01, 1.0, "contradicted", "**\N{MINUS SIGN}2.00 ± "),
        (2.0, 0.01, 3.0, "open", "| +2.00 ± "),
        (2.0, 0.06, 1.0, "open", "| +2.00 ± "),
        (2.0, 0.01, np.nan, "holds", "**+2.00 ± "),
    ],
)
def test_a_claim_holds_where_it_is_shown_over_episodes_and_seeds(
    tmp_path, difference, p_holm, over_seeds, verdict, shown
):
    config = experiment(tmp_path, "one")
    set_difference(tmp_path, "one", difference, p_holm, over_seeds)
    write([config], tmp_path / "out", tmp_path)
    assert set(pd.read_csv(tmp_path / "out" / "claim.csv")["verdict"]) == {verdict}
    text = (tmp_path / "out" / "claim.md").read_text()
    assert text.count(shown) == 4
    counts = [4 * (verdict == name) for name in ("holds", "contradicted", "open")]
    assert "Of 4 differences {} bear the claim out, {} contradict it, {} leave it open.".format(*counts) in text


def test_a_data_sets_pairs_stand_highest_first_and_runs_of_two_experiments_once(tmp_path):
    names = {"low": -3.0, "high": 3.0, "middle": 0.0}
    configs = [experiment(tmp_path, name) for name in names]
    for name, difference in names.items():
        set_difference(tmp_path, name, difference, 0.01, 1.0)
    again = experiment(tmp_path, "again")
    set_difference(tmp_path, "again", 3.0, 0.01, 1.0)
    write([*configs, again], tmp_path / "out", tmp_path)
    found = pd.read_csv(tmp_path / "out" / "claim.csv")
    assert list(found.drop_duplicates(LINE)["experiment"]) == ["high", "middle", "low"] * 2
    assert list(found["dataset"].unique()) == ["random", "script"]


def test_tables_of_another_config_are_passed_over(tmp_path):
    """As one that was changed after its experiment had run."""
    configs = [experiment(tmp_path, name) for name in ("one", "renamed", "longer")]
    path = tmp_path / "results" / "longer" / "runs" / "random" / "multi_level" / "1" / "run.json"
    recipe = Experiment.load(configs[2]).methods["multi_level"].model_dump(mode="json")
    record.write(path, {"method": recipe}, "model", TOOK, 1, torch.device("cpu"))
    assert write(configs, tmp_path / "out", tmp_path) == []
    methods = CONFIG["methods"]
    changed = {"methods": {"all": methods["multi_level"], "single_level": methods["single_level"]}}
    configs[1].write_text(yaml.safe_dump(CONFIG | {"name": "renamed"} | changed))
    configs[2].write_text(yaml.safe_dump(CONFIG | {"name": "longer", "training": {"epochs": 3}}))
    table = tmp_path / "results" / "renamed" / "tables" / "factorial.csv"
    other, recipe = write(configs, tmp_path / "out", tmp_path)
    assert other.startswith(f"{table}: has random/multi_level, which the config has not; ")
    assert recipe.startswith(f"{path}: was trained by another recipe than the config's; ")
    assert set(pd.read_csv(tmp_path / "out" / "claim.csv")["experiment"]) == {"one"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation": {"shots": [1]}}, "tables/factorial.csv: has shot 1, 5, where the config asks for 1; run"),
        ({"evaluation": {"processing": ["centre"]}}, "tables/factorial.csv: has processing l2, where the config asks"),
        ({"seeds": [3]}, "tables/factorial.csv: has seeds 2, where the config asks for 1; run the experiment again"),
        ({"evaluation": {"split": "val"}}, ".parquet: was evaluated with split test, where the config asks for val"),
        ({"evaluation": {"seed": 7}}, ".parquet: was evaluated with seed 0, where the config asks for 7; run"),
    ],
)
def test_tables_of_another_evaluation_are_passed_over(tmp_path, changes, message):
    configs = [experiment(tmp_path, name) for name in ("one", "other")]
    changes = {key: CONFIG[key] | value if isinstance(value, dict) else value for key, value in changes.items()}
    configs[1].write_text(yaml.safe_dump(CONFIG | {"name": "other"} | changes))
    (said,) = write(configs, tmp_path / "out", tmp_path)
    assert message in said
    assert set(pd.read_csv(tmp_path / "out" / "claim.csv")["experiment"]) == {"one"}


def test_names_that_look_like_numbers_or_like_none(tmp_path):
    methods = {"null": CONFIG["methods"]["single_level"], "1": CONFIG["methods"]["multi_level"]}
    config = experiment(tmp_path, "one", methods=methods, datasets={"2": {"source": "glyphs"}})
    assert write([config], tmp_path / "out", tmp_path) == []
    assert set(pd.read_csv(tmp_path / "out" / "claim.csv", dtype=str)["dataset"]) == {"2"}


def test_without_any_pair_nothing_is_written_and_it_is_said(tmp_path):
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(CONFIG | {"name": "new"}))
    words = ["overview", str(tmp_path / "new.yaml"), "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"no experiment compares .*results/new/tables/factorial\.csv: is missing"):
        cli.main(words)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_passed_over(tmp_path, capsys):
    config = experiment(tmp_path, "one")
    (tmp_path / "old.yaml").write_text("name: old\n")
    cli.main(["overview", str(tmp_path / "old.yaml"), str(config), "--root", str(tmp_path), "--out", str(tmp_path)])
    assert capsys.readouterr().out.startswith(f"passed over: {tmp_path}/old.yaml: ")
    assert (tmp_path / "claim.md").exists()


@pytest.mark.results
def test_the_overview_in_git_is_of_the_tables_in_git(tmp_path):
    results = Path(__file__).parents[1] / "results"
    write(sorted(results.glob("*/config.yaml")), tmp_path, results.parent)
    assert (tmp_path / "claim.md").read_text() == (results / "overview" / "claim.md").read_text()
    new, old = (pd.read_csv(folder / "claim.csv") for folder in (tmp_path, results / "overview"))
    assert new.drop(columns="table").equals(old.drop(columns="table"))
    assert all((results / "overview" / path).exists() for path in old["table"])
