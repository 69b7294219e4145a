"""What `mlcl data verify` and `mlcl data show` find in a packed data set."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mlcl import cli
from mlcl.data import splits
from mlcl.data.images import resize
from mlcl.data.pack import Class, Source, pack
from mlcl.data.packed import SPLITS, Packed
from mlcl.data.show import show
from mlcl.data.verify import verify
from mlcl.errors import UserError
from mlcl.files import sha256

CLASSES = [Class("a", "x", "train"), Class("b", "x", "train"), Class("c", "y", "val"), Class("d", "z", "test")]


def write(folder, classes=CLASSES, source="folder", equal=(), side=8):
    """Four images a class; `equal` lists pairs of image numbers to be made equal."""
    labels = np.repeat(np.arange(len(classes)), 4)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), side, side, 3), np.uint8)
    for one, other in equal:
        images[other] = images[one]
    origins = pd.DataFrame({"file": [f"{i}.png" for i in range(len(labels))], "place": ""})
    provenance = {"dataset": {"source": source}}
    shape = (side, side, 3)
    pack(Source(classes, labels, origins, lambda s: iter(images[s:]), np.asarray, shape, True, provenance), folder)
    return folder


def failed(folder, others=()):
    return [check.name for check in verify(folder, list(others)) if not check.passed]


def found(folder, name, others=()):
    return next(check.found for check in verify(folder, list(others)) if check.name.startswith(name))


def test_a_sound_data_set_passes(tmp_path):
    assert failed(write(tmp_path)) == []


def test_a_changed_file_is_found(tmp_path):
    folder = write(tmp_path)
    with open(folder / "images.npy", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00")
    assert failed(folder) == ["files have the manifest's checksums"]


def test_a_class_in_two_splits_is_found(tmp_path):
    folder = write(tmp_path, [*CLASSES, Class("a", "x", "test")])
    assert failed(folder) == ["no class in two splits"]


def test_a_super_class_in_two_splits_is_found_where_it_must_not_be(tmp_path, monkeypatch):
    classes = [*CLASSES, Class("e", "x", "test")]
    monkeypatch.setattr(splits, "published", lambda _: classes)
    assert failed(write(tmp_path / "f", classes)) == []
    assert failed(write(tmp_path / "t", classes, source="tiered-imagenet")) == ["no super-class in two splits"]


def test_classes_other_than_the_published_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "published", lambda _: CLASSES)
    assert failed(write(tmp_path / "right", source="mini-imagenet")) == []
    swapped = [*CLASSES[:2], Class("d", "z", "val"), Class("c", "y", "test")]
    assert failed(write(tmp_path / "wrong", swapped, source="mini-imagenet")) == ["classes and splits as published"]


def test_missing_images_of_a_class_are_found(tmp_path):
    folder = write(tmp_path)
    table = pd.read_csv(folder / "classes.csv")
    table.loc[0, "count"] = 5
    table.to_csv(folder / "classes.csv", index=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["classes.csv"] = sha256(folder / "classes.csv")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert failed(folder) == ["as many images as the classes count"]


@pytest.mark.parametrize("label", [-1, 99, 2**62, 0.5])
def test_damaged_labels_are_found(tmp_path, label):
    folder = write(tmp_path)
    labels = np.load(folder / "labels.npy")
    labels = labels.astype(type(label))
    labels[0] = label
    np.save(folder / "labels.npy", labels)
    assert failed(folder) == ["files have the manifest's checksums", "as many images as the classes count"]


def test_a_class_without_images_is_found(tmp_path):
    folder = write(tmp_path)
    with (folder / "classes.csv").open("a") as file:
        file.write("e,z,test,0\n")
    assert failed(folder) == ["files have the manifest's checksums", "test has classes"]


def test_an_image_without_a_label_is_found(tmp_path):
    folder = write(tmp_path)
    images = np.load(folder / "images.npy")
    np.save(folder / "images.npy", np.concatenate([images, images[:1]]))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["images.npy"] = sha256(folder / "images.npy")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert failed(folder) == ["as many images as the classes count"]


def test_a_missing_file_is_found(tmp_path):
    folder = write(tmp_path, equal=[(0, 1)])
    (folder / "origins.parquet").unlink()
    assert failed(folder) == ["files have the manifest's checksums"]
    assert found(folder, "files") == "origins.parquet is missing"
    assert found(folder, "other equal images").endswith("image 0 = image 1")


def test_a_class_without_its_line_is_found(tmp_path):
    folder = write(tmp_path)
    lines = (folder / "classes.csv").read_text().splitlines(keepends=True)
    (folder / "classes.csv").write_text("".join(lines[:-1]))
    assert failed(folder) == ["files have the manifest's checksums", "as many images as the classes count"]


def test_damage_elsewhere_is_noted(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    (other / "labels.npy").unlink()
    assert failed(one, [other]) == []
    assert "other: holds no packed data set" in found(one, "overlap with other", [other])


def test_equal_images_are_found(tmp_path, capsys):
    within = write(tmp_path / "within", equal=[(0, 1)])
    assert failed(within) == []
    assert found(within, "other equal images") == "0 groups across train and val, 1 within a split: 0.png = 1.png"
    across = write(tmp_path / "across", equal=[(0, 9)])  # train and val
    assert failed(across) == []
    assert found(across, "other equal images").startswith("1 groups across train and val, 0 within")
    leak = write(tmp_path / "leak", equal=[(0, 15)])
    assert failed(leak) == ["no test image in another split"]
    assert found(leak, "no test image") == "1 groups: 0.png = 15.png"
    show(leak, tmp_path)
    assert json.loads((tmp_path / "data.json").read_text())["equal"] == {"novel": 1, "across": 0, "within": 0}
    assert "1 groups of equal images are in the test split and another; 'mlcl data verify" in capsys.readouterr().err


def test_classes_shared_with_another_data_set_are_counted(tmp_path):
    one = write(tmp_path / "one")
    other = write(tmp_path / "other", [Class("d", "", "train"), Class("x", "", "val"), Class("a", "", "test")])
    assert found(one, "overlap with other", [other]) == (
        "1 classes of train in its test, 0 classes of train in its val, 1 classes of test in its train"
    )


def test_classes_named_in_other_ways_are_not_compared(tmp_path):
    names = {"train": "n00000001", "val": "n00000002", "test": "n00000003"}
    mini = write(tmp_path / "mini", [Class(name, "", split) for split, name in names.items()], "mini-imagenet")
    tiered = write(tmp_path / "tiered", [Class(f"{s}-0", s, s) for s in names], "tiered-imagenet")
    for one, other in ((mini, tiered), (tiered, mini)):
        assert found(one, "overlap", [other]) == "unknown: not both name classes by WordNet's ids"
    assert found(mini, "overlap", [mini]).startswith("0 classes of train in its test")
    named = write(tmp_path / "named", [Class(name, "", split) for split, name in names.items()], "tiered-imagenet")
    assert found(named, "overlap", [tiered]) == "unknown: not both name classes by WordNet's ids"
    assert found(mini, "overlap", [named]).startswith("0 classes of train in its test")
    words = write(tmp_path / "words", [Class("crane", s, s) for s in ("train", "val", "test")], "tiered-imagenet")
    assert "no class in two splits" not in failed(words)
    assert found(words, "no class in") == "unknown: the files name classes in words, and repeat crane, crane"


def test_the_command_prints_a_table_and_fails_where_something_is_wrong(tmp_path, capsys):
    sound = write(tmp_path / "sound")
    shutil.copytree(sound, tmp_path / "leak")
    write(tmp_path / "leak", equal=[(0, 15)])
    cli.main(["data", "verify", str(sound)])
    assert "ok    no class in two splits" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        cli.main(["data", "verify", str(tmp_path / "leak")])
    assert "is not what it should be" in str(stopped.value)
    assert "FAIL  no test image in another split" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="nothing: holds no packed data set"):
        cli.main(["data", "verify", "nothing"])


@pytest.mark.parametrize("side", [28, 84])
def test_the_contact_sheet_shows_each_split(tmp_path, side):
    folder = write(tmp_path / "data", side=side)
    show(folder, tmp_path / "out")
    with Image.open(tmp_path / "out" / "sheet.png") as sheet, Image.open(tmp_path / "out" / "classes.png") as classes:
        shown = min(side, 48)
        assert sheet.width > 3 * 4 * shown
        pixels = np.asarray(sheet.convert("RGB")).astype(float)
        assert classes.width > 500
    first = resize(np.load(folder / "images.npy")[0], shown)
    apart = np.abs(pixels[18 : 18 + shown, :shown] - first).mean()
    assert apart < 0.5 * np.abs(pixels[18 : 18 + shown, :shown] - first[::-1]).mean()  # of 256 colours in all


def test_the_facts_are_the_manifests_and_the_catalogues(tmp_path):
    folder = write(tmp_path / "data")
    manifest = json.loads((folder / "manifest.json").read_text())
    for source, licence, citation in (
        ("omniglot", "MIT", "Science 350"),
        ("cifar-fs", "none stated", "Bertinetto"),
        ("glyphs", "drawn by this package", "CITATION.cff"),
        ("elsewhere", "unknown", "unknown"),
    ):
        (folder / "manifest.json").write_text(json.dumps(manifest | {"dataset": {"source": source}}))
        show(folder, tmp_path / "out")
        facts = json.loads((tmp_path / "out" / "data.json").read_text())
        assert (facts["name"], facts["source"]) == ("data", source)
        assert licence in facts["licence"]
        assert citation in facts["citation"]
        assert facts["image"] == list(Packed(folder).images.shape[1:])
        assert facts["sha256"] == manifest["sha256"]
        for split in SPLITS:
            found = Packed(folder).split(split)
            assert facts["splits"][split] == {"classes": len(found.classes), "images": len(found.labels)}


def test_no_data_no_picture(tmp_path):
    with pytest.raises(UserError, match="holds no packed data set"):
        show(tmp_path, tmp_path)
