"""KL divergences against Wishart moments with 50 digits and against estimated Gaussians."""

import mpmath as mp
import numpy as np
import pytest

from learning_dynamics.testing import assert_agrees, assert_honest, assert_order, must_fail
from linear_diffusion.theory import (
    exact_kl,
    implicit_ridge,
    kl,
    kl_proportional,
    kl_slope,
    optimal_ridge,
)

from . import witnesses as w

SPECTRA = ["white", "power1", "power2", "power3", "spiked"]
BOTH = ["forward", "reverse"]


# ------------------------------------------------------------------ ridge 0: exact


@pytest.mark.parametrize(
    ("dimension", "samples"), [(1, 4), (2, 5), (20, 23), (20, 400), (200, 203)]
)
def test_exact_kl_has_an_honest_error(dimension, samples):
    for direction, reference in zip(BOTH, w.exact_kl_reference(dimension, samples), strict=True):
        assert_honest(exact_kl(dimension, samples, direction=direction), reference, relative=1e-9)


def test_exact_reverse_kl_next_to_the_threshold():
    for samples in (21, 22):
        reference = w.exact_kl_reference(20, samples)[1]
        assert_honest(exact_kl(20, samples, direction="reverse"), reference, relative=1e-9)


def test_exact_kl_with_many_samples_keeps_its_digits():
    for direction, reference in zip(BOTH, w.exact_kl_reference(50, 10**7), strict=True):
        prediction = exact_kl(50, 10**7, direction=direction)
        assert_honest(prediction, reference, relative=1e-3)


@pytest.mark.parametrize(
    ("name", "dimension", "samples", "replicas"),
    [
        ("white", 20, 30, 2000),
        ("power1", 20, 60, 2000),
        ("power2", 60, 90, 300),
        ("spiked", 200, 230, 40),
    ],
)
def test_exact_kl_is_the_mean_over_data_of_any_covariance(name, dimension, samples, replicas):
    spectrum = w.spectrum(name, dimension)
    draws = w.kl_draws(spectrum, samples, np.zeros(1), replicas, 11)[:, 0]
    exact = [float(exact_kl(dimension, samples, direction=x).values) for x in BOTH]
    wrong = [float(exact_kl(dimension, samples + 1, direction=x).values) for x in BOTH]
    for side in range(2):  # control: one degree of freedom too many is outside
        assert_agrees(draws[:, side], exact[side], false_alarm=0.0027)
        with must_fail():
            assert_agrees(draws[:, side], wrong[side], false_alarm=0.0027)


@pytest.mark.parametrize("direction", BOTH)
def test_proportional_limit_is_that_of_the_exact_law(direction):
    ratio = np.array([0.02, 0.2, 0.5, 0.8])
    limit = kl_proportional(ratio, direction=direction).values
    gaps, dimensions = [], np.array([400, 4000])
    for d in dimensions:
        samples = np.rint(d / ratio).astype(int)
        gaps.append(np.abs(exact_kl(int(d), samples, direction=direction).values / d / limit - 1))
    assert np.all(gaps[1] < 0.005)
    for gap in np.transpose(gaps):
        assert_order(1 / dimensions, gap, 1, tolerance=0.04)
    small = kl_proportional(1e-4, direction=direction).values
    assert small == pytest.approx(1e-4 / 4, rel=1e-3)


def test_proportional_limit_has_an_honest_error():
    for r in (1e-8, 1e-4, 0.3, 0.99):
        with mp.workdps(60):
            x = mp.mpf(r)
            log = (1 - x) / x * mp.log(1 - x)
            forward, reverse = (x / (1 - x) - 1 - log) / 2, (1 + log) / 2
        assert_honest(kl_proportional(r, direction="forward"), forward, relative=1e-6)
        assert_honest(kl_proportional(r, direction="reverse"), reverse, relative=1e-6)


