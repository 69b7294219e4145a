"""Two runs, compared on the same episodes."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlcl import cli, config, evaluations, statistics
from mlcl.compare import compare
from mlcl.errors import UserError


def evaluation(path, draw, dataset="glyphs", episodes=30, representation="level4", data="abc", **protocol):
    rng = np.random.default_rng(draw)
    parts = [
        {"shot": shot, "processing": "l2", "classifier": "nearest_centroid", "representation": name,
         "episode": range(episodes), "accuracy": rng.integers(30, 76, episodes) / 75}
        for shot in (1, 5) for name in ("level1", representation)
    ]  # fmt: skip
    spec = config.Evaluation(**protocol)
    rows = pd.concat(map(pd.DataFrame, parts))
    evaluations.write(path, (dataset, path.stem, 0), rows, spec, {"images.npy": data}, {})
    return path


def test_the_second_minus_the_first_paired(tmp_path):
    paths = [evaluation(tmp_path / f"{name}.parquet", seed) for seed, name in enumerate("ab")]
    table = compare(*paths)
    assert list(zip(table["shot"], table["representation"], strict=True)) == [
        (1, "level1"), (1, "level4"), (5, "level1"), (5, "level4"),
    ]  # fmt: skip
    for row in table.itertuples():
        a, b = (
            frame[(frame["shot"] == row.shot) & (frame["representation"] == row.representation)]["accuracy"].to_numpy()
            for frame in map(pd.read_parquet, paths)
        )
        found = stats.ttest_rel(100 * b, 100 * a)
        low, high = found.confidence_interval()
        assert (row.first, row.second) == pytest.approx((100 * a.mean(), 100 * b.mean()))
        assert (row.difference - row.ci95, row.difference + row.ci95) == pytest.approx((low, high))
        assert row.p == pytest.approx(found.pvalue)
    np.testing.assert_array_equal(table["p_holm"], statistics.holm(table["p"]))


def test_a_run_with_itself_differs_in_nothing(tmp_path, capsys):
    path = evaluation(tmp_path / "a.parquet", 0)
    cli.main(["compare", str(path), str(path)])
    shown = capsys.readouterr().out
    assert shown.count("+0.00 ± 0.00") == 4
    assert f"first: {path}" in shown


def test_runs_with_nothing_in_common_are_named_and_one_that_names_no_data_may_be_of_any(tmp_path):
    first, other = (evaluation(tmp_path / f"{name}.parquet", 0) for name in "ab")
    found = evaluations.read(other)
    evaluations.write(other, found.run, found.rows, config.Evaluation(), None, {})
    assert len(compare(first, other)) == 4
    evaluations.write(other, ("birds", "b", 0), found.rows, config.Evaluation(), None, {})
    with pytest.raises(UserError, match=r"b\.parquet: is of other data than .*a\.parquet; compare runs on one data"):
        compare(first, other)
    rows = found.rows.replace({"level1": "level2", "level4": "level3"})
    evaluations.write(other, found.run, rows, config.Evaluation(), None, {})
    with pytest.raises(UserError, match=r"b\.parquet: has no shot, .* and representation in common with .*a\.parquet"):
        compare(first, other)


def test_an_episode_that_is_there_twice_is_named(tmp_path):
    first = evaluation(tmp_path / "a.parquet", 0)
    found = evaluations.read(first)
    twice = pd.concat([found.rows, found.rows.iloc[:1]])
    evaluations.write(tmp_path / "b.parquet", found.run, twice, config.Evaluation(), found.data, {})
    with pytest.raises(UserError, match=r"b\.parquet: holds an episode twice"):
        compare(first, tmp_path / "b.parquet")


def test_one_representation_against_another(tmp_path, capsys):
    paths = [evaluation(tmp_path / f"{name}.parquet", seed) for seed, name in enumerate("ab")]
    table = compare(*paths, ("level4", "level1"))
    assert table["representation"].tolist() == ["level1 \N{MINUS SIGN} level4"] * 2
    a, b = (frame[frame["shot"] == 5] for frame in map(pd.read_parquet, paths))
    a, b = a[a["representation"] == "level4"]["accuracy"], b[b["representation"] == "level1"]["accuracy"]
    low, high = stats.ttest_rel(100 * b, 100 * a).confidence_interval()
    row = table.iloc[1]
    assert (row["difference"] - row["ci95"], row["difference"] + row["ci95"]) == pytest.approx((low, high))
    cli.main(["compare", *map(str, paths), "--representations", "level4", "level1"])
    assert "level1 \N{MINUS SIGN} level4" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"b\.parquet: has no representation ensemble among level1, level4"):
        compare(*paths, ("level4", "ensemble"))


def test_experiments_may_call_one_data_set_by_two_names(tmp_path):
    first = evaluation(tmp_path / "a.parquet", 0)
    same = compare(first, evaluation(tmp_path / "b.parquet", 1))
    pd.testing.assert_frame_equal(compare(first, evaluation(tmp_path / "b.parquet", 1, "birds")), same)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"data": "def"}, "is of other data than"),
        ({"way": 10}, "was evaluated with way 10, and .*a.parquet with 5"),
        ({"seed": 1}, "was evaluated with seed 1, and .*a.parquet with 0"),
        ({"support_copies": 5}, "was evaluated with support_copies 5, and .*a.parquet with 0"),
        ({"episodes": 20}, r"other episodes .* \(30 and 20\)"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path, other, message):
    first = evaluation(tmp_path / "a.parquet", 0)
    with pytest.raises(UserError, match=f"b.parquet.*{message}"):
        compare(first, evaluation(tmp_path / "b.parquet", 1, **other))


def test_what_only_one_has_is_left_out(tmp_path):
    first = evaluation(tmp_path / "a.parquet", 0)
    table = compare(first, evaluation(tmp_path / "b.parquet", 1, representation="level3"))
    assert set(table["representation"]) == {"level1"}
