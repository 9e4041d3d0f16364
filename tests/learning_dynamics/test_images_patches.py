import jax
import numpy as np
import pytest

from learning_dynamics.images import (
    ImageSet,
    PatchSet,
    block_mean,
    cut_patches,
    grayscale,
    load_bundled,
    sample_patches,
    split_by_region,
    split_by_source,
)

RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (10, 13), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)


def test_grayscale_is_the_luminance():
    from skimage.color import rgb2gray

    np.testing.assert_allclose(grayscale(COLOUR), rgb2gray(COLOUR), atol=1e-14)
    np.testing.assert_array_equal(grayscale(GRAY), GRAY / 255)
    np.testing.assert_array_equal(grayscale(GRAY[:, :, None]), GRAY / 255)
    assert grayscale(np.full((2, 2, 3), 255, np.uint8)).max() <= 1
    floats = np.float32(COLOUR) / 255
    np.testing.assert_allclose(grayscale(floats), grayscale(COLOUR), atol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2, 4), np.uint8), "1 or 3 channels"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.zeros((2, 2), np.int32), "uint8"),
        (np.full((2, 2), 1.5), r"\[0, 1\]"),
        (np.full((2, 2), np.nan), r"\[0, 1\]"),
    ],
)
def test_images_that_have_no_gray_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        grayscale(image)


