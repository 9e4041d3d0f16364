"""Linear-noise spread and 1/N shift against an exact solution and against the exact process."""

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.kernel.fluctuations import fluctuations
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher


def error_of(overlaps):
    return overlaps.norms[..., 0, 0] - 2 * overlaps.signal[..., 0, 0] + 1


def test_shift_of_the_linear_learner_is_exact():
    """From the exact recursion of E |w - w*|^2 (fourth Gaussian moment), N -> infinity."""
    eta, noise, times = 0.5, 0.4, np.array([0.5, 2.0])
    problem = ld.Problem(
        Teacher(np.array([1.0]), "linear"), Committee(1, "linear"), eta, label_noise=noise
    )
    start = ld.order_parameters([[0.2]], [[1.1]])
    found = fluctuations(
        problem, times=times, start=start, observe={"error": error_of}, points=500,
        method="tensor", tolerance=1e-9,
    )  # fmt: skip
    rate, floor = 2 * eta - eta**2, eta * noise**2 / (2 - eta)
    limit = floor + (1.7 - floor) * np.exp(-rate * times)
    for n in (10**4, 10**5):
        keep = 1 - 2 * eta / n + (eta / n) ** 2 * (n + 2)
        steady = eta**2 * noise**2 / n / (1 - keep)
        exact = steady + (1.7 - steady) * np.exp(times * n * np.log(keep))
        np.testing.assert_allclose(found.shift["error"], n * (exact - limit), rtol=3 / n + 2e-5)


CASES = {
    "plain": (
        ld.Problem(
            Teacher(np.array([1.0, 0.5])), Committee(1), 1.5,
            parameter_rates={"v": 0.5}, label_noise=0.2,
        ),
        ld.order_parameters([[0.4, -0.2]], [[1.0]]),
    ),
    "spherical": (
        ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(1), 1.5, update="spherical"),
        ld.order_parameters([[0.4, -0.2]], [[1.0]]),
    ),
    "projected": (
        ld.Problem(Teacher(np.array([1.0])), Committee(1), 1.5, update="projected"),
        ld.order_parameters([[0.4]], [[1.0]]),
    ),
    "two neurons": (
        ld.Problem(Teacher(np.array([1.0])), Committee(2), 1.0),
        ld.order_parameters([[0.4], [0.1]], [[1.0, 0.2], [0.2, 0.7]]),
    ),
    "denoiser": (
        ld.Problem(Spike(), Denoiser(1), 0.3, update="spherical"),
        ld.order_parameters([[0.4]], [[1.0]]),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [c if c == "spherical" else pytest.param(c, marks=pytest.mark.slow) for c in CASES],
)
def test_spread_and_shift_of_the_exact_process(case, key):
    """Covariance to 1/N corrections, and the shift within five standard errors."""
    problem, start = CASES[case]
    n = 400 if case == "denoiser" else 100  # its corrections of the next order are larger
    times, replicas = np.array([0.3, 1.0]), 40_000 if n == 100 else 20_000
    options = {"times": times, "start": start}
    theory = fluctuations(problem, points=2**12, **options)
    limit = ld.integrate(problem, points=2**14, **options)
    seen = ld.simulate(
        problem, dimension=n, replicas=replicas, key=key, level="overlaps", **options
    )
    for name in seen.values:
        draws = seen.values[name]
        spread = draws.std(axis=0) * np.sqrt(n)
        np.testing.assert_allclose(spread, theory.spread[name], rtol=0.04, atol=2e-3)
        shift = n * (draws.mean(axis=0) - limit.values[name])
        error = n * np.hypot(draws.std(axis=0) / np.sqrt(replicas), limit.quadrature_error[name])
        # corrections of the next order, 1/N of the shift's own scale
        assert np.all(np.abs(shift - theory.shift[name]) < 5 * error + 0.05)
    assert jax.config.jax_enable_x64 is False
