"""Linear-noise spread and 1/N shift against an exact solution and against the exact process."""

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.limit.fluctuations import fluctuations
from tests.learning_dynamics.kernel.models import (
    Absolute,
    Bands,
    Committee,
    Denoiser,
    Spike,
    Teacher,
)


def error_of(overlaps):
    return overlaps.norms[..., 0, 0] - 2 * overlaps.signal[..., 0, 0] + 1


@pytest.mark.slow
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
    "batch": (
        ld.Problem(
            Teacher(np.array([1.0])), Committee(2), 1.5, batch=3, parameter_rates={"v": 0.5}
        ),
        ld.order_parameters([[0.4], [0.1]], [[1.0, 0.2], [0.2, 0.7]]),
    ),
    "spherical batch": (
        ld.Problem(Teacher(np.array([1.0])), Committee(1), 2.5, batch=3, update="spherical"),
        ld.order_parameters([[0.4]], [[1.0]]),
    ),
    "blocks": (
        ld.Problem(
            Bands(np.array([1.0]), shares=(0.6, 0.4), variances=(0.5, 2.0)),
            Committee(1), 1.0, batch=2, update="spherical",
        ),
        ld.Overlaps(np.array([[0.4]]), np.array([[[0.5]], [[0.34]]]), {}),
    ),
    "blocks of two neurons": (
        ld.Problem(
            Bands(np.array([1.0]), shares=(0.6, 0.4), variances=(0.5, 1.5)), Committee(2), 1.0
        ),
        ld.Overlaps(
            np.array([[0.4], [0.1]]),
            np.array([[[0.5, 0.1], [0.1, 0.3]], [[0.3, -0.1], [-0.1, 0.4]]]), {},
        ),
    ),
    "absolute error": (
        ld.Problem(Teacher(np.array([1.0]), "linear"), Absolute(), 0.7, label_noise=0.3),
        ld.order_parameters([[0.4]], [[1.0]]),
    ),
}  # fmt: skip
# size N, nodes, and whether the noise blocks are seen one by one
SETTINGS = {"denoiser": (400, 2**12), "absolute error": (400, 2**15)}
SETTINGS |= {"blocks": (400, 2**12), "blocks of two neurons": (400, 2**12)}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_spread_and_shift_of_the_exact_process(case, key):
    """Covariance to 1/N corrections, and the shift within five standard errors."""
    problem, start = CASES[case]
    n, points = SETTINGS.get(case, (100, 2**12))
    times, replicas = np.array([0.3, 1.0]), 40_000 if n == 100 else 20_000
    options = {"times": times, "start": start, "observe": {"blocks": lambda o: o.blocks}}
    theory = fluctuations(problem, points=points, dimension=n, **options)
    assert theory.derivatives == ("law" if case == "absolute error" else "fields")
    limit = ld.integrate(problem, points=2**14, dimension=n, **options)
    seen = ld.simulate(
        problem, dimension=n, replicas=replicas, key=key, level="overlaps", **options
    )
    for name in seen.values:
        draws = seen.values[name]
        spread = draws.std(axis=0) * np.sqrt(n)
        allowed = 0.04 * theory.spread[name] + 2e-3 + theory.spread_error[name]
        assert np.all(np.abs(spread - theory.spread[name]) < allowed), name
        shift = n * (draws.mean(axis=0) - limit.values[name])
        error = n * np.hypot(draws.std(axis=0) / np.sqrt(replicas), limit.quadrature_error[name])
        # corrections of the next order, 1/N of the shift's own scale
        allowed = 5 * error + theory.shift_error[name] + 0.05
        assert np.all(np.abs(shift - theory.shift[name]) < allowed), name
    assert jax.config.jax_enable_x64 is False


@pytest.mark.slow
def test_bias_of_a_limit_is_worked_out_when_asked_for(monkeypatch, key):
    """`integrate` does not pay for it; `prediction` does, once."""
    from learning_dynamics.limit import fluctuations as module

    problem, start = CASES["projected"]
    seen = ld.simulate(problem, dimension=50, times=[0.5], replicas=8, key=key, start=start)
    calls, real = [], module.fluctuations

    def counted(*args, **options):
        calls.append(1)
        return real(*args, **options)

    monkeypatch.setattr(module, "fluctuations", counted)
    limit = ld.integrate(problem, times=[0.5], start=seen, points=2**9)
    assert not calls
    one, two = limit.prediction(), limit.prediction()
    assert len(calls) == 1
    np.testing.assert_array_equal(one.bias, two.bias)
    shift = real(problem, times=[0.5], start=start, points=2**11, tolerance=1e-6).shift["signal"]
    # known to the tolerance 1e-4 of the rough run
    np.testing.assert_allclose(limit.bias["signal"] * 50 / 1.5, np.abs(shift), atol=5e-4)
    assert np.abs(shift) > 2e-3
    assert "/N" in one.bias_order
    with pytest.raises(ValueError, match="finite_size"):
        ld.integrate(problem, times=[0.5], start=start, finite_size=True)


@pytest.mark.slow
def test_memory_is_bounded_by_taking_directions_in_turn(monkeypatch):
    """One direction at a time gives what all at once give, in less memory."""
    from learning_dynamics.limit import linear_noise as module

    problem, start = CASES["projected"]
    found = []
    for most in (module.MOST, 1):
        monkeypatch.setattr(module, "MOST", most)
        jax.clear_caches()
        found.append(fluctuations(problem, times=[0.5], start=start, points=2**9))
    jax.clear_caches()
    np.testing.assert_allclose(found[0].covariance, found[1].covariance, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[0].shift["signal"], found[1].shift["signal"], atol=2e-6)


@pytest.mark.slow
def test_rows_without_noise_have_no_shift():
    """sqrt(R) has no derivative at zero: refused by name, and left out of a comparison."""
    problem = ld.Problem(Teacher(np.ones(1), "linear"), Committee(1, "linear"), 0.5)
    start = ld.order_parameters([[0.0]], [[0.0]])
    with pytest.raises(ValueError, match=r"R_kk > 0, but got R_kk = 0"):
        ld.fluctuations(problem, times=[1.0], start=start)
    seen = ld.simulate(
        problem, dimension=50, times=[1.0], replicas=4, key=jax.random.key(0), start=start
    )
    limit = ld.integrate(problem, start=seen, accuracy=1e-2)
    assert limit.prediction().bias.max() == 0
