import json

import numpy as np
import pytest

from mlcl.data.packed import Class, Packed, Source, pack
from mlcl.errors import UserError

CLASSES = [Class("a", "letters", "train", 2), Class("b", "letters", "train", 1), Class("1", "digits", "val", 2)]


def source(images=None, shape=(2, 2, 3)):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, *shape), np.uint8) if images is None else images
    return images, Source(CLASSES, shape, lambda: iter(images), flip=True, provenance={"dataset": {"source": "here"}})


def test_what_is_packed_comes_back(tmp_path):
    images, given = source()
    pack(given, tmp_path)
    packed = Packed(tmp_path)
    assert (packed.images == images).all()
    assert packed.labels.tolist() == [0, 0, 1, 2, 2]
    assert packed.classes["class"].tolist() == ["a", "b", "1"]
    train, val = packed.split("train"), packed.split("val")
    assert (train.images == images[:3]).all()
    assert train.labels.tolist() == [0, 0, 1]
    assert train.classes == ["a", "b"]
    assert val.labels.tolist() == [0, 0]
    assert isinstance(train.images.base, np.memmap) or isinstance(train.images, np.memmap)


def test_the_manifest_has_the_training_splits_statistics(tmp_path):
    images, given = source()
    pack(given, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    pixels = images[:3].reshape(-1, 3) / 255
    np.testing.assert_allclose(manifest["mean"], pixels.mean(0), atol=1e-5)
    np.testing.assert_allclose(manifest["std"], pixels.std(0), atol=1e-5)
    assert manifest["dataset"] == {"source": "here"}
    assert manifest["splits"]["train"] == {"classes": 2, "smallest_class": 1}


def test_packing_gives_the_same_bytes(tmp_path):
    for name in "xy":
        pack(source()[1], tmp_path / name)
    for file in (tmp_path / "x").iterdir():
        assert file.read_bytes() == (tmp_path / "y" / file.name).read_bytes()


def test_a_source_that_breaks_off_leaves_what_was_there(tmp_path):
    images, given = source()
    pack(given, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def broken():
        yield 255 - images[0]
        raise UserError("image 1 cannot be read")

    with pytest.raises(UserError):
        pack(Source(CLASSES, (2, 2, 3), broken, flip=True, provenance={}), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_source_with_another_number_of_images_is_an_error(tmp_path):
    images, _ = source()
    for wrong in (images[:4], np.concatenate([images, images[:1]])):
        with pytest.raises(ValueError, match="zip"):
            pack(source(wrong)[1], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_data_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no packed data set; make it with 'mlcl data'"):
        Packed(tmp_path / "nothing")
