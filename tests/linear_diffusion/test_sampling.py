import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learning_dynamics.noise_schedule import NoiseSchedule, noise_levels
from learning_dynamics.testing import assert_agrees
from linear_diffusion import Denoiser, generate, generated_moments, optimum, theory
from linear_diffusion.sampling import generated_variances

D = 4
SAMPLERS = ("ddpm", "ddim")


def data_moments(null=1):
    """Mean and covariance with `null` null directions, as few samples leave them."""
    rng = np.random.default_rng(4)
    root = rng.standard_normal((D, D - null))
    return np.array([2.0, -1.0, 0.5, 0.0]), root @ root.T


def trained(schedule, *, ridge=0.0, dtype=np.float64, null=1):
    mean, covariance = (jnp.asarray(array, dtype) for array in data_moments(null))
    return optimum(mean, covariance, schedule.alpha_bar, ridge=ridge)


def arbitrary(schedule, dtype=np.float32):
    """Matrices that commute with nothing: no eigenbasis to hide a transposition in."""
    rng = np.random.default_rng(8)
    gains = 0.4 * rng.standard_normal((schedule.steps, D, D)) + 0.5 * np.eye(D)
    weights = jnp.asarray(gains, dtype)
    return Denoiser(
        weights, jnp.asarray(data_moments()[0], dtype), noise_levels(schedule.alpha_bar, dtype)
    )


