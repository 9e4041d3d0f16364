"""Gradient flow, early stopping and the KL along training against trained denoisers."""

from functools import lru_cache

import jax
import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.testing import assert_honest
from linear_diffusion import (
    LatentLaw,
    draw_modes,
    kl_of_modes,
    population_gains,
    trained_variance,
)
from linear_diffusion.theory import (
    kl,
    losses,
    mode_rates,
    optimal_stopping,
    training_gains,
    training_kl,
    training_losses,
)

from . import witnesses as w

TIMES = np.array([0.1, 1.0, 4.0, 20.0, 100.0, 1000.0])
BOTH = ["forward", "reverse"]


@lru_cache
def linear():
    return NoiseSchedule.linear()


@pytest.mark.parametrize("name", ["white", "power1", "power2", "spiked"])
@pytest.mark.parametrize(("samples", "ridge"), [(40, 0.0), (40, 0.1), (100, 0.0), (250, 0.0)])
def test_losses_along_gradient_flow(name, samples, ridge):
    spectrum, a = w.spectrum(name, 100), 0.8
    draws = w.training_draws(spectrum, samples, ridge, a, TIMES, 60, 31)
    found = training_losses(spectrum, samples, ridge, a, TIMES)
    theory = np.stack([found.train.values, found.test.values], axis=-1)
    w.assert_close(theory, draws, 0.04 if samples == 100 else 0.01)


def test_losses_along_gradient_descent():
    spectrum, a, h = w.spectrum("white", 100), 0.5, 0.25
    times = h * np.array([1, 3, 10, 100, 3000])
    draws = w.training_draws(spectrum, 200, 0.05, a, times, 40, 32, step_size=h)
    found = training_losses(spectrum, 200, 0.05, a, times, step_size=h)
    theory = np.stack([found.train.values, found.test.values], axis=-1)
    w.assert_close(theory, draws, 0.01)
    flow = training_losses(spectrum, 200, 0.05, a, times)
    off, error = w.deviation(flow.test.values[0], draws[:, 0, 1])
    assert abs(off) > 0.01 + 3 * error  # control: one large step is no flow


def flow_shape(x, lam, a, time):
    return -np.expm1(-a * (x + lam) * time) / (x + lam)


@pytest.mark.parametrize(("samples", "ridge"), [(40, 0.0), (40, 0.2), (101, 0.0), (300, 0.01)])
def test_white_training_losses_have_honest_errors(samples, ridge):
    d, a = 100, 0.7
    s2 = (1 - a) / a
    times = np.array([1e-3, 0.5, 10.0, 300.0, 1e4])
    train, test = [], []
    for time in times:

        def f(x, time=time):
            return flow_shape(x, ridge + s2, a, time)

        def trace(g):
            return w.marchenko_pastur_trace(g, d, samples, samples - 1)

        first, second = trace(f), trace(lambda x, f=f: f(x) ** 2)
        own = trace(lambda x, f=f: x * f(x) ** 2)
        train.append(1 + s2 / d * (own + s2 * second - 2 * first))
        test.append(1 + s2 / d * ((1 + 1 / samples) * second + s2 * second - 2 * first))
    found = training_losses(np.ones(d), samples, ridge, a, times)
    for prediction, reference in ((found.train, train), (found.test, test)):
        assert_honest(
            prediction, reference, relative=1e-3, reference_error=1e-12 * np.abs(reference)
        )


@pytest.mark.parametrize(
    "samples", [12, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 40))]
)
def test_power_law_training_losses_have_honest_errors(samples):
    spectrum, ridge, a = w.spectrum("power1", 12), 0.05, 0.6
    with mp.workdps(80):
        s2 = (1 - mp.mpf(a)) / mp.mpf(a)
        lam = mp.mpf(ridge) + s2
    times, d = np.array([0.1, 0.5, 2.0]), 12
    shapes = [
        lambda z, t=t: (1 - mp.exp(-mp.mpf(a) * (z + lam) * mp.mpf(float(t)))) / (z + lam)
        for t in times
    ]
    functions = [
        g for f in shapes for g in (f, lambda z, f=f: f(z) ** 2, lambda z, f=f: z * f(z) ** 2)
    ]
    traces = w.contour_traces(functions, spectrum, samples, samples - 1, nodes=600, digits=150)
    train, test = [], []
    for k in range(times.size):
        (first, _), (square, weighted), (own, _) = traces[3 * k : 3 * k + 3]
        train.append(1 + s2 / d * (own + s2 * square - 2 * first))
        test.append(1 + s2 / d * ((1 + mp.mpf(1) / samples) * weighted + s2 * square - 2 * first))
    found = training_losses(spectrum, samples, ridge, a, times)
    assert_honest(found.train, train, relative=1e-3)
    assert_honest(found.test, test, relative=1e-3)


