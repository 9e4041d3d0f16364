import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.testing import assert_agrees, must_fail
from linear_diffusion import (
    LatentLaw,
    draw,
    estimate_kl,
    gaussian_kl,
    nearest_neighbours,
    shared_noise_cosine,
    theory,
)
from linear_diffusion.measures import memorisation

D = 3


def gaussian(seed):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((D, D))
    return rng.standard_normal(D), root @ root.T + 0.3 * np.eye(D)


def test_kl_in_one_dimension_is_its_integral():
    p, q = norm(0.3, 1.7), norm(-1.0, 0.8)
    exact = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -30, 30, epsabs=1e-12)[0]
    with jax.enable_x64(True):
        columns = [jnp.array([[0.3], [1.7**2], [-1.0], [0.8**2]])[i] for i in range(4)]
        found = gaussian_kl(columns[0], columns[1][:, None], columns[2], columns[3][:, None])
    assert float(found) == pytest.approx(exact, rel=1e-9)


def test_kl_against_inverses_determinants_and_densities():
    (m, A), (n, B) = gaussian(0), gaussian(1)
    with jax.enable_x64(True):
        found = float(gaussian_kl(*map(jnp.asarray, (m, A, n, B))))
        same = float(gaussian_kl(*map(jnp.asarray, (m, A, m, A))))
    inverse = np.linalg.inv(B)
    logs = np.linalg.slogdet(B)[1] - np.linalg.slogdet(A)[1]
    assert found == pytest.approx(
        (np.trace(inverse @ A) + (m - n) @ inverse @ (m - n) - D + logs) / 2, rel=1e-12
    )
    assert same == pytest.approx(0, abs=1e-13)
    rows = np.random.default_rng(2).multivariate_normal(m, A, 100_000)
    ratio = multivariate_normal(m, A).logpdf(rows) - multivariate_normal(n, B).logpdf(rows)
    assert_agrees(ratio, found)


def test_kl_of_a_singular_law_is_nan():
    mean, covariance = (jnp.asarray(array, jnp.float32) for array in gaussian(0))
    singular = jnp.diag(jnp.array([1.0, 1.0, -1.0]))
    assert np.isnan(gaussian_kl(mean, singular, mean, covariance))
    assert np.isnan(gaussian_kl(mean, covariance, mean, singular))


def test_bias_of_the_estimate(key):
    """Samples of the law itself: the mean is the exact KL of a fit, near d (d + 3) / (4 count)."""
    mean, covariance = gaussian(3)
    count, repeats = 150, 2000
    with jax.enable_x64(True):
        root = jnp.linalg.cholesky(jnp.asarray(covariance))
        noise = jax.random.normal(key, (repeats, count, D), np.float64)
        rows = noise @ root.T + jnp.asarray(mean)[None, None, :]
        draws = np.array(
            jax.jit(jax.vmap(lambda x: estimate_kl(x, jnp.asarray(mean), jnp.asarray(covariance))))(
                rows
            )
        )
    leading = D * (D + 3) / (4 * count)
    for direction, values in zip(("forward", "reverse"), draws, strict=True):
        exact = theory.exact_kl(D, count, direction=direction)
        assert_agrees(values, exact, resolution=0.02 * leading)
        assert_agrees(values, leading, bias=0.05 * leading)
        with must_fail():
            assert_agrees(values, 2 * leading, false_alarm=1e-15)


def test_estimate_finds_a_wrong_law(key):
    mean, covariance = (jnp.asarray(array, jnp.float32) for array in gaussian(4))
    rows = jax.random.normal(key, (50_000, D))
    forward, reverse = estimate_kl(rows, mean, covariance)
    standard = (jnp.zeros(D), jnp.eye(D))
    assert float(forward) == pytest.approx(float(gaussian_kl(mean, covariance, *standard)), rel=0.1)
    assert float(reverse) == pytest.approx(float(gaussian_kl(*standard, mean, covariance)), rel=0.1)
    with pytest.raises(ValueError, match="`samples` must hold more than d = 3 rows, but got 3"):
        estimate_kl(rows[:3], mean, covariance)


