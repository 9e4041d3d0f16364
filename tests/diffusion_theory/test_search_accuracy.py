"""The search law of spikes at default settings: its constant, errors and refusals."""

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from diffusion_theory.theory import escape_law, gradient_covariance
from diffusion_theory.theory.escape import EscapeLaw
from learning_dynamics.limit.accuracy import InaccurateError

SPIKE, LEARNER = MixedCumulant(9.0, cumulant=None), TiedDenoiser(sign=-1)
PROBLEM = ld.Problem(SPIKE, LEARNER, 0.2, update="spherical")


@pytest.mark.slow
def test_constant_of_a_covariance_spike_at_default_settings():
    """Medians 1.51, 1.99, 2.46 at N = 50, 200, 800; the error bounds the distance to theory."""
    law = ld.search_law(PROBLEM, key=jax.random.key(5), threshold=0.5, draws=20_000)
    exact = escape_law(SPIKE, LEARNER, 0.2, 0.5)
    xi = jax.random.normal(jax.random.key(5), (20_000, 1))
    size = np.abs(np.asarray(xi, np.float64)[:, 0]) * exact.deviation
    constant = np.median(law.draws + np.log(size) / exact.rate)
    assert abs(constant - exact.constant) < law.errors["constant"] < 1e-3
    np.testing.assert_allclose(
        law.gradient_covariance, gradient_covariance(SPIKE, LEARNER), rtol=1e-6
    )
    for n, median in ((50, 1.51), (200, 1.99), (800, 2.46)):
        assert np.median(law.updates(n)) / n == pytest.approx(median, abs=0.02)
        lost = law.updates_errors(n)
        assert np.all((lost > 0) & (lost < 2e-3 * n))
    levels = np.array([0.1, 0.5, 0.9])
    found = law.quantile(levels)
    true = exact.quantile(levels, 1.0)
    assert np.all(np.abs(found.value - true) < found.error)
    assert np.all(found.error < 0.1)
    assert law.median().value == found.value[1]
    with pytest.raises(ValueError, match="level"):
        law.quantile(1.0)


@pytest.mark.slow
def test_law_that_does_not_resolve_is_refused():
    options = {"key": jax.random.key(0), "threshold": 0.5, "draws": 16, "method": "sobol"}
    with pytest.raises(InaccurateError, match="search_law"):
        ld.search_law(PROBLEM, max_points=2**10, **options)
    with pytest.raises(InaccurateError, match="search_law"):  # fixed by hand, and far too few
        ld.search_law(PROBLEM, points=2**6, **options)
    with pytest.warns(RuntimeWarning, match="search_law"):
        law = ld.search_law(PROBLEM, points=2**6, allow_inaccurate=True, **options)
    exact = escape_law(SPIKE, LEARNER, 0.2, 0.5)
    xi = np.asarray(jax.random.normal(jax.random.key(0), (16, 1)), np.float64)[:, 0]
    times = (
        exact.constant - np.log(np.abs(xi) * exact.deviation) / exact.rate
    )  # what it should have been
    assert np.all(np.abs(law.draws - times) < law.draw_errors)


def test_quantiles_of_the_escape_law_are_those_of_its_formula():
    """Against a million draws of log(d)/2g - log|xi|/g + c."""
    law, count = EscapeLaw(0.5, np.ones(1), 1.3, 0.2), 10**6
    xi = law.deviation * np.random.default_rng(0).normal(size=count)
    draws = np.log(64) / (2 * law.rate) - np.log(np.abs(xi)) / law.rate + law.constant
    levels = np.array([0.1, 0.5, 0.9])
    found = law.quantiles(levels, [64]).values[:, 0]
    below = np.mean(draws[:, None] <= found, axis=0)
    assert np.all(np.abs(below - levels) < 5 * np.sqrt(levels * (1 - levels) / count))


@pytest.mark.parametrize(
    ("name", "levels", "dimensions"),
    [
        ("levels", [0.0, 0.5], [64]),
        ("levels", [], [64]),
        ("levels", 0.5, [64]),
        ("dimensions", [0.5], [0]),
        ("dimensions", [0.5], [np.nan]),
        ("dimensions", [0.5], []),
    ],
)
def test_quantiles_off_their_range_are_refused_by_name(name, levels, dimensions):
    with pytest.raises(ValueError, match=f"`{name}`"):
        EscapeLaw(0.5, np.ones(1), 1.3, 0.2).quantiles(levels, dimensions)