# ------------------------------------------------------------------ any ridge


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("samples", [30, 60, 100, 150, 400])
def test_kl_is_the_mean_over_data(name, samples):
    d, ridges = 100, np.array([0.01, 0.1])
    spectrum = w.spectrum(name, d)
    draws = w.kl_draws(spectrum, samples, ridges, 60, 12)
    theory = np.stack([kl(spectrum, samples, ridges, direction=x).values for x in BOTH], axis=-1)
    w.assert_close(theory, draws, 0.04 if samples == d else 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("samples", [30, 60, 100, 110, 150, 200, 400])
def test_kl_is_the_mean_over_data_closely(name, samples):
    d, ridges = 100, np.array([1e-3, 0.01, 0.1])
    spectrum = w.spectrum(name, d)
    draws = w.kl_draws(spectrum, samples, ridges, 1000, 16)
    theory = np.stack([kl(spectrum, samples, ridges, direction=x).values for x in BOTH], axis=-1)
    w.assert_close(theory, draws, 0.01 if samples == d else 0.005)


def leading_order(spectrum, samples, ridge):
    """The deterministic equivalent without its first correction, both directions."""
    n = samples - 1
    kappa = float(implicit_ridge(spectrum, samples, ridge).values)
    df1 = np.sum(spectrum / (spectrum + kappa))
    log_det = spectrum.size * np.log(ridge) + np.sum(np.log1p(spectrum / kappa))
    log_det += n * (np.log(kappa * n / (samples * ridge)) - 1) + samples * ridge / kappa
    log_det -= np.sum(np.log(spectrum))
    forward = (1 + 1 / samples) * kappa / ridge * df1 - spectrum.size + log_det
    return np.array([forward, ridge * np.sum(1 / spectrum) - log_det]) / 2


def test_wrong_kl_is_refused_by_the_draws():
    spectrum, c = w.spectrum("white", 100), 0.003
    draws = w.kl_draws(spectrum, 130, np.array([c]), 300, 13)[:, 0]
    theory = np.array([kl(spectrum, 130, c, direction=x).values for x in BOTH])
    w.assert_close(theory, draws, 0.01)
    one_too_many = np.array([kl(spectrum, 131, c, direction=x).values for x in BOTH])
    for wrong in (one_too_many, leading_order(spectrum, 130, c)):
        off, error = w.deviation(wrong, draws)
        assert np.all(np.abs(off) > 0.01)
        assert np.all(np.abs(off) > 4 * error)


def test_kl_with_known_mean():
    spectrum, c = w.spectrum("white", 60), 0.02
    draws = w.kl_draws(spectrum, 90, np.array([c]), 600, 17, mean_known=True)[:, 0]
    theory = [kl(spectrum, 90, c, direction=x, mean_known=True).values for x in BOTH]
    w.assert_close(np.array(theory), draws, 0.01)
    estimated = [kl(spectrum, 90, c, direction=x).values for x in BOTH]
    off, error = w.deviation(np.array(estimated), draws)
    assert np.all(np.abs(off) > 0.01 + 3 * error)


@pytest.mark.parametrize("name", ["white", "power3"])
@pytest.mark.parametrize("samples", [2, 10, 20, 21, 25, 10**5])
def test_kl_has_an_honest_error(name, samples):
    spectrum = w.spectrum(name, 20)
    for ridge in (1e-6, 1e-2, 3.0):
        reference = w.kl_reference(spectrum, samples, ridge)
        for direction, exact in zip(BOTH, reference, strict=True):
            assert_honest(kl(spectrum, samples, ridge, direction=direction), exact, relative=1e-5)


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("samples", [150, 1000])
def test_kl_without_ridge_is_close_to_the_exact_law(direction, samples):
    spectrum = w.spectrum("power1", 100)
    exact = exact_kl(100, samples, direction=direction).values
    assert kl(spectrum, samples, 0.0, direction=direction).values == exact
    tiny = kl(spectrum, samples, 1e-10, direction=direction).values
    assert tiny == pytest.approx(exact, rel=2e-3)


def test_kl_without_ridge_is_infinite_where_the_expectation_is():
    spectrum = w.spectrum("power1", 30)
    assert np.isfinite(kl(spectrum, 33, 0.0, direction="forward").values)
    assert np.isfinite(kl(spectrum, 31, [0.0, 0.1], direction="reverse").values).all()
    for samples, direction in ((32, "forward"), (30, "reverse")):
        with pytest.raises(ValueError, match=r"at least|be positive where"):
            kl(spectrum, samples, [0.1, 0.0], direction=direction)


@pytest.mark.parametrize("direction", BOTH)
def test_exact_kl_with_a_known_mean_is_the_mean_over_data(direction):
    side = BOTH.index(direction)
    rng = np.random.default_rng(71)
    d, samples, draws = 12, 30, []
    for _ in range(600):
        x = rng.normal(size=(samples, d))
        model = x.T @ x / samples
        pair = (np.eye(d), model) if side == 0 else (model, np.eye(d))
        solved = np.linalg.solve(pair[1], pair[0])
        draws.append((np.trace(solved) - d - np.linalg.slogdet(solved)[1]) / 2)
    known = exact_kl(d, samples, direction=direction, mean_known=True).values
    estimated = exact_kl(d, samples, direction=direction).values
    assert_agrees(draws, known, false_alarm=0.0027)
    with must_fail():
        assert_agrees(draws, estimated)


def test_kl_without_data_limit_is_that_of_the_ridge_alone():
    spectrum, c, d = w.spectrum("power1", 30), 0.2, 30
    zero = np.zeros(d)
    limit = w.both_kl(spectrum, zero, np.diag(spectrum + c))
    for direction, value in zip(BOTH, limit, strict=True):
        many = kl(spectrum, 10**8, c, direction=direction).values
        assert many == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", ["white", "power2", "spiked"])
@pytest.mark.parametrize("direction", BOTH)
def test_kl_approaches_its_optimum_at_the_stated_slope(name, direction):
    spectrum, side = w.spectrum(name, 60), BOTH.index(direction)
    for c in (0.0, 1e-9, 0.05, 1.0):
        slope = float(kl_slope(spectrum, c, direction=direction).values)
        assert slope == pytest.approx(w.kl_slopes(spectrum, c)[side], rel=1e-9)
    assert float(kl_slope(spectrum, 0.0, direction=direction).values) == pytest.approx(60 * 63 / 4)
    limit = w.both_kl(spectrum, np.zeros(60), np.diag(spectrum + 0.05))[side]
    excess = kl(spectrum, 10**5, 0.05, direction=direction).values - limit
    slope = float(kl_slope(spectrum, 0.05, direction=direction).values)
    assert 1e5 * excess == pytest.approx(slope, rel=2e-3)


def test_kl_slope_is_that_of_the_draws():
    spectrum = w.spectrum("power1", 12)
    draws = w.kl_slope_draws(spectrum, 3000, 0.1, 1000, 14)
    theory = [float(kl_slope(spectrum, 0.1, direction=x).values) for x in BOTH]
    w.assert_close(theory, draws, 0.02)


@pytest.mark.parametrize(
    ("name", "samples"), [("white", 50), ("power1", 50), ("power2", 150), ("spiked", 100)]
)
@pytest.mark.parametrize("direction", BOTH)
def test_optimal_ridge_is_the_best_for_the_draws(name, samples, direction):
    spectrum, side = w.spectrum(name, 100), BOTH.index(direction)
    best = optimal_ridge(spectrum, samples, direction=direction)
    ridge, value = float(best.ridge.values), float(best.kl.values)
    assert ridge > 0
    factors = np.array([0.4, 0.7, 1.0, 1.4, 2.5])
    draws = w.kl_draws(spectrum, samples, ridge * factors, 60, 15)[:, :, side]
    w.assert_close(value, draws[:, 2], 0.04 if samples == 100 else 0.01)
    gain = draws[:, [0, 4]] - draws[:, [2]]  # same data: differences are sharp
    assert np.all(gain.mean(0) > 3 * gain.std(0) / np.sqrt(60))
    scan = kl(spectrum, samples, ridge * factors, direction=direction).values
    assert np.argmin(scan) == 2
    assert value == pytest.approx(scan[2], rel=1e-9)


def test_optimal_ridge_brackets_the_minimum_within_its_error():
    spectrum = w.spectrum("power1", 40)
    best = optimal_ridge(spectrum, 20, direction="forward")
    grid = best.ridge.values * np.exp(np.linspace(-0.02, 0.02, 41))
    scan = kl(spectrum, 20, grid, direction="forward").values
    assert scan.min() >= best.kl.values - best.kl.numerical_error
    fit = np.polyfit(np.log(grid), scan, 4)
    roots = np.roots(np.polyder(fit))
    turn = roots[np.argmin(np.abs(roots - np.log(best.ridge.values)))].real
    vertex = np.exp(turn)
    assert_honest(best.ridge, vertex, relative=1e-2, reference_error=1e-4 * vertex)
