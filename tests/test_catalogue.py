"""The table of public sources: well-formed, complete, and in agreement with torchvision where both know a file."""

import importlib
import re
from urllib.parse import urlsplit

import pytest

from mlcl.data.catalogue import CIFAR_100, OMNIGLOT, PUBLIC

DATASETS = list(dict.fromkeys(PUBLIC.values()))
LAYOUTS = [layout for dataset in DATASETS for layout in dataset.layouts]
FILES = [file for layout in LAYOUTS for file in layout]
PERSONAL = ("drive.google.com", "dropbox.com")


def personal(url):
    return urlsplit(url).hostname.endswith(PERSONAL)


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_every_data_set_has_licence_citation_and_layouts(dataset):
    assert dataset.licence
    assert re.search(r"\b(19|20)\d\d\b", dataset.citation)
    assert len(set(dataset.layouts)) == len(dataset.layouts) > 0


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout[0].name)
def test_the_files_of_a_layout_have_different_plain_names(layout):
    names = [file.name for file in layout]
    assert names
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w-][\w.-]*", name) for name in names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_can_be_had_and_checked(file):
    assert file.urls or file.by_hand
    assert len(set(file.urls)) == len(file.urls)
    for url in (*file.urls, *re.findall(r"\w+://[^\s,;)]+", file.by_hand)):
        assert urlsplit(url).scheme == "https"
        assert "." in urlsplit(url).hostname
    assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_archives_come_before_personal_drives(file):
    order = [personal(url) for url in file.urls]
    assert order == sorted(order)


def test_the_same_file_has_the_same_checksum_everywhere():
    by_url = {}
    for file in FILES:
        for url in file.urls:
            assert by_url.setdefault(url, file.checksum) == file.checksum


def test_torchvision_agrees():
    importlib.import_module("mlcl.vision")  # lets torchvision be imported beside any build of torch
    from torchvision.datasets import CIFAR100, Omniglot

    (cifar,) = CIFAR_100.layouts[0]
    assert (cifar.name, cifar.checksum, cifar.urls[0]) == (CIFAR100.filename, f"md5:{CIFAR100.tgz_md5}", CIFAR100.url)
    for file in OMNIGLOT.layouts[0]:
        name = file.name.removesuffix(".zip")
        assert file.checksum == f"md5:{Omniglot.zips_md5[name]}"
        assert file.urls[0] == f"{Omniglot.download_url_prefix}/{file.name}"
