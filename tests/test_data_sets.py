"""The layouts of the other data sets, written as their authors write them, small; mini-ImageNet has its own file."""

import errno
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import unicodedata
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from mlcl import config
from mlcl.data import cifar100, cub, definition, folder, images, omniglot, splits, tiered_imagenet
from mlcl.data import pack as packing
from mlcl.data.catalogue import PUBLIC, SIZES
from mlcl.data.pack import Class, pack
from mlcl.data.packed import Packed
from mlcl.data.verify import verify
from mlcl.errors import UserError

REAL_OMNIGLOT = Path(os.environ.get("MLCL_OMNIGLOT", Path(__file__).parents[1] / "data" / "raw" / "omniglot"))
RNG = np.random.default_rng(0)


def packed(source, out):
    assert (source.shape[2] == 1) == (source.provenance["dataset"]["source"] in config.GREY)
    pack(source, out)
    return Packed(out)


def picture(side=84, channels=3):
    return RNG.integers(0, 256, (side, side, channels), np.uint8)


def encoded(pixels, form="png"):
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, form)
    return buffer.getvalue()


def dump(content, path, protocol=2):
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol)


def spoil_labels(spoiled, folder):
    path = folder / "png" / "val_labels.pkl"
    dump(pickle.loads(path.read_bytes()) | spoiled, path)


# -- tiered-ImageNet ----------------------------------------------------------------------------------------

TIERED = {
    "train": [("n00000001", "n10000001"), ("n00000002", "n10000001"), ("n00000003", "n10000002")],
    "val": [("n00000004", "n10000003")],
    "test": [("n00000005", "n10000004"), ("n00000006", "n10000004")],
}


@pytest.fixture
def tiered(monkeypatch, tmp_path):
    """Both layouts of the same images, three of every class: the folders `png` and `npz`."""
    classes = [Class(name, coarse, split) for split, names in TIERED.items() for name, coarse in names]
    monkeypatch.setattr(splits, "published", lambda _: classes)
    monkeypatch.setattr(tiered_imagenet, "SUPERCLASSES", {"train": 2, "val": 1, "test": 1})
    for layout in ("png", "npz"):
        (tmp_path / layout).mkdir()
    for split, names in TIERED.items():
        pixels = np.stack([picture() for _ in range(3 * len(names))])
        fine = np.tile(np.arange(len(names)), 3)  # not sorted
        coarse_names = sorted({coarse for _, coarse in names})
        coarse = np.array([coarse_names.index(names[label][1]) for label in fine])
        # cv2.imencode gives the bytes as a column
        pngs = [np.frombuffer(encoded(image), np.uint8)[:, None] for image in pixels]
        dump(pngs, tmp_path / "png" / f"{split}_images_png.pkl")
        labels = {"label_specific": fine, "label_specific_str": [name for name, _ in names]}
        labels |= {"label_general": coarse, "label_general_str": coarse_names}
        dump(labels, tmp_path / "png" / f"{split}_labels.pkl")
        np.savez(tmp_path / "npz" / f"{split}_images.npz", images=pixels)
        dump({"labels": (fine + 7).tolist()}, tmp_path / "npz" / f"{split}_labels.pkl")
    return tmp_path


def test_tiered_imagenets_layouts_hold_the_same_images(tiered):
    spec = config.TieredImagenet(source="tiered-imagenet")
    png = packed(tiered_imagenet.source(spec, tiered / "png"), tiered / "a")
    npz = packed(tiered_imagenet.source(spec, tiered / "npz"), tiered / "b")
    assert (png.images == npz.images).all()
    assert (png.labels == npz.labels).all()
    assert png.manifest["flip"]
    for out in "ab":
        assert [check.name for check in verify(tiered / out, []) if not check.passed] == []
    assert png.classes["class"].tolist() == [name for names in TIERED.values() for name, _ in names]
    assert png.classes["superclass"].iloc[2] == "n10000002"
    with np.load(tiered / "npz" / "val_images.npz") as file:
        assert (png.split("val").images == file["images"]).all()
    pixels = {name: np.load(tiered / "npz" / f"{name}_images.npz")["images"] for name in TIERED}
    for image, label, origin in zip(png.images, png.labels, png.origins.itertuples(), strict=True):
        split, place = origin.file.removesuffix("_images_png.pkl"), int(origin.place)
        assert png.classes["class"][label] == TIERED[split][place % len(TIERED[split])][0]  # as the fixture has them
        assert (image == pixels[split][place]).all()


