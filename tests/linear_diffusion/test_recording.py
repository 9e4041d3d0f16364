"""Losses and generated laws along a training run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.spectra import power_law
from linear_diffusion import (
    LatentLaw,
    Moments,
    draw_modes,
    draw_moments,
    generated_along_training,
    gradient_descent,
    losses_along_training,
    losses_of_modes,
    trained_variance,
)

SCHEDULE = NoiseSchedule.linear(12, 1e-2, 0.4)
STEPS = np.array([5, 50, 500])
RATE = 0.05


@pytest.fixture(scope="module")
def run():
    """Small-step gradient descent on one data set, which is gradient flow to 1 %."""
    law = LatentLaw(power_law(8, 1.0))
    key, N = jax.random.key(3), 30
    own = jax.random.fold_in(jax.random.fold_in(key, 0), N)
    with jax.enable_x64(True):
        mean, covariance = draw_moments(law, N, key=own)
        weights = gradient_descent(covariance, SCHEDULE.alpha_bar, learning_rate=RATE, steps=STEPS)
        found = losses_along_training(
            weights,
            mean,
            SCHEDULE.alpha_bar,
            data=(
                Moments(mean, covariance),
                Moments(jnp.zeros(8), jnp.diag(jnp.asarray(law.spectrum))),
            ),
        )
        made = generated_along_training(weights, mean, SCHEDULE)
    modes = draw_modes(law, [N], replicas=2, key=key)
    return modes, [np.asarray(f) for f in found], jax.tree.map(np.asarray, made)


def test_losses_are_those_of_gradient_flow_in_the_sample_eigenbasis(run):
    modes, found, _ = run
    times = 2 * RATE / 8 * STEPS[:, None]
    expected = losses_of_modes(modes, 0.0, SCHEDULE.alpha_bar[None, :], times)
    for seen, flow in zip(found, expected, strict=True):
        np.testing.assert_allclose(seen, flow[0, 0], rtol=0.01)
    train, test = found
    assert np.all(np.diff(train, axis=0) < 0)
    assert np.all(train < test)


def test_generated_covariance_has_the_predicted_variance_per_mode(run):
    modes, _, made = run
    variance, share = trained_variance(modes, SCHEDULE, 2 * RATE / 8 * STEPS)
    for step in range(STEPS.size):
        np.testing.assert_allclose(
            np.sort(np.linalg.eigvalsh(made.covariance[step])),
            np.sort(variance[0, 0, step]),
            rtol=0.02,
        )
        shift = share[0, 0, step] * modes.mean_error[0, 0]
        np.testing.assert_allclose(
            np.linalg.norm(made.mean[step]), np.linalg.norm(shift), rtol=0.02
        )


def test_shapes_are_checked():
    weights = jnp.zeros((2, 3, 4, 4))
    with pytest.raises(ValueError, match="`alpha_bar` must hold 3 levels"):
        losses_along_training(weights, jnp.zeros(4), [0.5], data=())
    with pytest.raises(ValueError, match="`weights` must have shape"):
        generated_along_training(weights, jnp.zeros(5), SCHEDULE)
