"""One's own images, named by an encoder and a few labelled ones, against scikit-learn on the same images."""

import os
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn import functional as F

from mlcl import config, encoders, labelled
from mlcl.classify import classify as whole
from mlcl.cli import main
from mlcl.data.packed import Packed
from mlcl.labelled import ensemble, fit, left_out, probabilities, scaled, temperature

SUPPORTS = {"long": 7, "round": 2, "thin": 3}  # unlike numbers
LABELS = np.repeat(range(3), list(SUPPORTS.values()))
QUERIES = 8  # of each class


def saved(path, seed=0, side=16):
    torch.manual_seed(seed)
    spec = config.Encoder(name="conv4", width=8, pool=[2, 1, 1, 1])
    encoder = encoders.Encoder(spec, [0.3], [0.2])
    method = config.Method(encoder=spec, objective={"cross_entropy": 1}, training={"precision": "float32"})
    encoders.save(encoder, path, {"shape": [side, side, 1], "method": method.model_dump(mode="json")})
    return path


@pytest.fixture
def model(tmp_path):
    return saved(tmp_path / "model.safetensors")


@pytest.fixture
def levels(model, tmp_path, tiny_data):
    """labelled/<class>/*.png and new/*.png, wider than high; the levels' unit vectors of their middle squares."""
    novel, rng, squares = Packed(tiny_data).split("test"), np.random.default_rng(0), {"labelled": [], "new": []}
    for number, (name, count) in enumerate(SUPPORTS.items()):
        own = novel.images[novel.labels == number]
        for place, image in enumerate(own[: count + QUERIES]):
            folder, below = ("labelled", name) if place < count else ("new", "")
            wide = rng.integers(0, 255, (16, 22), np.uint8)
            wide[:, 3:19] = image[..., 0]
            path = tmp_path / folder / below / f"{number}-{place:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(wide).save(path)
            squares[folder].append(image)
    return seen(model, squares) | {"squares": squares}


def seen(model, squares):
    """The levels' unit vectors of images, by the names of their kinds."""
    encoder, _ = encoders.load(model)
    with torch.no_grad():
        found = {name: encoder(torch.tensor(np.stack(some)).movedim(3, 1) / 255) for name, some in squares.items()}
    return {name: [level / level.norm(dim=1, keepdim=True) for level in some] for name, some in found.items()}


def reference(supports, labels, queries, weights):
    """[m, classes]: the product of the powers of scikit-learn's probabilities by levels."""
    solvers = [
        LogisticRegression(C=1, class_weight="balanced", tol=1e-9, max_iter=10_000).fit(level, labels)
        for level in supports
    ]
    found = [solver.predict_proba(level) ** w for solver, level, w in zip(solvers, queries, weights, strict=True)]
    return np.prod(found, 0) / np.prod(found, 0).sum(1, keepdims=True)


def classify(tmp_path, model, *more, images="new"):
    out = tmp_path / "named.csv"
    parts = ("--support", tmp_path / "labelled", "--images", tmp_path / images, "--device", "cpu")
    main(["classify", "--model", str(model), *more, *map(str, parts), "--out", str(out)])
    return pd.read_csv(out)


@pytest.mark.parametrize(
    ("asked", "weights"), [([], (0, 0, 0, 1)), (["--weights", "0", ".4", "0", "1.2"], (0, 0.25, 0, 0.75))]
)
def test_images_get_the_class_that_scikit_learn_gives_them(tmp_path, model, levels, asked, weights):
    table = classify(tmp_path, model, *asked)
    expected = reference(levels["labelled"], LABELS, levels["new"], weights)
    assert table["file"].tolist() == [str(path) for path in sorted((tmp_path / "new").iterdir())]
    assert table["class"].tolist() == [list(SUPPORTS)[i] for i in expected.argmax(1)]
    # The temperature is that of the solver's own probabilities: one of 0.01 makes a hundred times as much of what lies
    # between them and the reference's.
    labels = torch.tensor(LABELS)
    unseen = ensemble(left_out(levels["labelled"], labels, 3), weights)
    np.testing.assert_allclose(unseen, left_out_by_reference(levels["labelled"], weights), atol=1e-4)
    scale = temperature(unseen, labels)
    power = expected ** (1 / scale)
    np.testing.assert_allclose(table["probability"], power.max(1) / power.sum(1), atol=2e-3)
    alone = classify(tmp_path, model, *asked, images="new/1-02.png")
    pd.testing.assert_frame_equal(alone, table.iloc[[QUERIES]].reset_index(drop=True))