def test_block_mean_drops_the_rest():
    image = np.arange(30.0).reshape(5, 6)
    np.testing.assert_array_equal(block_mean(image, 2), [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    with pytest.raises(ValueError, match="`factor` must fit"):
        block_mean(image, 7)
    with pytest.raises(ValueError, match="`factor`"):
        block_mean(image, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [None, 1, 3])
@pytest.mark.parametrize("downscale", [1, 2])
def test_every_patch_is_found_where_it_says(dtype, stride, downscale):
    images = ImageSet((GRAY, COLOUR, GRAY), np.array([1, 0, 1]), ("a", "b"))
    cut = cut_patches(images, 3, stride=stride, downscale=downscale, dtype=dtype)
    assert cut.patches.dtype == dtype
    step = stride or 3
    for source, image in enumerate(images):
        gray = block_mean(grayscale(image), downscale)
        rows, columns = ((length - 3) // step + 1 for length in gray.shape)
        assert np.count_nonzero(cut.sources == source) == rows * columns
    for patch, source, (row, column) in zip(cut.images, cut.sources, cut.positions, strict=True):
        gray = block_mean(grayscale(images[source]), downscale)
        np.testing.assert_array_equal(patch, gray[row : row + 3, column : column + 3].astype(dtype))
    np.testing.assert_array_equal(cut.labels, images.labels[cut.sources])
    assert len(np.unique(np.column_stack([cut.sources, cut.positions]), axis=0)) == len(cut)


def test_colour_patches_keep_their_channels():
    cut = cut_patches([COLOUR], 4, grayscale=False)
    assert (cut.channels, cut.patches.shape) == (3, (4, 48))
    np.testing.assert_allclose(cut.images[1], COLOUR[:4, 4:] / 255, atol=1e-7)
    assert cut.labels is None
    centred = cut_patches([COLOUR], 4, grayscale=False, remove_mean=True, dtype=np.float64)
    np.testing.assert_allclose(centred.images.mean(axis=(1, 2)), 0, atol=1e-15)
    with pytest.raises(ValueError, match=r"`grayscale` must be set.*\[1, 3\] channels"):
        cut_patches([COLOUR, GRAY], 4, grayscale=False)


def test_mean_and_contrast_are_removed():
    plain = cut_patches([GRAY], 4, stride=1, dtype=np.float64)
    centred = cut_patches([GRAY], 4, stride=1, remove_mean=True, dtype=np.float64)
    np.testing.assert_allclose(
        centred.patches, plain.patches - plain.patches.mean(axis=1, keepdims=True), atol=1e-15
    )
    scaled = cut_patches([GRAY], 4, stride=1, unit_norm=True, dtype=np.float64)
    norms = np.linalg.norm(centred.patches, axis=1, keepdims=True)
    np.testing.assert_allclose(scaled.patches, centred.patches / norms, atol=1e-14)


def test_constant_patches_are_refused_or_dropped():
    image = GRAY.copy()
    image[:, :6] = 77
    coloured = np.stack([image, image, image // 2], axis=-1)
    for images, gray in (([image], True), ([coloured], False)):
        with pytest.raises(ValueError, match=r"no constant patch.*6 of them in image 0"):
            cut_patches(images, 3, unit_norm=True, grayscale=gray)
        cut = cut_patches(images, 3, unit_norm=True, drop_flat=1e-6, grayscale=gray)
        assert cut.positions[:, 1].min() == 6
        assert len(cut) == 6
    assert len(cut_patches([image], 3)) == 12
    with pytest.raises(ValueError, match="drops all"):
        cut_patches([np.zeros((6, 6), np.uint8)], 3, drop_flat=0.01)


def test_subsets_are_uniform_reproducible_and_without_repetition(key):
    all_patches = cut_patches([GRAY, COLOUR], 2, stride=1)
    drawn = cut_patches([GRAY, COLOUR], 2, stride=1, limit=40, key=key)
    again = sample_patches([GRAY, COLOUR], 2, 40, key=key)
    np.testing.assert_array_equal(drawn.patches, again.patches)
    places = {(s, *p) for s, p in zip(drawn.sources, drawn.positions.tolist(), strict=True)}
    assert len(places) == 40
    everything = sample_patches([GRAY, COLOUR], 2, len(all_patches), key=5)
    np.testing.assert_array_equal(everything.patches, all_patches.patches)
    other = sample_patches([GRAY, COLOUR], 2, 40, key=jax.random.fold_in(key, 1))
    assert not np.array_equal(drawn.positions, other.positions)
    counts = np.zeros(len(all_patches))
    width, first = GRAY.shape[1] - 1, np.count_nonzero(all_patches.sources == 0)
    for seed in range(400):
        got = sample_patches([GRAY, COLOUR], 2, 40, key=seed)
        columns = np.where(got.sources == 0, width, COLOUR.shape[1] - 1)
        counts[got.sources * first + got.positions[:, 0] * columns + got.positions[:, 1]] += 1
    share = 40 / len(all_patches)
    assert np.all(np.abs(counts - 400 * share) < 5 * np.sqrt(400 * share * (1 - share)))


def test_legacy_keys_and_seeds_are_keys():
    raw = sample_patches([GRAY], 2, 9, key=jax.random.key_data(jax.random.key(4)))
    typed = sample_patches([GRAY], 2, 9, key=jax.random.key(4))
    np.testing.assert_array_equal(raw.positions, typed.positions)
    for key in (-1, True, 0.5, "seed", jax.random.split(jax.random.key(0))):
        with pytest.raises(ValueError, match="`key`"):
            sample_patches([GRAY], 2, 9, key=key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "`size`"),
        ({"size": 11}, r"`size` must fit.*image 0 of shape \(10, 13\)"),
        ({"size": 4, "downscale": 3}, "reduced by 3"),
        ({"size": 4, "stride": 0}, "`stride`"),
        ({"size": 4, "downscale": 1.5}, "`downscale`"),
        ({"size": 4, "limit": 3}, "come together"),
        ({"size": 4, "key": 3}, "come together"),
        ({"size": 4, "limit": 7, "key": 3}, "not exceed the number of patches, 6"),
        ({"size": 4, "drop_flat": -0.1}, "`drop_flat`"),
        ({"size": 4, "drop_flat": 0.5}, "`drop_flat`"),
        ({"size": 4, "dtype": np.float16}, "`dtype`"),
        ({"size": 4, "dtype": np.int32}, "`dtype`"),
    ],
)
def test_patch_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        cut_patches([GRAY], **options)


def test_split_by_source_shares_no_photograph(key):
    patches = cut_patches(RNG.random((10, 6, 6)), 2)
    train, test = split_by_source(patches, 0.7, key=key)
    assert len(set(train.sources)) == 7
    assert not set(train.sources) & set(test.sources)
    assert len(train) + len(test) == len(patches)
    np.testing.assert_array_equal(split_by_source(patches, 0.7, key=key)[0].patches, train.patches)
    for tiny in (0.001, 0.999):
        assert all(len(side) for side in split_by_source(patches, tiny, key=0))
    with pytest.raises(ValueError, match="at least two photographs"):
        split_by_source(cut_patches([GRAY], 2), 0.5, key=0)
    for wrong in (0, 1, np.nan):
        with pytest.raises(ValueError, match="`fraction`"):
            split_by_source(patches, wrong, key=0)


def test_split_by_region_shares_no_pixel():
    patches = cut_patches([GRAY, COLOUR], 2, stride=1)
    train, test = split_by_region(patches, 0.6)
    for source in (0, 1):
        right = train.positions[train.sources == source, 1].max() + 2
        left = test.positions[test.sources == source, 1].min()
        assert right <= left < right + 2
    with pytest.raises(ValueError, match="both sides"):
        split_by_region(patches, 0.05)
    with pytest.raises(ValueError, match="`fraction`"):
        split_by_region(patches, 1.0)


def test_textures_have_contrast_and_balanced_regions():
    patches = cut_patches(load_bundled("textures"), 8, remove_mean=True)
    assert isinstance(patches, PatchSet)
    assert len(patches) == 3 * 64 * 64
    train, test = split_by_region(patches, 0.75)
    assert set(np.bincount(train.labels)) == {64 * 48}
    assert set(np.bincount(test.labels)) == {64 * 16}


def test_photographs_have_natural_spectra():
    # amplitudes fall with the frequency: neighbouring pixels agree, and reducing keeps that
    patches = cut_patches(load_bundled("photographs"), 16, remove_mean=True, downscale=2)
    images = patches.images
    near = np.mean(images[:, :, 1:] * images[:, :, :-1]) / np.mean(images**2)
    far = np.mean(images[:, :, 8:] * images[:, :, :-8]) / np.mean(images**2)
    assert 0.8 < near < 1
    assert far < 0.3