@pytest.mark.parametrize("name", ["white", "power2"])
def test_training_starts_at_one_and_ends_at_the_optimum(name):
    spectrum, samples, a = w.spectrum(name, 60), np.array([20, 200]), 0.6
    found = training_losses(spectrum, samples, 0.1, a, np.array([0.0, 1e-6, 1e4]))
    final = losses(spectrum, samples, 0.1, a)
    for part in ("train", "test"):
        values = getattr(found, part).values
        np.testing.assert_allclose(values[:, 0], 1, rtol=1e-6)
        np.testing.assert_allclose(values[:, 1], 1, rtol=1e-4)
        end = getattr(final, part)
        error = getattr(found, part).numerical_error[:, 2] + end.numerical_error
        assert np.all(np.abs(values[:, 2] - end.values) <= error)
    assert np.broadcast_shapes(found.bayes.values.shape, values.shape) == values.shape


@pytest.mark.parametrize(("name", "samples"), [("white", 40), ("power1", 40), ("spiked", 150)])
def test_early_stopping_is_best_for_the_draws(name, samples):
    spectrum, a = w.spectrum(name, 100), 0.95
    best = optimal_stopping(spectrum, samples, 0.0, a)
    stop = float(best.time.values)
    times = stop * np.array([0.3, 1.0, 3.0])
    draws = w.training_draws(spectrum, samples, 0.0, a, times, 60, 33)[:, :, 1]
    w.assert_close(float(best.test_loss.values), draws[:, 1], 0.01)
    gain = draws[:, [0, 2]] - draws[:, [1]]
    assert np.all(gain.mean(0) > 3 * gain.std(0) / np.sqrt(60))


def test_white_early_stopping_has_an_honest_error():
    d, samples, a = 100, 40, 0.95
    s2 = (1 - a) / a

    def test_loss(time):
        def f(x):
            return flow_shape(x, s2, a, time)

        first = w.marchenko_pastur_trace(f, d, samples, samples - 1)
        second = w.marchenko_pastur_trace(lambda x: f(x) ** 2, d, samples, samples - 1)
        return 1 + s2 / d * ((1 + 1 / samples + s2) * second - 2 * first)

    reference = minimize_scalar(
        test_loss, bounds=(0.1, 30), method="bounded", options={"xatol": 1e-7}
    )
    best = optimal_stopping(np.ones(d), samples, 0.0, a)
    assert_honest(best.test_loss, reference.fun, relative=1e-6)
    assert_honest(best.time, reference.x, relative=0.05, reference_error=1e-5 * reference.x)


# ------------------------------------------------------------------ KL along training


@pytest.mark.parametrize(("name", "samples"), [("white", 50), ("power1", 200), ("spiked", 50)])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_kl_along_training(name, samples, sampler):
    spectrum, schedule = w.spectrum(name, 100), NoiseSchedule.linear(250, 4e-4, 0.07)
    times = np.array([0.3, 2.0, 10.0, 100.0, 3000.0])
    draws = w.training_kl_draws(
        spectrum, samples, 0.02, schedule.beta, schedule.alpha_bar, times, 40, 34, sampler=sampler
    )
    theory = np.stack(
        [
            training_kl(
                spectrum, samples, 0.02, schedule, times, direction=x, sampler=sampler
            ).values
            for x in BOTH
        ],
        axis=-1,
    )
    w.assert_close(theory, draws, 0.01)


