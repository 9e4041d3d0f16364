"""Exact solutions, convergence orders and symmetries."""

import jax
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher


def linear_error(eta, noise, dimension, steps, start):
    """E |w - w*|^2 of least squares by online SGD, exact at any N (fourth Gaussian moment)."""
    c = eta / dimension
    keep = 1 - 2 * c + c**2 * (dimension + 2)
    add = c**2 * dimension * noise**2
    return keep**steps * start + add * (keep**steps - 1) / (keep - 1)


def linear_problem(eta=0.5, noise=0.4):
    return ld.Problem(
        Teacher(np.array([1.0]), "linear"), Committee(1, "linear"), eta, label_noise=noise
    )


def error_of(overlaps):
    return overlaps.norms[..., 0, 0] - 2 * overlaps.signal[..., 0, 0] + 1


@pytest.mark.parametrize("level", ["overlaps", pytest.param("ambient", marks=pytest.mark.slow)])
def test_linear_learner_has_the_exact_mean(level, key):
    dimension = 6
    start = ld.order_parameters([[0.2]], [[1.1]])
    seen = ld.simulate(
        linear_problem(), dimension=dimension, times=[1, 3], replicas=4000, key=key, level=level,
        start=start, observe={"error": error_of},
    )  # fmt: skip
    mean = seen.measurement("error")
    for index, steps in enumerate((6, 18)):
        exact = linear_error(0.5, 0.4, dimension, steps, 1.7)
        assert abs(mean.values[index, 0] - exact) < 5 * mean.standard_error[index, 0]
        limit = linear_error(0.5, 0.4, 10**9, steps * 10**9 // dimension, 1.7)
        if index == 1:  # and not the limit's
            assert abs(mean.values[index, 0] - limit) > 5 * mean.standard_error[index, 0]


def test_limit_of_the_linear_learner_is_exact():
    times = np.array([0.3, 1.0, 4.0])
    start = ld.order_parameters([[0.2]], [[1.1]])
    options = {"times": times, "start": start, "observe": {"error": error_of}, "method": "tensor"}
    limit = ld.integrate(linear_problem(), tolerance=1e-10, points=500, **options)
    rate, floor = 2 * 0.5 - 0.25, 0.25 * 0.16 / 0.75
    exact = floor + (1.7 - floor) * np.exp(-rate * times)
    np.testing.assert_allclose(limit.values["error"], exact, rtol=1e-9)
    assert np.all(limit.quadrature_error["error"] < 1e-12)  # polynomials
    loose = ld.integrate(linear_problem(), tolerance=1e-6, points=500, **options)
    actual = np.abs(loose.values["error"] - exact)
    assert np.all(actual <= 2 * loose.integrator_error["error"] + 1e-12)  # honest
    assert np.all(loose.integrator_error["error"] < 1e-2)


@pytest.mark.slow
def test_bias_falls_as_one_over_n(key):
    """Slope of log |mean - limit| in log N, within its error of -1, from large N.

    The weighted fit below allows for 1 / N^2; here N is large enough that it adds less than 0.1 to
    the slope: spread 1 / N^(1/2) over (replicas)^(1/2) against a bias of 1 / N.
    """
    problem = linear_problem(eta=1.0, noise=0.4)
    start = ld.order_parameters([[0.2]], [[1.1]])
    sizes, replicas = np.array([20, 40, 80]), np.array([60_000, 120_000, 240_000])
    limit = ld.integrate(
        problem, times=[1.0], start=start, observe={"error": error_of}, points=500,
        method="tensor", tolerance=1e-10,
    ).values["error"][0]  # fmt: skip
    bias, error = [], []
    for n, count in zip(sizes, replicas, strict=True):
        seen = ld.simulate(
            problem, dimension=int(n), times=[1.0], replicas=int(count), key=key, level="overlaps",
            start=start, observe={"error": error_of},
        )  # fmt: skip
        draws = seen.values["error"][:, 0]
        bias.append(draws.mean() - limit)
        error.append(draws.std() / np.sqrt(count))
    x, y = np.log(sizes), np.log(np.abs(bias))
    weight = (np.array(bias) / error) ** 2  # of log |bias|
    centre = np.sum(weight * x) / np.sum(weight)
    spread = np.sum(weight * (x - centre) ** 2)
    slope, uncertainty = np.sum(weight * (x - centre) * y) / spread, 1 / np.sqrt(spread)
    exact = [linear_error(1.0, 0.4, n, n, 1.7) - limit for n in sizes]
    known = np.sum(weight * (x - centre) * np.log(np.abs(exact))) / spread
    print("slope", slope, "+-", uncertainty, "exact", known)
    assert uncertainty < 0.1
    assert abs(slope - known) < 5 * uncertainty
    assert abs(slope + 1) < 5 * uncertainty + 0.1
    assert abs(known + 1) < 0.1


@pytest.mark.slow
def test_bias_falls_as_one_over_n_and_spread_as_one_over_root_n(key):
    """Slopes in log N of |mean - limit| and of the standard deviation, with their errors."""
    problem = ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(1), 1.5)
    start = ld.order_parameters([[0.4, -0.2]], [[1.0]])
    sizes, time, replicas = np.array([8, 16, 32, 64]), [2.0], 20000
    limit = ld.integrate(problem, times=time, start=start, points=2**15)
    bias, bias_error, spread = [], [], []
    for n in sizes:
        seen = ld.simulate(
            problem, dimension=int(n), times=time, replicas=replicas, key=key, level="overlaps",
            start=start,
        )  # fmt: skip
        draws = seen.values["norms"][:, 0, 0, 0]
        bias.append(draws.mean() - limit.values["norms"][0, 0, 0])
        bias_error.append(draws.std() / np.sqrt(replicas))
        spread.append(draws.std())
    x = np.log(sizes)
    slope = stats.linregress(x[1:], np.log(spread[1:])).slope
    assert slope == pytest.approx(-0.5, abs=0.06)
    # bias = c / N + e / N^2: weighted fit; c differs from zero, the fit is good
    design = np.stack([1 / sizes, 1 / sizes**2.0], axis=1) / np.array(bias_error)[:, None]
    target = np.array(bias) / bias_error
    fit, residual, *_ = np.linalg.lstsq(design, target, rcond=None)
    error = np.sqrt(np.linalg.inv(design.T @ design)[0, 0])
    assert abs(fit[0]) > 5 * error
    assert stats.chi2.sf(residual[0], 2) > 1e-4


