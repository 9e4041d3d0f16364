"""The sampling law at finitely many steps, and two models sharing their noise."""

from functools import lru_cache

import numpy as np
import pytest

from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.testing import assert_honest, assert_order
from linear_diffusion.theory import (
    generated_variance,
    generated_variance_recursion,
    mean_factor,
    similarity,
)

from . import witnesses as w

EIGENVALUES = np.array([60.0, 3.0, 1.0, 0.5, 1e-2, 1e-4, 1e-7])


@lru_cache
def schedules():
    return {
        "Ho": NoiseSchedule.linear(),
        "slides": NoiseSchedule.linear(last=1e-2),
        "short": NoiseSchedule.linear(20, 1e-3, 0.3),
    }


def law(eigenvalues, schedule, ridge, sampler):
    def weights(a):
        return w.flow_spectrum(eigenvalues, ridge, a, np.inf)

    return w.mode_law(weights, schedule.beta, schedule.alpha_bar, sampler)


@pytest.mark.parametrize("name", ["Ho", "slides", "short"])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_variance_is_that_of_the_recursion(name, ridge, sampler):
    schedule = schedules()[name]
    _, variance = law(EIGENVALUES, schedule, ridge, sampler)
    closed = generated_variance(EIGENVALUES, schedule, ridge=ridge, sampler=sampler)
    gains = w.flow_spectrum(EIGENVALUES[:, None], ridge, schedule.alpha_bar, np.inf)
    steps = generated_variance_recursion(gains, schedule, sampler=sampler)
    np.testing.assert_allclose(closed.values, variance, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(steps, variance, rtol=1e-10, atol=1e-15)
    rounding = 1e-12 * variance + 1e-15  # of the recursion here
    assert_honest(closed, variance, relative=1e-8, reference_error=rounding)


@pytest.mark.parametrize("name", ["Ho", "slides", "short"])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_mean_factor_is_that_of_the_recursion(name, ridge):
    factor, _ = law(EIGENVALUES, schedules()[name], ridge, "ddpm")
    found = mean_factor(EIGENVALUES, schedules()[name], ridge=ridge)
    np.testing.assert_allclose(found.values, factor, rtol=1e-10)


@pytest.mark.parametrize("name", ["Ho", "slides"])
def test_first_step_floors_the_variance_of_null_directions(name):
    schedule = schedules()[name]
    found = generated_variance(np.array([1.0, 0.0]), schedule)
    np.testing.assert_allclose(found.values, [1.0, schedule.beta[0]], rtol=1e-10)
    _, recursion = law(np.array([1.0, 0.0]), schedule, 0.0, "ddpm")
    np.testing.assert_allclose(recursion, [1.0, schedule.beta[0]], rtol=1e-10)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_variance_and_mean_are_those_of_samples(sampler):
    schedule = NoiseSchedule.linear(100, 1e-3, 0.1)
    rng = np.random.default_rng(41)
    root, mean = rng.standard_normal((3, 5)), np.array([2.0, -1.0, 0.5])
    covariance = root @ root.T / 5
    values, basis = np.linalg.eigh(covariance)
    draws = w.generated_samples(
        lambda a: w.optimum(covariance, 0.02, a),
        mean,
        schedule.beta,
        schedule.alpha_bar,
        sampler,
        50_000,
        42,
    )
    found = generated_variance(values[::-1], schedule, ridge=0.02, sampler=sampler).values[::-1]
    modes = draws @ basis
    np.testing.assert_allclose(modes.var(axis=0), found, rtol=4 * np.sqrt(2 / 50_000))
    if sampler == "ddpm":
        factor = mean_factor(values, schedule, ridge=0.02).values
        off = np.abs(modes.mean(axis=0) - factor * (basis.T @ mean))
        assert np.all(off < 4 * np.sqrt(found / 50_000))


def test_many_steps_generate_the_ridged_covariance():
    eigenvalues = np.array([20.0, 1.0, 0.1])
    errors = []
    for steps in (500, 1000, 2000):
        schedule = NoiseSchedule.linear(steps, 1e-1 / steps, 20 / steps)
        found = generated_variance(eigenvalues, schedule, ridge=0.1).values
        errors.append(np.abs(found - eigenvalues - 0.1))
    assert np.all(errors[-1] < 5e-3 * eigenvalues)
    for mode in (0, 2):
        assert_order([1 / 500, 1 / 1000, 1 / 2000], np.array(errors)[:, mode], 1, tolerance=0.14)


def test_probability_flow_is_the_limit_of_many_deterministic_steps():
    eigenvalues = np.array([20.0, 1.0, 0.1])
    errors = []
    for steps in (500, 2000):
        schedule = NoiseSchedule.linear(steps, 1e-1 / steps, 20 / steps)
        flow = generated_variance(eigenvalues, schedule, sampler="flow").values
        final = schedule.alpha_bar[-1] * eigenvalues + 1 - schedule.alpha_bar[-1]
        np.testing.assert_allclose(flow, eigenvalues / final, rtol=1e-12)
        found = generated_variance(eigenvalues, schedule, sampler="ddim").values
        errors.append(np.abs(found / flow - 1))
    assert np.all(errors[1] < 0.02)
    assert np.all(errors[1] < errors[0] / 3)


# ------------------------------------------------------------------ two models


@pytest.mark.parametrize("name", ["white", "power1", "power2", "spiked"])
@pytest.mark.parametrize("samples", [30, 100, 250])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_flow_similarity_is_the_mean_over_pairs(name, samples, ridge):
    spectrum = w.spectrum(name, 100)
    draws = w.similarity_draws(spectrum, samples, ridge, 40, 43)
    cosine = draws[:, 0] / draws[:, 1]
    theory = similarity(spectrum, samples, ridge, mean_known=True).values
    w.assert_close(theory, cosine, 0.01)


@pytest.mark.parametrize(("name", "samples"), [("white", 50), ("power1", 200)])
def test_ancestral_similarity_is_the_mean_over_pairs(name, samples):
    spectrum, schedule = w.spectrum(name, 100), NoiseSchedule.linear(200, 1e-3, 0.08)
    pair = (schedule.beta, schedule.alpha_bar)
    draws = w.similarity_draws(spectrum, samples, 0.05, 30, 44, schedule=pair)
    theory = similarity(
        spectrum, samples, 0.05, sampler="ddpm", schedule=schedule, mean_known=True
    ).values
    w.assert_close(theory, draws[:, 0] / draws[:, 1], 0.012)


@pytest.mark.parametrize(("samples", "ridge"), [(40, 0.0), (40, 0.1), (100, 0.0), (300, 0.01)])
def test_white_flow_similarity_has_an_honest_error(samples, ridge):
    def root(x):
        return np.sqrt(x + ridge)

    a = w.marchenko_pastur_trace(root, 100, samples, samples, nodes=20_000) / 100
    found = similarity(np.ones(100), samples, ridge, mean_known=True)
    assert_honest(found, a**2 / (1 + ridge), relative=1e-3, reference_error=1e-9)


def test_similarity_grows_from_memorising_to_generalising():
    spectrum = w.spectrum("power1", 100)
    cosine = similarity(spectrum, np.array([2, 10, 100, 1000, 10**6]), 0.01).values
    assert np.all(np.diff(cosine) > 0)
    assert np.all((cosine > 0) & (cosine <= 1 + 1e-9))
    assert cosine[-1] > 0.999
