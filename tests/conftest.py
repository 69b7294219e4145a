"""Small data to train on, made in a moment."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import settings

from mlcl.data.pack import Class, Source, pack

settings.register_profile("mlcl", deadline=None)  # how long an example takes is up to what else runs here
settings.load_profile("mlcl")


def pytest_collection_modifyitems(items):
    """The file that takes the longest first, so that two workers end at about one time."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A packed data set of 8 base, 5 validation and 6 novel classes, 24 grey 16x16 images each: blobs at places."""
    classes = [
        Class(f"{split}{i}", superclass=split, split=split)
        for split, count in (("train", 8), ("val", 5), ("test", 6))
        for i in range(count)
    ]
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    images = []
    for _ in classes:
        cy, cx = rng.uniform(3, 13, 2)
        for _ in range(24):
            dy, dx = rng.normal(0, 0.7, 2)
            blob = np.exp(-((y - cy - dy) ** 2 + (x - cx - dx) ** 2) / 8)
            images.append((255 * np.clip(blob + rng.normal(0, 0.1, blob.shape), 0, 1)).astype(np.uint8)[..., None])
    source = Source(
        classes=classes,
        labels=np.repeat(np.arange(len(classes)), 24),
        origins=pd.DataFrame({"file": "drawn", "place": [str(i) for i in range(len(images))]}),
        items=lambda start: iter(images[start:]),
        decode=np.asarray,
        shape=(16, 16, 1),
        flip=False,
        provenance={"dataset": {"source": "tiny"}},
    )
    folder = tmp_path_factory.mktemp("data") / "tiny"
    pack(source, folder)
    return folder


@pytest.fixture
def torch_as_before():
    """A training sets torch up for itself, where here it shares a process with other tests."""
    threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(deterministic)


@pytest.fixture
def write_config(tmp_path):
    """Write a config file; `changes` replaces keys, given as dotted paths (None removes)."""

    def write(**changes):
        values = {
            "name": "tiny",
            "datasets": {"glyphs": {"source": "glyphs"}},
            "encoder": {"name": "conv4", "width": 4},
            "training": {"epochs": 2, "batch_size": 16},
            "methods": {
                "cross_entropy": {"objective": {"cross_entropy": 1}},
                "multi_level": {"objective": {"contrast": "supcon", "levels": {1: 0.5, 4: 1}}},
            },
            "evaluation": {"episodes": 10},
        }
        for path, value in changes.items():
            *parents, key = path.split(".")
            place = values
            for parent in parents:
                place = place.setdefault(parent, {})
            if value is None:
                del place[key]
            else:
                place[key] = value
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(values))
        return file

    return write
