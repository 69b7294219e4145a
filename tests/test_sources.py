"""From a name or spec to files that are there, or a line that says what to do."""

import pytest

from mlcl import config
from mlcl.data import catalogue, download, sources
from mlcl.data.catalogue import Dataset, File
from mlcl.errors import UserError

DIRECT = (File("a.bin", urls=("https://x/a",)), File("b.bin", urls=("https://x/b",)))
BY_HAND = (File("c.bin", by_hand="ask its authors"),)
DATASET = Dataset("data", "", "", (BY_HAND, DIRECT))
SHARED = (File("d.bin"), File("b.bin"))
SHARING = Dataset("data", "", "", (DIRECT, SHARED))
ARCHIVE = (File("e.zip", "md5:0", urls=("https://x/e",)),)


@pytest.fixture
def fetched(monkeypatch):
    """What would be fetched."""
    names = []
    monkeypatch.setattr(download, "fetch", lambda file, folder, copy: names.append((file.name, copy)))
    return names


def test_into_an_empty_folder_goes_what_can_be_downloaded(tmp_path, fetched):
    for folder in (tmp_path, tmp_path / "new"):
        download.complete(DATASET, folder)
        assert [name for name, _ in fetched] == ["a.bin", "b.bin"]
        fetched.clear()


@pytest.mark.parametrize("left", [".a.bin.lock", ".a.bin.part.json", ".DS_Store"])
def test_what_is_hidden_does_not_fill_a_folder(tmp_path, fetched, left):
    (tmp_path / left).write_bytes(b"")
    download.complete(DATASET, tmp_path)
    assert [name for name, _ in fetched] == ["a.bin", "b.bin"]


@pytest.mark.parametrize("begun", ["b.bin", "a.bin.part", "a.bin.wrong"])
def test_a_layout_that_is_begun_is_completed(tmp_path, fetched, begun):
    (tmp_path / begun).write_bytes(b"")
    download.complete(DATASET, tmp_path)
    assert [name for name, _ in fetched] == ["a.bin", "b.bin"]


@pytest.mark.parametrize("name", ["c.bin", "images"])
def test_a_folder_with_anything_else_is_left_alone(tmp_path, fetched, name):
    (tmp_path / name).write_bytes(b"")
    download.complete(DATASET, tmp_path)
    assert fetched == []


def test_a_copy_at_hand_decides_the_layout(tmp_path, fetched):
    copy, raw = tmp_path / "copy", tmp_path / "raw"
    copy.mkdir()
    raw.mkdir()
    (raw / "a.bin").write_bytes(b"")
    for name in ("a.bin", "b.bin", "images"):
        (copy / name).write_bytes(b"")
        assert download.complete(DATASET, raw, copy) == copy
    assert fetched == []
    assert download.complete(DATASET, raw, copy / "c.bin") == raw
    assert fetched == [("c.bin", copy / "c.bin")]
    with pytest.raises(UserError, match=r"c\.txt: is no file of data, such as c\.bin"):
        download.complete(DATASET, raw, copy / "c.txt")
    with pytest.raises(
        UserError, match=r"b\.bin: is one of several files of data; give the folder that holds them all"
    ):
        download.complete(DATASET, raw, copy / "b.bin")


def test_archives_at_hand_go_where_they_are_unpacked(tmp_path, fetched):
    (tmp_path / "e.zip").write_bytes(b"")
    assert download.complete(Dataset("data", "", "", (ARCHIVE,)), tmp_path / "raw", tmp_path) == tmp_path / "raw"
    assert fetched == [("e.zip", tmp_path)]


@pytest.mark.parametrize(("names", "begun"), [("a", True), ("b", False), ("ad", False), ("bd", False), ("ab", True)])
def test_files_that_two_layouts_share_begin_none(tmp_path, fetched, names, begun):
    """Labels of one layout beside images of another would be wrong, unseen."""
    for name in names:
        (tmp_path / f"{name}.bin").write_bytes(b"")
    download.complete(SHARING, tmp_path)
    assert [name for name, _ in fetched] == (["a.bin", "b.bin"] if begun else [])


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("mini-imagenet", [f"mini-imagenet-cache-{split}.pkl" for split in ("train", "val", "test")]),
        ("mini-imagenet", [f"miniImageNet_category_split_{split}.pickle" for split in ("train_phase_train", "val")]),
        ("tiered-imagenet", [f"{split}_{kind}" for split in ("train", "val") for kind in ("images.npz", "labels.pkl")]),
    ],
)
def test_what_a_download_would_not_complete_is_left_to_the_reader(tmp_path, fetched, name, names):
    for file in names:
        (tmp_path / file).write_bytes(b"")
    assert download.complete(catalogue.PUBLIC[name], tmp_path) == tmp_path
    assert fetched == []


def test_what_only_a_person_can_fetch_is_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"c\.bin.*ask its authors"):
        download.complete(Dataset("data", "", "", (BY_HAND,)), tmp_path)


def test_every_source_has_a_reader_and_every_public_one_an_entry(tmp_path):
    kinds = {kind.model_fields["source"].annotation.__args__[0] for kind in config.Raw.__subclasses__()} | {"glyphs"}
    assert kinds == set(sources.MODULES)
    assert kinds - {"glyphs", "folder"} == set(catalogue.PUBLIC)


def test_a_folder_of_ones_own_takes_no_copy(tmp_path):
    spec = config.Folder(source="folder", path=str(tmp_path))
    with pytest.raises(UserError, match="is read where it lies; set its path instead"):
        sources.open_source(spec, tmp_path, copy=tmp_path)


@pytest.mark.parametrize("source", ["mini-imagenet", "tiered-imagenet"])
def test_an_archive_that_nobody_unpacks_is_named(tmp_path, source):
    spec = config.part(config.Dataset, f'{{"source": "{source}", "path": "{tmp_path}"}}')
    with pytest.raises(UserError, match=r"ImageNet: put there .*pickle$|ImageNet: put there .*_labels\.pkl$"):
        sources.open_source(spec, tmp_path)
    (tmp_path / "images.zip").write_bytes(b"")
    with pytest.raises(UserError, match=rf"images\.zip is there, but not unpacked: unpack it in {tmp_path}$"):
        sources.open_source(spec, tmp_path)
    (tmp_path / "unpacked").mkdir()
    name = {"mini-imagenet": "mini-imagenet-cache-val.pkl", "tiered-imagenet": "val_labels.pkl"}[source]
    (tmp_path / "unpacked" / name).write_bytes(b"")
    with pytest.raises(
        UserError, match=rf"unpacked holds such files: move them to {tmp_path}, or set the data set's p"
    ):
        sources.open_source(spec, tmp_path)
