"""Recovery of a spike: closed forms, independent simulations, thresholds, refusals."""

import jax
import numpy as np
import pytest
from scipy.linalg import eigh_tridiagonal

from learning_dynamics.evidence.comparison import Prediction, compare
from learning_dynamics.evidence.measurement import Measurement
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.testing import assert_agrees
from linear_diffusion import LatentLaw, theory
from linear_diffusion.learners import Denoiser, gradient_descent, optimum
from linear_diffusion.sampling import generated_moments
from linear_diffusion.spiked import draw_spike_overlaps, generated_spike_overlaps

from . import witnesses as w

KEY = jax.random.key(4)
SCHEDULE = NoiseSchedule.linear(20, 4e-3, 0.4)
UNEVEN = np.linspace(1.6, 0.4, 59)


def leading(covariance):
    return np.linalg.eigh(covariance)[1][:, -1]


@w.single_thread
def overlaps(bulk, spike, sizes, replicas, seed):
    """Squared overlap of the leading sample eigenvector with the spike, (replicas, sizes)."""
    spectrum = np.append(spike, bulk)
    return np.stack(
        [
            [leading(e.covariance)[0] ** 2 for e in w.estimates(spectrum, N, replicas, seed + i)]
            for i, N in enumerate(sizes)
        ],
        axis=1,
    )


@pytest.mark.parametrize("strength", [0.4, 1.0, 3.0])
def test_a_flat_bulk_has_the_closed_form(strength):
    d, n = 201, np.array([10, 60, 150, 199, 201, 400, 1300, 90_000])
    r = (d - 1) / n
    known = np.maximum(1 - r / strength**2, 0) / (1 + r / strength)
    found = theory.spike_recovery(np.ones(d - 1), 1 + strength, n, mean_known=True)
    assert found.limit.values == pytest.approx(known, abs=1e-12)
    edge = np.where(n * strength**2 > d - 1, 1 + strength, 1 + np.sqrt(r))
    assert found.eigenvalue == pytest.approx(edge * (1 + r / (edge - 1)), rel=1e-12)
    threshold = theory.spike_threshold(np.ones(d - 1), 1 + strength, mean_known=True)
    assert float(threshold.values) == pytest.approx((d - 1) / strength**2)


def test_a_bulk_that_is_hardly_uneven_is_flat():
    flat = theory.spike_recovery(np.ones(80), 2.0, [40, 80, 300])
    near = theory.spike_recovery(np.linspace(1 + 1e-7, 1 - 1e-7, 80), 2.0, [40, 80, 300])
    for one, other in zip(flat[:2], near[:2], strict=True):
        assert other.values == pytest.approx(one.values, abs=1e-5)
        assert other.bias == pytest.approx(one.bias, rel=1e-4, abs=1e-12)


def test_units_of_variance_do_not_matter():
    one = theory.spike_recovery(UNEVEN, 3.0, [30, 90, 400])
    other = theory.spike_recovery(7 * UNEVEN, 21.0, [30, 90, 400])
    assert other.overlap.values == pytest.approx(one.overlap.values, rel=1e-10)
    assert other.overlap.bias == pytest.approx(one.overlap.bias, rel=1e-10)
    assert other.eigenvalue == pytest.approx(7 * one.eigenvalue, rel=1e-12)


def test_the_limit_is_zero_up_to_the_threshold_and_only_there():
    threshold = float(theory.spike_threshold(UNEVEN, 2.4).values)
    sizes = np.arange(2, 300)
    limit = theory.spike_recovery(UNEVEN, 2.4, sizes).limit.values
    assert 10 < threshold < 200
    assert np.array_equal(limit > 0, sizes > threshold)
    assert np.all(np.diff(limit[sizes > threshold]) > 0)


def test_the_rounding_vanishes_as_the_cube_root_at_the_threshold_and_faster_elsewhere():
    dimensions = np.array([3 * 10**4, 3 * 10**5])
    for ratio, exponent in ((0.5, -1.0), (1.0, -1 / 3), (3.0, -1.0)):
        gaps = []
        for d in dimensions:
            n = round(ratio * (d - 1))
            found = theory.spike_recovery(np.ones(d - 1), 2.0, n, mean_known=True)
            gaps.append(abs(float(found.overlap.values - found.limit.values)))
        assert np.log10(gaps[1] / gaps[0]) == pytest.approx(exponent, abs=0.03)


