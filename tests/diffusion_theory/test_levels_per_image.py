"""Noise levels of images go along images, or are refused by name."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffusion_theory.networks import UNet, noisy
from learning_dynamics.noise_schedule import NoiseSchedule, noise_levels

LEVELS = noise_levels(NoiseSchedule.linear(4, 0.1, 0.4).alpha_bar)


def test_one_level_for_each_image():
    """Four images of four rows: both axes would take the four levels."""
    found = noisy(jnp.zeros((4, 4, 4)), jnp.ones((4, 4, 4)), LEVELS, jnp.arange(4, dtype=jnp.int32))
    strength = np.asarray(LEVELS.noise)
    np.testing.assert_allclose(found, np.broadcast_to(strength[:, None, None], (4, 4, 4)))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1)])
def test_other_numbers_of_levels_are_refused(shape):
    images = jnp.zeros((4, 8, 8))
    with pytest.raises(ValueError, match=r"`t` must hold one level for each image, shape \(4,\)"):
        noisy(images, images, LEVELS, jnp.zeros(shape, jnp.int32))
    network = nnx.eval_shape(lambda: UNet((8, 8), widths=(2,), embedding=2, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="`noise` must hold one level for each image"):
        network(images, jnp.full(shape, 0.5))
