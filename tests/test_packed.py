import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from mlcl.data import pack as packing
from mlcl.data.pack import Class, Source, pack
from mlcl.data.packed import Packed, identity
from mlcl.data.sources import MODULES
from mlcl.errors import UserError

CLASSES = [Class("a", "letters", "train"), Class("b", "letters", "train"), Class("1", "digits", "val")]
LABELS = np.array([2, 0, 1, 0, 2])  # a source gives its images in any order
ORDER = [1, 3, 2, 0, 4]  # by class


def source(images=None, labels=LABELS, decode=np.asarray, shape=(2, 2, 3)):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(labels), *shape), np.uint8) if images is None else images
    origins = pd.DataFrame({"file": "here", "place": [str(i) for i in range(len(labels))]})
    provenance = {"dataset": {"source": "here"}}
    given = Source(CLASSES, labels, origins, lambda start: iter(images[start:]), decode, shape, True, provenance)
    return images, given


def refuse(image, bad):
    """The negative of an image, unless it is the bad one."""
    if (image == bad).all():
        raise UserError("image 3 cannot be read")
    return 255 - image


def killed(image):
    os.kill(os.getpid(), signal.SIGKILL)


def slowly(image):
    time.sleep(0.0005)
    return image


def test_what_is_packed_comes_back_sorted_by_class(tmp_path):
    images, given = source()
    pack(given, tmp_path)
    packed = Packed(tmp_path)
    assert (packed.images == images[ORDER]).all()
    assert packed.labels.tolist() == [0, 0, 1, 2, 2]
    assert packed.classes["class"].tolist() == ["a", "b", "1"]
    assert packed.classes["count"].tolist() == [2, 1, 2]
    assert packed.origins["place"].tolist() == [str(i) for i in ORDER]
    train, val = packed.split("train"), packed.split("val")
    assert (train.images == images[ORDER[:3]]).all()
    assert train.labels.tolist() == [0, 0, 1]
    assert train.classes == ["a", "b"]
    assert val.labels.tolist() == [0, 0]
    assert isinstance(train.images, np.memmap)


def test_a_class_may_be_called_nan_or_007(tmp_path):
    pack(source()[1], tmp_path)
    table = (tmp_path / "classes.csv").read_text()
    for names in (["007", "08", "9"], ["nan", "NA", "null"]):
        changed = table
        for old, new in zip("ab1", names, strict=True):
            changed = changed.replace(f"\n{old},", f"\n{new},")
        (tmp_path / "classes.csv").write_text(changed)
        assert Packed(tmp_path).split("train").classes + Packed(tmp_path).split("val").classes == names


