import colorsys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mlcl import augment, config, seeds, vision


def pictures(n=6, channels=3, side=20):
    return torch.randint(0, 256, (n, channels, side, side), generator=torch.Generator().manual_seed(0)).byte()


def views(images, flip=True, seed=0, side=None, **spec):
    draws = augment.Draws(len(images), seeds.generator(seed, "views", 0))
    return augment.two_views(images, config.Augmentation(**spec), flip, draws, side)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("styles", [("crop", "simclr"), ("simclr", "simclr"), ("crop", "crop")])
def test_two_views_an_image(channels, styles):
    images = pictures(channels=channels)
    both = views(images, views=styles)
    assert both.shape == (12, channels, 20, 20)
    assert both.dtype == torch.float32
    assert both.min() >= 0
    assert both.max() <= 1
    first, second = both.chunk(2)
    assert not torch.equal(first, second)


def test_a_seed_gives_the_same_views():
    assert torch.equal(views(pictures()), views(pictures()))
    assert not torch.equal(views(pictures()), views(pictures(), seed=1))


def test_every_sample_has_parameters_of_its_own():
    same = pictures(1).repeat(6, 1, 1, 1)
    for view in views(same).chunk(2):
        assert len({v.numpy().tobytes() for v in view}) == 6


def test_a_sample_is_augmented_alone():
    """Another image in the batch changes nothing."""
    images = pictures()
    other = images.clone()
    other[1:] = 0
    assert torch.equal(views(images)[0], views(other)[0])


def test_a_shift_of_whole_pixels_is_a_crop_of_the_padded_image():
    images = pictures().float()
    dx, dy = torch.tensor([0, 1, -2, 2, 1, -1]), torch.tensor([0, 2, 1, -2, 0, -1])
    shifted = augment.resample(images, torch.ones(6, 2), torch.stack([dx, dy], 1) * 2 / 20, torch.ones(6))
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    for i in range(6):
        cut = padded[i, :, 2 + dy[i] : 22 + dy[i], 2 + dx[i] : 22 + dx[i]]
        np.testing.assert_allclose(shifted[i], cut, atol=1e-2)


def test_a_mirror_is_a_flip():
    images = pictures().float()
    mirrored = augment.resample(images, torch.ones(6, 2), torch.zeros(6, 2), -torch.ones(6))
    torch.testing.assert_close(mirrored, images.flip(3), atol=1e-2, rtol=0)


def test_a_view_of_half_the_side_holds_the_means_of_four_pixels():
    images = pictures().float()
    half = augment.resample(images, torch.ones(6, 2), torch.zeros(6, 2), torch.ones(6), side=10)
    torch.testing.assert_close(half, F.avg_pool2d(images, 2), atol=1e-2, rtol=0)


@pytest.mark.parametrize("style", ["crop", "simclr"])
def test_a_small_view_shows_what_a_large_one_of_the_same_draws_shows(style):
    blurred = F.avg_pool2d(pictures(side=40).float(), 9, 1, 4).byte()
    large, small = (views(blurred, views=(style, style), side=side) for side in (40, 20))
    assert small.shape == (12, 3, 20, 20)
    apart = (small - F.avg_pool2d(large, 2)).abs().mean((1, 2, 3))
    assert apart.max() < 0.01  # two views lie further apart
    assert (small - small.roll(1, 0)).abs().mean((1, 2, 3)).min() > 0.03


def test_without_flip_nothing_is_mirrored():
    """An image bright on the left stays brighter on the left."""
    image = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    image[..., :10] = 255
    batch = image.repeat(64, 1, 1, 1)
    for seed in range(5):
        crop = views(batch, flip=False, seed=seed, views=("crop", "crop"))
        assert (crop[..., :16].mean((1, 2, 3)) > crop[..., 16:].mean((1, 2, 3))).all()
    flipped = views(batch, flip=True, views=("crop", "crop"))
    share = (flipped[..., :16].mean((1, 2, 3)) < flipped[..., 16:].mean((1, 2, 3))).float().mean()
    assert 0.35 < share < 0.65


def test_the_resized_crop_keeps_the_area_asked_for():
    draws = augment.Draws(5000, seeds.generator(0, "area"))
    scale, centre = augment._resized_crop(draws, (0.2, 0.9))
    area = scale.prod(1)
    assert area.min() > 0.17
    assert area.max() <= 0.9 + 1e-6
    assert (scale + centre.abs() <= 1 + 1e-6).all()  # inside the image


