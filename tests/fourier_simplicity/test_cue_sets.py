"""Every test set of a cue task scores the same images, with equally many of each class."""

import jax
import numpy as np
import pytest

from fourier_simplicity.networks import cue_sets, sweep_sets
from fourier_simplicity.networks.cues import CONFLICT_AMPLITUDES, CONFLICT_PHASES
from learning_dynamics.images import ImageSet, load_bundled

DIRECTIONS = ((1, 0), (0, 1), (1, 1))


def few_digits(count):
    digits = load_bundled("digits")
    labels = np.asarray(digits.labels)
    return digits.select(np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(10)]))


def waves(rng, side, copies=1):
    """Three classes: waves of side / 8 periods down, across and along the diagonal."""
    at = np.indices((side, side)) * 2 * np.pi / 8
    fields = [k[0] * at[0] + k[1] * at[1] for k in DIRECTIONS for _ in range(copies)]
    images = [np.cos(field + rng.uniform(0, 2 * np.pi)) for field in fields]
    noisy = 0.5 + 0.2 * np.stack(images) + 0.01 * rng.normal(size=(len(images), side, side))
    return ImageSet(noisy.astype(np.float32), np.repeat(range(3), copies), ("a", "b", "c"))


def spectra(images):
    return np.abs(np.fft.fft2(np.asarray(images, np.float64)))


def same_rows(first, second):
    """Whether two sets of arrays hold the same ones, in whatever order."""
    a, b = (np.sort(np.asarray(x).reshape(len(x), -1), axis=0) for x in (first, second))
    return np.allclose(a, b, atol=1e-3 * np.abs(a).max())


@pytest.mark.parametrize("seed", range(2))
def test_few_images_of_every_class_are_all_scored(seed):
    sets = cue_sets(few_digits(5), key=jax.random.key(seed))  # two of each class are tested on
    for _, labels in sets.tests.values():
        assert np.bincount(labels).tolist() == [2] * 10
    conflict, phases = sets.tests[CONFLICT_AMPLITUDES], sets.tests[CONFLICT_PHASES]
    np.testing.assert_array_equal(conflict[0], phases[0])
    assert np.all(conflict[1] != phases[1])
    real = sets.tests["real"]
    np.testing.assert_array_equal(conflict[1], real[1])
    # row by row the amplitudes of the real images, and as a set their phases too
    np.testing.assert_allclose(spectra(conflict[0]), spectra(real[0]), atol=0.01)
    turned = np.fft.fft2(conflict[0])[:, 0, 1] / spectra(conflict[0])[:, 0, 1]
    original = np.fft.fft2(real[0])[:, 0, 1] / spectra(real[0])[:, 0, 1]
    assert same_rows(turned.real, original.real)
    np.testing.assert_allclose(
        spectra(sets.tests["amplitude-only"][0]), spectra(real[0]), atol=0.01
    )


@pytest.mark.slow
def test_patches_of_every_set_come_from_the_same_places(key):
    frames = waves(np.random.default_rng(0), 32)
    sets = cue_sets(frames, size=8, stride=1, test_limit=50, train_limit=60, key=key)
    for images, labels in sets.tests.values():
        assert images.shape == (48, 8, 8)
        assert np.bincount(labels).tolist() == [16] * 3
    peaks = {k: i for i, k in enumerate(DIRECTIONS)}
    for name in ("real", "amplitude-only", CONFLICT_AMPLITUDES):
        images, labels = sets.tests[name]
        power = spectra(images)[:, :2, :2].reshape(-1, 4)
        found = [peaks[tuple(np.divmod(i, 2))] for i in power.argmax(axis=1)]
        np.testing.assert_array_equal(found, labels)  # the amplitudes say which class
    assert np.all(sets.tests[CONFLICT_PHASES][1] != sets.tests[CONFLICT_AMPLITUDES][1])


@pytest.mark.slow
def test_absent_classes_leave_names_and_labels(key):
    two = waves(np.random.default_rng(1), 32).select([0, 2])
    sets = cue_sets(two, size=8, stride=2, train_limit=60, test_limit=50, key=key)
    assert sets.class_names == ("a", "c")
    assert sets.chance == 0.5
    assert set(sets.train[1].tolist()) == {0, 1}
    digits = few_digits(6)
    chosen = digits.select(np.isin(digits.labels, [3, 8]))
    for made in (cue_sets(chosen, key=key), *sweep_sets(chosen, [1.0], key=key)):
        assert (made.class_names, made.chance) == (("3", "8"), 0.5)
        for _, labels in (made.train, *made.tests.values()):
            assert np.bincount(labels).tolist() == [len(labels) // 2] * 2
    unnamed = ImageSet(chosen.images, chosen.labels)
    assert cue_sets(unnamed, key=key).class_names == ("3", "8")


def test_too_few_are_refused(key):
    digits = few_digits(4)
    with pytest.raises(ValueError, match="`test_limit` must leave an image for each of 10 classes"):
        cue_sets(digits, test_limit=9, key=key)
    with pytest.raises(ValueError, match="`train_limit` must leave an image"):
        sweep_sets(digits, [1.0], train_limit=3, key=key)
    with pytest.raises(ValueError, match="`images` must have labels of at least two classes"):
        cue_sets(digits.select(digits.labels == 1), key=key)
    with pytest.raises(ValueError, match="`key` must be a typed key"):
        cue_sets(digits, key=0)