def test_tiered_imagenet_goes_on_from_any_image(tiered):
    spec = config.TieredImagenet(source="tiered-imagenet")
    for layout in ("png", "npz"):
        source = tiered_imagenet.source(spec, tiered / layout)
        whole = [source.decode(item) for item in source.items(0)]
        for start in (1, 9, 10, 17, 18):
            rest = [source.decode(item) for item in source.items(start)]
            assert len(rest) == 18 - start
            assert all((a == b).all() for a, b in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("layout", ["png", "npz"])
def test_tiered_imagenet_at_another_size(tiered, layout):
    source = tiered_imagenet.source(config.TieredImagenet(source="tiered-imagenet", size=32), tiered / layout)
    assert {source.decode(item).shape for item in source.items(0)} == {source.shape} == {(32, 32, 3)}


def test_tiered_imagenets_names_may_come_in_any_order(tiered):
    path, spec = tiered / "png" / "train_labels.pkl", config.TieredImagenet(source="tiered-imagenet")
    before = tiered_imagenet.source(spec, tiered / "png")
    with open(path, "rb") as file:
        labels = pickle.load(file)
    turned = {"label_specific": 2 - labels["label_specific"], "label_specific_str": labels["label_specific_str"][::-1]}
    dump(labels | turned, path)
    source = tiered_imagenet.source(spec, tiered / "png")
    assert [source.classes[label] for label in source.labels] == [before.classes[label] for label in before.labels]
    dump(labels | turned | {"label_specific_str": ["oak", "lynx", "cat"]}, path)
    classes = tiered_imagenet.source(spec, tiered / "png").classes
    assert [(c.name, c.superclass) for c in classes if c.split == "train"] == [
        ("oak", "n10000002"), ("lynx", "n10000001"), ("cat", "n10000001"),
    ]  # fmt: skip


def test_tiered_imagenet_with_names_in_words_is_checked_by_its_super_classes(tiered):
    path = tiered / "png" / "train_labels.pkl"
    with open(path, "rb") as file:
        labels = pickle.load(file)
    dump({**labels, "label_specific_str": ["cat", "lynx", "oak"]}, path)
    source = tiered_imagenet.source(config.TieredImagenet(source="tiered-imagenet"), tiered / "png")
    assert [c.superclass for c in source.classes if c.split == "train"] == ["n10000001", "n10000001", "n10000002"]
    dump({**labels, "label_specific_str": ["a", "b", "c"], "label_general": labels["label_general"] * 0}, path)
    with pytest.raises(UserError, match=r"train_labels\.pkl: has not the 2 super-classes of train"):
        tiered_imagenet.source(config.TieredImagenet(source="tiered-imagenet"), tiered / "png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "png" / "val_images_png.pkl").unlink(), "holds no tiered-ImageNet: put there"),
        (lambda f: (f / "png" / "val_labels.pkl").unlink(), r"val_labels\.pkl: cannot be read"),
        (
            lambda f: [shutil.copy(f / "npz" / f"{split}_images.npz", f / "png") for split in TIERED],
            "whose images lie in different orders, and the labels are of one of them alone; move the other away",
        ),
        (lambda f: dump({"label_specific": [0, 1]}, f / "png" / "val_labels.pkl"), "has 2 classes, where val has 1"),
        (
            lambda f: dump({"labels": [0] * 4}, f / "png" / "val_labels.pkl"),
            "holds fewer images than there are labels .4.",
        ),
        (
            lambda f: dump({"labels": [0] * 2}, f / "png" / "val_labels.pkl"),
            "holds more images than there are labels .2.",
        ),
        (
            lambda f: dump([b"no png"] * 3, f / "png" / "val_images_png.pkl"),
            r"val_images_png\.pkl: image 0: cannot be read",
        ),
        *(
            (partial(spoil_labels, spoiled), r"val_labels\.pkl: (does not hold|has not the|has no label_g)")
            for spoiled in (
                {"label_specific_str": 3},
                {"label_specific_str": ["crane"], "label_general": 5},
                {"label_specific_str": ["crane"], "label_general": ["a"] * 3},
                {"label_specific_str": ["crane"], "label_general_str": 7},
                {"label_specific": [[0], [0, 1]]},
            )
        ),
    ],
)
def test_an_impaired_tiered_imagenet_is_named(tiered, spoil, message):
    spoil(tiered)
    with pytest.raises(UserError, match=message):
        packed(tiered_imagenet.source(config.TieredImagenet(source="tiered-imagenet"), tiered / "png"), tiered / "out")
    assert not (tiered / "out" / "manifest.json").exists()


@pytest.mark.parametrize("layout", ["png", "npz"])
def test_what_a_split_has_too_many_of_is_not_taken_for_the_next_ones(tiered, layout):
    """Not even by a packing that goes on from there."""
    dump({"labels": [0] * 2}, tiered / layout / "val_labels.pkl")
    source = tiered_imagenet.source(config.TieredImagenet(source="tiered-imagenet"), tiered / layout)
    for start in (0, 9, 11):
        items = source.items(start)
        for _ in range(start, 9 + 2):
            next(items)
        with pytest.raises(UserError, match=r"/val_images.*: holds more images than there are labels \(2\); "):
            next(items)


def test_a_truncated_npz_is_named(tiered):
    path = tiered / "npz" / "test_images.npz"
    path.write_bytes(path.read_bytes()[:-40_000])
    with pytest.raises(UserError, match=r"test_images\.npz: cannot be read"):
        packed(tiered_imagenet.source(config.TieredImagenet(source="tiered-imagenet"), tiered / "npz"), tiered / "out")