def left_out_by_reference(supports, weights):
    """[n, classes]: scikit-learn's probabilities of each support, from the others."""
    found, place = np.zeros((len(LABELS), 3)), np.concatenate([np.arange(count) for count in SUPPORTS.values()])
    for fold in range(7):
        out = place == fold
        known, unknown = ([level.numpy()[rows] for level in supports] for rows in (~out, out))
        found[out] = reference(known, LABELS[~out], unknown, weights)
    return found


def test_supports_are_left_out_in_turn(tmp_path, model, levels):
    given = (0, 0.5, 0.125, 1)
    asked = ([model], tmp_path / "labelled", tmp_path / "new", given, torch.device("cpu"), tmp_path / "named.csv")
    found, expected = whole(*asked).recognised, {}
    alone = {f"level {i + 1}": np.eye(4)[i] for i in range(4)}
    for name, weights in (alone | {"weights 0, 0.5, 0.125, 1": given, "all levels alike": (1, 1, 1, 1)}).items():
        right = left_out_by_reference(levels["labelled"], weights).argmax(1) == LABELS
        expected[name] = np.mean([right[label == LABELS].mean() for label in range(3)])
    assert found == pytest.approx(expected)
    assert list(found) == list(expected)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_temperature_is_that_of_the_most_likely_labels(seed):
    """Against a search over many; labels drawn from the scaled probabilities give their temperature back."""
    rng, true = np.random.default_rng(seed), 0.25
    found = torch.tensor(rng.dirichlet([5, 5, 5], 1000))
    sure = scaled(found, true).numpy()
    labels = torch.tensor((sure.cumsum(1) < rng.uniform(size=(1000, 1))).sum(1))
    scale = temperature(found, labels)
    assert scale == pytest.approx(true, rel=0.3)
    weights = compute_sample_weight("balanced", labels)
    costs = {}
    for t in np.geomspace(0.1, 0.6, 60):
        right = scaled(found, t).numpy()[np.arange(len(labels)), labels]
        costs[t] = -np.average(np.log(right), weights=weights)
    assert scale == pytest.approx(min(costs, key=costs.get), rel=0.03)


def test_a_temperature_is_looked_for_from_a_hundredth_to_ten():
    rng, labels = np.random.default_rng(0), torch.arange(3).repeat(200)
    sure = torch.tensor(rng.dirichlet([0.05] * 3, 600))  # of anything
    assert temperature(sure, labels) > 5
    known = torch.eye(3)[labels] * 0.02 + 1 / 3
    assert temperature(known / known.sum(1, keepdim=True), labels) < 0.02


def test_a_small_class_counts_as_much_as_a_large_one_for_the_temperature():
    """The large class is known well, the small one not at all: a half each."""
    labels = torch.tensor([0] * 900 + [1] * 100)
    found = torch.tensor([[0.8, 0.2]] * 900 + [[0.6, 0.4]] * 100)
    costs = {
        t: sum(-np.log(scaled(found[[i]], t).numpy()[0, label]) for i, label in ((0, 0), (-1, 1)))
        for t in np.geomspace(0.1, 10, 400)
    }
    assert temperature(found, labels) == pytest.approx(min(costs, key=costs.get), rel=0.03)


def test_at_most_ten_parts_are_left_out(monkeypatch):
    calls, supports = [], [F.normalize(torch.randn(24, 4, generator=torch.Generator().manual_seed(0)))]
    monkeypatch.setattr(labelled, "fit", lambda *given: calls.append(given) or fit(*given))
    left_out(supports, torch.arange(2).repeat(12), 2)
    assert len(calls) == 10


def test_few_supports_that_are_all_recognised_make_nothing_certain():
    found, labels = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.4, 0.6]]), torch.tensor([0, 0, 1, 1])
    sure = scaled(found, temperature(found, labels)).max(1).values
    assert torch.allclose(sure, torch.tensor(0.9), atol=1e-3)  # 4 of 4 and half of the one that may be of any class