def test_permuting_neurons_and_directions_permutes_the_velocity():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(2, 6)) / 2
    m, q, v = w[:, :2], w @ w.T, np.array([0.7, 1.2])
    flip = [1, 0]

    def velocity(m, q, v, a):
        problem = ld.Problem(Teacher(a), Committee(2), 0.8, parameter_rates={"v": 1.0})
        start = ld.order_parameters(m, q, {"v": v})
        return ld.right_hand_side(problem, start, points=2**14, method="tensor")[0]

    one = velocity(m, q, v, np.array([1.0, 0.3]))
    two = velocity(m[flip][:, flip], q[flip][:, flip], v[flip], np.array([0.3, 1.0]))
    # the Cholesky frame of the noise fields is not symmetric: equal to quadrature accuracy
    np.testing.assert_allclose(two.signal, one.signal[flip][:, flip], atol=3e-4)
    np.testing.assert_allclose(two.blocks[0], one.blocks[0][flip][:, flip], atol=3e-3)
    np.testing.assert_allclose(two.parameters["v"], one.parameters["v"][flip], atol=1e-4)


def test_rotating_the_signal_space_rotates_the_linear_velocity():
    angle = 0.7
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    teacher, m, q = np.array([1.0, 0.0]), np.array([[0.3, 0.5]]), [[1.2]]
    found, rule = [], {"points": 1000, "method": "tensor"}
    for t, start in ((teacher, m), (teacher @ turn, m @ turn)):
        problem = ld.Problem(Teacher(t, "linear"), Committee(1, "linear"), 0.8)
        found.append(ld.right_hand_side(problem, ld.order_parameters(start, q), **rule)[0])
    np.testing.assert_allclose(found[1].signal, found[0].signal @ turn, atol=1e-12)
    np.testing.assert_allclose(found[1].blocks + 0.0, found[0].blocks, atol=1e-12)