def white_training_kl(d, samples, ridge, schedule, times, sampler):
    """Both directions from the Marchenko-Pastur law, shape (times, 2)."""

    def parts(x):
        return w.mode_law(
            lambda a: w.flow_spectrum(x, ridge, a, times[:, None]),
            schedule.beta,
            schedule.alpha_bar,
            sampler,
        )

    def trace(g, corrected=True):
        return w.marchenko_pastur_trace(
            lambda x: g(*parts(x)), d, samples, samples - 1, nodes=600, corrected=corrected
        )

    log = trace(lambda f, p: np.log(p))
    forward = trace(lambda f, p: (1 + f**2 / samples) / p) - d + log
    mean = trace(lambda f, p: f**2, corrected=False) / samples  # of order d/N as it stands
    reverse = trace(lambda f, p: p) + mean - d - log
    return np.stack([forward, reverse], axis=-1) / 2


@pytest.mark.parametrize(("samples", "ridge"), [(40, 0.02), (250, 0.0)])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_white_kl_along_training_has_an_honest_error(samples, ridge, sampler):
    schedule, times = NoiseSchedule.linear(200, 1e-3, 0.08), np.array([0.5, 5.0, 200.0])
    reference = white_training_kl(100, samples, ridge, schedule, times, sampler)
    for side, direction in enumerate(BOTH):
        found = training_kl(
            np.ones(100), samples, ridge, schedule, times, direction=direction, sampler=sampler
        )
        exact = reference[:, side]
        assert_honest(found, exact, relative=1e-2, reference_error=1e-10 * exact)


@pytest.mark.parametrize("direction", BOTH)
def test_kl_along_training_ends_near_the_kl_of_the_optimum(direction):
    spectrum, schedule = w.spectrum("power1", 100), linear()
    late = training_kl(spectrum, 300, 0.05, schedule, np.array([1e5]), direction=direction)
    final = kl(spectrum, 300, 0.05, direction=direction)
    assert late.values[0] == pytest.approx(float(final.values), rel=0.01)


def test_kl_along_training_has_an_interior_optimum_below_the_dimension():
    times = np.geomspace(0.1, 1e5, 25)
    found = training_kl(np.ones(100), 50, 0.0, linear(), times, direction="forward").values
    best = np.argmin(found)
    assert 0 < best < 24
    assert found[-1] > 2 * found[best]


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_deterministic_sampler_without_ridge_has_a_finite_kl_at_late_times(direction):
    """Small variances near x = 0 lie outside the contour when n > d."""
    spectrum, samples = w.spectrum("power1", 40), 120
    schedule = NoiseSchedule.linear(60, 1e-3, 0.2)
    late = training_kl(
        spectrum, samples, 0.0, schedule, [1e3, 1e5], direction=direction, sampler="ddim"
    )
    assert late.values[1] == pytest.approx(late.values[0], rel=1e-3)
    draws = draw_modes(LatentLaw(spectrum), [samples], replicas=300, key=jax.random.key(8))
    variance, share = trained_variance(draws, schedule, [1e5], sampler="ddim")
    seen = kl_of_modes(draws, variance, direction=direction, mean_share=share)[:, 0, 0]
    w.assert_close(late.values[1], seen, 0.01)


@pytest.mark.parametrize("samples", [30, pytest.param(120, marks=pytest.mark.slow)])
def test_gains_of_single_modes_are_the_mean_over_data(samples):
    spectrum, times = w.spectrum("power1", 60), np.array([0.1, 1.0, 10.0])
    found = training_gains(spectrum, samples, 0.05, 0.8, times)
    assert found.values.shape == (3, 60)
    draws = draw_modes(LatentLaw(spectrum), [samples], replicas=1200, key=jax.random.key(9))
    seen = population_gains(draws, 0.8, times, ridge=0.05)[:, 0]
    for mode in (0, 5, 59):
        w.assert_close(found.values[:, mode], seen[..., mode], 0.01)
    assert np.all(found.numerical_error < 1e-10)


def test_rates_of_modes_are_those_of_unlimited_data():
    spectrum, level = np.array([3.0, 1.0, 0.2]), 0.7
    rates = mode_rates(spectrum, level, ridge=0.1)
    half = training_gains(spectrum, 10**9, 0.1, level, np.log(2) / rates).values
    final = np.sqrt(1 - level) / rates
    np.testing.assert_allclose(np.diagonal(half), final / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="`variance`"):
        mode_rates(-1.0, level)
