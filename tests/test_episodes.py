import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_verify import write

from mlcl.config import Experiment
from mlcl.data.pack import Class
from mlcl.data.packed import Packed
from mlcl.episodes import check_novel, sample
from mlcl.errors import UserError

GOLDEN = [[[65, 79], [50, 48], [113, 116]], [[67, 66], [108, 119], [82, 84]]]
SHAPE = {"split": "test", "episodes": 20, "way": 3, "shot": 2, "queries": 4, "seed": 0}


@st.composite
def shapes(draw):
    way, shot, queries = draw(st.integers(2, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    counts = draw(st.lists(st.integers(shot + queries, 30), min_size=way, max_size=9))
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(labels)
    return labels, {**SHAPE, "way": way, "shot": shot, "queries": queries, "seed": draw(st.integers(0, 5))}


@settings(max_examples=50)
@given(shapes())
def test_an_episode_is_a_task(drawn):
    labels, shape = drawn
    episodes = sample(labels, **shape)
    assert episodes.support.shape == (shape["episodes"], shape["way"], shape["shot"])
    assert episodes.query.shape == (shape["episodes"], shape["way"], shape["queries"])
    for support, query in zip(episodes.support, episodes.query, strict=True):
        images = np.concatenate([support, query], axis=1)
        assert len(np.unique(images)) == images.size  # support and query never mix, nothing is drawn twice
        classes = labels[images]
        assert (classes == classes[:, :1]).all()
        assert len(np.unique(classes[:, 0])) == shape["way"]


def test_the_draw_depends_on_seed_split_and_shape_only():
    labels = np.repeat(np.arange(6), 20)
    first, again = sample(labels, **SHAPE), sample(labels, **SHAPE)
    assert (first.support == again.support).all()
    assert (first.query == again.query).all()
    for change in ({"seed": 1}, {"split": "val"}, {"queries": 5}):
        assert (sample(labels, **{**SHAPE, **change}).support != first.support).any()


def test_the_draw_is_that_of_the_committed_results():
    """Other numbers here mean that no earlier evaluation can be compared with a new one."""
    found = sample(np.repeat(np.arange(6), 20), **{**SHAPE, "episodes": 2, "queries": 1})
    assert found.support.tolist() == GOLDEN


def test_every_class_and_every_image_is_equally_likely():
    labels = np.repeat(np.arange(4), 10)
    episodes = sample(labels, **{**SHAPE, "episodes": 20_000, "way": 2, "shot": 1, "queries": 1})
    for images in (episodes.support, episodes.query):
        counts = np.bincount(images.ravel(), minlength=40)
        # 1,000 draws of each image expected; 5 standard deviations of a binomial
        assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


def test_too_few_classes_or_images():
    labels = np.repeat(np.arange(3), 6)
    with pytest.raises(UserError, match=r"3 classes, fewer than the 4 of way: 4"):
        sample(labels, **{**SHAPE, "way": 4})
    with pytest.raises(UserError, match="class of 6 images, fewer than 3 shots plus 4 queries"):
        sample(labels, **{**SHAPE, "shot": 3})


def test_images_in_any_order_are_drawn_by_their_place_in_their_class():
    ordered = np.repeat(np.arange(6), 20)
    labels = np.random.default_rng(0).permutation(ordered)
    images = np.concatenate([np.flatnonzero(labels == c) for c in range(6)])
    np.testing.assert_array_equal(sample(labels, **SHAPE).support, images[sample(ordered, **SHAPE).support])


def test_whose_names_do_not_tell_may_be_learnt_already(tmp_path):
    """As where tiered-ImageNet comes from files that name no classes."""
    names = {"train": "n00000001", "val": "n00000002", "test": "n00000003"}
    classes = {
        "mini": [Class(name, "", split) for split, name in names.items()],
        "tiered": [Class(f"{split}-0", "", split) for split in names],
    }
    folders = {name: write(tmp_path / name, some, f"{name}-imagenet") for name, some in classes.items()}
    packed = {name: Packed(folder) for name, folder in folders.items()}
    for name, other in (("mini", "tiered"), ("tiered", "mini")):
        datasets = {one: {"source": f"{one}-imagenet"} for one in packed}
        methods = {"cross_entropy": {"objective": {"cross_entropy": 1}}}
        config = {"name": "x", "datasets": datasets, "trained_on": {name: other}, "methods": methods}
        with pytest.raises(
            UserError, match=rf"config: trained_on\.{name}: whether {other} trains on .* is not to be told"
        ):
            check_novel(Experiment.parse(config, "test"), packed)
