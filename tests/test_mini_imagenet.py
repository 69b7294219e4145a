"""mini-ImageNet's folder layout: a small stand-in with the published shape, and the real one where it is at hand."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlcl import config
from mlcl.data import mini_imagenet
from mlcl.data.packed import Packed, pack
from mlcl.errors import UserError

REAL = Path(os.environ.get("MLCL_MINI_IMAGENET", Path(__file__).parents[1] / "data" / "raw" / "mini-imagenet"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The layout with two images a class: the counts of the split are reduced in the module for these tests."""
    folder = tmp_path_factory.mktemp("mini")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        with open(folder / f"{split}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["filename", "label"])
            for c in range(count):
                for i in range(2):
                    name = f"{split}{c}_{i}.jpg"
                    picture = rng.integers(0, 256, (84, 84, 3), np.uint8)
                    Image.fromarray(picture).save(folder / "images" / name, quality=95)
                    rows.writerow([name, f"n{split}{c}"])
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.setattr(mini_imagenet, "CLASSES", {"train": 3, "val": 2, "test": 2})
    monkeypatch.setattr(mini_imagenet, "IMAGES", 2)
    return Path(shutil.copytree(made, tmp_path / "mini"))


def packed(folder, out, size=84):
    spec = config.MiniImagenet(source="mini-imagenet", path=str(folder), size=size)
    pack(mini_imagenet.source(spec, Path("/")), out)
    return Packed(out)


def test_images_labels_and_splits(folder, tmp_path):
    data = packed(folder, tmp_path / "packed")
    assert data.images.shape == (14, 84, 84, 3)
    assert data.manifest["flip"]
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        part = data.split(split)
        assert part.classes == [f"n{split}{c}" for c in range(count)]
        for i, image in enumerate(part.images):
            with Image.open(folder / "images" / f"{split}{i // 2}_{i % 2}.jpg") as file:
                assert (np.asarray(file) == image).all()


def test_resized_by_averaging_areas(folder, tmp_path):
    full, half = packed(folder, tmp_path / "84"), packed(folder, tmp_path / "42", size=42)
    averaged = full.images.reshape(14, 42, 2, 42, 2, 3).mean((2, 4))
    assert np.abs(half.images - averaged).max() <= 1


def edit(path, change):
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: shutil.rmtree(f / "images"),
            "images: is missing; put mini-ImageNet there, or set the data set's path",
        ),
        (lambda f: (f / "val.csv").unlink(), r"val\.csv: cannot be read"),
        (
            lambda f: edit(f / "val.csv", lambda t: t.replace("filename", "file")),
            r"val\.csv: has the columns file, label",
        ),
        (lambda f: edit(f / "train.csv", lambda t: t.replace("ntrain1", "ntrain0")), r"train\.csv: has 2 classes"),
        (
            lambda f: edit(f / "test.csv", lambda t: t.replace("test1_1", "test1_0")),
            r"test\.csv: has 2 classes of 2 to 2",
        ),
        (
            lambda f: edit(f / "val.csv", lambda t: t.replace("nval0", "ntrain0")),
            "class ntrain0 is in more than one split",
        ),
        (lambda f: (f / "images" / "val0_1.jpg").unlink(), r"val\.csv: names val0_1\.jpg, which is not in images/"),
        (
            lambda f: (f / "images" / "test0_0.jpg").write_bytes(b"no image"),
            r"test0_0\.jpg: cannot be read as an image .* replace it",
        ),
        (
            lambda f: (f / "images" / "test0_0.jpg").write_bytes((f / "images" / "test0_0.jpg").read_bytes()[:2000]),
            r"test0_0\.jpg: cannot be read as an image",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(folder, tmp_path, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        packed(folder, tmp_path / "packed")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "packed").glob("*"))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real mini-ImageNet is not in {REAL}; set MLCL_MINI_IMAGENET")
def test_the_real_split_is_as_published():
    source = mini_imagenet.source(config.MiniImagenet(source="mini-imagenet", path=str(REAL)), Path("/"))
    splits = [c.split for c in source.classes]
    assert [splits.count(name) for name in ("train", "val", "test")] == [64, 16, 20]
    assert {c.count for c in source.classes} == {600}
