"""Surrogates that keep the class mean alone, or take it out alone: what they keep exactly."""

import jax
import numpy as np
import pytest

from fourier_simplicity import class_mean_only, class_mean_removed


@pytest.fixture(scope="module")
def labelled():
    """Three classes of different mean, covariance, skewness and number."""
    rng = np.random.default_rng(1)
    labels = np.array([7] * 5 + [2] * 9 + [4] * 12)
    images = [
        label / 10 + rng.gumbel(size=(3, 4)) * rng.uniform(0.2, 0.5, (3, 1)) * label
        for label in labels
    ]
    order = rng.permutation(len(labels))
    return np.stack(images)[order].astype(np.float32), labels[order]


def of_class(images, labels, c):
    chosen = np.asarray(images, np.float64)[labels == c]
    return chosen.reshape(len(chosen), -1)


def within(images, labels):
    """Pooled covariance within classes, summed image by image."""
    total = 0
    for c in set(labels.tolist()):
        rows = of_class(images, labels, c)
        total = total + sum(np.outer(r, r) for r in rows - rows.mean(axis=0))
    return total / (len(labels) - len(set(labels.tolist())))


def test_without_class_means_all_cumulants_but_the_first_stay(labelled):
    images, labels = labelled
    removed = class_mean_removed(images, labels)
    middle = np.mean([of_class(images, labels, c).mean(axis=0) for c in (2, 4, 7)], axis=0)
    for c in (2, 4, 7):
        before, after = of_class(images, labels, c), of_class(removed, labels, c)
        np.testing.assert_allclose(after.mean(axis=0), middle, atol=2e-6)
        centred = [rows - rows.mean(axis=0) for rows in (before, after)]
        for order in ("ni,nj->ij", "ni,nj,nk->ijk", "ni,nj,nk,nl->ijkl"):
            copies = order.count(",") + 1
            one, two = (np.einsum(order, *[rows] * copies) for rows in centred)
            np.testing.assert_allclose(two, one, atol=1e-5 * np.abs(one).max())


def test_class_means_alone_stay_exactly(labelled):
    images, labels = labelled
    kept = class_mean_only(images, labels, key=jax.random.key(3))
    for c in (2, 4, 7):
        before, after = of_class(images, labels, c), of_class(kept, labels, c)
        np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=2e-6)
        assert not np.allclose(after, before, atol=0.1)


@pytest.mark.slow
def test_noise_about_class_means_is_gaussian_and_the_same_for_all_classes(labelled):
    images, labels = labelled
    draws = np.stack(
        [np.asarray(class_mean_only(images, labels, key=jax.random.key(i))) for i in range(800)]
    ).astype(np.float64)
    expected = within(images, labels)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    for c in (2, 4, 7):
        mean = of_class(images, labels, c).mean(axis=0)
        noise = draws[:, labels == c].reshape(800, -1, 12) - mean
        n = noise.shape[1]
        covariances = np.einsum("rni,rnj->rij", noise, noise) / n
        error = covariances.std(axis=0) / np.sqrt(800)
        assert np.all(np.abs(covariances.mean(axis=0) - expected * 1.0) < 5 * error + 1e-6 * scale)
        flat = noise.reshape(-1, 12) / np.sqrt(np.diag(expected))
        fourth = (flat**4).mean(axis=0) - 3
        assert np.all(np.abs(fourth) < 6 * np.sqrt(96 / 800))  # n correlated rows of a draw


def test_surrogates_of_means_work_inside_compiled_functions(labelled):
    images, labels = labelled
    key = jax.random.key(0)
    for function in (class_mean_removed, lambda x, y: class_mean_only(x, y, key=key)):
        outside, inside = function(images, labels), jax.jit(function)(images, labels)
        np.testing.assert_allclose(inside, outside, atol=2e-6)


def test_colours_and_bytes_are_taken_like_floats():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 4, 4, 3), np.uint8)
    labels = [0, 1, 0, 1, 0, 1]
    for function in (class_mean_removed, lambda x, y: class_mean_only(x, y, key=jax.random.key(0))):
        found = function(pixels, labels)
        assert found.shape == pixels.shape
        np.testing.assert_allclose(
            found, function(pixels.astype(np.float32) / 255, labels), atol=1e-5
        )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "`labels` must be 4 integers, one for each image, but got .* shape"),
        ([0.0, 1.0, 0.0, 1.0], "`labels` must be 4 integers"),
        ([0, 1, 1, 1], "`labels` must hold at least 2 images of every class, but got 1"),
    ],
)
def test_bad_labels_are_refused_by_name(labels, message):
    with pytest.raises(ValueError, match=message):
        class_mean_only(np.ones((4, 2, 2)), labels, key=jax.random.key(0))


def test_bad_images_and_keys_are_refused_by_name():
    with pytest.raises(ValueError, match="images"):
        class_mean_removed(np.full((4, 2, 2), np.nan), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="images"):
        class_mean_removed(np.ones((4, 2)), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="key"):
        class_mean_only(np.ones((4, 2, 2)), [0, 0, 1, 1], key=0)