SKIP = {
    "start": ld.order_parameters([[0.5]], [[1.0]], {"skip": 0.3}),
    "times": [0.5, 1.0],
}
FAST = ld.Problem(Spike(), Denoiser(1), 0.4, parameter_rates={"skip": 0.2})
SLOW = ld.Problem(
    Spike(), Denoiser(1), 0.4, parameter_rates={"skip": 0.2}, parameter_orders={"skip": 2}
)


@pytest.mark.slow
def test_a_fast_skip_is_held_at_its_fixed_point():
    """Order 1: it relaxes within O(1) updates to cov(x, z) / var(x) = 0.6."""
    np.testing.assert_allclose(ld.integrate(FAST, **SKIP).values["skip"], 0.6, atol=1e-9)


@pytest.mark.slow
def test_a_slow_skip_relaxes_with_the_overlaps():
    """Order 2: d s / d tau = -2 rate (s - 0.6)."""
    limit = ld.integrate(SLOW, **SKIP, points=2**10)
    exact = 0.6 - 0.3 * np.exp(-0.4 * np.array([0.5, 1.0]))
    np.testing.assert_allclose(limit.values["skip"], exact, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["ambient", "overlaps"])
def test_fast_skip_follows_the_limit_that_holds_it(level, key):
    count = 24 if level == "ambient" else 300
    assert_follows(FAST, ld.integrate(FAST, **SKIP), SKIP, key, level, count)


@pytest.mark.slow
def test_slow_skip_follows_its_limit(key):
    assert_follows(SLOW, ld.integrate(SLOW, **SKIP), SKIP, key)


def assert_follows(problem, theory, options, key, level="overlaps", count=300):
    """Within five errors and 4 / N at N = 2000."""
    seen = ld.simulate(problem, dimension=2000, replicas=count, key=key, level=level, **options)
    mean, prediction = seen.measurement(), theory.prediction(seen.values)
    allowed = 5 * np.hypot(mean.standard_error, prediction.numerical_error) + 4 / 2000
    assert np.all(np.abs(mean.values - prediction.values) < allowed)


@pytest.mark.slow
def test_several_starts_are_averaged():
    problem = linear_problem()
    one, two = (ld.order_parameters([[m]], [[1.0]]) for m in (0.1, 0.6))
    both = ld.order_parameters([[[0.1]], [[0.6]]], [[[1.0]], [[1.0]]])
    values = [
        ld.integrate(problem, times=[1.0], start=s, points=300).values["signal"]
        for s in (one, two, both)
    ]
    np.testing.assert_allclose(values[2], (values[0] + values[1]) / 2, rtol=1e-6)


def test_expected_loss_of_the_linear_learner():
    problem = linear_problem()
    start = ld.order_parameters([[[0.2]], [[0.0]]], [[[1.1]], [[0.5]]])
    loss, error = ld.expected_loss(problem, start, points=300, method="tensor")
    np.testing.assert_allclose(loss, [(1.7 + 0.16) / 2, (1.5 + 0.16) / 2], rtol=1e-12)
    assert np.all(error < 1e-12)


def test_sweep_over_numbers_is_one_vmap():
    def rate(eta):
        problem = ld.Problem(Teacher(np.array([1.0])), Committee(1), eta)
        return problem.cast(np.float32).learning_rate * 2

    np.testing.assert_allclose(jax.vmap(rate)(np.array([0.5, 1.0], np.float32)), [1.0, 2.0])


@pytest.mark.slow
def test_random_start_ensemble_is_what_simulations_start_from(key):
    problem = linear_problem()
    starts = ld.random_starts(problem, dimension=300, replicas=40, key=key)
    seen = ld.simulate(problem, dimension=300, times=[1.0], replicas=40, key=key, level="overlaps")
    np.testing.assert_allclose(starts.signal, seen.start.signal, atol=1e-7)
    limit = ld.integrate(problem, times=[1.0], start=starts, points=500, method="tensor")
    mean = seen.measurement("norms")
    assert abs(mean.values - limit.values["norms"]).max() < 5 * mean.standard_error.max() + 3 / 300
