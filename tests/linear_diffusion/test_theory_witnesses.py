"""The witnesses themselves: definitions against each other, before any theory is judged."""

import mpmath as mp
import numpy as np
import pytest

from learning_dynamics.testing import assert_agrees

from . import witnesses as w


def one_estimate(spectrum, samples, seed=0):
    return next(w.estimates(spectrum, samples, 1, seed))


def test_losses_are_averages_over_data_and_noise():
    rng = np.random.default_rng(1)
    spectrum, a, c = w.spectrum("power1", 6), 0.4, 0.3
    data = rng.standard_normal((9, 6)) * np.sqrt(spectrum)
    estimate = w.Estimate(data.mean(0), np.cov(data.T, bias=True))
    weights = w.optimum(estimate.covariance, c, a)
    expected = w.train_and_test(weights, estimate, spectrum, a)
    draws = 200_000
    sources = (
        data[rng.integers(9, size=draws)],
        rng.standard_normal((draws, 6)) * np.sqrt(spectrum),
    )
    for clean, value in zip(sources, expected, strict=True):
        noise = rng.standard_normal(clean.shape)
        noisy = np.sqrt(a) * clean + np.sqrt(1 - a) * noise
        guess = (noisy - np.sqrt(a) * estimate.mean) @ weights.T
        losses = np.mean((guess - noise) ** 2, axis=1)
        assert abs(losses.mean() - value) < 4 * losses.std() / np.sqrt(draws)


def test_optimum_minimises_the_penalised_training_loss():
    spectrum, a, c = w.spectrum("power1", 5), 0.4, 0.3
    covariance = one_estimate(spectrum, 4).covariance
    best = w.optimum(covariance, c, a)

    def objective(weights):
        return w.quadratic_loss(weights, covariance, a) + a * c * np.sum(weights**2) / 5

    rng = np.random.default_rng(2)
    for _ in range(20):
        step = 1e-3 * rng.standard_normal((5, 5))
        assert objective(best + step) > objective(best)
        slope = (objective(best + step) - objective(best - step)) / 2e-3
        assert abs(slope) < 1e-10


def test_flow_is_the_limit_of_descent_and_ends_at_the_optimum():
    spectrum, a, c = w.spectrum("power1", 5), 0.4, 0.1
    covariance = one_estimate(spectrum, 4).covariance
    values, basis = np.linalg.eigh(covariance)
    modes = (basis * w.flow_spectrum(values, c, a, 2.0)) @ basis.T
    np.testing.assert_allclose(w.flow_weights(covariance, c, a, 2.0), modes, atol=1e-12)
    steps = (basis * w.flow_spectrum(values, c, a, 2.0, 0.1)) @ basis.T
    np.testing.assert_allclose(w.descent_weights(covariance, c, a, 20, 0.1), steps, atol=1e-12)
    fine = w.descent_weights(covariance, c, a, 20_000, 1e-4)
    np.testing.assert_allclose(fine, modes, atol=2e-4)
    late = w.flow_weights(covariance, c, a, 100.0)
    np.testing.assert_allclose(late, w.optimum(covariance, c, a), atol=1e-12)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_sampler_recursions_agree_with_samples(sampler):
    beta, alpha_bar = w.linear_schedule(60, 1e-3, 0.15)
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 4))
    covariance, mean = root @ root.T / 4, np.array([1.0, -2.0, 0.5, 0.0])

    def weights(a):
        return w.optimum(covariance, 0.1, a)

    law = w.generated_law(weights, mean, beta, alpha_bar, sampler)
    samples = w.generated_samples(weights, mean, beta, alpha_bar, sampler, 40_000, 4)
    error = np.sqrt(np.diag(law.covariance) / 40_000)
    assert np.all(np.abs(samples.mean(0) - law.mean) < 4 * error)
    scale = np.sqrt(np.outer(np.diag(law.covariance), np.diag(law.covariance)))
    assert np.max(np.abs(np.cov(samples.T) - law.covariance) / scale) < 5 * np.sqrt(2 / 40_000)

    values, basis = np.linalg.eigh(covariance)
    factor, variance = w.mode_law(
        lambda a: w.flow_spectrum(values, 0.1, a, np.inf), beta, alpha_bar, sampler
    )
    np.testing.assert_allclose((basis * variance) @ basis.T, law.covariance, atol=1e-12)
    np.testing.assert_allclose(basis @ (factor * (basis.T @ mean)), law.mean, atol=1e-12)


