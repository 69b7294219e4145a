"""The embedded data set: its splits, its images and what may count as a class."""

import hashlib
import itertools
import unicodedata

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageFilter

from mlcl import config
from mlcl.data import glyphs
from mlcl.data.pack import pack
from mlcl.data.packed import SPLITS, Packed
from mlcl.errors import UserError

KEPT = "".join(glyphs.CHARACTERS.values())


def spec(split="random", **keys):
    return config.Glyphs(source="glyphs", split=split, **keys)


def take(split="random", classes=4, **keys):
    """The images of the first classes, by character."""
    source = glyphs.source(spec(split, **keys))
    images = map(source.decode, source.items(0))  # class after class
    counts = np.bincount(source.labels).tolist()
    return {
        c.name: np.stack(list(itertools.islice(images, count)))
        for c, count in zip(source.classes[:classes], counts, strict=False)
    }


@pytest.fixture(scope="module", params=["random", "script"])
def packed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    pack(glyphs.source(spec(request.param)), folder)
    return Packed(folder)


def test_splits_are_large_enough_for_few_shot_episodes(packed):
    sizes = packed.classes["split"].value_counts()
    assert sizes["train"] >= 100
    assert sizes["val"] >= 30
    assert sizes["test"] >= 40
    assert packed.classes["count"].min() >= 40
    assert packed.classes["class"].is_unique
    assert packed.images.shape == (packed.classes["count"].sum(), 32, 32, 1)


def test_splits_lie_one_after_the_other(packed):
    assert [split for split, _ in itertools.groupby(packed.classes["split"])] == list(SPLITS)


def test_an_image_is_of_the_class_of_its_character(packed):
    assert (packed.origins["place"] == packed.classes["class"].to_numpy()[packed.labels]).all()


def test_rendering_goes_on_from_any_image():
    source = glyphs.source(spec(size=16))
    whole = list(map(source.decode, itertools.islice(source.items(0), 12)))
    for start in (1, 4, 7):
        rest = map(source.decode, itertools.islice(source.items(start), 12 - start))
        assert all((a == b).all() for a, b in zip(rest, whole[start:], strict=True))


def test_script_split_shares_no_script_and_random_split_does():
    def shared(split):
        of = {name: {c.superclass for c in glyphs.source(spec(split)).classes if c.split == name} for name in SPLITS}
        return (of["train"] & of["val"]) | (of["train"] & of["test"]) | (of["val"] & of["test"])

    assert not shared("script")
    assert shared("random")


def test_seed_deals_the_classes_anew():
    def novel(seed):
        return {c.name for c in glyphs.source(spec(seed=seed)).classes if c.split == "test"}

    assert novel(0) == novel(0)
    assert novel(0) != novel(1)
    assert len(novel(0)) == len(novel(1))


def test_same_bytes_on_every_run():
    def digest(**keys):
        return hashlib.sha256(b"".join(images.tobytes() for images in take(**keys).values())).hexdigest()

    assert digest(split="script") == digest(split="script")
    assert digest(split="script") != digest(split="script", seed=1)


def test_image_does_not_depend_on_what_else_is_rendered(monkeypatch):
    before = take("script", classes=KEPT.index("Δ") + 1)
    monkeypatch.setattr(glyphs, "CHARACTERS", {"Greek": "Δ", "Latin": "A"})
    after = take("script", classes=2)
    assert set(after) == {"A", "Δ"}
    for character, images in after.items():
        np.testing.assert_array_equal(images, before[character])


def test_variations_differ():
    images = take(classes=1).popitem()[1]
    assert len({image.tobytes() for image in images}) == len(images)


def test_no_glyph_is_clipped(monkeypatch):
    """Without noise, paper and blur, what a glyph leaves on the image's border is at most a faint edge."""
    for name in ("NOISE", "PAPER", "BLUR"):
        monkeypatch.setattr(glyphs, name, (0.0, 0.0))
    for character, images in take(classes=30).items():
        border = np.concatenate([images[:, [0, -1]].ravel(), images[:, :, [0, -1]].ravel()])
        assert border.max() < 128, character
        assert (images.max(axis=(1, 2, 3)) > 100).all(), character


@pytest.mark.parametrize("size", [16, 48])
def test_size(size):
    images = take(classes=1, size=size).popitem()[1]
    assert images.shape[1:] == (size, size, 1)
    assert images.dtype == np.uint8


# -- what may count as a class ------------------------------------------------------------------------------


