"""Encoders that solve tasks together, against scikit-learn and against each of them alone."""

import shutil

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from test_evaluate import by_cell, random_encoder

from mlcl import cli, config, deep_ensembles, evaluate, evaluations, extract, features, representations, solve
from mlcl.classifiers import CLASSIFIERS
from mlcl.data.packed import Packed
from mlcl.episodes import sample
from mlcl.errors import UserError

CPU = torch.device("cpu")
SPEC = config.Evaluation(episodes=12, way=3, shots=(1, 5), queries=6, choose=True, weigh=True)
SEEDS = (3, 1)


@pytest.fixture(scope="module")
def members(tiny_data, tmp_path_factory):
    """Folders of features and evaluations of two encoders."""
    root = tmp_path_factory.mktemp("members")
    folders, files = [], []
    for seed in SEEDS:
        path = random_encoder(tiny_data, root / f"{seed}.safetensors", width=4, seed=seed)
        folders.append(root / str(seed))
        extract.extract(tiny_data, path, CPU, folders[-1])
        files.append(root / f"{seed}.parquet")
        run = "tiny", "mine", seed
        evaluate.evaluate(tiny_data, folders[-1], SPEC, run, CPU, files[-1], root / f"choices-{seed}")
    return folders, files


@pytest.fixture(scope="module")
def found(tiny_data, members, tmp_path_factory):
    out = tmp_path_factory.mktemp("together") / "out.parquet"
    deep_ensembles.evaluate(tiny_data, *members, SPEC, CPU, out)
    return out


def test_it_is_the_mean_of_the_probabilities_of_scikit_learn(tiny_data, members, found):
    folders, _ = members
    levels = [[level.astype(float) for level in features.load(folder / "test.npy").levels] for folder in folders]
    levels = [[v / np.linalg.norm(v, axis=1, keepdims=True) for v in of] for of in levels]
    ours, answers = by_cell(evaluations.read(found).rows), np.repeat(range(3), 6)
    for shot in SPEC.shots:
        tasks = sample(
            Packed(tiny_data).split("test").labels, split="test", episodes=12, way=3, shot=shot, queries=6, seed=0
        )
        for e in range(0, 12, 3):  # enough: each takes scikit-learn eight fits
            of_levels = np.mean(
                [
                    [
                        LogisticRegression(C=1, tol=1e-8, max_iter=10_000)
                        .fit(vectors[tasks.support[e].ravel()], np.repeat(range(3), shot))
                        .predict_proba(vectors[tasks.query[e].ravel()])
                        for vectors in of
                    ]
                    for of in levels
                ],
                axis=0,
            )  # [levels, queries, classes]
            for name, probabilities in {"level4": of_levels[3], "mean_probability": of_levels.mean(0)}.items():
                right = np.mean(probabilities.argmax(1) == answers)
                assert ours[shot, "l2", "logistic_regression", name][e] == pytest.approx(right, abs=1.5 / 18)


def test_every_encoder_has_its_own_weights_and_choice(tiny_data, members, found):
    folders, files = members
    ours, answers = by_cell(evaluations.read(found).rows), torch.arange(3).repeat_interleave(6)
    asked = {key: getattr(SPEC, key) for key in ("episodes", "way", "queries", "seed")}
    chosen = set()
    for shot in SPEC.shots:
        tasks = sample(Packed(tiny_data).split("test").labels, split="test", shot=shot, **asked)
        for classifier in SPEC.classifiers:
            by_weights, by_choice = [], []
            for folder, file in zip(folders, files, strict=True):
                bank, of = solve.Bank(features.load(folder / "test.npy"), CPU), evaluations.read(file)
                solved = solve.solve(bank, tasks, {classifier: CLASSIFIERS[classifier]}, subsets=True)
                scores = {name: values for _, name, values in solved}
                weights = of.weights[shot, "l2", classifier]
                logits = sum(weight * scores[f"level{i}"] for i, weight in enumerate(weights, 1))
                by_weights.append(logits.softmax(1))
                name = of.chosen[shot, "l2", classifier]
                chosen.add(name)
                probabilities = "+" in name or name == "mean_probability"
                by_choice.append(scores[name] if probabilities else scores[name].softmax(1))
            for name, probabilities in {"weighted": by_weights, "chosen": by_choice}.items():
                right = (sum(probabilities).argmax(1) == answers).double().mean(1)
                np.testing.assert_allclose(ours[shot, "l2", classifier, name], right, atol=1e-12)
    assert len(chosen) > 1