# -- CIFAR-FS and FC100 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """The archive, with five training images and one test image a class, as Python 2 pickled them: keys are bytes."""
    out = tmp_path_factory.mktemp("cifar")
    names = sorted(c.name for c in splits.published("fc100"))
    content = {"meta": {b"fine_label_names": [name.encode() for name in names]}}
    for part, count in (("train", 5), ("test", 1)):
        labels = np.tile(np.arange(100), count)
        content[part] = {b"data": RNG.integers(0, 256, (len(labels), 3072), np.uint8), b"fine_labels": labels.tolist()}
    with tarfile.open(out / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, value in content.items():
            data = pickle.dumps(value, 2)
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out, content


@pytest.mark.parametrize(("kind", "counts"), [(config.CifarFs, (64, 16, 20)), (config.Fc100, (60, 20, 20))])
def test_cifar_fs_and_fc100_come_from_cifar_100(cifar, tmp_path, kind, counts):
    raw, content = cifar
    name = {config.CifarFs: "cifar-fs", config.Fc100: "fc100"}[kind]
    data = packed(cifar100.source(kind(source=name), raw), tmp_path)
    assert tuple((data.classes["split"] == split).sum() for split in ("train", "val", "test")) == counts
    assert set(data.classes["count"]) == {6}
    if kind is config.Fc100:
        assert (data.classes.groupby("superclass")["split"].nunique() == 1).all()
    names = [name.decode() for name in content["meta"][b"fine_label_names"]]
    for image, label, origin in zip(data.images, data.labels, data.origins.itertuples(), strict=True):
        part, place = content[origin.file.rpartition("/")[2]], int(origin.place)
        assert (image == part[b"data"][place].reshape(3, 32, 32).transpose(1, 2, 0)).all()
        assert data.classes["class"][label] == names[part[b"fine_labels"][place]]
    assert data.manifest["flip"]
    larger = cifar100.source(kind(source=name, size=40), raw)
    assert larger.decode(next(larger.items(0))).shape == larger.shape == (40, 40, 3)
    assert (next(larger.items(7)) == list(larger.items(0))[7]).all()


@pytest.mark.parametrize(
    ("part", "spoiled", "message"),
    [
        ("train", {b"fine_labels": [-1] * 500}, "train: does not hold labelled 32 x 32 images"),
        ("train", {b"fine_labels": [0.5] * 500}, "train: does not hold labelled 32 x 32 images"),
        ("test", {b"fine_labels": 3}, "test: does not hold labelled 32 x 32 images"),
        ("test", {b"data": [[1], [2, 3]]}, r"test: does not hold what it should \(ValueError"),
        ("test", {b"\xff": 1}, r"test: does not hold what it should \(UnicodeDecodeError"),
        ("meta", {b"fine_label_names": 3}, r"meta: does not hold what it should \(TypeError"),
        ("meta", {b"fine_label_names": [b"apple"] * 100}, "meta: does not name CIFAR-100's classes"),
    ],
)
def test_an_impaired_cifar_100_is_named(cifar, tmp_path, part, spoiled, message):
    _, content = cifar
    (tmp_path / "cifar-100-python").mkdir()
    for name, value in content.items():
        dump(value | (spoiled if name == part else {}), tmp_path / "cifar-100-python" / name)
    with pytest.raises(UserError, match=message):
        cifar100.source(config.CifarFs(source="cifar-fs"), tmp_path)


# -- Omniglot -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_omniglot(monkeypatch, tmp_path):
    """Both zips: seven background alphabets of two characters, and one evaluation alphabet of three."""
    monkeypatch.setattr(omniglot, "PARTS", {"images_background": 14, "images_evaluation": 3})
    drawings = {}
    for part, alphabets, characters in (("images_background", 7, 2), ("images_evaluation", 1, 3)):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for alphabet in range(alphabets):
                for character in range(characters):
                    for i in range(20):
                        name = f"{part}/{part[7]}{alphabet}/character{character:02}/{i:02}.png"
                        drawings[name] = RNG.random((105, 105)) > 0.5
                        buffer = io.BytesIO()
                        Image.fromarray(drawings[name]).save(buffer, "png")
                        archive.writestr(name, buffer.getvalue())
    return tmp_path, drawings


def test_omniglot_is_split_by_alphabet(small_omniglot, tmp_path):
    raw, drawings = small_omniglot
    data = packed(omniglot.source(config.Omniglot(source="omniglot"), raw), tmp_path / "packed")
    assert data.images.shape == (17 * 20, 28, 28, 1)
    assert dict(data.classes["split"].value_counts()) == {"train": 4, "val": 10, "test": 3}
    assert (data.classes.groupby("superclass")["split"].nunique() == 1).all()
    alphabets = data.classes.groupby("split")["superclass"].unique()
    assert alphabets["train"].tolist() == ["b0", "b1"]
    assert alphabets["val"].tolist() == [f"b{i}" for i in range(2, 7)]
    for image, label, file in zip(data.images, data.labels, data.origins["file"], strict=True):
        assert data.classes["class"][label] == "/".join(Path(file).parts[1:3])
        assert (image == images.resize(255 * drawings[file].astype(np.uint8)[..., None], 28)).all()
    assert not data.manifest["flip"]


def test_omniglots_turns_are_classes_of_their_own(small_omniglot, tmp_path):
    raw, _ = small_omniglot
    plain = packed(omniglot.source(config.Omniglot(source="omniglot"), raw), tmp_path / "plain")
    source = omniglot.source(config.Omniglot(source="omniglot", rotations=True), raw)
    assert [*source.items(5)] == [*source.items(0)][5:]
    turned = packed(source, tmp_path / "turned")
    assert len(turned.classes) == 4 * len(plain.classes)
    for turn in range(4):
        rows = turned.labels == turn  # the first character's four classes come first
        assert (turned.images[rows] == np.rot90(plain.images[plain.labels == 0], turn, axes=(1, 2))).all()
        assert set(turned.origins["place"][rows]) == {f"turn {90 * turn}"}
    assert turned.classes["class"].iloc[1].endswith("turned 90")


def test_omniglot_with_a_drawing_missing_is_named(small_omniglot, tmp_path):
    raw, _ = small_omniglot
    omniglot.source(config.Omniglot(source="omniglot"), raw)
    drawing = next((raw / "images_evaluation").glob("*/*/*.png"))
    drawing.with_name(f"._{drawing.name}").write_bytes(b"macOS")
    omniglot.source(config.Omniglot(source="omniglot"), raw)
    next((raw / "images_evaluation").glob("*/*/*.png")).unlink()
    with pytest.raises(UserError, match="holds 59 drawings, not 20 of 3 characters; delete it and fetch"):
        omniglot.source(config.Omniglot(source="omniglot"), raw)


@pytest.mark.skipif(
    not REAL_OMNIGLOT.is_dir(), reason=f"the real Omniglot is not in {REAL_OMNIGLOT}; set MLCL_OMNIGLOT"
)
def test_the_real_omniglot(tmp_path):
    data = packed(omniglot.source(config.Omniglot(source="omniglot"), REAL_OMNIGLOT), tmp_path)
    assert len(data.images) == 32_460
    assert len(data.classes) == 1_623
    assert (data.classes["split"] == "test").sum() == 659


# -- CUB ----------------------------------------------------------------------------------------------------


def test_cub_is_split_by_number(tmp_path, monkeypatch):
    monkeypatch.setattr(cub, "IMAGES", 400)
    with tarfile.open(tmp_path / "CUB_200_2011.tgz", "w:gz") as archive:
        for bird in range(200):
            for i in range(2):
                pixels = np.full((8, 24, 3), 255, np.uint8)
                pixels[:, 8:16] = bird  # the middle square
                data = encoded(pixels, "jpeg")
                info = tarfile.TarInfo(f"CUB_200_2011/images/{bird + 1:03}.Bird_{bird}/{i}.jpg")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    cub.source(config.Cub(source="cub", size=16), tmp_path)
    (tmp_path / "CUB_200_2011" / "images" / "001.Bird_0" / "._0.jpg").write_bytes(b"macOS")
    (tmp_path / "CUB_200_2011" / "images" / ".hidden").mkdir()
    (tmp_path / "CUB_200_2011" / "images" / ".hidden" / "0.jpg").write_bytes(b"an editor's")
    data = packed(cub.source(config.Cub(source="cub", size=16), tmp_path), tmp_path / "packed")
    assert dict(data.classes["split"].value_counts()) == {"train": 100, "val": 50, "test": 50}
    numbers = data.classes["class"].str[:3].astype(int) - 1
    assert (numbers[data.classes["split"] == "train"] % 2 == 0).all()
    assert (numbers[data.classes["split"] == "val"] % 4 == 1).all()
    assert data.images.shape == (400, 16, 16, 3)
    of_images = numbers.to_numpy()[data.labels]
    assert np.abs(data.images - of_images[:, None, None, None]).max() <= 3  # as JPEG leaves them
    for split, count in (("train", 200), ("val", 100), ("test", 100)):
        assert len(data.split(split).images) == count  # its classes lie together
    assert data.manifest["flip"]


# -- any folder ---------------------------------------------------------------------------------------------


SPLIT_OF_TEN = ["test", "test", "train", "train", "train", "val", "train", "train", "test", "val"]


def write_folder(root, names, count=3, side=20):
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(picture(side)).save(root / name / f"{i}.png")


def spec(root, **keys):
    return config.Folder(source="folder", path=str(root), size=16, **keys)


def test_a_folder_is_split_by_a_seed(tmp_path):
    root = tmp_path / "raw"
    write_folder(root, [f"c{i}" for i in range(10)])
    data = packed(folder.source(spec(root, shares=(0.5, 0.2, 0.3)), root), tmp_path / "a")
    assert [sum(data.classes["split"] == s) for s in ("train", "val", "test")] == [5, 2, 3]
    assert [data.classes["class"][label] for label in data.labels] == [
        str(Path(file).parent) for file in data.origins["file"]
    ]
    again, other = (folder.source(spec(root, shares=(0.5, 0.2, 0.3), seed=seed), root).classes for seed in (0, 1))
    assert [(c.name, c.split) for c in again] == list(zip(data.classes["class"], data.classes["split"], strict=True))
    assert again != other
    assert [c.split for c in sorted(again, key=lambda c: c.name)] == SPLIT_OF_TEN


def test_a_folders_images_are_the_middle_squares_and_may_have_a_right_side(tmp_path):
    write_folder(tmp_path, "abc", count=0)
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    for name in "abc":
        Image.fromarray(wide).save(tmp_path / name / "0.JPG", quality=100)  # as cameras name them
    (tmp_path / "split.csv").write_text("class,split\na,train\nb,val\nc,test\n")
    source = folder.source(spec(tmp_path, flip=False), tmp_path)
    assert source.flip is False
    assert folder.source(spec(tmp_path), tmp_path).flip is True
    assert packed(source, tmp_path / "packed").images[:, 2:-2, 2:-2].min() > 240


def test_a_nested_folder_is_split_by_super_class(tmp_path):
    write_folder(tmp_path, [f"s{i}/c{j}" for i in range(6) for j in range(2)])
    classes = folder.source(spec(tmp_path), tmp_path).classes
    assert len(classes) == 12
    for i in range(6):
        assert len({c.split for c in classes if c.superclass == f"s{i}"}) == 1
    assert [sum(c.split == s for c in classes) for s in ("train", "val", "test")] == [8, 2, 2]  # 0.64, 0.16, 0.2 of 6


@pytest.mark.parametrize("names", [("Train", "Val", "Test"), ("train", "valid", "test"), ("train", "val", "test", "x")])
def test_folders_called_nearly_as_the_splits_are_not_drawn_across(tmp_path, names):
    """The classes of all of them would come into one heap, and what others train on might be tested on."""
    write_folder(tmp_path, [f"{name}/{i}" for name in names for i in range(4)])
    with pytest.raises(UserError, match=r"has the folders .* call them train, val, test, these three and no other"):
        folder.source(spec(tmp_path), tmp_path)
    lines = [
        f"{name}/{i},{('train', 'val', 'test')[place % 3]}\n" for place, name in enumerate(names) for i in range(4)
    ]
    (tmp_path / "split.csv").write_text("class,split\n" + "".join(lines))
    assert len(folder.source(spec(tmp_path), tmp_path).classes) == 4 * len(names)


def test_folders_called_as_the_splits_are_the_splits(tmp_path):
    write_folder(tmp_path, ["train/b", "train/a", "val/d", "test/c"])
    source = folder.source(spec(tmp_path), tmp_path)
    assert source.classes == [
        Class("a", "", "train"),
        Class("b", "", "train"),
        Class("d", "", "val"),
        Class("c", "", "test"),
    ]
    assert [source.classes[label].name for label in source.labels] == [
        Path(file).parts[1] for file in source.origins["file"]
    ]
    write_folder(tmp_path, ["test/a"])
    with pytest.raises(UserError, match=r"has the class a in t.* and in t.*; few-shot splits share no"):
        folder.source(spec(tmp_path), tmp_path)
    (tmp_path / "split.csv").write_text(
        "class,split\ntrain/a,train\ntrain/b,val\nval/d,val\ntest/c,test\ntest/a,test\n"
    )
    assert [c.split for c in folder.source(spec(tmp_path), tmp_path).classes] == ["train", "val", "val", "test", "test"]


def test_a_split_file_may_write_accents_otherwise_and_end_lines_with_commas(tmp_path):
    names = [unicodedata.normalize("NFD", name) for name in ("café", "thé", "eau")]
    write_folder(tmp_path, names)
    for text in (
        "class,split\ncafé,train,\nthé,val,\neau,test,\n",
        '\ufeffclass,split,,\r\n"café",train,,\r\nthé,val , \r\n,,\r\neau,test,,\r\n,,',
    ):
        (tmp_path / "split.csv").write_text(text)
        classes = folder.source(spec(tmp_path), tmp_path).classes
        assert [(c.name, c.split) for c in classes] == list(zip(names, ("train", "val", "test"), strict=True))


def test_super_classes_are_split_the_same_on_every_run(tmp_path):
    """Whatever the order in which Python keeps a set."""
    write_folder(tmp_path, [f"s{i}/c" for i in range(10)], count=1)
    classes = folder.source(spec(tmp_path, shares=(0.5, 0.2, 0.3)), tmp_path).classes
    assert [c.split for c in sorted(classes, key=lambda c: c.superclass)] == SPLIT_OF_TEN


def test_a_split_file_decides(tmp_path):
    write_folder(tmp_path, ["a", "b", "c"])
    (tmp_path / "split.csv").write_text("class,split\nb,train\na,test\nc,val\n")
    classes = folder.source(spec(tmp_path), tmp_path).classes
    assert [(c.name, c.split) for c in classes] == [("b", "train"), ("c", "val"), ("a", "test")]
    for text, message in (
        ("class,split\na,train\n", r"split\.csv: b is not in it"),
        ("class,split\na,train\nb,val\nc,test\nd,test\n", r"split\.csv: d has no folder"),
        ("class,split\na,train\nb,val\nc,novel\n", r"puts c in 'novel'; a split is one of train, val, test"),
        ("class,split\na,train\nb,train\nc,test\n", r"puts no class in val; each of train, val, test needs some"),
        ("name,split\na,train\n", r"has the columns name, split; it needs class, split"),
        ("class,split\na,train\na,val\nb,val\nc,test\n", r"has a twice; keep one line"),
        ("class,split\na,\nb,val\nc,test\n", r"puts a in ''; a split is one of"),
        ("class,split\na,train\nb,val,1\nc,test\n", r"has 3 cells in the line b,val,1; each needs two, class, split"),
        ("class,split\na\nb,val\nc,test\n", r"has 1 cells in the line a; each needs two"),
        ("class,split\na,,\nb,val\nc,test\n", r"puts a in ''; a split is one of"),
        ("\n", r"has the columns ; it needs class, split"),
    ):
        (tmp_path / "split.csv").write_text(text)
        with pytest.raises(UserError, match=message):
            folder.source(spec(tmp_path), tmp_path)


def test_a_split_files_names_are_no_numbers_and_nothing_is_missing(tmp_path):
    write_folder(tmp_path, ["007", "nan", "1"])
    (tmp_path / "split.csv").write_text("class,split\n007,train\nnan,test\n1,val\n")
    classes = folder.source(spec(tmp_path), tmp_path).classes
    assert [(c.name, c.split) for c in classes] == [("007", "train"), ("1", "val"), ("nan", "test")]


def test_what_is_no_folder_of_classes_is_named(tmp_path):
    with pytest.raises(UserError, match="is no folder; name the one that holds the classes' folders"):
        folder.source(spec(tmp_path / "none"), tmp_path / "none")
    with pytest.raises(UserError, match="holds no images; lay them out as"):
        folder.source(spec(tmp_path), tmp_path)
    write_folder(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=r"2 classes are too few to split"):
        folder.source(spec(tmp_path), tmp_path)
    write_folder(tmp_path, ["s/c"])
    with pytest.raises(UserError, match="holds images at several depths"):
        folder.source(spec(tmp_path), tmp_path)
    with pytest.raises(UserError, match="holds images outside of any class"):
        folder.source(spec(tmp_path / "a"), tmp_path / "a")
    write_folder(tmp_path / "deep", ["train/s/c"])
    with pytest.raises(UserError, match=r"holds images too deep \(.*/deep/train/s/c/.*png\); lay them out as"):
        folder.source(spec(tmp_path / "deep"), tmp_path / "deep")


def test_a_packing_that_stopped_does_not_go_on_with_changed_files(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SAVE_SECONDS", 0)
    monkeypatch.setattr(packing, "BATCH", 2)
    root = tmp_path / "raw"
    write_folder(root, "abcde")
    bad = root / "e" / "2.png"
    bad.write_bytes(b"?")
    with pytest.raises(UserError, match=r"2\.png: cannot be read"):
        packed(folder.source(spec(root), root), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "progress.json").read_text())["done"] > 0
    for path in root.glob("*/*.png"):
        Image.new("RGB", (24, 24), "white").save(path)
    assert (packed(folder.source(spec(root), root), tmp_path / "out").images == 255).all()


def test_linked_classes_count_and_hidden_files_do_not(tmp_path):
    write_folder(tmp_path / "elsewhere", ["b"])
    root = tmp_path / "raw"
    write_folder(root, ["a", "c", ".ipynb_checkpoints"])
    (root / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (root / "a" / "._0.png").write_bytes(b"?")
    (root / "a" / "above").symlink_to(root)
    found, others = folder.listing(root)
    assert others == []
    assert [(name, path.relative_to(root).name) for _, name, path in found] == [
        (name, f"{i}.png") for name in "abc" for i in range(3)
    ]


def test_images_of_every_kind_count_and_other_files_do_not(tmp_path):
    kinds = ["bmp", "gif", "heic", "jpeg", "jpg", "JPG", "pgm", "png", "ppm", "tif", "tiff", "webp"]
    for i, kind in enumerate([*kinds, "txt", "csv"]):
        (tmp_path / f"{i:02}.{kind}").write_bytes(b"")
    found, others, _ = images.below(tmp_path)
    assert [path.suffix[1:] for path in found] == kinds
    assert [path.suffix[1:] for path in others] == ["txt", "csv"]


def test_links_in_a_circle_are_followed_once(tmp_path):
    write_folder(tmp_path, "abc", count=1)
    for one in "abc":
        for other in "abc":
            (tmp_path / one / f"to-{other}").symlink_to(tmp_path / other)
    found = [str(path.relative_to(tmp_path)) for path in images.below(tmp_path)[0]]
    assert len(found) == len(set(found)) == 3 * (1 + 2 + 2)  # itself, by one link, by two
    assert "a/to-b/to-c/0.png" in found


@pytest.mark.parametrize("empty", ["d", "x/d", "y"])
def test_a_class_without_images_is_named_and_what_else_is_there_said(tmp_path, capsys, empty):
    flat = "/" not in empty and empty == "d"
    root = tmp_path / "raw"
    write_folder(root, ["a", "b", "c"] if flat else ["x/a", "x/b", "z/c", "w/e"])
    (root / "notes.txt").write_text("?")
    given = spec(root, shares=(0.34, 0.33, 0.33))
    folder.source(given, root)
    assert f"1 file ({root / 'notes.txt'}) passed over, being no images" in capsys.readouterr().err
    (root / "notes.txt").unlink()
    names = sorted(str(path.parent.relative_to(root)) for path in root.rglob("0.png"))
    split = zip(names, ("train", "val", "test", "test"), strict=False)
    (root / "split.csv").write_text("class,split\n" + "".join(f"{name},{of}\n" for name, of in split))
    (root / "above").symlink_to(root)
    folder.source(given, root)
    assert capsys.readouterr().err == ""
    (root / "split.csv").unlink()
    (root / empty).mkdir(parents=True)
    (root / empty / "0.jp2").write_bytes(b"?")
    with pytest.raises(UserError, match=rf"raw/{empty}: holds no images \(\.avif, .*\); add some, or remove it"):
        folder.source(given, root)


def test_a_folder_that_may_not_be_read_is_not_passed_over(tmp_path, monkeypatch):
    write_folder(tmp_path, "abc")
    scandir = os.scandir

    def forbidden(folder):
        if folder.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(PermissionError, match="Permission denied"):
        folder.listing(tmp_path)


@pytest.mark.parametrize("name", [b"caf\xe9", b"cat\r", b"a\nb"])
def test_a_name_that_is_no_text_is_said(tmp_path, name):
    write_folder(tmp_path, [*(f"c{i}" for i in range(10)), os.fsdecode(name)])
    with pytest.raises(UserError, match=r"/0\.png' has characters that no table takes; rename it"):
        folder.source(spec(tmp_path), tmp_path)


def test_another_folder_is_another_data_set(tmp_path):
    for name in ("one", "other"):
        write_folder(tmp_path / name, [f"c{i}" for i in range(10)])
    data = packed(folder.source(spec(tmp_path / "one"), tmp_path / "one"), tmp_path / "packed")
    assert definition.check(data.folder, definition.of(spec(tmp_path / "one"))) == data.manifest
    with pytest.raises(UserError, match="was packed from another definition"):
        definition.check(data.folder, definition.of(spec(tmp_path / "other")))
    (data.folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json: is damaged \(.*\); delete the folder to pack it again"):
        definition.check(data.folder, definition.of(spec(tmp_path / "one")))


def test_a_public_data_set_is_the_same_wherever_its_files_lie():
    here, there = (config.Cub(source="cub", path=path) for path in (None, "elsewhere"))
    assert definition.of(here) == definition.of(there)
    assert definition.of(here) != definition.of(config.Cub(source="cub", size=32))


# -- images -------------------------------------------------------------------------------------------------


def test_the_middle_square_is_taken():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert (images.decode(encoded(wide), "wide", 10, crop=True) == 255).all()
    assert images.decode(encoded(wide), "wide", 10).mean() == pytest.approx(85, abs=1)


def test_a_photograph_is_turned_as_it_was_held():
    wide, file = np.zeros((10, 20, 3), np.uint8), io.BytesIO()
    wide[:, :10] = 255  # on the left; turned by a quarter to the right, at the top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wide).save(file, "png", exif=exif)
    found = images.decode(file.getvalue(), "x", 10, crop=True)
    assert (found[:5] == 255).all()
    assert (found[5:] == 0).all()
    squeezed = images.decode(file.getvalue(), "x", 10)  # as the ImageNet subsets' makers did: not turned
    assert (squeezed[:, :5] == 255).all()
    assert (squeezed[:, 5:] == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_is_pillows(orientation):
    file, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(picture(16)).save(file, "png", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    assert (images.decode(file.getvalue(), "x", 16, crop=True) == wanted).all()


def test_a_photograph_with_a_tag_of_the_wrong_type_is_turned_too():
    entries = (0x0112, 3, 1, 3), (0x011A, 2, 3, int.from_bytes(b"72"))  # turned by half; a resolution in letters
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    exif += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    file = io.BytesIO()
    Image.fromarray(picture(16)).save(file, "jpeg", exif=exif)
    with pytest.raises(TypeError):
        ImageOps.exif_transpose(Image.open(file))
    found = images.decode(file.getvalue(), "x", 16, crop=True)
    assert (found == np.asarray(Image.open(file))[::-1, ::-1]).all()


def test_whatever_pillow_raises_names_the_image(monkeypatch):
    def failing(image):
        raise AttributeError("no such thing")

    monkeypatch.setattr(images, "_opaque", failing)
    with pytest.raises(UserError, match=r"it: cannot be read as an image \(no such thing\)"):
        images.decode(encoded(picture(16)), "it", 16)


@pytest.mark.parametrize(("crop", "mode"), [(True, "RGB"), (False, "L")])
def test_of_16_bits_the_upper_8_are_kept(crop, mode):
    ramp, file = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16), io.BytesIO()
    Image.fromarray(ramp).save(file, "png")
    found = images.decode(file.getvalue(), "x", 16, crop=crop, mode=mode)
    assert (found == (ramp >> 8)[..., None]).all()


@pytest.mark.parametrize(
    ("form", "white", "wanted"),
    [("tiff", {"tiffinfo": {262: 0}}, [[237, 255], [0, 127]]), ("png", {"transparency": 0}, [[18, 255], [255, 128]])],
)
def test_of_16_bits_what_is_said_to_be_white_is_white(form, white, wanted):
    """Zero in a TIFF; in a PNG what is transparent."""
    file = io.BytesIO()
    Image.fromarray(np.array([[0x1234, 0], [0xFFFF, 0x8000]], np.uint16)).save(file, form, **white)
    assert images.decode(file.getvalue(), "x", 2, mode="L")[..., 0].tolist() == wanted


def test_of_the_12_bits_of_a_tiff_too():
    """Which Pillow reads, and does not write: two pixels in three bytes, after a table of entries of twelve."""
    entries = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 1, 279: 3}
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries.items())
    tiff = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4)
    tiff = tiff.ljust(entries[273], b"\0") + bytes([0xF8, 0x70, 0x21])  # 0xf87 and 0x021
    for crop in (False, True):
        with Image.open(io.BytesIO(tiff)) as image:
            assert np.asarray(image).tolist() == [[0xF87, 0x021]]
            assert np.asarray(images._opaque(image)).tolist() == [[0xF8, 0x02]]
        assert images.decode(tiff, "x", 1, crop=crop).max() > 100


def test_more_bits_are_refused():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(file, "tiff")
    with pytest.raises(UserError, match="x: has 32 bits a pixel, which are not read; save it as a PNG with 8 or 16"):
        images.decode(file.getvalue(), "x", 4)


@pytest.mark.parametrize("size", [28, 224])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_grey_and_colour_at_any_size(size, mode, channels):
    assert images.decode(encoded(picture()), "x", size, mode=mode).shape == (size, size, channels)
    assert images.resize(picture(40, channels), size).shape == (size, size, channels)


@pytest.mark.parametrize("height", [2, 40])
def test_what_grows_is_interpolated(height):
    edge = np.zeros((height, 2, 3), np.uint8)
    edge[:, 1] = 255
    for found in (images.resize(edge, 16), images.decode(encoded(edge), "x", 16)):
        assert len(np.unique(found[0, :, 0])) > 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_what_is_transparent_shows_white(mode):
    strokes = np.zeros((32, 32, 4), np.uint8)  # black, on nothing
    strokes[8:24, 14:18, 3] = 255
    drawn = Image.fromarray(strokes).convert(mode if mode != "P" else "RGBA")
    buffer = io.BytesIO()
    if mode == "P":
        drawn.quantize(4).save(buffer, "gif", transparency=drawn.quantize(4).getpixel((0, 0)))
    else:
        drawn.save(buffer, "tiff" if mode == "PA" else "png")
    for wanted in ("RGB", "L"):
        found = images.decode(buffer.getvalue(), "it", 32, mode=wanted, crop=True)[..., 0]
        assert (found == np.where(strokes[..., 3], 0, 255)).all()


def test_a_large_photograph_is_read_without_a_warning(recwarn):
    buffer = io.BytesIO()
    Image.new("1", (9_700, 9_700)).save(buffer, "png")
    assert images.decode(buffer.getvalue(), "it", 16).shape == (16, 16, 3)
    assert not recwarn


def test_an_image_that_unpacks_to_gigabytes_is_refused():
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "png")
    assert len(bomb.getvalue()) < 100_000
    with pytest.raises(UserError, match="bomb: is 20000 x 20000 pixels large"):
        images.decode(bomb.getvalue(), "bomb", 84)