def test_similarity_is_that_of_two_samplers_sharing_their_noise():
    spectrum, (beta, alpha_bar) = w.spectrum("power1", 4), w.linear_schedule(40, 1e-3, 0.2)
    row = w.similarity_draws(spectrum, 8, 0.1, 1, 5, schedule=(beta, alpha_bar))[0]
    pair = list(w.estimates(spectrum, 8, 2, 5, mean_known=True))
    first, second = (
        w.generated_samples(
            lambda a, e=e: w.optimum(e.covariance, 0.1, a),
            e.mean,
            beta,
            alpha_bar,
            "ddpm",
            40_000,
            6,
        )
        for e in pair
    )
    inner = np.sum(first * second, axis=1)
    own = (np.sum(first**2, axis=1) + np.sum(second**2, axis=1)) / 2
    for draws, value in ((inner, row[0]), (own, row[1])):
        assert_agrees(draws, value, false_alarm=6e-5)


def test_exact_kl_reference_is_the_mean_over_data():
    draws = w.kl_draws(w.spectrum("power1", 5), 12, np.zeros(1), 6000, 7)[:, 0]
    reference = np.array([float(x) for x in w.exact_kl_reference(5, 12)])
    assert_agrees(draws, reference, false_alarm=1.2e-4)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_kl_slopes_are_those_of_the_draws(ridge):
    spectrum = w.spectrum("power1", 8)
    draws = w.kl_slope_draws(spectrum, 1000, ridge, 1500, 8)
    assert_agrees(draws, w.kl_slopes(spectrum, ridge), bias=0.15, false_alarm=1.2e-4)


def test_marchenko_pastur_and_contour_agree():
    def bump(x, exp=np.exp):
        return (1 - exp(-0.7 * (x + 0.5) * 3)) / (x + 0.5)

    for samples in (7, 30):
        [(trace, weighted)] = w.contour_traces(
            [lambda z: bump(z, mp.exp)], np.ones(12), samples, samples - 1, nodes=200
        )
        direct = w.marchenko_pastur_trace(bump, 12, samples, samples - 1)
        assert float(trace) == pytest.approx(direct, rel=1e-12)
        assert float(weighted) == pytest.approx(direct, rel=1e-12)


def test_contour_counts_eigenvalues_and_variance():
    spectrum = w.spectrum("power2", 10)
    [(count, total), (variance, _)] = w.contour_traces(
        [lambda z: mp.mpf(1), lambda z: z], spectrum, 6, 5, nodes=64
    )
    assert float(count) == pytest.approx(10, rel=1e-13)
    assert float(total) == pytest.approx(10, rel=1e-13)
    assert float(variance) == pytest.approx(10 * 5 / 6, rel=1e-13)


@pytest.mark.parametrize("samples", [8, 60])
def test_traces_by_differentiation_contour_and_density_agree(samples):
    # g(x) = exp(-x/2) = a sum over powers; the resolvent is the derivative of the determinant
    ones = np.ones(20)
    [(trace, weighted)] = w.contour_traces([lambda z: mp.exp(-z / 2)], ones, samples, samples - 1)
    density = w.marchenko_pastur_trace(lambda x: np.exp(-x / 2), 20, samples, samples - 1)
    assert float(trace) == pytest.approx(density, rel=1e-12)
    assert float(weighted) == pytest.approx(density, rel=1e-12)
    resolvent = w.marchenko_pastur_trace(lambda x: 1 / (x + 0.3), 20, samples, samples - 1)
    with mp.workdps(30):
        energy = mp.diff(
            lambda lam: w.log_determinant([mp.mpf(1)] * 20, samples, lam, mp.mpf(0)), mp.mpf("0.3")
        )
    assert float(energy) == pytest.approx(resolvent, rel=1e-12)


@pytest.mark.parametrize("samples", [8, 60])
def test_first_correction_is_seen_in_the_draws(samples):
    spectrum = w.spectrum("power1", 12)
    draws = []
    for e in w.estimates(spectrum, samples, 4000, 9):
        inverse = np.linalg.inv(e.covariance + 0.2 * np.eye(12))
        draws.append(
            [-np.linalg.slogdet(inverse)[1], np.trace(inverse), np.diag(inverse) @ spectrum]
        )
    draws = np.array(draws)
    with mp.workdps(30):
        s, lam = [mp.mpf(float(x)) for x in spectrum], mp.mpf("0.2")
        energy = [
            w.log_determinant(s, samples, lam, mp.mpf(0)),
            mp.diff(lambda x: w.log_determinant(s, samples, x, mp.mpf(0)), lam),
            mp.diff(lambda x: w.log_determinant(s, samples, lam, x), mp.mpf(0)),
        ]
    w.assert_close(np.array([float(x) for x in energy]), draws, 0.02)