def test_colour_matrix_turns_and_fades_about_grey():
    n = 5
    matrix = augment._colour_matrix(torch.tensor([1.0, 0.0, 1.0, 0.5, 1.0]), torch.tensor([0.0, 0.0, 0.6, 0.0, -0.6]))
    torch.testing.assert_close(matrix[0], torch.eye(3), atol=1e-5, rtol=0)
    grey = torch.full((n, 3, 1), 0.4)
    torch.testing.assert_close(matrix @ grey, grey, atol=1e-3, rtol=0)
    red = torch.tensor([0.8, 0.2, 0.2])
    luma = torch.tensor(augment.LUMA)
    torch.testing.assert_close(matrix[1] @ red, (luma @ red).expand(3), atol=1e-3, rtol=0)
    for turned in (matrix[2] @ red, matrix[4] @ red):
        assert float(luma @ turned) == pytest.approx(float(luma @ red), abs=1e-3)
    torch.testing.assert_close(matrix[2] @ matrix[4], torch.eye(3), atol=1e-4, rtol=0)
    hue, _, _ = colorsys.rgb_to_hsv(*(matrix[3] @ red).tolist())
    assert min(hue, 1 - hue) < 0.02  # a faded red is still red


def test_simclrs_views_are_jittered_turned_and_grey_as_often_as_they_should():
    colour, n = torch.tensor([200, 80, 40]), 4000
    batch = colour.byte()[None, :, None, None].expand(n, 3, 8, 8)
    found = views(batch, views=("simclr", "simclr"))[:n, :, 4, 4]  # one colour all over, and so is each view
    grey = (found.amax(1) - found.amin(1)) < 1e-3
    untouched = (found - colour / 255).abs().amax(1) < 1e-3
    assert 0.17 < grey.float().mean() < 0.23
    assert 0.13 < untouched.float().mean() < 0.19  # a fifth is not jittered, of which four fifths are not grey
    hues = np.array([colorsys.rgb_to_hsv(*rgb)[0] for rgb in found[~grey & ~untouched].tolist()])
    apart = (hues - colorsys.rgb_to_hsv(*(colour / 255).tolist())[0] + 0.5) % 1 - 0.5
    assert 0.03 < np.abs(apart).mean() < 0.08  # of up to a tenth of a turn either way
    assert np.abs(apart).max() < 0.2
    plain = views(batch, views=("crop", "crop"))[:n, :, 4, 4]
    assert not ((plain.amax(1) - plain.amin(1)) < 1e-3).any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("brightness", [1.0, 0.8])
def test_contrast_is_about_the_mean_grey(channels, brightness):
    class Fixed:
        values = iter([brightness, 0.7, 1.0, 0.0, 1.0])  # brightness, contrast, saturation, hue, no grey

        def uniform(self, low, high):
            return torch.full((6,), next(self.values))

    images, adjust = 0.25 + pictures(channels=channels).float() / 510, vision.torchvision.transforms.functional
    ours = augment._jitter(images, Fixed(), torch.ones(6, dtype=torch.bool), 0.1, 0.2)
    expected = adjust.adjust_contrast(adjust.adjust_brightness(images, brightness), 0.7)
    torch.testing.assert_close(ours, expected, atol=2e-3, rtol=0)


def test_a_crop_shifts_by_up_to_a_tenth_either_way():
    image = torch.zeros(500, 1, 41, 61, dtype=torch.uint8)
    image[:, :, 20, 30] = 255
    crops = views(image, flip=False, views=("crop", "crop"))[:, 0]
    crops = crops[crops.amax((1, 2)) > 0.5]
    y, x = (crops > 0.5).nonzero()[:, 1:].T
    assert (20 - y).unique().tolist() == list(range(-4, 5))
    assert (30 - x).unique().tolist() == list(range(-6, 7))


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_is_jittered_by_up_to_four_tenths(channels):
    grey = torch.full((2000, channels, 8, 8), 100, dtype=torch.uint8)
    factors = views(grey, views=("crop", "crop"))[:, 0, 4, 4] / (100 / 255)
    assert 0.59 < factors.min() < 0.62
    assert 1.38 < factors.max() < 1.41


def test_views_take_the_area_that_the_recipe_says():
    ramp = torch.arange(0, 240, 6).byte().expand(64, 3, 40, 40)
    spread = [
        (view := views(ramp, flip=False, views=("simclr", "simclr"), scale=(area, area))).amax(3) - view.amin(3)
        for area in (0.2, 1.0)
    ]
    assert spread[0].mean() < 0.6 * spread[1].mean()


def test_the_resized_crops_aspect_ratio():
    scale, _ = augment._resized_crop(augment.Draws(5000, seeds.generator(0, "area")), (0.2, 0.5))
    ratio = scale[:, 0] / scale[:, 1]
    assert 0.75 <= ratio.min() < 0.76
    assert 1.32 < ratio.max() <= 4 / 3 + 1e-6


def test_a_window_of_half_the_width_or_height_is_blown_up():
    images = pictures().float()
    for scale, window in (((0.5, 1.0), images[..., 5:15]), ((1.0, 0.5), images[..., 5:15, :])):
        found = augment.resample(images, torch.tensor(scale).expand(6, 2), torch.zeros(6, 2), torch.ones(6))
        expected = F.interpolate(window, (20, 20), mode="bilinear")
        torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-2, rtol=0)