def test_what_is_known_of_data_sets_that_are_not_there_is_what_their_readers_make_of_them():
    assert set(SIZES) == set(PUBLIC)
    assert {of[1] for of in SIZES["omniglot"].values()} == {omniglot.DRAWINGS}
    birds = Counter(cub.SPLIT_OF[i % 4] for i in range(200))
    assert {split: of[0] for split, of in SIZES["cub"].items()} == birds


def test_the_published_splits_are_whole():
    for name, counts in {
        "mini-imagenet": (64, 16, 20),
        "tiered-imagenet": (351, 97, 160),
        "cifar-fs": (64, 16, 20),
        "fc100": (60, 20, 20),
    }.items():
        classes = splits.published(name)
        assert tuple(sum(c.split == split for c in classes) for split in ("train", "val", "test")) == counts
        assert tuple(SIZES[name][split][0] for split in ("train", "val", "test")) == counts
        assert len({c.name for c in classes}) == len(classes)
    for name, counts in {"tiered-imagenet": (20, 6, 8), "fc100": (12, 4, 4)}.items():
        coarse = {split: {c.superclass for c in splits.published(name) if c.split == split} for split in TIERED}
        assert tuple(len(coarse[split]) for split in ("train", "val", "test")) == counts
        assert len(set.union(*coarse.values())) == sum(counts)
