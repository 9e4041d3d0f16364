"""Losses of the optimal affine denoiser against fitted denoisers and 50 digits."""

import numpy as np
import pytest

from learning_dynamics.noise_schedule import alpha_bar_of_noise_to_signal
from learning_dynamics.testing import assert_honest
from linear_diffusion.theory import implicit_ridge, loss_excess, losses

from . import witnesses as w

SPECTRA = ["white", "power1", "power2", "power3", "spiked"]
RATIOS = np.array([0.03, 0.3, 3.0])  # noise to signal
LEVELS = alpha_bar_of_noise_to_signal(RATIOS)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(
    "samples", [30, 100, 400, *(pytest.param(n, marks=pytest.mark.slow) for n in (60, 200))]
)
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_losses_are_means_over_data(name, samples, ridge):
    spectrum = w.spectrum(name, 100)
    replicas = 60 if name.startswith("power") else 30
    draws = w.loss_draws(spectrum, samples, ridge, RATIOS, replicas, 21)
    found = losses(spectrum, samples, ridge, LEVELS)
    theory = np.stack([found.train.values, found.test.values], axis=-1)
    w.assert_close(theory, draws, 0.04 if samples == 100 else 0.01)
    bayes = [w.bayes_loss(spectrum, s) for s in RATIOS]
    np.testing.assert_allclose(found.bayes.values, bayes, rtol=1e-12)


def test_losses_without_the_response_kappa_prime_are_refused_by_the_draws():
    spectrum, samples, s2, d = w.spectrum("white", 100), 200, 0.1, 100
    draws = w.loss_draws(spectrum, samples, 0.0, np.array([s2]), 40, 22)[:, 0, 1]
    kappa = float(implicit_ridge(spectrum, samples, s2).values)
    g = 1 / (spectrum + kappa)
    weighted = (kappa / s2) ** 2 * np.sum(spectrum * g**2) * (1 + 1 / samples)
    square = kappa / s2**2 * np.sum(g) - np.sum(spectrum * g**2) / s2
    wrong = 1 - 2 * kappa / d * np.sum(g) + s2 / d * (weighted + s2 * square)
    off, error = w.deviation(wrong, draws)
    assert abs(off) > 0.05 + 3 * error


@pytest.mark.parametrize("name", ["white", "power2"])
@pytest.mark.parametrize("samples", [2, 10, 20, 21, 60, 10**5])
def test_losses_have_honest_errors(name, samples):
    spectrum = w.spectrum(name, 20)
    for ridge in (0.0, 1e-3, 0.5):
        for s2 in (1e-4, 0.1, 30.0):
            level = alpha_bar_of_noise_to_signal(s2)
            reference = w.loss_reference(spectrum, samples, ridge, (1 - level) / level)
            found = losses(spectrum, samples, ridge, level)
            for part in ("train", "test", "bayes"):
                assert_honest(getattr(found, part), getattr(reference, part), relative=1e-6)


def test_losses_below_the_dimension_at_small_noise():
    d, samples, s2 = 100, 40, 1e-7
    found = losses(np.ones(d), samples, 0.0, alpha_bar_of_noise_to_signal(s2))
    assert found.train.values == pytest.approx((samples - 1) / d, rel=1e-5)
    # white: d - n directions unseen, each of variance 1 + 1/N with the mean error
    assert s2 * found.test.values == pytest.approx(
        (d - samples + 1) / d * (1 + 1 / samples), rel=1e-4
    )
    for name in ("power1", "power2"):
        spectrum = w.spectrum(name, d)
        kappa = float(implicit_ridge(spectrum, samples, 0.0).values)
        found = losses(spectrum, samples, 0.0, alpha_bar_of_noise_to_signal(s2))
        assert s2 * found.test.values == pytest.approx(samples * kappa / d, rel=1 / samples)
        unseen = [
            d * s2 * w.loss_draws(spectrum, samples, 0.0, np.array([s2]), 1, seed)[0, 0, 1]
            for seed in range(60)
        ]
        w.assert_close(samples * kappa, np.array(unseen), 0.02)


def test_hierarchy_of_variances_helps_below_the_dimension():
    tests = [losses(w.spectrum(n, 200), 50, 0.0, 0.99).test.values for n in SPECTRA[:4]]
    assert np.all(np.diff(tests) < 0)


@pytest.mark.parametrize("name", ["white", "power2", "spiked"])
@pytest.mark.parametrize("s2", [0.05, 1.0])
def test_test_excess_and_training_deficit_fall_as_one_over_samples(name, s2):
    spectrum, samples = w.spectrum(name, 100), 10**6
    found = losses(spectrum, samples, 0.0, alpha_bar_of_noise_to_signal(s2))
    slope = float(loss_excess(spectrum, alpha_bar_of_noise_to_signal(s2)).values)
    excess = samples * (found.test.values - found.bayes.values)
    deficit = samples * (found.bayes.values - found.train.values)
    assert excess == pytest.approx(deficit, rel=1e-3)
    assert slope == pytest.approx(excess, rel=1e-3)
    assert slope == pytest.approx(w.loss_excess_reference(spectrum, s2), rel=1e-9)


@pytest.mark.parametrize(("name", "s2"), [("white", 1.0), ("power1", 0.3), ("power2", 1.0)])
def test_loss_excess_is_that_of_the_draws(name, s2):
    spectrum, samples = w.spectrum(name, 20), 4000
    draws = w.loss_draws(spectrum, samples, 0.0, np.array([s2]), 400, 23)[:, 0, 1]
    excess = samples * (draws - w.bayes_loss(spectrum, s2))
    w.assert_close(w.loss_excess_reference(spectrum, s2), excess, 0.02)
    w.assert_close(
        float(loss_excess(spectrum, alpha_bar_of_noise_to_signal(s2)).values), excess, 0.02
    )
    # control: a known mean has less excess
    d1 = spectrum / (spectrum + s2)
    known = d1.sum() * np.sum(d1 - d1**2) / 20
    off, error = w.deviation(known, excess)
    assert abs(off) > 0.02 + 3 * error


def test_many_samples_reach_the_bayes_loss():
    spectrum = w.spectrum("power1", 50)
    found = losses(spectrum, 10**9, 0.0, LEVELS)
    np.testing.assert_allclose(found.test.values, found.bayes.values, rtol=1e-6)
    np.testing.assert_allclose(found.train.values, found.bayes.values, rtol=1e-6)


def test_losses_with_known_mean():
    spectrum, samples = w.spectrum("power1", 100), 20
    draws = w.loss_draws(spectrum, samples, 0.1, RATIOS, 60, 24, mean_known=True)
    found = losses(spectrum, samples, 0.1, LEVELS, mean_known=True)
    w.assert_close(np.stack([found.train.values, found.test.values], axis=-1), draws, 0.01)
    estimated = losses(spectrum, samples, 0.1, LEVELS)
    off, error = w.deviation(estimated.train.values, draws[..., 0])
    assert np.all(np.abs(off[1:]) > 0.01 + 3 * error[1:])