def test_neighbours_of_constructed_points():
    training = jnp.array([[4.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    fresh = jnp.array([[0.0, 1.0], [0.0, -1.0], [1.0, 1.0]])
    generated = jnp.array([[3.0, 0.0], [0.0, 1.9], [1.5, 0.5]])
    found, copied = nearest_neighbours(generated, training, fresh)
    root = np.sqrt(0.5)
    np.testing.assert_allclose(found.training_cosine, [1, 1, 3 / np.sqrt(10)], rtol=1e-6)
    np.testing.assert_allclose(found.fresh_cosine, [root, 1, 4 / np.sqrt(20)], rtol=1e-6)
    first = np.array([1.0, 0.1, np.sqrt(4.5)])
    second = np.array([np.sqrt(13), np.sqrt(1 + 2.9**2), np.sqrt(6.5)])
    np.testing.assert_allclose(found.distance_ratio, first / second, rtol=1e-5)
    assert float(copied) == pytest.approx(2 / 3)
    assert float(nearest_neighbours(generated, training, fresh, threshold=0.1)[1]) == (
        pytest.approx(1 / 3)
    )


@pytest.mark.slow
def test_neighbours_against_all_distances(key):
    generated, training, fresh = (
        jax.random.normal(jax.random.fold_in(key, i), (30, 8)) + 0.5 for i in range(3)
    )
    found, _ = nearest_neighbours(generated, training, fresh)
    pairs = np.asarray(generated)[:, None] - np.asarray(training)[None]
    distances = np.sort(np.linalg.norm(pairs, axis=-1), axis=1)
    np.testing.assert_allclose(found.distance_ratio, distances[:, 0] / distances[:, 1], rtol=1e-4)
    norms = [np.asarray(x) / np.linalg.norm(x, axis=1)[:, None] for x in (generated, fresh)]
    np.testing.assert_allclose(found.fresh_cosine, (norms[0] @ norms[1].T).max(axis=1), rtol=1e-5)


@pytest.mark.slow
def test_copies_are_found_and_fresh_samples_are_not(key):
    """Far from the origin too, where squares of lengths lose the distances in rounding."""
    offset = 300.0
    training, fresh, others = (
        offset + jax.random.normal(jax.random.fold_in(key, i), (40, 10)) for i in range(3)
    )
    found, copied = nearest_neighbours(training, training, fresh)
    assert float(copied) == 1
    assert np.all(found.distance_ratio < 0.01)
    assert float(nearest_neighbours(others, training, fresh)[1]) == 0


def test_a_row_that_occurs_twice_is_a_copy():
    training = jnp.array([[1.0, 2.0], [1.0, 2.0], [5.0, 0.0]])
    found, copied = nearest_neighbours(training[:1], training, training)
    assert np.all(np.isfinite(found.distance_ratio))
    assert float(copied) == 1


def test_bad_neighbours():
    rows = jnp.ones((3, 2))
    with pytest.raises(ValueError, match=r"`fresh` must have the training set's shape \(3, 2\)"):
        nearest_neighbours(rows, rows, rows[:2])
    with pytest.raises(ValueError, match="`training` must hold at least two rows"):
        nearest_neighbours(rows, rows[:1], rows[:1])


def test_cosine():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert float(shared_noise_cosine(x, 3 * x)) == pytest.approx(1)
    assert float(shared_noise_cosine(x, -x)) == pytest.approx(-1)
    y = jnp.array([[2.0, -1.0], [4.0, -3.0]])
    assert float(shared_noise_cosine(x, y)) == pytest.approx(0)
    z = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    assert float(shared_noise_cosine(x, z)) == pytest.approx(5 / np.sqrt(30 * 2))


def test_few_rows_are_memorised_as_their_span_and_many_are_not(key):
    law, schedule = LatentLaw(np.ones(20)), NoiseSchedule.linear(60, 1e-4, 0.3)
    found = memorisation(law, [4, 200], schedule, count=40, key=key)
    assert found.generated.shape == (2, 40, 20)
    rows, fresh = (draw(law, 200, key=each) for each in jax.random.split(key, 3)[:2])
    np.testing.assert_array_equal(found.fresh, fresh)
    for i, N in enumerate((4, 200)):
        for cosines, others in ((found.training_cosine, rows), (found.fresh_cosine, fresh)):
            sets = [np.asarray(x, np.float64) for x in (found.generated[i], others[:N])]
            unit = [x / np.linalg.norm(x, axis=1)[:, None] for x in sets]
            np.testing.assert_allclose(cosines[i], (unit[0] @ unit[1].T).max(axis=1), rtol=1e-4)
    mean = np.asarray(rows[:4]).mean(axis=0)
    centred = np.asarray(rows[:4]) - mean
    null = np.linalg.svd(centred)[2][3:]  # directions without a sample
    outside = (found.generated[0] - theory.mean_factor(0.0, schedule).values * mean) @ null.T
    ratio = np.mean(outside**2) / theory.generated_variance(0.0, schedule).values
    assert abs(ratio - 1) < 5 * np.sqrt(2 / outside.size)
    gaps = (found.training_cosine - found.fresh_cosine).mean(axis=1)
    assert gaps[0] > 0.2 > abs(gaps[1])
