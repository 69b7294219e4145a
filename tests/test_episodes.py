import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcl.episodes import sample
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
