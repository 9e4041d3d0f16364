"""Latents, chi variables and Wishart factors against their laws; rules against moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from learning_dynamics import random
from learning_dynamics.hermite import gauss_hermite, hermite, hermite_coefficients
from learning_dynamics.process.reduced_noise import (
    ATTEMPT,
    bartlett,
    chi,
    compress,
    reduced_freedoms,
)


def chis(key, freedoms, count=20000):
    first, later = jax.random.split(key)
    return chi(later, freedoms, random.normal(first, (count, ATTEMPT * len(freedoms))))


@pytest.mark.parametrize("freedoms", [[1, 2], [3, 1000], [1, 2, 4, 10]])
def test_chi_variables(freedoms, key):
    drawn = jax.jit(lambda k: chis(k, freedoms))(key)
    for freedom, column in zip(freedoms, np.asarray(drawn, np.float64).T, strict=True):
        assert stats.kstest(column, stats.chi(freedom).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("rows", "freedom"), [pytest.param(2, 5, marks=pytest.mark.slow), (3, 2), (2, 1), (1, 4)]
)
def test_bartlett_factor_has_the_wishart_law(rows, freedom, key):
    diagonal = chis(key, reduced_freedoms([freedom], [freedom], [1], 0, rows))
    below = jax.random.normal(jax.random.key(8), (20000, rows * rows), jnp.float32)
    t = np.asarray(bartlett(diagonal, below, rows))
    z = np.random.default_rng(0).normal(size=(20000, rows, freedom))
    one, two = t @ np.swapaxes(t, 1, 2), z @ np.swapaxes(z, 1, 2)
    assert t.shape[1:] == (rows, min(rows, freedom))
    for i in range(rows):
        for j in range(rows):
            assert stats.ks_2samp(one[:, i, j], two[:, i, j]).pvalue > 1e-4
    total = [np.linalg.eigvalsh(g)[:, -1] for g in (one, two)]  # joint law
    assert stats.ks_2samp(*total).pvalue > 1e-4


def test_compress_is_safe_for_dependent_rows():
    rows = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    rows[2] = rows[0] - 1e-5 * rows[1]
    factor = np.asarray(compress(jnp.asarray(rows)), np.float64)
    np.testing.assert_allclose(factor @ factor.T, rows @ rows.T, atol=1e-5)
    zero = np.asarray(compress(jnp.zeros((2, 4), jnp.float32)))
    np.testing.assert_array_equal(zero, 0)


LATENTS = {
    "normal": (ld.Normal(), [0, 1, 0, 3]),
    "discrete": (ld.Discrete((-1.0, 0.5), (1 / 3, 2 / 3)), [0, 0.5, -0.25, 0.375]),
    "uniform": (ld.Uniform(-1, 1), [0, 1 / 3, 0, 1 / 5]),
    "rayleigh": (ld.Rayleigh(), [np.sqrt(np.pi) / 2, 1, 0.75 * np.sqrt(np.pi), 2]),
    "student": (ld.StudentT(30.0), [0, 1, 0, 3 + 6 / 26]),
}


@pytest.mark.parametrize("name", LATENTS)
def test_latents(name, key):
    latent, expected = LATENTS[name]
    points, weights = latent.rule(40)
    moments = [np.sum(weights * points**k) for k in (1, 2, 3, 4)]
    if name == "student":  # heavy tails: the fourth moment converges slowly
        moments, expected = moments[:3], expected[:3]
    np.testing.assert_allclose(moments, expected, atol=5e-3 if name == "student" else 1e-10)
    drawn = np.asarray(latent.draw(key, (20000,), jnp.float32), np.float64)
    reference = latent.quantile((np.arange(20000) + 0.5) / 20000)
    if latent.outcomes:
        assert abs(np.mean(drawn == -1.0) - 1 / 3) < 5 * np.sqrt(2 / 9 / 20000)
        assert set(np.unique(drawn)) == set(np.unique(reference))
    else:
        assert stats.ks_2samp(drawn, reference).pvalue > 1e-4


def test_phases_integrate_trigonometric_polynomials_exactly():
    points, weights = ld.Phase().rule(12)
    assert abs(np.sum(weights * np.exp(1j * 5 * points))) < 1e-14
    assert ld.Phase().periodic


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: ld.Discrete((1.0, 2.0), (0.5, 0.6)), "probabilities"),
        (lambda: ld.Discrete((1.0, 2.0), (1.0,)), "probabilities"),
        (lambda: ld.Uniform(1.0, 0.0), "high"),
        (lambda: ld.StudentT(2.0), "freedom"),
        (lambda: ld.Normal(3), "shape"),
        (lambda: gauss_hermite(0), "nodes"),
        (lambda: gauss_hermite(300), "nodes"),
        (lambda: hermite(-1, 0.0), "order"),
    ],
)
def test_bad_values_are_refused(make, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}"):
        make()


def test_hermite_polynomials_and_coefficients():
    x = np.linspace(-2, 2, 5)
    np.testing.assert_allclose(hermite(3, x), x**3 - 3 * x)
    points, weights = gauss_hermite(20)
    gram = [
        [np.sum(weights * hermite(i, points) * hermite(j, points)) for i in range(5)]
        for j in range(5)
    ]
    np.testing.assert_allclose(gram, np.diag([1, 1, 2, 6, 24]), atol=1e-11)
    found, error = hermite_coefficients(lambda g: np.exp(g - 0.5), 4)
    np.testing.assert_allclose(found, 1, atol=1e-10)
    assert np.all(np.abs(found - 1) <= error)
    relu, error = hermite_coefficients(lambda g: np.maximum(g, 0), 4)
    exact = [1 / np.sqrt(2 * np.pi), 0.5, 1 / np.sqrt(2 * np.pi), 0, -1 / np.sqrt(2 * np.pi)]
    assert np.all(np.abs(relu - exact) <= error)  # a kink: slow, and the error says so
