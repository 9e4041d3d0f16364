"""Laws of linear regression on the sphere and with momentum, beside the limit and closed forms."""

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.protocols.regression import (
    best_rate_on_sphere,
    regression_on_sphere,
    regression_with_momentum,
)
from tests.learning_dynamics.kernel import linear_regression as line


def test_overlap_on_the_sphere_is_that_of_the_limit():
    times = np.array([0.5, 2.0, 6.0])
    start = ld.Overlaps(np.array([[0.2]]), np.array([[[1 - 0.2**2]]]), {})
    problem = line.problem(0.8, update="spherical")
    limit = ld.integrate(problem, times=times, start=start, points=2**6, method="tensor")
    law = regression_on_sphere(times, rate=0.8, overlap=0.2, label_noise=line.NOISE)
    np.testing.assert_allclose(law, limit.values["signal"][:, 0, 0], atol=1e-6)


def test_best_rate_is_the_largest_growth_and_leaves_the_largest_overlap():
    noise = 0.5
    for m in (0.1, 0.5, 0.9):
        best = best_rate_on_sphere(m, label_noise=noise)
        growth = [
            regression_on_sphere([1e-4], rate=float(rate), overlap=m, label_noise=noise)[0]
            for rate in best * np.array([0.95, 1.0, 1.05])
        ]
        assert np.argmax(growth) == 1
    end, options = [6.0], {"overlap": 0.2, "label_noise": noise}
    greedy = regression_on_sphere(
        end, rate=lambda _, m: best_rate_on_sphere(m, label_noise=noise), **options
    )
    constant = [regression_on_sphere(end, rate=r, **options) for r in np.linspace(0.1, 1.5, 15)]
    assert np.max(constant) < greedy


def test_without_momentum_the_recursion_is_geometric():
    n, rate, updates = 7, 0.4, [1, 2, 5, 30]
    errors = regression_with_momentum(
        updates, rate=rate, momentum=0.0, dimension=n, label_noise=line.NOISE, distance=line.RHO
    )
    np.testing.assert_allclose(errors, line.mean_error([rate] * 30, n)[updates], rtol=1e-12)


def test_two_updates_with_momentum_by_samples():
    """E |w - w_*|^2 by NumPy, from the weights themselves."""
    n, rate, memory, noise, draws = 4, 0.9, 0.7, 0.3, 200_000
    rng = np.random.default_rng(0)
    off, velocity, errors = np.zeros((draws, n)), np.zeros((draws, n)), []
    off[:, 0] = 2.0
    for _ in range(2):
        x = rng.normal(size=(draws, n))
        miss = np.sum(x * off, axis=1) - noise * rng.normal(size=draws)
        velocity = memory * velocity - rate / n * miss[:, None] * x
        off = off + velocity
        errors.append(np.sum(off**2, axis=1))
    exact = regression_with_momentum(
        [1, 2], rate=rate, momentum=memory, dimension=n, label_noise=noise, distance=4.0
    )
    means, deviations = np.mean(errors, axis=1), np.std(errors, axis=1)
    assert np.all(np.abs(means - exact) < 5 * deviations / draws**0.5)


def test_the_overlap_rests_at_large_rates_and_after_long_times():
    """Where both terms of the velocity cancel; time zero alone is the start."""
    noise = 0.5
    for rate, time in ((0.5, 1e12), (1e3, 2.0), (1e6, 2.0)):
        (m,) = regression_on_sphere([time], rate=rate, overlap=0.2, label_noise=noise)
        gain, loss = 1 - m**2, rate * m * (2 * (1 - m) + noise**2) / 2
        np.testing.assert_allclose(gain, loss, rtol=1e-6)
    np.testing.assert_array_equal(regression_on_sphere([0.0], rate=0.5, overlap=0.2), [0.2])
    first, _ = regression_on_sphere([0.0, 1.0], rate=0.5, overlap=0.2)
    assert first == 0.2


def test_a_rate_that_jumps_is_followed():
    """As two runs, one after the other."""
    options = {"label_noise": 0.5}
    (middle,) = regression_on_sphere([1.0], rate=0.8, overlap=0.2, **options)
    (last,) = regression_on_sphere([2.0], rate=0.1, overlap=float(middle), **options)
    jumped = regression_on_sphere(
        [1.0, 3.0], rate=lambda tau, _: 0.8 if tau < 1 else 0.1, overlap=0.2, **options
    )
    np.testing.assert_allclose(jumped, [middle, last], atol=1e-9)


def test_any_number_of_updates_with_momentum():
    """The recursion step by step, the floor after 2^62 updates, and growth beyond all numbers."""
    eta, beta, n, noise, updates = 0.3, 0.9, 20, 0.4, [1, 2, 50, 400]
    a, b, c, s, each = 1.0, 0.0, 0.0, eta / n, []
    for _ in range(updates[-1]):
        c = beta**2 * c - 2 * beta * s * b + s**2 * ((n + 2) * a + n * noise**2)
        off = beta * b - s * a
        a, b = a + 2 * off + c, off + c
        each.append(a)
    options = {"rate": eta, "momentum": beta, "dimension": n, "label_noise": noise}
    seen = regression_with_momentum([*updates, 2**62], **options)
    np.testing.assert_allclose(seen[:-1], np.array(each)[np.array(updates) - 1], rtol=1e-11)
    floor = regression_with_momentum([10**6], **options)
    np.testing.assert_allclose(seen[-1:], floor, rtol=1e-9)
    large = {"rate": 1e5, "momentum": 0.5, "dimension": 10}
    assert regression_with_momentum([1000], **large)[0] == np.inf
    np.testing.assert_array_equal(regression_with_momentum([1, 1000], distance=0.0, **large), 0)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: best_rate_on_sphere(0.5, label_noise=1e200), "label_noise"),
        (lambda: regression_on_sphere([1.0], rate=lambda *_: np.nan, overlap=0.1), "rate"),
        (lambda: regression_on_sphere([1.0], rate=lambda *_: -1.0, overlap=0.1), "rate"),
        (lambda: regression_on_sphere([1.0], rate=lambda *_: 1j, overlap=0.1), "rate"),
        (lambda: regression_on_sphere([1.0], rate=lambda *_: [1.0, 2.0], overlap=0.1), "rate"),
        (lambda: regression_on_sphere([1.0], rate=1e100, overlap=0.1), "rate"),
        (lambda: best_rate_on_sphere(0.0, label_noise=0.5), "overlap"),
        (lambda: best_rate_on_sphere([0.5, 1.1], label_noise=0.5), "overlap"),
        (lambda: best_rate_on_sphere(1.0, label_noise=0.0), "overlap"),
        (lambda: best_rate_on_sphere(0.5, label_noise=-1.0), "label_noise"),
        (lambda: regression_on_sphere([1.0], rate=0.0, overlap=0.1), "rate"),
        (lambda: regression_on_sphere([1.0], rate=1.0, overlap=1.0), "overlap"),
        (lambda: regression_on_sphere([2.0, 1.0], rate=1.0, overlap=0.1), "times"),
        (lambda: regression_with_momentum([3], rate=1.0, momentum=1.0, dimension=4), "momentum"),
        (lambda: regression_with_momentum([3, 2], rate=1.0, momentum=0.5, dimension=4), "updates"),
        (lambda: regression_with_momentum([3], rate=1.0, momentum=0.5, dimension=0), "dimension"),
    ],
)
def test_values_outside_their_range_are_refused(call, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}`"):
        call()
