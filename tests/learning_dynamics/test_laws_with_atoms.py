"""Draws against laws with atoms: counts, mixtures, empirical laws, a single value, late draws."""

import numpy as np
import pytest
from scipy import stats

from learning_dynamics.testing import DisagreementError, assert_same_law, must_fail

RNG = np.random.default_rng(0)
COIN = stats.bernoulli(0.3)


def clipped(x):
    """Distribution function of max(g, 0), g standard normal: half of it at zero."""
    return np.where(x < 0, 0.0, stats.norm.cdf(x))


def empirical(values):
    ordered = np.sort(np.asarray(values, np.float64))
    return lambda x: np.searchsorted(ordered, x, side="right") / ordered.size


CASES = {
    "counts": (RNG.poisson(3, 500), stats.poisson(3).cdf, stats.poisson(4).cdf),
    "coin": (COIN.rvs(400, random_state=1), COIN.cdf, stats.bernoulli(0.55).cdf),
    "mixture": (np.maximum(RNG.normal(size=600), 0), clipped, stats.norm.cdf),
    "single precision": (
        RNG.choice(np.array([0.1, 0.7], np.float32), 300),
        empirical([0.1, 0.7]),
        empirical([0.1, 0.1, 0.1, 0.7]),
    ),
    "one value": (np.full(50, 2.0), empirical([2.0]), empirical([2.0, 3.0])),
    "empirical": (RNG.choice(9, 800), empirical(np.arange(9)), empirical(np.arange(1, 9))),
    "columns": (
        np.stack([RNG.poisson(3, 500), RNG.poisson(3, 500)], axis=1),
        stats.poisson(3).cdf,
        stats.poisson(2).cdf,
    ),
    "late draws": (
        np.where(RNG.random(500) < 0.2, np.inf, RNG.random(500)),
        lambda t: 0.8 * np.clip(t, 0, 1),
        lambda t: np.clip(t, 0, 1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_right_law_passes_and_wrong_one_fails(name):
    draws, right, wrong = CASES[name]
    assert assert_same_law(draws, right) > 1e-3
    with must_fail():
        assert_same_law(draws, wrong)


def test_false_alarms_of_counts_are_rare():
    """P(p < 0.2) is at most 0.2 for the right law, and not zero: the test can fail."""
    rng = np.random.default_rng(3)
    p = []
    for _ in range(200):
        try:
            p.append(assert_same_law(rng.poisson(20, 100), stats.poisson(20).cdf, false_alarm=1e-9))
        except DisagreementError:
            p.append(0.0)
    assert 0 < np.mean(np.array(p) < 0.2) < 0.2 + 4 * np.sqrt(0.16 / 200)


def test_two_samples_of_different_precision_share_their_atoms():
    values = np.array([0.1, 0.2, 0.7])
    one = RNG.choice(values, 400)
    two = RNG.choice(values, 400).astype(np.float32)
    assert assert_same_law(one, two) > 1e-3
    with must_fail():
        assert_same_law(one, RNG.choice(values[:2], 400).astype(np.float32))


def test_what_is_no_distribution_function_is_refused():
    with pytest.raises(ValueError, match="distribution function"):
        assert_same_law(RNG.normal(size=50), stats.norm.pdf)
    with pytest.raises(ValueError, match="distribution function"):
        assert_same_law(RNG.normal(size=50), lambda x: 1 - stats.norm.cdf(x))
    with pytest.raises(ValueError, match="distribution function"):
        assert_same_law(RNG.normal(size=50), lambda x: 2 * stats.norm.cdf(x))