@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("last", [1e-2, 2e-2])
def test_moments_are_those_of_the_closed_form(sampler, ridge, last):
    schedule = NoiseSchedule.linear(1000, 1e-4, last)
    mean, covariance = data_moments()
    variance, vectors = np.linalg.eigh(covariance)
    variance = np.maximum(variance, 0)
    with jax.enable_x64(True):
        found = generated_moments(trained(schedule, ridge=ridge), schedule, sampler=sampler)
        centre, spread = (np.asarray(array) for array in found)
    p = theory.generated_variance(variance, schedule, ridge=ridge, sampler=sampler)
    rotated = vectors.T @ spread @ vectors
    np.testing.assert_allclose(np.diagonal(rotated), p.values, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(rotated, np.diag(p.values), atol=1e-11)
    share = theory.mean_factor(variance, schedule, ridge=ridge, sampler=sampler).values
    np.testing.assert_allclose(vectors.T @ centre, share * (vectors.T @ mean), rtol=1e-10)


def test_null_directions_keep_the_last_noise():
    """DDPM adds beta_1 at the last step: a floor that the moments must show."""
    schedule = NoiseSchedule.linear(1000)
    with jax.enable_x64(True):
        _, spread = generated_moments(trained(schedule), schedule)
    assert np.linalg.eigvalsh(spread)[0] == pytest.approx(1e-4, rel=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_have_the_exact_moments(sampler, key):
    """Gaussian errors of means and covariances, five standard errors, for arbitrary matrices."""
    schedule = NoiseSchedule.linear(20, 1e-3, 0.2)
    denoiser = arbitrary(schedule)
    count = 20_000
    rows = generate(denoiser, schedule, key=key, count=count, sampler=sampler)
    assert rows.shape == (count, D)
    assert rows.dtype == jnp.float32
    centre, spread = (
        np.asarray(array, np.float64)
        for array in generated_moments(denoiser, schedule, sampler=sampler)
    )
    rows = np.asarray(rows, np.float64)
    scale = np.diagonal(spread)
    assert np.all(np.abs(rows.mean(axis=0) - centre) < 5 * np.sqrt(scale / count))
    error = np.sqrt((np.outer(scale, scale) + spread**2) / count)
    assert np.all(np.abs(np.cov(rows.T) - spread) < 5 * error)
    # control: the samplers generate different laws
    other = generated_moments(denoiser, schedule, sampler="ddim" if sampler == "ddpm" else "ddpm")[
        1
    ]
    assert np.any(np.abs(np.cov(rows.T) - np.asarray(other)) > 8 * error)


@pytest.mark.slow
def test_samples_of_a_trained_denoiser(key):
    """In the eigenbasis of the data the samples have the variances of the closed form."""
    schedule = NoiseSchedule.linear(200, 5e-4, 1e-1)
    mean, covariance = data_moments(null=0)
    variance, vectors = np.linalg.eigh(covariance)
    denoiser = trained(schedule, dtype=np.float32, null=0)
    rows = np.asarray(generate(denoiser, schedule, key=key, count=20_000), np.float64)
    projected = rows @ vectors
    p = theory.generated_variance(variance, schedule).values
    share = theory.mean_factor(variance, schedule).values
    assert_agrees(projected, share * (vectors.T @ mean))
    assert np.all(np.abs(projected.var(axis=0) / p - 1) < 5 * np.sqrt(2 / len(rows)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_key_shares_the_noise(sampler, key):
    """Models that differ by their bias alone generate the same deviations from their means."""
    schedule = NoiseSchedule.linear(30, 1e-3, 0.2)
    first = arbitrary(schedule)
    second = first._replace(bias=first.bias + jnp.array([1.0, 0.0, -2.0, 3.0]))
    rows = [
        generate(model, schedule, key=key, count=50, sampler=sampler) for model in (first, second)
    ]
    shift = np.subtract(
        *(generated_moments(model, schedule, sampler=sampler)[0] for model in (second, first))
    )
    assert np.abs(shift).max() > 0.1
    np.testing.assert_allclose(rows[1] - rows[0], np.broadcast_to(shift, (50, D)), atol=2e-4)
    other = generate(first, schedule, key=jax.random.fold_in(key, 1), count=50, sampler=sampler)
    assert not np.allclose(other, rows[0], atol=0.1)
    np.testing.assert_array_equal(
        rows[0], generate(first, schedule, key=key, count=50, sampler=sampler)
    )


def test_double_precision(key):
    schedule = NoiseSchedule.linear(10)
    with jax.enable_x64(True):
        rows = generate(arbitrary(schedule, np.float64), schedule, key=key, count=3)
    assert rows.dtype == np.float64


def test_bad_arguments(key):
    schedule = NoiseSchedule.linear(10)
    denoiser = arbitrary(schedule)
    for function in (
        lambda *a, **k: generate(*a, key=key, count=3, **k),
        generated_moments,
    ):
        with pytest.raises(ValueError, match="`sampler` must be one of 'ddpm', 'ddim'"):
            function(denoiser, schedule, sampler="flow")
        with pytest.raises(ValueError, match=r"`denoiser` must hold one matrix .* 11 steps"):
            function(denoiser, NoiseSchedule.linear(11))
    with pytest.raises(ValueError, match="`count` must"):
        generate(denoiser, schedule, key=key, count=0)


def test_variances_of_batches_are_those_of_the_exact_moments(key):
    schedule = NoiseSchedule.linear(15, 1e-2, 0.3)
    denoiser = arbitrary(schedule)
    directions = np.linalg.qr(np.random.default_rng(1).standard_normal((D, D)))[0][:, :3]
    found = generated_variances(denoiser, schedule, directions, batches=30, count=80, key=key)
    spread = np.asarray(generated_moments(denoiser, schedule)[1], np.float64)
    assert_agrees(found, np.diagonal(directions.T @ spread @ directions))
    with pytest.raises(ValueError, match="`directions` must have 4 rows"):
        generated_variances(denoiser, schedule, np.eye(3), batches=2, count=5, key=key)


def test_one_sample_has_no_variance():
    schedule = NoiseSchedule.linear(3, 0.1, 0.3)
    denoiser = optimum(jnp.zeros(2, jnp.float32), jnp.eye(2, dtype=jnp.float32), schedule.alpha_bar)
    with pytest.raises(ValueError, match="`count`"):
        generated_variances(
            denoiser, schedule, np.eye(2), batches=2, count=1, key=jax.random.key(0)
        )