def test_several_encoders_name_by_the_mean_of_their_probabilities(tmp_path, model, levels, capsys):
    other = saved(tmp_path / "other.safetensors", seed=1)
    both, weights = [levels, seen(other, levels["squares"])], (0, 0.25, 0, 0.75)
    out = tmp_path / "named.csv"
    asked = (tmp_path / "labelled", tmp_path / "new", [0, 1, 0, 3], torch.device("cpu"), out)
    found, table = whole([model, other], *asked), pd.read_csv(out)
    expected = np.mean([reference(of["labelled"], LABELS, of["new"], weights) for of in both], 0)
    assert table["class"].tolist() == [list(SUPPORTS)[i] for i in expected.argmax(1)]
    unseen = [left_out_by_reference(of["labelled"], weights) for of in both]
    scale = temperature(torch.tensor(np.mean(unseen, 0)), torch.tensor(LABELS))
    power = expected ** (1 / scale)
    np.testing.assert_allclose(table["probability"], (power / power.sum(1, keepdims=True)).max(1), atol=5e-3)

    def share(probabilities):
        right = probabilities.argmax(1) == LABELS
        return np.mean([right[label == LABELS].mean() for label in range(3)])

    assert found.recognised["weights 0, 1, 0, 3"] == pytest.approx(share(np.mean(unseen, 0)))
    *_, (last, alone) = found.recognised.items()
    assert last == "weights 0, 1, 0, 3, one of the 2 models alone, on average"
    assert alone == pytest.approx(np.mean([share(one) for one in unseen]))
    assert list(whole([model, other], *asked[:2], [], *asked[3:]).recognised)[-1].startswith("level 4, one of the 2")


def test_encoders_of_unlike_images_are_named(tmp_path, model, levels):
    other = saved(tmp_path / "other.safetensors", side=20)
    message = rf"{other}: has 4 levels for images of 20 x 20 x 1, and {model} 4 levels for images of 16 x 16 x 1; name"
    with pytest.raises(SystemExit, match=message):
        classify(tmp_path, model, str(other))


def test_what_was_found_is_said(tmp_path, model, levels, capsys):
    classify(tmp_path, model)
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.partition("by ")[2] for line in lines] == [*(f"level {i}" for i in range(1, 5)), "all levels alike"]
    assert last == f"{tmp_path / 'named.csv'}: 24 images, each named as one of 3 classes"
    next((tmp_path / "labelled" / "round").iterdir()).unlink()  # one is left, which cannot be left out
    classify(tmp_path, model)
    assert capsys.readouterr().out.startswith(
        "a single labelled image, which cannot be left out to see what to expect, has round; the probabilities"
    )


def test_what_is_passed_over_and_what_cannot_be_read_is_said_and_the_rest_is_named(tmp_path, model, levels, capsys):
    whole_table = classify(tmp_path, model)
    (tmp_path / "new" / "1-00.txt").write_text("?")
    (tmp_path / "labelled" / "round" / "b.jp2").write_text("?")
    bad = [tmp_path / "new" / f"{name}.png" for name in ("0-000", "1-02a", "2-90", "2-91")]
    bad[0].write_bytes(b"")
    bad[1].write_bytes((tmp_path / "new" / "1-02.png").read_bytes()[:60])
    bad[2].symlink_to("nowhere")
    bad[3].write_bytes(b"")
    with pytest.raises(SystemExit, match=r"4 of 28 images have no name: .*/0-000\.png: cannot be read .*; and 1 more$"):
        classify(tmp_path, model)
    said = capsys.readouterr().out
    assert "24 images, each named as one of 3 classes" in said
    assert f"2 files ({tmp_path / 'labelled' / 'round' / 'b.jp2'} and 1 more) passed over, being no images" in said
    table = pd.read_csv(tmp_path / "named.csv")
    unnamed = table["class"].isna()
    assert table["file"][unnamed].tolist() == [str(path) for path in bad]
    pd.testing.assert_frame_equal(table[~unnamed].reset_index(drop=True), whole_table)