def test_the_manifest_has_the_training_splits_statistics(tmp_path):
    images, given = source()
    pack(given, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    pixels = images[ORDER[:3]].reshape(-1, 3) / 255
    np.testing.assert_allclose(manifest["mean"], pixels.mean(0), atol=1e-5)
    np.testing.assert_allclose(manifest["std"], pixels.std(0), atol=1e-5)
    assert manifest["dataset"] == {"source": "here"}
    train = {"classes": 2, "images": 3, "smallest": "b", "smallest_class": 1}
    assert manifest["splits"]["train"] == train
    assert manifest["splits"]["test"] == {"classes": 0, "images": 0, "smallest": "", "smallest_class": 0}


def test_packing_gives_the_same_bytes(tmp_path):
    for name in "xy":
        pack(source()[1], tmp_path / name)
    names = {file.name for file in (tmp_path / "x").iterdir()}
    assert names == {"images.npy", "labels.npy", "classes.csv", "origins.parquet", "manifest.json"}
    for name in names:
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_a_bad_image_leaves_what_was_there(tmp_path):
    images, given = source()
    pack(given, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    with pytest.raises(UserError, match="image 3"):
        pack(source(images, decode=partial(refuse, bad=images[3]))[1], tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_killed_process_that_decodes_is_said(tmp_path):
    with pytest.raises(
        UserError, match="a process that decodes images was killed, as systems do where memory runs out"
    ):
        pack(source(decode=killed)[1], tmp_path)


@pytest.mark.parametrize("count", [4, 6])
def test_a_source_with_another_number_of_images_is_an_error(tmp_path, count):
    with pytest.raises(ValueError, match="the source gives"):
        pack(source(np.zeros((count, 2, 2, 3), np.uint8))[1], tmp_path)
    assert not (tmp_path / "manifest.json").exists()


MANY = 600
PACK_MANY = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import numpy as np
from test_packed import packing, slowly, source
from pathlib import Path
packing.SAVE_SECONDS = 0
images = np.random.default_rng(1).integers(0, 256, ({MANY}, 2, 2, 3), np.uint8)
packing.pack(source(images, np.arange({MANY}) % 3, slowly)[1], Path(sys.argv[1]))
"""


def test_a_killed_packing_goes_on_and_ends_the_same(tmp_path):
    command = [sys.executable, "-c", PACK_MANY]
    subprocess.run([*command, tmp_path / "whole"], check=True)
    kills = 0
    while True:
        process = subprocess.Popen([*command, tmp_path / "killed"])
        record = tmp_path / "killed" / "progress.json"
        before = json.loads(record.read_text())["done"] if record.exists() else 0
        while kills < 3 and process.poll() is None:
            if record.exists() and json.loads(record.read_text())["done"] > before + MANY // 5:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        if process.wait() != -signal.SIGKILL:
            break
    assert process.returncode == 0
    assert Packed(tmp_path / "whole").origins["place"].astype(int).tolist() == [
        i for label in range(3) for i in range(label, MANY, 3)
    ]
    assert kills == 3
    assert before >= 3 * MANY // 5  # the last start went on from there
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes()
    assert len(list((tmp_path / "killed").iterdir())) == len(list((tmp_path / "whole").iterdir()))


def test_an_unfinished_packing_of_something_else_is_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SAVE_SECONDS", 0)
    monkeypatch.setattr(packing, "BATCH", 1)
    images, _ = source()

    with pytest.raises(UserError):
        pack(source(images, decode=partial(refuse, bad=images[4]))[1], tmp_path)
    assert json.loads((tmp_path / "progress.json").read_text())["done"] > 0
    others = np.array([0, 1, 2, 0, 2])
    pack(source(255 - images, others)[1], tmp_path)
    assert (Packed(tmp_path).images == (255 - images)[np.argsort(others, kind="stable")]).all()


def test_an_unfinished_packing_of_another_split_is_not_continued(tmp_path, monkeypatch):
    """Its mean and standard deviation are of classes that no longer train."""
    monkeypatch.setattr(packing, "SAVE_SECONDS", 0)
    monkeypatch.setattr(packing, "BATCH", 1)
    images, whole = source()
    with pytest.raises(UserError):
        pack(replace(whole, decode=partial(refuse, bad=images[4])), tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "progress.json").read_text())["done"] > 0
    moved = replace(whole, classes=[CLASSES[0], replace(CLASSES[1], split="val"), CLASSES[2]])
    for folder in ("ours", "afresh"):
        pack(moved, tmp_path / folder)
    ours, afresh = (Packed(tmp_path / folder).manifest for folder in ("ours", "afresh"))
    assert ours == afresh
    assert not packing._is_of(whole, tmp_path / "ours")
    assert packing._is_of(moved, tmp_path / "ours")


def test_an_unfinished_packing_by_other_code_is_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SAVE_SECONDS", 0)
    monkeypatch.setattr(packing, "BATCH", 1)
    images, given = source()
    with pytest.raises(UserError):
        pack(source(images, decode=partial(refuse, bad=images[4]))[1], tmp_path)  # negatives, as of other code
    assert json.loads((tmp_path / "progress.json").read_text())["done"] > 0
    monkeypatch.setattr(packing, "fingerprint", lambda *_: "of other code")
    pack(given, tmp_path)
    assert (Packed(tmp_path).images == images[ORDER]).all()


def test_the_code_of_a_packing_is_that_of_every_source():
    assert {"data.images", "data.splits", *(f"data.{name}" for name in MODULES.values())} <= set(packing.CODE)


@pytest.mark.parametrize("between", ["another packing", "other files"])
def test_an_unfinished_packing_is_not_continued_on_what_another_wrote(tmp_path, monkeypatch, between):
    monkeypatch.setattr(packing, "BATCH", 1)
    images, given = source()
    last = partial(refuse, bad=images[4])
    monkeypatch.setattr(packing, "SAVE_SECONDS", 0)
    with pytest.raises(UserError):
        pack(source(images, decode=last)[1], tmp_path)
    if between == "another packing":  # of which no record is left
        monkeypatch.setattr(packing, "SAVE_SECONDS", 60)
        _, other = source(255 - images, np.array([0, 1, 2, 0, 2]), partial(refuse, bad=255 - images[4]))
        with pytest.raises(UserError):
            pack(other, tmp_path)
        pack(given, tmp_path)
    else:
        images, given = source(images // 2)
        pack(replace(given, origins=given.origins.assign(file="there")), tmp_path)
    assert (Packed(tmp_path).images == images[ORDER]).all()


def test_a_folder_without_data_is_named(tmp_path):
    with pytest.raises(
        UserError, match="nothing: holds no packed data set, or not all of it; make it with 'mlcl data'"
    ):
        Packed(tmp_path / "nothing")


@pytest.mark.parametrize("file", ["manifest.json", "classes.csv", "images.npy", "labels.npy"])
def test_a_folder_without_some_of_its_data_is_named(tmp_path, file):
    pack(source()[1], tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2] if file != "classes.csv" else b"")
    with pytest.raises(UserError, match=f"{tmp_path.name}: holds no packed data set, or not all of it"):
        Packed(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=f"{tmp_path.name}: holds no packed data set, or not all of it"):
        Packed(tmp_path)


def test_images_of_one_packing_never_stand_beside_labels_of_another(tmp_path, monkeypatch):
    pack(source()[1], tmp_path)
    replace = os.replace

    def killed(before, after):
        replace(before, after)
        if os.path.basename(after) == "images.npy":
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        pack(source(labels=np.array([0, 1, 2, 0, 2]))[1], tmp_path)
    with pytest.raises(UserError, match="holds no packed data set"):
        Packed(tmp_path)


def test_data_are_told_apart_by_images_and_labels():
    """Not by their origins, which another version of parquet writes in other bytes."""
    checksums = dict.fromkeys(("images.npy", "labels.npy", "classes.csv", "origins.parquet"), "1")
    assert identity(checksums) == identity(checksums | {"origins.parquet": "2"})
    for name in list(checksums)[:3]:
        assert identity(checksums) != identity(checksums | {name: "2"})


def test_data_of_another_definition_stay_also_where_they_were_packed_meanwhile(tmp_path):
    _, given = source()
    pack(given, tmp_path)
    with pytest.raises(UserError, match="was packed from another definition"):
        pack(replace(given, provenance={"dataset": {"source": "there"}}), tmp_path)
    assert Packed(tmp_path).manifest["dataset"] == {"source": "here"}


@pytest.mark.parametrize(
    ("name", "content"), [("manifest.json", "{}"), ("manifest.json", "[]"), ("classes.csv", "a,b")]
)
def test_a_file_of_another_form_is_no_packed_data_set(tmp_path, name, content):
    pack(source()[1], tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="holds no packed data set, or not all of it"):
        Packed(tmp_path)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_an_empty_file_is_no_packed_data_set(tmp_path, name):
    pack(source()[1], tmp_path)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match="holds no packed data set, or not all of it"):
        Packed(tmp_path)


def test_two_that_pack_the_same_at_once(tmp_path):
    """The second waits for the first and takes what it made; of something else it makes its own."""
    _, given = source(labels=np.resize(LABELS, 1500), decode=slowly)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(pack, given, tmp_path / "data")
        while not (tmp_path / "data" / "images.npy.part").exists():
            time.sleep(0.01)
        second = pool.submit(pack, given, tmp_path / "data")
        first.result()
        made = (tmp_path / "data" / "manifest.json").stat().st_mtime_ns
        second.result()
    assert (tmp_path / "data" / "manifest.json").stat().st_mtime_ns == made
    _, more = source(labels=np.resize(LABELS, 1502), decode=slowly)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(pack, given, tmp_path / "grown")
        while not (tmp_path / "grown" / "images.npy.part").exists():
            time.sleep(0.01)
        pool.submit(pack, more, tmp_path / "grown").result()
    assert len(Packed(tmp_path / "grown").images) == 1502
    _, other = source(labels=np.resize(LABELS, 1500)[::-1].copy(), decode=slowly)
    pack(other, tmp_path / "alone")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(pack, given, tmp_path / "both")
        while not (tmp_path / "both" / "images.npy.part").exists():
            time.sleep(0.01)
        pool.submit(pack, other, tmp_path / "both").result()
    assert (tmp_path / "both" / "images.npy").read_bytes() == (tmp_path / "alone" / "images.npy").read_bytes()