def test_characters_are_letters_and_digits_without_marks():
    for character in KEPT:
        assert unicodedata.category(character) in {"Lu", "Ll", "Lo", "Nd"}
        assert unicodedata.normalize("NFKD", character) == character


@pytest.mark.parametrize(
    "alike",
    ["AΑА", "BΒВ8", "CcСс", "EΕЕ", "eе", "HΗН", "IlІ1", "KκКк", "OoΟοОоՕօ0", "PpΡρРр", "SsЅѕՏ", "TΤТт", "XxΧХ"],  # noqa: RUF001
)
def test_known_homoglyphs_are_one_class(alike):
    assert sum(character in KEPT for character in alike) == 1


def test_no_two_classes_look_the_same():
    """No two drawings, brought to one size, nearly coincide in a quarter of the faces that have both."""
    faces = [glyphs.Face.load(name, size=96) for name in glyphs.FACES]
    distance = np.full((len(faces), len(KEPT), len(KEPT)), np.nan)
    for of_face, face in zip(distance, faces, strict=True):
        present = [i for i, character in enumerate(KEPT) if character in face]
        drawings = [face.draw(KEPT[i]) for i in present]
        of_face[np.ix_(present, present)] = np.minimum(
            _distances([_fitted(drawing, keep_ratio=True) for drawing in drawings]),
            _distances([_fitted(drawing, keep_ratio=False) for drawing in drawings]),
        )
    typical = np.nanquantile(distance, 0.25, axis=0)
    np.fill_diagonal(typical, np.inf)
    i, j = np.unravel_index(typical.argmin(), typical.shape)
    assert typical[i, j] > 0.1, f"{KEPT[i]} {KEPT[j]}"


def _fitted(drawing, keep_ratio):
    """The drawing without its margins, scaled to 28 pixels along the longer side or both, on 32 x 32, flattened."""
    drawing = drawing.crop(drawing.getbbox())
    longer = max(drawing.size)
    size = tuple(max(2, round(28 * side / longer)) if keep_ratio else 28 for side in drawing.size)
    image = Image.new("L", (32, 32))
    image.paste(drawing.resize(size, Image.Resampling.BOX), ((32 - size[0]) // 2, (32 - size[1]) // 2))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(1)), float).ravel()


def _distances(vectors):
    """Squared distances between all pairs, over the mean of the two squared norms."""
    vectors = np.stack(vectors)
    norms = (vectors**2).sum(1)
    total = norms[:, None] + norms
    return 2 * (total - 2 * vectors @ vectors.T) / total


# -- how hard it is -----------------------------------------------------------------------------------------


def test_raw_pixels_do_not_suffice(packed):
    """5-way 1-shot with a nearest centroid on pixels: above chance (20%), yet far from solved."""
    split = packed.split("test")
    pixels = split.images.reshape(len(split.images), -1) / 255
    rng = np.random.default_rng(0)
    right = []
    for _ in range(200):
        classes = rng.choice(len(split.classes), 5, replace=False)
        picks = [rng.permutation(np.flatnonzero(split.labels == c))[:16] for c in classes]
        supports = np.stack([pixels[pick[0]] for pick in picks])
        for k, pick in enumerate(picks):
            distances = ((pixels[pick[1:], None] - supports) ** 2).sum(-1)
            right.append((distances.argmin(1) == k).mean())
    assert 0.3 < np.mean(right) < 0.7


# -- errors and provenance ----------------------------------------------------------------------------------


def test_missing_fonts_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"DejaVuSans\.ttf: cannot be read .*reinstall matplotlib"):
        glyphs.source(spec())


def test_broken_font_says_what_to_do(monkeypatch, tmp_path):
    folder = tmp_path / "fonts" / "ttf"
    folder.mkdir(parents=True)
    (folder / "DejaVuSans.ttf").write_bytes(b"not a font")
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"DejaVuSans\.ttf: cannot be read .*reinstall matplotlib"):
        glyphs.source(spec())


def test_provenance_names_what_the_images_were_made_from(packed):
    manifest = packed.manifest
    assert manifest["dataset"]["source"] == "glyphs"
    assert manifest["characters"] == len(packed.classes)
    assert len(manifest["fonts"]) == 16
    assert all(len(digest) == 64 for digest in manifest["fonts"].values())
    assert manifest["pillow"]
    assert manifest["freetype"]
    assert matplotlib.get_data_path() not in str(manifest)