def test_weights_may_be_copied_as_the_table_has_them(tmp_path, model, levels):
    table = classify(tmp_path, model, "--weights", "0,", ".4,", "0.00,", "1.2")
    pd.testing.assert_frame_equal(table, classify(tmp_path, model, "--weights", "0", ".4", "0", "1.2"))


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda folder: None, ["--weights", "1", "1"], "has 4 levels; give one weight for each, 0 or more, not all 0"),
        (lambda folder: None, ["--weights", "1", "1", "1", "nan"], "has 4 levels; give one weight for each"),
        (lambda folder: None, ["--weights", "0", "0", "0", "0"], "has 4 levels; give one weight for each"),
        (lambda folder: None, ["--weights", "1", "1", "1", "inf"], "has 4 levels; give one weight for each"),
        (lambda folder: None, ["--weights", "1", "1", "1", "-0.5"], "has 4 levels; give one weight for each"),
        (lambda folder: (folder / "labelled").rename(folder / "gone"), [], "labelled: is no folder"),
        (lambda folder: (folder / "new").rename(folder / "gone"), [], "new: No such file or directory"),
        (lambda folder: (folder / "labelled" / "round" / "bad.png").write_text("?"), [],
         "bad.png: cannot be read as an image"),
        (lambda folder: (folder / "labelled" / "empty").mkdir(), [], r"labelled/empty: holds no images \(\.avif"),
        (lambda folder: (folder / "labelled" / "a.png").write_text("?"), [], r"outside of any class \(.*d/a.png"),
        (lambda folder: (folder / "model.safetensors").unlink() or (folder / "model.safetensors").mkdir(), [],
         r"model\.safetensors: is a folder"),
        (lambda folder: [(folder / "labelled" / name).rename(folder / name) for name in ("round", "thin")], [],
         "labelled: holds one class, long; add"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_leaves_what_was_there(tmp_path, model, levels, change, more, message):
    (tmp_path / "named.csv").write_text("file,class,probability\n")
    change(tmp_path)
    with pytest.raises(SystemExit, match=message):
        classify(tmp_path, model, *more)
    assert (tmp_path / "named.csv").read_text() == "file,class,probability\n"


def test_an_encoder_of_no_numbers_is_named(tmp_path, model, levels):
    encoder, made_by = encoders.load(model)
    torch.nn.init.constant_(next(encoder.parameters()), torch.nan)
    encoders.save(encoder, model, made_by)
    with pytest.raises(SystemExit, match="gives features that are not finite; train it again"):
        classify(tmp_path, model)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_to_write_to_is_named_before_any_work(tmp_path, model, levels, make):
    make(tmp_path / "named.csv")
    with pytest.raises(SystemExit, match=r"named\.csv: is no file; name one to write"):
        classify(tmp_path, model)


def test_the_names_take_no_images_place(tmp_path, model, levels):
    image = next((tmp_path / "new").iterdir())
    before = image.read_bytes()
    words = ["--support", str(tmp_path / "labelled"), "--images", str(image.parent), "--out", str(image)]
    with pytest.raises(SystemExit, match="is named as an image is; name a CSV file to write"):
        main(["classify", "--model", str(model), *words])
    assert image.read_bytes() == before


def test_a_name_that_is_no_utf_8_is_kept(tmp_path, model, levels):
    image = next((tmp_path / "new").iterdir())
    image.rename(os.fsdecode(os.fsencode(image.parent) + b"/caf\xe9.png"))
    for name in SUPPORTS:
        folder = tmp_path / "labelled" / name
        folder.rename(os.fsdecode(os.fsencode(folder) + b"\xe9"))
    whole([model], tmp_path / "labelled", tmp_path / "new", [], torch.device("cpu"), tmp_path / "named.csv")
    assert re.search(rb"/caf\xe9\.png,(long|round|thin)\xe9,", (tmp_path / "named.csv").read_bytes())


def test_two_supports_of_a_class_and_thousands_of_another_are_told_apart_as_scikit_learn_does():
    """Of two classes it regularises half as much."""
    rng = np.random.default_rng(1)
    vectors = np.abs(rng.normal(size=(8002, 16)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat([0, 1], [2, 8000])
    known = LogisticRegression(C=2, class_weight="balanced", tol=1e-9, max_iter=10_000).fit(vectors, labels)
    solver = fit([torch.tensor(vectors).float()], torch.tensor(labels), 2)
    (found,) = probabilities(solver, [torch.tensor(vectors).float()])
    np.testing.assert_allclose(found, known.predict_proba(vectors), atol=1e-4)