def test_one_encoder_together_with_itself_is_that_encoder(tiny_data, members):
    bank = solve.Bank(features.load(members[0][0] / "test.npy"), CPU)
    tasks = sample(Packed(tiny_data).split("test").labels, split="test", episodes=12, way=3, shot=5, queries=6, seed=0)
    weights = {name: [0.1, 0.2, 0.3, 0.4] for name in CLASSIFIERS}
    alone = solve.accuracies(bank, tasks, CLASSIFIERS, subsets=True, weights=weights)
    both = solve.together([solve.Member(bank, None, weights, None)] * 2, tasks, CLASSIFIERS, subsets=True)
    assert both.keys() == alone.keys()
    for key, values in alone.items():
        np.testing.assert_array_equal(both[key], values, str(key))


def test_the_file_is_an_evaluation_that_names_its_members(members, found):
    ours, of = evaluations.read(found), [evaluations.read(file) for file in members[1]]
    assert ours.run == ("tiny", "mine", "3+1")
    assert ours.data == of[0].data
    assert ours.made_by == of[0].made_by | {
        "model": "+".join(one.made_by["model"] for one in of), "evaluate": deep_ensembles.CODE,
    }  # fmt: skip
    assert set(ours.rows["representation"]) == set(representations.names((1, 2, 3, 4), choose=True, weigh=True))


def test_the_command_and_its_threads_give_the_same_bytes(tiny_data, members, found, tmp_path):
    folders, files = members
    spec = ["--evaluation", SPEC.model_dump_json(), "--threads", "2", "--device", "cpu", "--out", tmp_path / "out"]
    given = ["--data", tiny_data, "--features", *folders, "--evaluations", *files, *spec]
    cli.main(list(map(str, ["deep-ensemble", *given])))
    assert (tmp_path / "out").read_bytes() == found.read_bytes()


def test_what_does_not_belong_together_is_named(tiny_data, members, tmp_path):
    (first, second), (one, two) = members
    other = tmp_path / "other.parquet"
    evaluate.evaluate(tiny_data, second, SPEC, ("tiny", "theirs", 1), CPU, other, tmp_path / "choices")
    wider, more = SPEC.model_copy(update={"way": 4}), SPEC.model_copy(update={"shots": (1, 2, 5)})
    plain = tmp_path / "plain.parquet"
    unasked = SPEC.model_copy(update={"choose": False, "weigh": False})
    evaluate.evaluate(tiny_data, second, unasked, ("tiny", "mine", 1), CPU, plain)
    for folders, files, spec, message in (
        ([first], [one, two], SPEC, "1 folders of features for 2 evaluations; give one for each"),
        ([first, second], [one, other], SPEC, rf"{other}: is no run of another seed of the method of {one}"),
        ([first, first], [one, one], SPEC, rf"{one}: is no run of another seed of the method of {one}"),
        ([second, first], [one, two], SPEC, rf"{second}/test.npy: is not of the encoder of {one}; make both again"),
        ([first, second], [one, two], wider, rf"{one}: was evaluated with way 3, where the config asks for 4"),
        ([first, second], [one, plain], SPEC, rf"{plain}: was evaluated without choose, or in part"),
        ([first, second], [one, two], more, rf"{one}: was evaluated without choose, or in part; run mlcl evaluate"),
    ):
        with pytest.raises(UserError, match=message):
            deep_ensembles.evaluate(tiny_data, folders, files, spec, CPU, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_ensemble_of_one_is_that_encoder_by_copies_too(tiny_data, members, tmp_path):
    spec = SPEC.model_copy(update={"support_copies": 2, "classifiers": ("nearest_centroid",)})
    folder = shutil.copytree(members[0][0], tmp_path / "features")
    model = members[0][0].with_suffix(".safetensors")
    extract.extract_copies(tiny_data, model, "test", 2, spec.seed, CPU, folder / "copies.npy")
    alone, out = tmp_path / "alone.parquet", tmp_path / "out.parquet"
    evaluate.evaluate(tiny_data, folder, spec, ("tiny", "mine", SEEDS[0]), CPU, alone, tmp_path / "choices")
    deep_ensembles.evaluate(tiny_data, [folder], [alone], spec, CPU, out)
    assert by_cell(evaluations.read(out).rows) == by_cell(evaluations.read(alone).rows)
