"""From an encoder to its table of accuracies."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from test_packed import source

from mlcl import (
    choice,
    cli,
    config,
    encoders,
    evaluate,
    evaluations,
    extract,
    features,
    representations,
    solve,
)
from mlcl.classifiers import CLASSIFIERS, logistic_regression
from mlcl.data.pack import pack
from mlcl.data.packed import Packed
from mlcl.episodes import sample
from mlcl.errors import UserError
from mlcl.processing import process
from mlcl.weights import fit

CPU = torch.device("cpu")
SPEC = config.Evaluation(episodes=12, way=3, shots=(1, 5), queries=6)


def random_encoder(data, path, width=8, seed=0, channels=1):
    """Write an untrained encoder for the images of `data`."""
    torch.manual_seed(seed)
    encoder = encoders.Encoder(config.Encoder(width=width, pool=2), [0.4, 0.5, 0.6][:channels], [0.3] * channels)
    method = config.Method(objective={"cross_entropy": 1}, encoder=encoder.spec, training={"precision": "float32"})
    made_by = {"method": method.model_dump(), "data": Packed(data).manifest["sha256"], "base_classes": []}
    encoders.save(encoder, path, made_by)
    return path


@pytest.fixture(scope="module")
def model(tiny_data, tmp_path_factory):
    return random_encoder(tiny_data, tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def folder(tiny_data, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("features")
    extract.extract(tiny_data, model, CPU, out)
    return out


def test_features_are_the_encoders_of_every_level_and_split(tiny_data, model, folder):
    encoder, _ = encoders.load(model)
    for split in ("train", "val", "test"):
        images = Packed(tiny_data).split(split).images
        with torch.no_grad():
            expected = encoder(torch.tensor(images).permute(0, 3, 1, 2) / 255)
        levels = features.load(folder / f"{split}.npy").levels
        assert [level.shape for level in levels] == [(len(images), dim) for dim in encoder.dims]
        for ours, theirs in zip(levels, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3)
    assert isinstance(np.load(folder / "test.npy", mmap_mode="r"), np.memmap)


def test_features_and_evaluations_name_their_encoder(tiny_data, model, folder, tmp_path):
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    extract.extract_copies(tiny_data, model, "test", 1, 0, CPU, tmp_path / "copies.npy")
    for path in (*folder.glob("*.npy"), tmp_path / "copies.npy"):
        assert features.load(path).made_by == {"model": checksum, "extract": extract.CODE, "precision": "float32"}
    spec, files = SPEC.model_copy(update={"choose": True}), (tmp_path / "out", tmp_path / "choices")
    evaluate.evaluate(tiny_data, folder, spec, ("tiny", "mine", 0), CPU, *files)
    for path in files:
        assert evaluations.read(path).made_by == features.load(folder / "test.npy").made_by | {
            "evaluate": evaluate.CODE
        }


def test_what_a_killed_extraction_left_is_removed(tiny_data, model, tmp_path):
    left = tmp_path / ".test.npy.1234.part"
    left.write_bytes(b"half")
    extract.extract(tiny_data, model, CPU, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.npy", "train.npy", "val.npy"]


def test_the_splits_that_are_asked_for_are_extracted_alone(tiny_data, model, folder, tmp_path):
    extract.extract(tiny_data, model, CPU, tmp_path, config.Evaluation(choose=True).splits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.npy", "val.npy"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


@pytest.mark.parametrize(
    ("spec", "splits"),
    [
        ({}, ("test",)),
        ({"split": "val"}, ("val",)),
        ({"weigh": True}, ("val", "test")),
        ({"split": "val", "processing": ["l2", "power_centre"]}, ("train", "val")),
        ({"choose": True, "processing": ["centre"]}, ("train", "val", "test")),
        ({"support_copies": 5, "processing": ["power"]}, ("test",)),
    ],
)
def test_an_evaluation_needs_the_features_of_the_splits_that_it_reads(spec, splits):
    assert config.Evaluation(**spec).splits == splits


def test_a_full_disk_is_an_error_and_no_kill(tiny_data, model, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    arguments = ("features", "--data", tiny_data, "--model", model, "--out", tmp_path / "features")
    with pytest.raises(
        SystemExit, match=r"^mlcl features: .*/train\.npy: No space left on device; make room on its disk$"
    ):
        cli.main(list(map(str, arguments)))
    assert not list((tmp_path / "features").iterdir())


def test_accuracies_equal_a_naive_loop(tiny_data, folder, tmp_path):
    out = tmp_path / "evaluation.parquet"
    evaluate.evaluate(tiny_data, folder, SPEC, ("tiny", "mine", 0), CPU, out)
    table = pd.read_parquet(out)
    assert list(table.columns) == [
        "dataset", "method", "seed", "shot", "processing", "classifier", "representation", "episode", "accuracy",
    ]  # fmt: skip
    assert len(table) == 2 * 3 * 6 * 12
    assert set(table["representation"]) == {*(f"level{i}" for i in (1, 2, 3, 4)), "mean_probability", "concatenate"}

    ours = table.set_index(["classifier", "representation", "shot", "episode"])["accuracy"]
    split = Packed(tiny_data).split("test")
    levels = [level.astype(np.float64) for level in features.load(folder / "test.npy").levels]
    levels = [level / np.linalg.norm(level, axis=1, keepdims=True) for level in levels]
    joined = np.concatenate(levels, axis=1) / np.sqrt(len(levels))
    for shot in SPEC.shots:
        tasks = sample(split.labels, split="test", episodes=12, way=3, shot=shot, queries=6, seed=0)
        targets, answers = np.repeat(range(3), shot), np.repeat(range(3), 6)
        for e in range(12):
            support, query = tasks.support[e].ravel(), tasks.query[e].ravel()
            probabilities = {}
            for name, vectors in {**{f"level{i}": v for i, v in enumerate(levels, 1)}, "concatenate": joined}.items():
                fitted = LogisticRegression(C=1, tol=1e-8, max_iter=10_000).fit(vectors[support], targets)
                probabilities[name] = fitted.predict_proba(vectors[query])
            probabilities["mean_probability"] = np.mean([probabilities[f"level{i}"] for i in (1, 2, 3, 4)], axis=0)
            for name, values in probabilities.items():
                assert ours["logistic_regression", name, shot, e] == pytest.approx((values.argmax(1) == answers).mean())


def test_the_seed_of_the_config_draws_the_episodes(tiny_data, folder, tmp_path):
    spec = SPEC.model_copy(update={"seed": 3, "shots": (1,), "classifiers": ("nearest_centroid",)})
    evaluate.evaluate(tiny_data, folder, spec, ("tiny", "mine", 0), CPU, tmp_path / "out")
    tasks = sample(Packed(tiny_data).split("test").labels, split="test", episodes=12, way=3, shot=1, queries=6, seed=3)
    bank = solve.Bank(features.load(folder / "test.npy"), CPU)
    expected = solve.accuracies(bank, tasks, {"nearest_centroid": CLASSIFIERS["nearest_centroid"]})
    found = by_cell(evaluations.read(tmp_path / "out").rows)
    for (classifier, representation), values in expected.items():
        assert found[1, "l2", classifier, representation] == list(values)


def test_images_of_no_features_are_solved_by_chance(tiny_data):
    vectors = np.zeros((144, 8), np.float16)
    tasks = sample(Packed(tiny_data).split("test").labels, split="test", episodes=3, way=3, shot=2, queries=6, seed=0)
    for *_, scores in solve.solve(solve.Bank(features.Features(vectors, [8]), CPU), tasks, CLASSIFIERS):
        assert scores.isfinite().all()


def test_chunks_and_threads_do_not_change_the_result(tiny_data, folder, tmp_path, monkeypatch):
    for name, most, threads in (("one", 300, 1), ("many", 5, 1), ("threads", 5, 3)):
        monkeypatch.setattr(solve, "MOST", most)
        spec = SPEC.model_copy(update={"weigh": True})
        evaluate.evaluate(tiny_data, folder, spec, ("tiny", "mine", 0), CPU, tmp_path / name, threads=threads)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes() == (tmp_path / "threads").read_bytes()


def test_subsets_average_the_probabilities_of_their_levels(tiny_data, folder):
    bank = solve.Bank(features.load(folder / "test.npy"), CPU)
    tasks = sample(Packed(tiny_data).split("test").labels, split="test", episodes=3, way=3, shot=2, queries=6, seed=0)
    solved = solve.solve(bank, tasks, {"logistic_regression": logistic_regression}, subsets=True)
    scores = {representation: values for _, representation, values in solved}
    assert len(scores) == 4 + 2 + 6 + 4
    levels = {i: scores[f"level{i}"].softmax(1) for i in (1, 2, 3, 4)}
    for some in ((1, 3), (3, 4), (1, 2, 4)):
        mean = sum(levels[i] for i in some) / len(some)
        torch.testing.assert_close(scores["level" + "+".join(map(str, some))], mean)


def levels(representation):
    """How many it has."""
    return 4 if representation == "mean_probability" else 1 + representation.count("+")


def by_cell(rows):
    return {key: list(some["accuracy"]) for key, some in rows.groupby(evaluations.KEYS)}


def test_levels_are_chosen_on_the_validation_classes(tiny_data, folder, tmp_path):
    spec = SPEC.model_copy(update={"choose": True})
    given = (tiny_data, folder, spec, ("tiny", "mine", 0), CPU, tmp_path / "out")
    evaluate.evaluate(*given, tmp_path / "choices")
    ours, choices = (evaluations.read(tmp_path / name) for name in ("out", "choices"))
    whole = SPEC.model_copy(update={"subsets": True})
    evaluate.evaluate(*given[:2], whole, *given[3:5], tmp_path / "whole")
    evaluate.evaluate(*given[:2], whole.model_copy(update={"split": "val"}), *given[3:5], tmp_path / "val")
    assert (tmp_path / "val").read_bytes() == (tmp_path / "choices").read_bytes()
    assert choices.protocol["split"] == "val"
    test, val = (by_cell(evaluations.read(tmp_path / name).rows) for name in ("whole", "val"))
    found = by_cell(ours.rows)
    assert {key[3] for key in found} == {*representations.names((1, 2, 3, 4)), "chosen"}
    assert len(ours.chosen) == 2 * 3
    for key, representation in ours.chosen.items():
        accuracies = {name: values for (*of, name), values in val.items() if tuple(of) == key and name != "concatenate"}
        assert len(accuracies) == 15
        best = max(accuracies, key=lambda name: (round(sum(accuracies[name]), 9), -levels(name)))
        gain = stats.ttest_rel(accuracies[best], accuracies["level4"])
        better = gain.statistic > 0 and gain.pvalue < 0.05
        assert levels(representation) == levels(best) if better else representation == "level4"
        if better:
            assert np.mean(accuracies[representation]) == pytest.approx(np.mean(accuracies[best]))
        assert found[*key, "chosen"] == test[*key, representation]
        for name in ("level2", "mean_probability", "concatenate"):
            assert found[*key, name] == test[*key, name]


def test_levels_are_weighted_on_the_validation_classes(tiny_data, folder, tmp_path):
    given = ("tiny", "mine", 0), CPU
    evaluate.evaluate(tiny_data, folder, SPEC, *given, tmp_path / "plain")
    evaluate.evaluate(tiny_data, folder, SPEC.model_copy(update={"weigh": True}), *given, tmp_path / "out", threads=2)
    plain, ours = (evaluations.read(tmp_path / name) for name in ("plain", "out"))
    found = by_cell(ours.rows)
    assert {key: values for key, values in found.items() if key[3] != "weighted"} == by_cell(plain.rows)
    assert not plain.weights
    assert len(ours.weights) == 2 * 3
    for (shot, processing, classifier), weights in ours.weights.items():
        logits = {}
        for split in ("val", "test"):
            bank, labels = (
                solve.Bank(features.load(folder / f"{split}.npy"), CPU),
                Packed(tiny_data).split(split).labels,
            )
            asked = {key: getattr(SPEC, key) for key in ("episodes", "way", "queries", "seed")}
            tasks = sample(labels, split=split, shot=shot, **asked)
            solved = solve.solve(bank, tasks, {classifier: CLASSIFIERS[classifier]})
            scores = {name: values for _, name, values in solved}
            logits[split] = torch.stack([scores[f"level{i}"] for i in (1, 2, 3, 4)])
        assert weights == pytest.approx(fit(logits["val"]), abs=2e-4)
        summed = sum(weight * level for weight, level in zip(weights, logits["test"], strict=True))
        answers = torch.arange(SPEC.way).repeat_interleave(SPEC.queries)
        right = (summed.argmax(1) == answers).double().mean(1)
        np.testing.assert_allclose(found[shot, processing, classifier, "weighted"], right, atol=1e-12)


@pytest.mark.parametrize(("gain", "chosen"), [(0.05, "level1+3"), (0.002, "level4"), (-0.05, "level4")])
def test_levels_are_chosen_only_where_they_are_shown_to_do_better(gain, chosen):
    rng, rows = np.random.default_rng(0), []
    for name in representations.names((1, 2, 3, 4), subsets=True):
        mean = {"level4": 0.5, "level1+3": 0.5 + gain, "concatenate": 0.9}.get(name, 0.4)
        accuracies = mean + rng.normal(0, 0.1, 600)
        rows.append(pd.DataFrame({"representation": name, "episode": range(600), "accuracy": accuracies}))
    rows = pd.concat(rows).assign(shot=1, processing="l2", classifier="nearest_centroid")
    assert choice.choose(rows, range(1, 5)) == {(1, "l2", "nearest_centroid"): chosen}


@pytest.mark.parametrize("seed", range(8))
def test_of_equals_the_one_with_the_fewest_levels_is_chosen_whatever_the_order_of_their_episodes(seed):
    rng = np.random.default_rng(seed)
    answers = rng.integers(40, 76, 600) / 75
    accuracies = {"level3": answers, "mean_probability": rng.permutation(answers)}
    rows = pd.concat(
        pd.DataFrame({"representation": name, "episode": range(600), "accuracy": accuracies.get(name, answers / 2)})
        for name in representations.names((1, 2, 3, 4), subsets=True)
    ).assign(shot=1, processing="l2", classifier="nearest_centroid")
    assert choice.choose(rows, range(1, 5)) == {(1, "l2", "nearest_centroid"): "level3"}


def test_choosing_asks_where_its_episodes_go(tiny_data, folder, tmp_path):
    spec = SPEC.model_copy(update={"choose": True})
    with pytest.raises(
        UserError, match="choose: true solves episodes of the validation classes too; add --choices FILE"
    ):
        evaluate.evaluate(tiny_data, folder, spec, ("tiny", "mine", 0), CPU, tmp_path / "out")


def test_a_processing_is_what_it_says(tiny_data, folder, tmp_path):
    spec = SPEC.model_copy(update={
        "processing": ("power_centre", "l2", "power", "centre"), "classifiers": ("nearest_centroid",), "shots": (1,),
    })  # fmt: skip
    evaluate.evaluate(tiny_data, folder, spec, ("tiny", "mine", 0), CPU, tmp_path / "out")
    ours = pd.read_parquet(tmp_path / "out").set_index(["processing", "representation", "episode"])["accuracy"]
    novel, base = (features.load(folder / f"{split}.npy").levels[3].astype(float) for split in ("test", "train"))
    tasks = sample(Packed(tiny_data).split("test").labels, split="test", episodes=12, way=3, shot=1, queries=6, seed=0)
    for name, vectors in {
        "l2": novel,
        "centre": novel - base.mean(0),
        "power": np.sqrt(novel),  # conv4's features are not negative
        "power_centre": np.sqrt(novel) - np.sqrt(base).mean(0),
    }.items():
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for e in range(12):
            distances = np.linalg.norm(unit[tasks.query[e].ravel()][:, None] - unit[tasks.support[e].ravel()], axis=2)
            right = distances.argmin(1) == np.repeat(range(3), 6)
            assert ours[name, "level4", e] == pytest.approx(right.mean(), abs=1.5 / 18), (name, e)  # float16


@pytest.mark.parametrize("name", get_args(config.Processing))
def test_features_are_processed_block_by_block(monkeypatch, name):
    rng = np.random.default_rng(0)
    ours, base = (features.Features(rng.normal(size=(n, 3)).astype(np.float16), [1, 2]) for n in (12, 7))
    whole = process(ours, name, base).vectors
    monkeypatch.setattr("mlcl.processing.BLOCK", 5)
    np.testing.assert_array_equal(process(ours, name, base).vectors, whole)


def test_the_square_root_keeps_the_sign():
    vectors = np.array([[-4.0, 9.0], [0.0, -1.0]], np.float16)
    found = process(features.Features(vectors, [1, 1]), "power")
    np.testing.assert_array_equal(found.vectors, [[-2, 3], [0, -1]])


def test_supports_can_be_augmented_copies(tiny_data, model, folder, tmp_path):
    spec = SPEC.model_copy(update={"support_copies": 3, "classifiers": ("logistic_regression",)})
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    copies = tmp_path / "copies.npy"
    extract.extract_copies(tiny_data, model, "test", 3, spec.seed, CPU, copies)
    evaluate.evaluate(tiny_data, tmp_path, spec, ("tiny", "mine", 0), CPU, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out")
    ours = table[table["representation"] == "level4"].set_index(["shot", "episode"])["accuracy"]

    supports, queries = (features.load(path).levels[3].astype(float) for path in (copies, folder / "test.npy"))
    supports, queries = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (supports, queries))
    for shot in spec.shots:
        tasks = sample(
            Packed(tiny_data).split("test").labels, split="test", episodes=12, way=3, shot=shot, queries=6, seed=0
        )
        for e in range(12):
            x = supports.reshape(len(queries), 3, -1)[tasks.support[e]].reshape(3 * shot * 3, -1)
            model_ = LogisticRegression(C=1, tol=1e-8, max_iter=10_000).fit(x, np.repeat(range(3), 3 * shot))
            right = model_.predict(queries[tasks.query[e].ravel()]) == np.repeat(range(3), 6)
            assert ours[shot, e] == pytest.approx(right.mean())


def test_copies_are_processed_as_the_queries_are(tiny_data, folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    _, dims, _, made_by = features.load(folder / "test.npy")
    layout = features.layout(dims, features.origin(Packed(tiny_data), "test", 1), made_by)
    np.save(tmp_path / "copies.npy", np.load(folder / "test.npy").view(layout))  # each image a copy of itself
    cells = []
    for copies in (0, 1):
        spec = SPEC.model_copy(update={"processing": ("centre",), "support_copies": copies})
        evaluate.evaluate(tiny_data, tmp_path, spec, ("tiny", "mine", 0), CPU, tmp_path / "out")
        cells.append(by_cell(evaluations.read(tmp_path / "out").rows))
    assert cells[0] == cells[1]


def test_no_two_batches_of_copies_draw_alike():
    images = np.full((2 * extract.BATCH, 8, 8, 1), 100, np.uint8)
    first, second = extract.augmented(images, 1, False, 0, CPU)
    assert not torch.equal(first, second)


def test_copies_are_augmented_views_image_after_image(tiny_data, model, folder, tmp_path):
    for name in ("one", "again"):
        extract.extract_copies(tiny_data, model, "test", 3, 0, CPU, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()
    encoder, _ = encoders.load(model)
    images = Packed(tiny_data).split("test").images
    with torch.no_grad():
        expected = torch.cat([encoder(batch)[3] for batch in extract.augmented(images, 3, False, 0, CPU)])
    ours = features.load(tmp_path / "one").levels[3]
    np.testing.assert_allclose(ours, expected, rtol=1e-2, atol=1e-3)
    plain = features.load(folder / "test.npy").levels[3].astype(float)
    own = np.linalg.norm(ours.reshape(len(images), 3, -1) - plain[:, None], axis=2)
    others = np.linalg.norm(ours.reshape(len(images), 3, -1) - np.roll(plain, 70, 0)[:, None], axis=2)
    assert own.min() > 0
    assert np.median(own) < np.median(others)


@pytest.mark.parametrize(
    ("name", "maker", "spec"),
    [
        ("test", "features", {}),
        ("train", "features", {"processing": ("l2", "centre")}),
        ("val", "features", {"choose": True}),
        ("copies", "copies", {"support_copies": 3}),
    ],
)
def test_missing_or_damaged_features_are_named(tiny_data, folder, tmp_path, name, maker, spec):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path, spec = tmp_path / f"{name}.npy", SPEC.model_copy(update=spec)
    path.unlink(missing_ok=True)
    for content in (None, (folder / "test.npy").read_bytes()[:500]):
        if content:
            path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}\.npy: holds no readable features .* with 'mlcl {maker}'"):
            evaluate.evaluate(tiny_data, tmp_path, spec, ("tiny", "mine", 0), CPU, tmp_path / "out", tmp_path / "c")
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_saw_the_novel_classes_is_refused_unless_asked_for(tiny_data, model, tmp_path):
    encoder, made_by = encoders.load(model)
    path = tmp_path / "model.safetensors"
    encoders.save(
        encoder, path, {**made_by, "data": {"images.npy": "another"}, "base_classes": ["cat", "test2", "val1"]}
    )
    with pytest.raises(UserError, match=r"was trained on 2 classes, test2 among them, .* add --overlap if you mean it"):
        extract.extract(tiny_data, path, CPU, tmp_path / "features")
    extract.extract(tiny_data, path, CPU, tmp_path / "features", overlap=True)
    encoders.save(encoder, path, {**made_by, "data": {"images.npy": "another"}, "base_classes": ["cat", "train1"]})
    extract.extract(tiny_data, path, CPU, tmp_path / "features")


@pytest.mark.parametrize(
    ("source", "classes", "base_source", "base", "told"),
    [
        ("tiered-imagenet", "{}", "mini-imagenet", ["n00000001"], False),
        ("tiered-imagenet", "{}", None, ["n00000001"], False),  # as older checkpoints are
        ("tiered-imagenet", "n1000000{}", "mini-imagenet", ["n00000001"], True),
        ("mini-imagenet", "n1000000{}", "tiered-imagenet", ["train-1"], False),
        ("mini-imagenet", "n1000000{}", "glyphs", ["train-1"], True),
        ("cub", "{}", "mini-imagenet", ["n00000001"], True),
    ],
)
def test_an_encoder_of_imagenet_is_refused_where_names_do_not_tell(
    tiny_data, model, tmp_path, source, classes, base_source, base, told
):
    encoder, made_by = encoders.load(model)
    path, data = tmp_path / "model.safetensors", tmp_path / "data"
    encoders.save(encoder, path, made_by | {"data": {}, "source": base_source, "base_classes": base})
    shutil.copytree(tiny_data, data)
    manifest = json.loads((data / "manifest.json").read_text()) | {"dataset": {"source": source}}
    (data / "manifest.json").write_text(json.dumps(manifest))
    table = pd.read_csv(data / "classes.csv")
    table["class"] = [classes.format(row % 10) for row in range(len(table))]
    table.to_csv(data / "classes.csv", index=False)
    refused = pytest.raises(UserError, match=r"is not to be told, as not both name .* add --overlap in any case")
    with contextlib.nullcontext() if told else refused:
        extract.extract(data, path, CPU, tmp_path / "features", ["test"])
    extract.extract(data, path, CPU, tmp_path / "features", ["test"], overlap=True)


@pytest.mark.parametrize(
    ("name", "of", "spec", "message"),
    [
        ("test", "val", {}, r"test\.npy: is of split val, not test; make it again with 'mlcl features'"),
        ("train", "test", {"processing": ("centre",)}, r"train\.npy: is of split test, not train; make"),
        ("copies", "test", {"support_copies": 3}, r"copies\.npy: is of copies None, not 3; .* with 'mlcl copies'"),
    ],
)
def test_features_of_other_images_are_refused(tiny_data, folder, tmp_path, name, of, spec, message):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.copy(folder / f"{of}.npy", tmp_path / f"{name}.npy")
    spec = SPEC.model_copy(update=spec)
    with pytest.raises(UserError, match=message):
        evaluate.evaluate(tiny_data, tmp_path, spec, ("tiny", "mine", 0), CPU, tmp_path / "out")


def test_features_that_name_no_images_are_taken_alone_where_nobody_asks(tiny_data, folder, tmp_path):
    records = np.load(folder / "test.npy")
    plain = np.dtype([(f"level{i}", records.dtype[f"level{i}"]) for i in (1, 2, 3, 4)])
    np.save(tmp_path / "test.npy", records.view(plain))
    found = features.load(tmp_path / "test.npy")
    assert (found.origin, found.made_by) == ({}, {})
    np.testing.assert_array_equal(found.vectors, features.load(folder / "test.npy").vectors)
    with pytest.raises(UserError, match=r"test\.npy: does not say of which images it is; make it again"):
        evaluate.evaluate(tiny_data, tmp_path, SPEC, ("tiny", "mine", 0), CPU, tmp_path / "out")


def test_features_of_other_data_and_copies_of_another_seed_are_refused(tiny_data, model, folder, tmp_path):
    shutil.copytree(tiny_data, tmp_path / "tiny")
    manifest = tmp_path / "tiny" / "manifest.json"
    text = json.loads(manifest.read_text())
    text["sha256"]["images.npy"] = "0"
    manifest.write_text(json.dumps(text))
    with pytest.raises(UserError, match=r"test\.npy: is of other data; make it again with 'mlcl features'"):
        evaluate.evaluate(tmp_path / "tiny", folder, SPEC, ("tiny", "mine", 0), CPU, tmp_path / "out")
    shutil.copytree(folder, tmp_path / "features")
    extract.extract_copies(tiny_data, model, "test", 2, 9, CPU, tmp_path / "features" / "copies.npy")
    spec = SPEC.model_copy(update={"support_copies": 2})
    with pytest.raises(UserError, match=r"copies\.npy: is of seed 9, not 0; make it again with 'mlcl copies'"):
        evaluate.evaluate(tiny_data, tmp_path / "features", spec, ("tiny", "mine", 0), CPU, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("other", ["of other widths", "of other weights", "of other code", "in another precision"])
@pytest.mark.parametrize(
    ("name", "of", "spec"),
    [
        ("train", "train", {"processing": ("centre",)}),
        ("copies", "test", {"support_copies": 1}),
        ("val", "val", {"choose": True}),
    ],
)
def test_features_of_another_encoder_are_refused(tiny_data, folder, tmp_path, name, of, spec, other):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    own = features.load(folder / f"{of}.npy")
    dims = [7] * 4 if other == "of other widths" else own.dims
    keys = {"of other weights": "model", "of other code": "extract", "in another precision": "precision"}
    made_by = own.made_by | ({keys[other]: "other"} if other in keys else {})
    images = features.origin(Packed(tiny_data), of, spec.get("support_copies", 0))
    np.save(tmp_path / f"{name}.npy", np.zeros(len(own.vectors), features.layout(dims, images, made_by)))
    spec, out = SPEC.model_copy(update=spec), tmp_path / "out"
    with pytest.raises(
        UserError, match=rf"{name}\.npy: is not of one encoder, code and precision with .*test\.npy; make"
    ):
        evaluate.evaluate(tiny_data, tmp_path, spec, ("tiny", "mine", 0), CPU, out, tmp_path / "choices")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_array_is_named(tmp_path, content):
    (tmp_path / "test.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"test\.npy: holds no readable features"):
        features.load(tmp_path / "test.npy")
    np.savez(tmp_path / "several.npz", a=np.ones(2))
    with pytest.raises(UserError, match=r"several\.npz: holds no readable features"):
        features.load(tmp_path / "several.npz")


def test_an_encoder_for_other_images_is_refused(model, tmp_path):
    pack(source(shape=(16, 16, 3))[1], tmp_path / "colour")
    with pytest.raises(UserError, match=r"is for images of 1 channels; .*colour has 3"):
        extract.extract(tmp_path / "colour", model, CPU, tmp_path / "features")


def test_an_encoder_for_colours_takes_grey_as_three_equal_ones(tiny_data, tmp_path):
    path = random_encoder(tiny_data, tmp_path / "model.safetensors", channels=3)
    extract.extract(tiny_data, path, CPU, tmp_path, ["val"])
    encoder, _ = encoders.load(path)
    grey = torch.from_numpy(Packed(tiny_data).split("val").images.copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = encoder(grey.expand(-1, 3, -1, -1).float() / 255)
    found = features.load(tmp_path / "val.npy")
    for level, vectors in enumerate(expected):
        np.testing.assert_allclose(found.levels[level], vectors, rtol=2e-3, atol=1e-4)  # they are float16


def test_features_are_gathered_block_by_block(tiny_data, folder, monkeypatch):
    bank = solve.Bank(features.load(folder / "test.npy"), CPU)
    tasks = sample(Packed(tiny_data).split("test").labels, split="test", episodes=5, way=3, shot=2, queries=6, seed=0)
    whole = [list(solve.solve(bank, tasks, CLASSIFIERS)), solve.accuracies(bank, tasks, CLASSIFIERS)]
    monkeypatch.setitem(solve.BYTES, "cpu", 4 * 2 * 6 * sum(bank.dims))  # supports of two episodes, queries of none
    for (*_, ours), (*_, theirs) in zip(solve.solve(bank, tasks, CLASSIFIERS), whole[0], strict=True):
        torch.testing.assert_close(ours, theirs)
    monkeypatch.setitem(solve.BYTES, "cpu", 1)  # of less than an episode
    for key, values in solve.accuracies(bank, tasks, CLASSIFIERS).items():
        np.testing.assert_array_equal(values, whole[1][key])


def test_of_levels_that_do_alike_on_every_episode_the_last_is_chosen():
    names = representations.names((1, 2, 3, 4), subsets=True)
    rows = pd.DataFrame([(name, episode, 1.0) for name in names for episode in range(9)])
    rows.columns = ["representation", "episode", "accuracy"]
    rows = rows.assign(shot=1, processing="l2", classifier="nearest_centroid")
    assert choice.choose(rows, range(1, 5)) == {(1, "l2", "nearest_centroid"): "level4"}


def test_copies_are_mirrored_where_the_data_say_so():
    images = np.zeros((64, 8, 8, 1), np.uint8)
    images[:, :, :3] = 200  # bright on the left
    for flip in (False, True):
        (copies,) = extract.augmented(images, 1, flip, 0, CPU)
        left, right = (part.mean((1, 2, 3)) for part in (copies[..., :4], copies[..., 4:]))
        assert (right > left).any() == flip
