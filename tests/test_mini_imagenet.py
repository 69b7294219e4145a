"""mini-ImageNet's layouts: small stand-ins with two images a class, and the real one where it is at hand."""

import csv
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlcl import config
from mlcl.data import mini_imagenet, splits
from mlcl.data.pack import Class, pack
from mlcl.data.packed import FILES, Packed
from mlcl.errors import UserError

REAL = Path(os.environ.get("MLCL_MINI_IMAGENET", Path(__file__).parents[1] / "data" / "raw" / "mini-imagenet"))
SPLIT = {"train": 3, "val": 2, "test": 2}
NAMES = {split: [f"n0{i}00000{c}" for c in range(count)] for i, (split, count) in enumerate(SPLIT.items())}


@pytest.fixture(autouse=True)
def small(monkeypatch, request):
    """A published split of seven classes, two images each, save for the real one's test."""
    if "real" not in request.node.name:
        classes = [Class(name, "", split) for split, names in NAMES.items() for name in names]
        monkeypatch.setattr(splits, "published", lambda _: classes)
        monkeypatch.setattr(mini_imagenet, "IMAGES", 2)


def rows(split):
    """File name and class of a split's images; the number in the name counts from 1 within a class."""
    return [(f"{name}{place:08d}.jpg", name) for name in NAMES[split] for place in (1, 3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """images/ and the csv files."""
    folder = tmp_path_factory.mktemp("mini")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for split in SPLIT:
        with open(folder / f"{split}.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["filename", "label"])
            for name, label in rows(split):
                picture = rng.integers(0, 256, (84, 84, 3), np.uint8)
                Image.fromarray(picture).save(folder / "images" / name, quality=95)
                table.writerow([name, label])
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "mini"))


def packed(folder, out, size=84):
    spec = config.MiniImagenet(source="mini-imagenet", size=size)
    pack(mini_imagenet.source(spec, folder), out)
    return Packed(out)


def source(folder):
    return mini_imagenet.source(config.MiniImagenet(source="mini-imagenet"), folder)


def pixels(folder, name):
    with Image.open(folder / "images" / name) as file:
        return np.asarray(file)


def test_images_labels_and_splits(folder, tmp_path):
    data = packed(folder, tmp_path / "packed")
    assert data.images.shape == (14, 84, 84, 3)
    assert data.manifest["flip"]
    for split, names in NAMES.items():
        part = data.split(split)
        assert part.classes == names
        for image, (name, _) in zip(part.images, rows(split), strict=True):
            assert (pixels(folder, name) == image).all()
    assert data.origins["file"].iloc[0] == f"images/{rows('train')[0][0]}"
    edit(folder / "train.csv", lambda text: "\n".join([*text.split()[:1], *text.split()[:0:-1]]))
    assert source(folder).origins.equals(data.origins)  # whatever the order of the lines


def write_caches(folder, out):
    out.mkdir()
    for split, file in (("train", "train"), ("val", "validation"), ("test", "test")):
        names = rows(split)[::-1]  # any order
        members = {label: [i for i, (_, of) in enumerate(names) if of == label] for label in NAMES[split]}
        members = {label: sorted(places, reverse=True) for label, places in members.items()}
        content = {"image_data": np.stack([pixels(folder, name) for name, _ in names]), "class_dict": members}
        with open(out / f"mini-imagenet-cache-{file}.pkl", "wb") as cache:
            pickle.dump(content, cache, protocol=2)


def write_category_splits(folder, out):
    out.mkdir()
    first = 0
    for split, file in (("train", "train_phase_train"), ("val", "val"), ("test", "test")):
        labels = [first + NAMES[split].index(label) for _, label in rows(split)]
        content = {b"data": np.stack([pixels(folder, name) for name, _ in rows(split)]), b"labels": labels}
        with open(out / f"miniImageNet_category_split_{file}.pickle", "wb") as pickled:
            pickle.dump(content, pickled, protocol=2)
        first += SPLIT[split]


@pytest.mark.parametrize("write", [write_caches, write_category_splits])
def test_the_pickled_layouts_pack_to_the_same_files(folder, tmp_path, write):
    write(folder, tmp_path / "pickles")
    packed(folder, tmp_path / "one")
    other = packed(tmp_path / "pickles", tmp_path / "other")
    for name in FILES[:3]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    for image, origin in zip(other.images, other.origins.itertuples(), strict=True):
        content = pickle.loads((tmp_path / "pickles" / origin.file).read_bytes())
        assert (image == content["image_data" if write is write_caches else b"data"][int(origin.place)]).all()
    whole = list(source(tmp_path / "pickles").items(0))
    for start in (1, 6, 7, 13):  # as after a kill
        rest = list(source(tmp_path / "pickles").items(start))
        assert np.array_equal(rest, whole[start:])


def test_a_category_split_may_say_its_classes_names(folder, tmp_path):
    write_category_splits(folder, tmp_path / "pickles")
    before = source(tmp_path / "pickles").origins
    path = tmp_path / "pickles" / "miniImageNet_category_split_train_phase_train.pickle"
    content = pickle.loads(path.read_bytes())
    turned = {name.encode(): 2 - number for number, name in enumerate(NAMES["train"])}
    path.write_bytes(pickle.dumps(content | {b"catname2label": turned}, 2))
    found = source(tmp_path / "pickles").origins
    assert found["place"][:6].tolist() == [*before["place"][4:6], *before["place"][2:4], *before["place"][:2]]
    path.write_bytes(pickle.dumps(content | {"catname2label": {"sparrow": 0}}, 2))
    assert source(tmp_path / "pickles").origins.equals(before)
    path.write_bytes(pickle.dumps(content | {"catname2label": dict(zip(NAMES["train"], (0, 5, 6), strict=True))}, 2))
    with pytest.raises(UserError, match=r"train\.pickle: its catname2label has no class of label 1; fetch"):
        source(tmp_path / "pickles")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("train", "validation", "test")])