def test_the_critical_weight_is_that_of_the_stochastic_airy_operator():
    """Robin eigenvalues of f'' - x f - 2 W' f on a grid, W' white noise; f(0)^2 of the highest."""
    rng, h, length = np.random.default_rng(2), 0.05, 12.0
    x = h * (np.arange(round(length / h)) + 0.5)
    distances = np.array([-2.0, 0.0, 1.5])
    draws = np.empty((300, 3))
    for row in draws:
        noise = rng.standard_normal(x.size) * 2 / np.sqrt(h)
        for j, distance in enumerate(distances):
            diagonal = -2 / h**2 - x - noise
            # f(-h/2) = f(h/2) + h w f(0), with f(0) = f(h/2) / (1 - h w / 2)
            diagonal[0] += 1 / h**2 + distance / h / (1 - h * distance / 2)
            last = x.size - 1
            _, f = eigh_tridiagonal(
                diagonal, np.full(last, 1 / h**2), select="i", select_range=(last, last)
            )
            row[j] = f[0, 0] ** 2 / h / (1 - h * distance / 2) ** 2
    found = theory.critical_weight(distances)
    # the grid's own error is of first order in h
    assert_agrees(draws, found.with_bias(h * found.values, "h"))


def test_the_critical_weight_joins_its_asymptotic_forms():
    distances = np.array([-30.0, -12.0, 8.0, 30.0])
    far = theory.critical_weight(distances).values
    assert far[:2] == pytest.approx(1 / distances[:2] ** 2, rel=0.02)
    assert far[2:] == pytest.approx(2 * distances[2:] - 0.5 / distances[2:] ** 2, rel=1e-12)
    around = np.linspace(-9, 6, 3001)
    steps = np.diff(theory.critical_weight(around).values)
    assert np.all(steps > 0)
    assert np.all(steps < 0.012)


@pytest.mark.parametrize(("bulk", "spike"), [(np.ones(59), 2.0), (UNEVEN, 2.4)])
def test_theory_is_an_independent_simulation(bulk, spike):
    sizes = [20, 60, 150, 600]
    draws = overlaps(bulk, spike, sizes, 150, 11)
    found = theory.spike_recovery(bulk, spike, sizes)
    assert_agrees(draws, found.overlap)
    measured = Measurement.from_replicas(draws, {"N": sizes})
    for wrong in (
        found.limit,
        theory.spike_recovery(bulk, 1 + 0.7 * (spike - 1) + (bulk[0] - 1) * 0.3, sizes).overlap,
        Prediction(np.full(4, found.limit.values[-1])),
    ):
        assert compare(measured, wrong).verdict == "fail"


def test_the_reduction_has_the_law_of_whole_data_sets():
    d, spike, sizes = 24, 1.8, [8, 24, 60]
    whole = overlaps(np.ones(d - 1), spike, sizes, 500, 3)
    reduced = np.stack(
        [draw_spike_overlaps(d, spike, N, replicas=500, key=KEY) for N in sizes], axis=1
    )
    for power in (1, 2):
        error = np.hypot((whole**power).std(axis=0), (reduced**power).std(axis=0)) / 500**0.5
        gap = (whole**power).mean(axis=0) - (reduced**power).mean(axis=0)
        assert np.all(np.abs(gap) < 4.5 * error)
        assert np.all(error < 0.03)
    again = draw_spike_overlaps(d, spike, 8, replicas=3, key=KEY)
    assert np.array_equal(again, reduced[:3, 0])


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("steps", [5, None])
def test_the_generated_law_keeps_the_leading_eigenvector(sampler, ridge, steps):
    with jax.enable_x64(True):
        rng = np.random.default_rng(8)
        data = rng.standard_normal((12, 7)) * np.array([2.0, 1, 1, 1, 1, 1, 1])
        covariance = jax.numpy.asarray(np.cov(data, rowvar=False, bias=True))
        mean = jax.numpy.asarray(data.mean(axis=0))
        denoiser = optimum(mean, covariance, SCHEDULE.alpha_bar, ridge=ridge)
        if steps is not None:
            weights = gradient_descent(
                covariance, SCHEDULE.alpha_bar, learning_rate=0.3, steps=[steps], ridge=ridge
            )[0]
            denoiser = Denoiser(weights, mean, denoiser.levels)
        generated = np.asarray(generated_moments(denoiser, SCHEDULE, sampler=sampler)[1])
    assert abs(leading(generated) @ leading(np.asarray(covariance))) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("ridge", [0.0, 1.0])
@w.single_thread
def test_generated_samples_have_a_second_threshold(ridge):
    d, spike, N, m = 40, 2.6, 200, 400
    spectrum, (beta, alpha_bar) = np.append(spike, np.ones(d - 1)), w.linear_schedule(20, 4e-3, 0.4)
    draws = []
    for i, e in enumerate(w.estimates(spectrum, N, 80, 21)):

        def weights(a, e=e):
            return w.optimum(e.covariance, ridge, a)

        samples = w.generated_samples(weights, e.mean, beta, alpha_bar, "ddpm", m, 100 + i)
        draws.append(leading(np.cov(samples, rowvar=False))[0] ** 2)
    found = theory.generated_spike_recovery(d, spike, N, m, SCHEDULE, ridge=ridge)
    assert_agrees(np.array(draws), found.overlap)
    law = theory.spike_recovery(np.ones(d - 1), spike, N)
    measured = Measurement.from_replicas(draws, {})
    assert compare(measured, law.overlap).verdict == "fail"


