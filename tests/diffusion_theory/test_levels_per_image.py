"""Noise levels of images go along images, or are refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffusion_theory.networks import UNet, noise_loss
from learning_dynamics.noise_schedule import NoiseLevels, NoiseSchedule, noise_levels

LEVELS = noise_levels(NoiseSchedule.linear(4, 0.1, 0.4).alpha_bar)


def test_one_level_for_each_image():
    """Four images of four rows: both axes would take the four levels."""
    found = LEVELS.at(jnp.arange(4, dtype=jnp.int32)).mix(jnp.zeros((4, 4, 4)), jnp.ones((4, 4, 4)))
    strength = np.asarray(LEVELS.noise)
    np.testing.assert_allclose(found, np.broadcast_to(strength[:, None, None], (4, 4, 4)))


def test_one_level_for_all_images():
    found = LEVELS.at(2).mix(jnp.ones((4, 4, 4)), jnp.zeros((4, 4, 4)))
    np.testing.assert_array_equal(found, np.full((4, 4, 4), np.asarray(LEVELS.signal)[2]))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1)])
def test_other_numbers_of_levels_are_refused(shape):
    images, levels = jnp.zeros((4, 8, 8)), LEVELS.at(jnp.zeros(shape, jnp.int32))
    message = r"`levels` must hold one level for each sample, shape \(4,\)"
    if shape:
        with pytest.raises(ValueError, match=message):
            levels.mix(images, images)
    network = nnx.eval_shape(lambda: UNet((8, 8), widths=(2,), embedding=2, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=message):
        network(images, levels)


def test_amplitudes_of_numbers_are_double():
    """Theory reads the amplitudes of a model's one level, whatever JAX's precision is."""
    level = NoiseLevels(0.1, 1 - 0.1)
    assert (level.signal, level.noise) == (0.1**0.5, 0.9**0.5)


@pytest.mark.parametrize("levels", [np.array([0.5]), jnp.array([3]), LEVELS.at(0)])
def test_what_are_no_levels_to_draw_from_is_refused(levels):
    with pytest.raises(ValueError, match="`levels` must be"):
        noise_loss(lambda images, _: images, (jnp.zeros((1, 8, 8)), levels), jax.random.key(0))


@pytest.mark.parametrize("shape", [(4, 8), (4, 8, 8, 1), (4, 8, 6), (4, 8, 8, 3)])
def test_images_of_another_network_are_refused(shape):
    network = nnx.eval_shape(lambda: UNet((8, 8), widths=(2, 2, 2), embedding=2, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="`images` must have"):
        network(jnp.zeros(shape), LEVELS)