@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_caches_names_as_they_are_found(folder, tmp_path, names, kind):
    write_caches(folder, tmp_path / "pickles")
    before = source(tmp_path / "pickles").origins
    for old, new in zip(("train", "validation", "test"), names, strict=True):
        path = tmp_path / "pickles" / f"mini-imagenet-cache-{old}.pkl"
        content = pickle.loads(path.read_bytes())
        content["class_dict"] = {kind(name): rows for name, rows in content["class_dict"].items()}
        path.unlink()
        path.with_name(f"mini-imagenet-cache-{new}.pkl").write_bytes(pickle.dumps(content, 2))
    assert source(tmp_path / "pickles").origins["place"].equals(before["place"])


def test_a_cache_of_wrong_rows_is_named(folder, tmp_path):
    write_caches(folder, tmp_path / "pickles")
    path = tmp_path / "pickles" / "mini-imagenet-cache-test.pkl"
    content = pickle.loads(path.read_bytes())
    for rows in ({name: [0, 1] for name in NAMES["test"]}, {NAMES["test"][0]: [0, 4], NAMES["test"][1]: [1, 2]}):
        path.write_bytes(pickle.dumps(content | {"class_dict": rows}, 2))
        with pytest.raises(UserError, match=r"cache-test\.pkl: does not hold 2 RGB images of every class"):
            source(tmp_path / "pickles")


def test_pickles_of_another_structure_are_named(folder, tmp_path):
    write_caches(folder, tmp_path / "pickles")
    path = tmp_path / "pickles" / "mini-imagenet-cache-test.pkl"
    content = pickle.loads(path.read_bytes())
    halves = {name: [0.5, 1.5] for name in NAMES["test"]}
    for spoiled in ({"image_data": [1, 2]}, {"class_dict": [1]}, {"class_dict": halves}, {"class_dict": {"a": 3}}):
        path.write_bytes(pickle.dumps(content | spoiled, 2))
        with pytest.raises(UserError, match=r"cache-test\.pkl: (does not hold|has class a)") as caught:
            source(tmp_path / "pickles")
        assert "\n" not in str(caught.value)
    write_category_splits(folder, tmp_path / "others")
    path = tmp_path / "others" / "miniImageNet_category_split_test.pickle"
    content = pickle.loads(path.read_bytes())
    for spoiled in ({b"labels": 3}, {b"data": 3}, {b"catname2label": [1]}, {b"catname2label": {"a": []}}):
        path.write_bytes(pickle.dumps(content | spoiled, 2))
        with pytest.raises(UserError, match=r"split_test\.pickle: (does not hold|has 1 classes)"):
            source(tmp_path / "others")


@pytest.mark.parametrize(
    "spoil",
    [lambda images: images[1:], lambda images: images / 255, lambda images: images.transpose(0, 3, 1, 2)],
    ids=["fewer", "shares of 1", "channels first"],
)
def test_pickles_of_other_images_are_named(folder, tmp_path, spoil):
    write_category_splits(folder, tmp_path / "pickles")
    path = tmp_path / "pickles" / "miniImageNet_category_split_test.pickle"
    content = pickle.loads(path.read_bytes())
    content = {b"data": spoil(content[b"data"]), b"labels": content[b"labels"][-len(spoil(content[b"data"])) :]}
    path.write_bytes(pickle.dumps(content, 2))
    with pytest.raises(UserError, match=r"split_test\.pickle: does not hold 2 RGB images of every class"):
        source(tmp_path / "pickles")


def test_a_pickle_of_another_split_is_named(folder, tmp_path):
    write_category_splits(folder, tmp_path / "pickles")
    train, val = (
        tmp_path / "pickles" / f"miniImageNet_category_split_{name}.pickle" for name in ("train_phase_train", "val")
    )
    shutil.copy(train, val)
    with pytest.raises(
        UserError, match=r"split_val\.pickle: has 3 classes, the split 2; put the split's own file there"
    ):
        source(tmp_path / "pickles")