@pytest.mark.slow
def test_models_trained_and_sampled_have_the_second_threshold_too():
    d, spike, N, m = 24, 2.8, 120, 200
    law = LatentLaw(np.append(spike, np.ones(d - 1)))
    draws = generated_spike_overlaps(law, N, m, SCHEDULE, replicas=40, key=KEY, ridge=1.0)
    found = theory.generated_spike_recovery(d, spike, N, m, SCHEDULE, ridge=1.0)
    assert_agrees(draws, found.overlap)
    without = theory.generated_spike_recovery(d, spike, N, 10**9, SCHEDULE, ridge=1.0)
    assert compare(Measurement.from_replicas(draws, {}), without.overlap).verdict == "fail"
    with pytest.raises(ValueError, match="`generated` must be at least 2"):
        generated_spike_overlaps(law, N, 1, SCHEDULE, replicas=1, key=KEY)


def test_endless_generated_samples_are_the_law():
    sizes = np.array([[90, 150], [400, 2000]])
    law = theory.spike_recovery(np.ones(99), 2.2, sizes)
    many = theory.generated_spike_recovery(100, 2.2, sizes, 10**9, SCHEDULE, sampler="ddim")
    assert many.overlap.values == pytest.approx(law.overlap.values, abs=1e-3)
    assert many.limit.values == pytest.approx(law.limit.values, abs=1e-3)
    variance = theory.generated_variance(law.eigenvalue, SCHEDULE, sampler="ddim").values
    assert many.eigenvalue == pytest.approx(variance, rel=1e-3)


def test_below_the_first_threshold_generated_samples_show_at_most_what_the_law_shows():
    law = theory.spike_recovery(np.ones(99), 2.2, [10, 30, 60])
    assert np.all(law.limit.values == 0)
    for m in (50, 400, 10**9):
        found = theory.generated_spike_recovery(100, 2.2, [10, 30, 60], m, SCHEDULE)
        assert np.all(found.limit.values == 0)
        assert np.all(found.overlap.values >= 0)
        assert np.all(np.abs(found.overlap.values - law.overlap.values) <= found.overlap.bias)


def test_a_ridge_raises_the_second_threshold():
    found = [
        theory.generated_spike_recovery(100, 2.5, 500, 300, SCHEDULE, ridge=c).overlap.values
        for c in (0.0, 0.5, 3.0)
    ]
    assert np.all(np.diff(found) < -0.05)


@pytest.mark.parametrize("spike", [1.001, 2.0, 1e6])
@pytest.mark.parametrize("bulk", [[1.0], np.ones(99), np.arange(1, 100.0) ** -2])
def test_values_are_squared_cosines_at_every_size(bulk, spike):
    sizes = np.array([[2, 3, 5, 10], [100, 10**4, 10**6, 10**9]])
    found = theory.spike_recovery(bulk, spike, sizes)
    for part in (found.overlap.values, found.limit.values, found.overlap.bias):
        assert part.shape == sizes.shape
        assert np.all((part >= 0) & (part <= 1))
    assert found.limit.values[-1, -1] == pytest.approx(1, abs=2e-3 if spike > 1.01 else 0.2)
    assert theory.spike_recovery(bulk, spike, np.zeros((0, 3), int)).overlap.values.shape == (0, 3)


CALLS = {
    "spike": lambda spike: theory.spike_recovery(UNEVEN, spike, 30),
    "bulk": lambda bulk: theory.spike_threshold(bulk, 3.0),
    "samples": lambda samples: theory.spike_recovery(UNEVEN, 3.0, samples),
    "generated": lambda m: theory.generated_spike_recovery(50, 3.0, 30, m, SCHEDULE),
    "dimension": lambda d: theory.generated_spike_recovery(d, 3.0, 30, 30, SCHEDULE),
    "distance": theory.critical_weight,
    "replicas": lambda count: draw_spike_overlaps(8, 2.0, 9, replicas=count, key=KEY),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spike", 1.6),
        ("spike", 0.5),
        ("spike", np.nan),
        ("spike", [2.0, 3.0]),
        ("samples", 1),
        ("samples", 30.5),
        ("generated", 1),
        ("dimension", 1),
        ("distance", np.inf),
        ("replicas", 0),
    ],
)
def test_what_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        CALLS[name](value)


@pytest.mark.parametrize("bulk", [[], [1.0, 2.0], [1.0, 0.0], [[1.0]], [np.inf]])
def test_a_bad_bulk_is_refused(bulk):
    with pytest.raises(ValueError, match="`bulk` must"):
        CALLS["bulk"](bulk)


def test_the_only_direction_of_one_dimension_is_recovered():
    schedule = NoiseSchedule.linear(3, 0.1, 0.3)
    law, options = LatentLaw(np.ones(1)), {"replicas": 2, "key": jax.random.key(0)}
    np.testing.assert_allclose(generated_spike_overlaps(law, 4, 5, schedule, **options), 1.0)
    with pytest.raises(ValueError, match="`samples`"):
        generated_spike_overlaps(law, [4, 5], 5, schedule, **options)
