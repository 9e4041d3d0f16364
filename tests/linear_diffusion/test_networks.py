"""A linear and a convolutional denoiser trained side by side on finite data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from learning_dynamics.images import ImageSet
from linear_diffusion import LatentLaw, denoiser_losses, draw, optimum, photograph_law, theory
from linear_diffusion.networks import (
    RATE,
    ConvDenoiser,
    LinearDenoiser,
    TrainingSet,
    affine_loss,
    learn_denoisers,
    minibatch_excess,
)
from linear_diffusion.patches import from_coordinates

LEVEL = 0.8


def test_loss_of_an_affine_map_is_that_of_the_optimum_and_of_samples():
    d, rng = 6, np.random.default_rng(0)
    root = rng.normal(size=(d, d))
    covariance, mean = root @ root.T / d, rng.normal(size=d)
    best = optimum(jnp.asarray(mean), jnp.asarray(covariance), [LEVEL])
    W = np.asarray(best.weights[0], np.float64) * np.sqrt(1 - LEVEL)
    b = -np.sqrt(LEVEL / (1 - LEVEL)) * W @ mean
    exact = denoiser_losses(best, jnp.asarray(mean), jnp.asarray(covariance))[0]
    assert affine_loss(W, b, LEVEL, mean, covariance) == pytest.approx(float(exact), rel=1e-5)

    W, b = rng.normal(size=(d, d)) / d, rng.normal(size=d)
    x = mean + rng.normal(size=(200_000, d)) @ root.T / np.sqrt(d)
    noise = rng.normal(size=x.shape)
    y = noise + np.sqrt(LEVEL / (1 - LEVEL)) * x
    losses = ((y @ W.T + b - noise) ** 2).mean(axis=1)
    error = losses.std() / np.sqrt(len(losses))
    assert abs(losses.mean() - affine_loss(W, b, LEVEL, mean, covariance)) < 5 * error


def test_before_training_one_denoiser_takes_all_for_noise_and_the_other_nothing():
    rows = jax.random.normal(jax.random.key(0), (3, 15))
    linear = LinearDenoiser(15, rngs=nnx.Rngs(0))
    convolutional = ConvDenoiser(4, features=3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(linear(rows), rows, rtol=1e-6)
    np.testing.assert_array_equal(convolutional(rows), np.zeros((3, 15)))


def test_the_convolutional_denoiser_sees_pixels():
    """Moving the patch inside its frame by one block moves the prediction."""
    network = ConvDenoiser(8, features=4, layers=2, rngs=nnx.Rngs(1))
    kernel = network.last.kernel
    kernel[...] = jax.random.normal(jax.random.key(2), kernel.shape)
    pixels = np.zeros((1, 8, 8))
    pixels[0, 2:4, 2:4] = [[1, -2], [3, -2]]  # without a mean
    basis = from_coordinates(np.eye(63)).reshape(63, 64)
    moved = np.roll(pixels, 2, axis=2)
    first, second = (
        np.asarray(network(jnp.asarray(p.reshape(1, 64) @ basis.T, np.float32))) @ basis
        for p in (pixels, moved)
    )
    found = np.roll(first.reshape(8, 8), 2, axis=1) - second.reshape(8, 8)
    inside = found[:, 2:] - found[:, 2:].mean()  # up to the mean, which is taken out
    assert np.abs(first).max() > 0.1
    np.testing.assert_allclose(inside[:, :4], 0, atol=1e-4)


@pytest.mark.slow
def test_trained_denoisers_know_their_data_and_sizes_share_one_run():
    spectrum = np.linspace(2.0, 0.1, 15)
    law = LatentLaw(spectrum)
    rows = [np.asarray(draw(law, N + 200, key=jax.random.key(N))) for N in (4, 300)]
    sets = [TrainingSet(x[:-200], x[-200:], LEVEL) for x in rows]
    found = learn_denoisers(sets, np.eye(15)[:, :2], features=4, steps=400, key=jax.random.key(1))
    assert found.gain.shape == (2, 2)
    assert found.train.shape == found.test.shape == (2, 2)
    # few samples are memorised, many are not
    assert np.all(found.test[0] > 2 * found.train[0])
    assert np.all(found.test[1] < 1.3 * found.train[1])
    # the linear one reaches the optimum of its data set but for noise that was drawn 6400 times
    for W, b, x in zip(found.weights, found.bias, rows, strict=True):
        seen = x[:-200].astype(np.float64)
        moments = seen.mean(axis=0), np.cov(seen, rowvar=False, bias=True)
        best = optimum(*(jnp.asarray(m, np.float32) for m in moments), [LEVEL])
        least = float(denoiser_losses(best, *(jnp.asarray(m, np.float32) for m in moments))[0])
        loss = affine_loss(W, b, LEVEL, *moments)
        assert least * (1 - 1e-5) < loss < least * 1.1
    assert affine_loss(found.weights[1], found.bias[1], LEVEL, np.zeros(15), np.diag(spectrum)) > (
        theory.bayes_loss(spectrum, LEVEL).values
    )


def test_patches_of_given_images_make_a_law():
    images = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), np.uint8)
    law = photograph_law(4, 200, key=jax.random.key(0), images=ImageSet(images, None, ()))
    assert law.rows.shape == (200, 15)
    assert law.spectrum.sum() == pytest.approx(15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sets": []}, "sets"),
        ({"directions": np.eye(14)}, "directions"),
        ({"directions": np.eye(15), "short": True}, "sets"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(change, message):
    rows = np.zeros((5, 15))
    fresh = rows[:, :14] if change.pop("short", False) else rows
    given = {"sets": [TrainingSet(rows, fresh, LEVEL)], "directions": np.eye(15)} | change
    with pytest.raises(ValueError, match=message):
        learn_denoisers(**given, steps=1, key=jax.random.key(0))


def test_an_odd_patch_and_a_single_layer_are_refused():
    with pytest.raises(ValueError, match="size"):
        ConvDenoiser(7, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="layers"):
        ConvDenoiser(8, layers=1, rngs=nnx.Rngs(0))


def test_noise_of_minibatches_leaves_the_excess_of_an_adam_in_numpy():
    """Fresh Gaussian data of equal variance per coordinate; W alone, from its optimum."""
    d, batch, steps, rate, runs = 16, 8, 1500, 0.004, 24
    rng = np.random.default_rng(3)
    spectrum = np.geomspace(6.0, 0.05, d)
    spectrum *= d / spectrum.sum()
    basis = np.cos(np.pi * np.outer(np.arange(d) + 0.5, np.arange(d)) / d)  # nearly equal squares
    basis /= np.linalg.norm(basis, axis=0)
    noisy = LEVEL / (1 - LEVEL) * (basis * spectrum) @ basis.T + np.eye(d)
    root, best = np.linalg.cholesky(noisy), np.linalg.inv(noisy)
    W = np.repeat(best[None], runs, axis=0)
    first, second = np.zeros_like(W), np.zeros_like(W)
    for step in range(steps):
        inputs = rng.normal(size=(runs, batch, d)) @ root.T
        # the part of the noise that the best denoiser does not find is independent of the input
        rest = rng.normal(size=(runs, batch, d)) @ np.linalg.cholesky(np.eye(d) - best).T
        error = inputs @ (W - best).swapaxes(1, 2) - rest
        gradient = 2 * error.swapaxes(1, 2) @ inputs / batch
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        W -= rate * (1 - step / steps) ** 2 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    loss = np.mean(1 - np.diag(best))
    excess = np.einsum("rij,jk,rik->r", W - best, noisy, W - best) / d / loss
    options = {"steps": steps, "batch": batch, "learning_rate": rate / RATE}
    theory = minibatch_excess(spectrum, loss, LEVEL, **options)
    error = excess.std(ddof=1) / runs**0.5
    print(excess.mean(), error, float(theory))
    assert abs(excess.mean() - theory) < 5 * error + 0.1 * theory  # coordinates are not quite equal
    later = minibatch_excess(spectrum, loss, LEVEL, **options | {"steps": 2 * steps})
    assert excess.mean() - later > 5 * error  # control
    assert later == pytest.approx(theory / 2 ** (2 / 3))