def test_the_training_folders_of_ilsvrc(folder, tmp_path):
    """n0000000000000003.jpg is the third of n00000000's files, ordered by number and not by text."""
    raw = tmp_path / "ilsvrc"
    for split in SPLIT:
        for name, label in rows(split):
            (raw / label).mkdir(parents=True, exist_ok=True)
            number = {1: 2, 3: 30}[int(name[9:17])]
            shutil.copy(folder / "images" / name, raw / label / f"{label}_{number}.JPEG")
        for label in NAMES[split]:
            shutil.copy(folder / "images" / rows("test")[0][0], raw / label / f"{label}_11.JPEG")
        shutil.copy(folder / f"{split}.csv", raw)
    packed(folder, tmp_path / "one")
    (raw / "n00000000" / "n00000000_2 (1).JPEG").write_bytes(b"somebody's copy")
    packed(raw, tmp_path / "other")
    assert (tmp_path / "one" / "images.npy").read_bytes() == (tmp_path / "other" / "images.npy").read_bytes()
    for path in (raw / "n00000000").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"n00000000: has 0 images, and .* is number 1; put the training folders"):
        packed(raw, tmp_path / "third")


def test_the_whole_of_an_image_is_squeezed_into_the_square(folder):
    wide = np.zeros((84, 168, 3), np.uint8)
    wide[:, :42] = 255
    first = folder / "images" / rows("train")[0][0]
    Image.fromarray(wide).save(first, quality=95)
    given = source(folder)
    found = given.decode(first)
    assert found[:, :20].min() > 240
    assert found[:, 22:].max() < 15


def test_resized_by_averaging_areas(folder, tmp_path):
    full, half = packed(folder, tmp_path / "84"), packed(folder, tmp_path / "42", size=42)
    averaged = full.images.reshape(14, 42, 2, 42, 2, 3).mean((2, 4))
    assert np.abs(half.images - averaged).max() <= 1


def edit(path, change):
    path.write_text(change(path.read_text()))


FIRST = {split: rows(split)[0][0] for split in SPLIT}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: shutil.rmtree(f / "images"), "n00000000: has 0 images, .* put the training folders .* or images/"),
        (lambda f: (f / "val.csv").unlink(), r"holds no mini-ImageNet: put there images/ with train\.csv"),
        (lambda f: (f / "val.csv").write_bytes(b"\xff\xfe\x00"), r"val\.csv: cannot be read"),
        (
            lambda f: edit(f / "val.csv", lambda t: t.replace("filename", "file")),
            r"val\.csv: has the columns file, label",
        ),
        (lambda f: edit(f / "train.csv", lambda t: t.replace(",n00000001", ",n00000000")), r"classes of 2 to 4 images"),
        (lambda f: edit(f / "val.csv", lambda t: "filename,label\n"), r"val\.csv: lacks class n01000000 of val"),
        (lambda f: edit(f / "val.csv", lambda t: f"{t},\n"), r"val\.csv: has classes of 1 to 2 images"),
        (lambda f: edit(f / "test.csv", lambda t: t.replace("003.jpg", "001.jpg")), r"test\.csv: .* 2 different ones"),
        (
            lambda f: edit(f / "val.csv", lambda t: t.replace(",n01000000", ",n00000000")),
            r"val\.csv: has class n00000000 in val, the published split in train",
        ),
        (
            lambda f: edit(f / "val.csv", lambda t: t.replace(",n01000000", ",n09000000")),
            r"val\.csv: has class n09000000 in val, the published split nowhere",
        ),
        (
            lambda f: edit(
                f / "val.csv",
                lambda t: t.replace(",n01000000", ",x").replace(",n01000001", ",n01000000").replace(",x", ",n01000001"),
            ),
            r"val\.csv: gives n0100000000000001\.jpg the label n01000001; take it as published",
        ),
        (lambda f: (f / "images" / FIRST["val"]).unlink(), r"val\.csv: names .*\.jpg, which is not in images/"),
        (
            lambda f: (f / "images" / FIRST["test"]).write_bytes(b"no image"),
            r"\.jpg: cannot be read as an image .* replace it",
        ),
        (
            lambda f: (f / "images" / FIRST["test"]).write_bytes((f / "images" / FIRST["test"]).read_bytes()[:2000]),
            r"\.jpg: cannot be read as an image",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_packed(folder, tmp_path, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        packed(folder, tmp_path / "packed")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "packed" / "manifest.json").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real mini-ImageNet is not in {REAL}; set MLCL_MINI_IMAGENET")
def test_the_real_split_is_as_published():
    source = mini_imagenet.source(config.MiniImagenet(source="mini-imagenet"), REAL)
    found = [c.split for c in source.classes]
    assert [found.count(name) for name in ("train", "val", "test")] == [64, 16, 20]
    assert set(np.bincount(source.labels)) == {600}
