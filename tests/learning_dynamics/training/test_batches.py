"""Minibatches and augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learning_dynamics.training import Minibatches, flip, flip_and_shift, shift


def images(key, n=6, size=8, channels=None):
    shape = (n, size, size) if channels is None else (n, size, size, channels)
    return jax.random.normal(key, shape)


@pytest.mark.parametrize("channels", [None, 3])
def test_shift_keeps_amplitudes_and_translation_invariant_phases(key, channels):
    before = images(key, channels=channels)
    after = shift(before, jax.random.key(1))
    assert not np.allclose(before, after)
    X, Y = (np.fft.fft2(a, axes=(1, 2)) for a in (before, after))
    np.testing.assert_allclose(np.abs(X), np.abs(Y), rtol=1e-3, atol=1e-4)
    triple = [Z[:, 1, 2] * Z[:, 2, 1] * np.conj(Z[:, 3, 3]) for Z in (X, Y)]
    np.testing.assert_allclose(*triple, rtol=1e-3, atol=1e-2)


def test_shifts_are_uniform_on_the_torus():
    one = jnp.zeros((4000, 4, 4)).at[:, 0, 0].set(1)
    counts = np.asarray(shift(one, jax.random.key(3))).sum(axis=0)
    chi_square = ((counts - 250) ** 2 / 250).sum()
    assert chi_square < 15 + 5 * np.sqrt(30)


def test_flip_mirrors_half_of_the_images(key):
    before = images(key, n=1000)
    after = np.asarray(flip(before, jax.random.key(2)))
    same = (after == before).all(axis=(1, 2))
    mirrored = (after == np.asarray(before)[:, :, ::-1]).all(axis=(1, 2))
    assert np.all(same ^ mirrored)
    assert abs(mirrored.sum() - 500) < 5 * np.sqrt(250)


def test_flips_do_not_depend_on_the_width_of_numbers():
    images = jnp.arange(50, dtype=jnp.float32).reshape(10, 1, 5)
    with jax.enable_x64(True):
        wide = flip(images, jax.random.key(2))
    np.testing.assert_array_equal(wide, flip(images, jax.random.key(2)))


@pytest.mark.slow
def test_labels_stay_with_their_images(key):
    x = images(key, n=20) + 100 * jnp.arange(20.0)[:, None, None]
    batches = Minibatches((x, jnp.arange(20)), 32, flip_and_shift)
    found, labels = batches(key)
    assert found.shape == (32, 8, 8)
    np.testing.assert_array_equal(np.rint(np.asarray(found).mean(axis=(1, 2)) / 100), labels)


def test_rows_are_drawn_uniformly():
    drawn = Minibatches(jnp.arange(10), 5000)(jax.random.key(5))
    counts = np.bincount(np.asarray(drawn), minlength=10)
    assert np.all(np.abs(counts - 500) < 5 * np.sqrt(450))


@pytest.mark.parametrize(
    ("data", "size", "message"),
    [
        ((np.zeros((3, 2)), np.zeros(4)), 2, "one length"),
        (np.zeros((0, 2)), 2, "one length"),
        (np.full((3, 2), np.nan), 2, "finite"),
        (np.zeros((3, 2)), 0, "at least 1"),
    ],
)
def test_bad_data_are_refused(data, size, message):
    with pytest.raises(ValueError, match=message):
        Minibatches(data, size)
