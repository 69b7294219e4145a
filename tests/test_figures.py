"""The figures: what they show against naive computations, and that they are drawn the same every time."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_tables import CONFIG, EPISODES, evaluate

from mlcl import board, cli, statistics
from mlcl.config import Experiment
from mlcl.data.packed import Packed
from mlcl.errors import UserError
from mlcl.features import layout, origin
from mlcl.figures import accuracy, embedding, neighbours, pairs, roles, training, unseen
from mlcl.figures.style import _smaller, drawn, short
from mlcl.paths import UNSEEN_FIGURES
from mlcl.results import Cell
from mlcl.tables import comparison, differences
from mlcl.tables.study import read, titles

TITLES = {"one": "One & 100%", "two": "Two"}
DIMS = [3, 5]


@pytest.fixture(scope="module")
def files(tiny_data, tmp_path_factory):
    """Features of two methods: the second level of `two` alone knows the classes."""
    labels = Packed(tiny_data).split("test").labels
    rng, paths = np.random.default_rng(0), []
    for method in TITLES:
        records = np.zeros(len(labels), layout(DIMS, origin(Packed(tiny_data), "test"), {}))
        for level, dim in zip(records.dtype.names, DIMS, strict=True):
            records[level] = rng.normal(size=(len(labels), dim))
        if method == "two":
            records["level2"] += 3 * rng.normal(size=(6, 5))[labels]
        paths.append(tmp_path_factory.mktemp("features") / method / "0" / "test.npy")
        paths[-1].parent.mkdir(parents=True)
        np.save(paths[-1], records)
    return paths


@pytest.fixture(scope="module")
def seen(tiny_data, files):
    return unseen.read(tiny_data, files, TITLES)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    return read(*evaluate(CONFIG, out), out, out)


# -- of the evaluations -------------------------------------------------------------------------------------


def test_gains_are_the_paired_differences_of_ensemble_and_last_level(study):
    gains = differences.gains(study)
    assert len(gains) == 2 * 2 * 3
    names = {title: name for name, title in titles(study.experiment).items()}
    for row in gains.itertuples():
        ensemble, last = (
            study.results.accuracies[
                Cell(row.dataset, names[row.title], row.shot, "l2", "nearest_centroid", representation)
            ].mean(axis=0)
            for representation in ("mean_probability", "level4")
        )
        assert (row.difference, row.ci95) == pytest.approx(statistics.interval(ensemble - last))
        assert len(row.by_seed) == 2
        assert np.mean(row.by_seed) == pytest.approx(row.difference)


def test_episodes_are_those_of_every_seed(study):
    found = comparison.episodes(study)
    assert len(found) == 2 * 2 * 3 * 2
    values = found["script", 5, "Multi|level", "ensemble"]
    cell = Cell("script", "multi_level", 5, "l2", "nearest_centroid", "mean_probability")
    assert values is study.results.accuracies[cell]
    assert values.shape == (2, EPISODES)


def panels(monkeypatch, module, draw, *arguments):
    """The axes of the figure that a function draws."""
    figures = []
    monkeypatch.setattr(module, "drawn", lambda figure: figures.append(figure) or drawn(figure))
    draw(*arguments)
    return figures[0].axes


def test_gain_stands_where_it_is(study, monkeypatch):
    gains = differences.gains(study)
    axes = panels(monkeypatch, roles, roles.gain, gains)
    assert [panel.get_title() for panel in axes] == ["random, ensemble", "script, ensemble"]
    first = axes[0].containers[0].lines[0]
    own = gains[(gains["dataset"] == "random") & (gains["shot"] == 1)]
    assert list(first.get_xdata()) == own["difference"].tolist()
    seeds = [line.get_xdata() for line in axes[0].lines if line.get_marker() == "."]
    np.testing.assert_array_equal(seeds[: len(own)], np.stack(own["by_seed"]))
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(titles(study.experiment).values())


def test_gains_are_of_what_the_validation_classes_taught_too(tmp_path, monkeypatch):
    asked = CONFIG["evaluation"] | {"choose": True, "weigh": True, "subsets": True}
    study = read(*evaluate(CONFIG | {"evaluation": asked, "seeds": [0]}, tmp_path), tmp_path, tmp_path)
    gains = differences.gains(study)
    axes = panels(monkeypatch, roles, roles.gain, gains)
    assert "." not in {line.get_marker() for line in axes[0].lines}  # of one seed
    shown = ("ensemble", "chosen levels", "weighted levels")
    assert [panel.get_title() for panel in axes] == [f"{of}, {role}" for role in shown for of in ("random", "script")]
    names = {title: name for name, title in titles(study.experiment).items()}
    row = gains[gains["role"] == "weighted levels"].iloc[-1]
    weighted, last = (
        study.results.accuracies[Cell(row.dataset, names[row.title], row.shot, "l2", "nearest_centroid", name)][0]
        for name in ("weighted", "level4")
    )
    assert (row.difference, row.ci95) == pytest.approx(statistics.interval(weighted - last))


def test_beside_every_mean_stand_its_seeds(study, monkeypatch):
    axes = panels(monkeypatch, accuracy, accuracy.levels, study.first)
    inside = study.first[(study.first["dataset"] == "script") & (study.first["shot"] == 1)]
    assert axes[1].get_title() == "script, 1-shot"
    dots = [line for line in axes[1].lines if line.get_marker() == "."]
    np.testing.assert_array_equal([line.get_ydata() for line in dots], np.stack(inside["by_seed"]))
    np.testing.assert_allclose(inside["by_seed"].map(np.mean), inside["mean"])
    means = np.concatenate([line.lines[0].get_xdata() for line in axes[1].containers]).astype(float)
    np.testing.assert_allclose(np.stack([line.get_xdata() for line in dots]).T.astype(float) - means, accuracy.BESIDE)


def test_a_title_that_begins_with_a_line_below_is_in_the_legend_too(study, monkeypatch):
    axes = panels(monkeypatch, accuracy, accuracy.levels, study.first.replace("Multi|level", "_multi"))
    known = list(titles(study.experiment).values())
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == [*known[:2], "_multi"]


@pytest.mark.parametrize("draw", [roles.shots, accuracy.levels])
def test_the_longest_title_fits_into_the_figure(draw, study, monkeypatch):
    rows = comparison.compared(study) if draw is roles.shots else study.first
    rows = rows[rows["dataset"] == "random"].replace("Multi|level", "A title that is " + "very " * 12 + "long")
    figures = []
    monkeypatch.setattr(roles, "drawn", figures.append)
    monkeypatch.setattr(accuracy, "drawn", figures.append)
    draw(rows)
    figures[0].draw_without_rendering()
    box, whole = figures[0].legends[0].get_window_extent(), figures[0].bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1


@pytest.mark.parametrize("numbers", [[1, 5], [1, 2, 5, 10, 20], [3]])
def test_shots_stand_where_they_are(numbers, study, monkeypatch):
    rows = comparison.compared(study)
    one = rows[(rows["shot"] == 1)]
    rows = pd.concat([one.assign(shot=shot, mean=one["mean"] + shot) for shot in numbers])
    axes = panels(monkeypatch, roles, roles.shots, rows)
    line = axes[0].containers[0].lines[0]
    assert line.get_xdata().tolist() == numbers
    assert [label.get_text() for label in axes[0].get_xticklabels()] == list(map(str, numbers))
    assert len(axes[0].containers) == 3 * 2


def test_shots_are_joined_in_ascending_order(study, monkeypatch):
    rows = comparison.compared(study)
    one = rows[rows["shot"] == 1]
    rows = pd.concat([one.assign(shot=shot) for shot in (5, 1, 20)])
    axes = panels(monkeypatch, roles, roles.shots, rows)
    assert axes[0].containers[0].lines[0].get_xdata().tolist() == [1, 5, 20]


# -- of the trainings ---------------------------------------------------------------------------------------


def metrics(folder, dataset, method, seed, loss, **columns):
    path = folder / dataset / method / str(seed) / "metrics.csv"
    path.parent.mkdir(parents=True)
    epochs = range(1, 5)
    columns = {"epoch": epochs, "loss": loss, "val_last_level": [None, 0.5, None, 0.6], **columns}
    pd.DataFrame(columns | {"val_ensemble": [None, 0.4, None, 0.5]}).to_csv(path, index=False)
    return path


def test_training_curves_are_means_over_seeds(tmp_path, monkeypatch):
    paths = [
        metrics(tmp_path, "d", "two", 0, [4, 3, 2, 1], level2=[4, 3, 2, 1]),
        metrics(tmp_path, "d", "one", 0, [4, 3, 2, 1], cross_entropy=[4, 3, 2, 1], self_distillation=[1, 1, 1, 0]),
        metrics(tmp_path, "d", "two", 1, [6, 5, 4, 3], level2=[6, 5, 4, 3]),
        metrics(tmp_path, "e", "two", 0, [1, 1, 1, 1], level2=[1, 1, 1, 1]),
    ]
    means = training.read(paths, ["e", "d"], TITLES)
    assert list(means["dataset"].cat.categories) == ["e", "d"]
    assert list(means["title"].cat.categories) == ["One & 100%", "Two"]
    own = means[(means["title"] == "Two") & (means["dataset"] == "d")]
    assert own["level2"].tolist() == [5, 4, 3, 2]
    axes = panels(monkeypatch, training, training.curves, means)
    heads = "contrastive, level 2", "cross-entropy, last level", "self distillation"
    assert [panel.get_title() for panel in axes] == [*heads, "validation, last level", "validation, ensemble"] * 2
    drawn = [[list(line.get_ydata()) for line in panel.lines if len(line.get_ydata())] for panel in axes[5:]]
    assert drawn == [[[5, 4, 3, 2]], [[4, 3, 2, 1]], [[1, 1, 1, 0]], [[50, 60]] * 2, [[40, 50]] * 2]
    assert axes[8].lines[0].get_xdata().tolist() == [2, 4]
    assert axes[5].get_ylim() == axes[7].get_ylim() != axes[8].get_ylim() == axes[9].get_ylim()
    training.draw(paths, ["e", "d"], TITLES, tmp_path / "out")
    before = [(tmp_path / "out" / f"training.{form}").read_bytes() for form in ("svg", "png")]
    training.draw(paths[::-1], ["e", "d"], TITLES, tmp_path / "out")
    assert before == [(tmp_path / "out" / f"training.{form}").read_bytes() for form in ("svg", "png")]


def test_every_part_of_the_loss_has_a_panel_however_many_levels_there_are(tmp_path, monkeypatch):
    levels = (11, *range(1, 11))
    parts = {f"{part}{level}": [level] * 4 for part in ("level", "cross_entropy_level") for level in levels}
    path = metrics(tmp_path, "d", "one", 0, [4, 3, 2, 1], rotation=[1] * 4, cross_entropy=[0] * 4, **parts)
    axes = panels(monkeypatch, training, training.curves, training.read([path], ["d"], TITLES))
    heads = [f"{part}, level {level}" for part in ("contrastive", "cross-entropy") for level in range(1, 12)]
    assert [panel.get_title() for panel in axes][:-2] == [*heads, "cross-entropy, last level", "rotation"]
    assert axes[10].lines[0].get_ydata().tolist() == [11] * 4


def test_metrics_that_are_none_say_so(tmp_path):
    path = metrics(tmp_path, "d", "three", 0, [1, 1, 1, 1])
    with pytest.raises(UserError, match=r"three/0/metrics.csv: is not .* with a data set and a method"):
        training.read([path], ["d"], TITLES)
    path = metrics(tmp_path, "d", "two", 0, [1, 1, 1, "x"])
    with pytest.raises(UserError, match=r"two/0/metrics.csv: cannot be read as metrics .* run mlcl train again"):
        training.read([path], ["d"], TITLES)
    path.write_text("epoch,loss\n1,2\n")
    with pytest.raises(UserError, match="lacks columns"):
        training.read([path], ["d"], TITLES)


# -- of the features ----------------------------------------------------------------------------------------


def test_neighbours_are_the_naive_ones():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 4)).astype(np.float16)
    vectors[7] = 2 * vectors[3]  # as near as can be
    queries = np.array([3, 50])
    found = neighbours.nearest(vectors, queries, 5)
    for query, own in zip(queries, found, strict=True):
        cosines = []
        for row, vector in enumerate(vectors.astype(float)):
            wanted = vectors[query].astype(float)
            cosine = vector @ wanted / (np.linalg.norm(vector) * np.linalg.norm(wanted))
            cosines.append((-cosine, row))
        nearest = [row for _, row in sorted(cosines) if row != query][:5]
        assert own.tolist() == nearest
    assert found[0][0] == 7


def test_neighbours_in_blocks_are_the_same(monkeypatch):
    vectors = np.random.default_rng(2).normal(size=(50, 4))
    whole = neighbours.nearest(vectors, np.array([0, 49]), 6)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    assert (neighbours.nearest(vectors, np.array([0, 49]), 6) == whole).all()


def test_neighbours_are_marked_by_their_class(seen, monkeypatch):
    (axes,) = panels(monkeypatch, neighbours, neighbours.draw, seen)
    labels, count = seen.split.labels, neighbours.QUERIES * neighbours.NEIGHBOURS
    queries = neighbours.chosen(labels)
    assert len(set(labels[queries])) == neighbours.QUERIES
    right = 0
    for vectors in [level for one in seen.features.values() for level in one.levels]:
        found = labels[neighbours.nearest(vectors, queries, neighbours.NEIGHBOURS)]
        right += (found == labels[queries][:, None]).sum()
    frames = [len(collection.get_segments()) for collection in axes.collections[::2]]
    marks = [len(collection.get_offsets()) for collection in axes.collections[1::2]]
    assert frames == marks == [right, 4 * count - right]
    assert len(axes.images) == neighbours.QUERIES + 4 * count


def test_pairs_accuracies_are_the_nearest_centroids(seen):
    labels = seen.split.labels
    tasks = pairs.drawn_pairs(labels, "test")
    assert tasks.classes.tolist() == [[i, j] for i in range(6) for j in range(i + 1, 6)]
    assert tasks.episodes.support.shape == (15 * pairs.TASKS, 2, 1)
    assert tasks.episodes.query.shape == (15 * pairs.TASKS, 2, 15)
    of_two = seen.features["Two"]
    found = pairs.accuracies(of_two, tasks)
    vectors = of_two.levels[-1].astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for pair in range(15):
        right = []
        for task in range(pair * pairs.TASKS, (pair + 1) * pairs.TASKS):
            support, query = tasks.episodes.support[task, :, 0], tasks.episodes.query[task]
            assert set(labels[support]) == set(tasks.classes[pair])
            assert not set(support) & set(query.ravel())
            for own, rows in enumerate(query):
                assert (labels[rows] == labels[support[own]]).all()
                distances = np.linalg.norm(vectors[rows][:, None] - vectors[support], axis=2)
                right += (distances.argmin(1) == own).tolist()
        assert found[pair] == pytest.approx(100 * np.mean(right), abs=0.2)
    assert found.mean() > pairs.accuracies(seen.features["One & 100%"], tasks).mean() + 20


def test_more_pairs_than_fit_are_sampled(monkeypatch):
    monkeypatch.setattr(pairs, "PAIRS", 7)
    labels = np.repeat(np.arange(6), 3)
    found = pairs.drawn_pairs(labels, "test")
    assert len({tuple(pair) for pair in found.classes.tolist()}) == 7
    assert found.episodes.query.shape == (7 * pairs.TASKS, 2, 2)  # no more than a class has
    assert (pairs.drawn_pairs(labels, "test").classes == found.classes).all()
    with pytest.raises(UserError, match="split val has a class of 1 images"):
        pairs.drawn_pairs(np.array([0, 0, 1]), "val")
    with pytest.raises(UserError, match="split test has 1 classes"):
        pairs.drawn_pairs(np.array([0, 0]), "test")


def test_the_embedding_is_of_unit_vectors_and_repeats(seen):
    rows = embedding.chosen(np.repeat(np.arange(20), 50))
    assert len(rows) == embedding.CLASSES * embedding.IMAGES == len(set(rows))
    vectors = unseen.unit(seen.features["Two"].levels[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    flat = embedding.pca(vectors)
    centred = vectors - vectors.mean(0)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose((flat**2).sum(0), variances[:2], rtol=1e-3)
    first, second = embedding.tsne(vectors[:60]), embedding.tsne(vectors[:60])
    assert first.shape == (60, 2)
    assert (first == second).all()
    for name in embedding.MAPS:
        assert (embedding.flat(np.ones((60, 4)), name) == 0).all()
        line = embedding.flat(vectors[:60, :1], name)
        assert line.shape == (60, 2)
        assert np.ptp(line[:, 0]) > 0


def test_long_names_of_classes_keep_their_ends():
    assert short("a" * 20) == "a" * 20
    assert short("Malayalam/character12", 16) == "Malayal…racter12"
    assert len(short("Malayalam/character12")) == 20


def test_the_embedding_names_every_class(seen, monkeypatch):
    classes = ["_hidden", *seen.split.classes[1:]]
    seen = seen._replace(split=dataclasses.replace(seen.split, classes=classes))
    axes = panels(monkeypatch, embedding, embedding.draw, seen)
    (legend,) = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == classes


def test_the_command_draws_all_and_the_same_bytes_twice(tiny_data, files, tmp_path):
    methods = {name: {"title": title, "objective": {"cross_entropy": 1}} for name, title in TITLES.items()}
    experiment = Experiment.parse({"name": "t", "datasets": {"tiny": {"source": "glyphs"}}, "methods": methods}, "t")
    written = []
    for name in "ab":
        out = tmp_path / name
        given = ["--data", tiny_data, "--experiment", experiment.model_dump_json(), "--features", *files, "--out", out]
        cli.main(["draw-features", *map(str, given)])
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == sorted(f"{name}.{form}" for name in UNSEEN_FIGURES for form in ("svg", "png"))
    for name, content in written[0].items():
        assert len(content) < 400_000, name


def test_features_that_are_none_say_so(tiny_data, files, tmp_path):
    with pytest.raises(UserError, match=r"is not .*METHOD/SEED/test.npy with a method of the experiment's"):
        unseen.read(tiny_data, files, {"one": "One"})
    with pytest.raises(UserError, match=r"test.npy: is of one again; give the features of one seed a method"):
        unseen.read(tiny_data, [files[0], files[0]], TITLES)
    other = tmp_path / "one" / "0" / "test.npy"
    other.parent.mkdir(parents=True)
    of = origin(Packed(tiny_data), "test")
    np.save(other, np.zeros(144, layout([3], of | {"data": {}}, {})))
    with pytest.raises(UserError, match=r"test.npy: is of other data; make it again with 'mlcl features'"):
        unseen.read(tiny_data, [other], TITLES)
    with pytest.raises(UserError, match=r"train.npy: is not"):
        unseen.read(tiny_data, [other.with_name("train.npy")], TITLES)
    with pytest.raises(UserError, match=r"val.npy: is not"):
        unseen.read(tiny_data, [*files, other.with_name("val.npy")], TITLES)


def test_validation_classes_are_drawn_where_those_are_evaluated(tiny_data, tmp_path):
    split = Packed(tiny_data).split("val")
    file = tmp_path / "one" / "0" / "val.npy"
    file.parent.mkdir(parents=True)
    np.save(file, np.ones(len(split.labels), layout([3], origin(Packed(tiny_data), "val"), {})))
    seen = unseen.read(tiny_data, [file], TITLES)
    assert (seen.name, seen.split.classes) == ("val", split.classes)


def test_pictures_in_an_svg_keep_their_colours():
    rng = np.random.default_rng(3)
    few = rng.integers(0, 256, (20, 3), np.uint8)[rng.integers(0, 20, (16, 16))]
    png = io.BytesIO()
    Image.fromarray(few).convert("RGBA").save(png, "png")
    smaller = _smaller(re.match(rb".*", base64.b64encode(png.getvalue())))
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(smaller))).convert("RGB")) == few).all()


# -- TensorBoard --------------------------------------------------------------------------------------------


def test_the_board_has_every_run_and_the_novel_images(tiny_data, files, tmp_path):
    experiment, evaluations = evaluate(CONFIG, tmp_path)
    own = tmp_path / "multi_level" / "0" / "test.npy"
    own.parent.mkdir(parents=True)
    own.write_bytes(files[1].read_bytes())
    for _ in range(2):  # the second replaces the first
        board.write(experiment, evaluations, tiny_data, own, tmp_path / "board")
    runs = sorted(path.parent for path in (tmp_path / "board").glob("*/*/*/events*"))
    assert len(runs) == len(set(runs)) == 2 * 3 * 2
    study = read(experiment, evaluations, tmp_path, tmp_path)
    events = EventAccumulator(str(tmp_path / "board" / "script" / "single_level" / "1")).Reload()
    cell = Cell("script", "single_level", 5, "l2", "nearest_centroid", "level4")
    (event,) = events.Scalars("5-shot/last level")
    assert event.value == pytest.approx(study.results.accuracies[cell][1].mean(), rel=1e-6)  # seeds are 3 and 1
    assert any(b"objective.contrast" in value for value in events.PluginTagToContent("hparams").values())
    (folder,) = (tmp_path / "board").glob("00000/*")
    vectors = np.loadtxt(folder / "tensors.tsv")
    assert vectors.shape == (144, 5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-4)
    assert len((folder / "metadata.tsv").read_text().split()) == 144
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.size == (12 * 16, 12 * 16)


def test_the_board_spares_a_folder_of_anything_else(tiny_data, files, tmp_path):
    experiment, evaluations = evaluate(CONFIG, tmp_path)
    own = tmp_path / "multi_level" / "0" / "test.npy"
    own.parent.mkdir(parents=True)
    own.write_bytes(files[1].read_bytes())
    with pytest.raises(UserError, match=r"evaluations: is to be written anew, but holds \d\.parquet; name a folder of"):
        board.write(experiment, evaluations, tiny_data, own, tmp_path / "evaluations")
    assert all(path.exists() for path in evaluations)
