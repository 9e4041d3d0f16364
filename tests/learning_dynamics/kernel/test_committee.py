"""The limit of the erf committee against its closed form (Saad and Solla, Goldt et al.)."""

import jax
import numpy as np
import pytest
from scipy import special

import learning_dynamics as ld
from learning_dynamics.limit.accuracy import student
from tests.learning_dynamics.kernel.models import Committee, Teacher
from tests.learning_dynamics.kernel.witness import committee_rates


def random_overlaps(neurons, teachers, seed):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(neurons, teachers + 8)) / np.sqrt(teachers + 8)
    w *= rng.uniform(0.6, 1.4, size=(neurons, 1))
    return w[:, :teachers], w @ w.T, rng.uniform(0.5, 1.5, neurons), rng.uniform(-1, 1.5, teachers)


def rates(neurons, teachers, seed, points, method):
    m, q, v, a = random_overlaps(neurons, teachers, seed)
    problem = ld.Problem(
        Teacher(a), Committee(neurons), 0.7, parameter_rates={"v": 0.4}, label_noise=0.3
    )
    start = ld.order_parameters(m, q, {"v": v})
    found, error = ld.right_hand_side(problem, start, points=points, method=method)
    d_q = found.blocks[0] + found.signal @ m.T + m @ found.signal.T
    dq_error = error.blocks[0] + 2 * np.abs(error.signal).max() * np.abs(m).sum()
    expected = committee_rates(m, q, v, a, 0.7, 0.4, 0.3)
    return (
        list(zip((found.signal, d_q, found.parameters["v"]), expected, strict=True)),
        (error.signal, dq_error, error.parameters["v"]),
    )


def random_points_error(neurons, teachers, seed, points):
    """Standard error of the means of eta A C and eta A h^T from independent samples."""
    m, q, v, a = random_overlaps(neurons, teachers, seed)
    rng, count = np.random.default_rng(0), 50_000
    x = rng.normal(size=(count, teachers))
    noise = rng.normal(size=(count, neurons)) @ np.linalg.cholesky(q - m @ m.T).T
    h = x @ m.T + noise
    label = special.erf(x / np.sqrt(2)) @ a + 0.3 * rng.normal(size=count)
    miss = special.erf(h / np.sqrt(2)) @ v - label
    slope = 0.7 * miss[:, None] * v * np.sqrt(2 / np.pi) * np.exp(-(h**2) / 2)
    return (
        np.std(slope[:, :, None] * x[:, None], axis=0).max() / np.sqrt(points),
        np.std(slope[:, :, None] * h[:, None], axis=0).max() / np.sqrt(points),
    )


@pytest.mark.parametrize(
    ("neurons", "teachers", "points", "accuracy"),
    [
        (1, 1, 2**15, 1e-9),
        pytest.param(2, 1, 2**19, 1e-7, marks=pytest.mark.slow),
        pytest.param(1, 2, 2**19, 1e-7, marks=pytest.mark.slow),
        (2, 2, 2**18, 2e-4),
    ],
)
def test_tensor_rule_reaches_closed_form(neurons, teachers, points, accuracy):
    pairs, _ = rates(neurons, teachers, neurons + 7 * teachers, points, "tensor")
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, atol=accuracy, rtol=0)


@pytest.mark.parametrize(
    ("neurons", "teachers"),
    [
        (2, 2),
        (2, 4),
        pytest.param(3, 2, marks=pytest.mark.slow),
        pytest.param(4, 1, marks=pytest.mark.slow),
        (4, 4),
    ],
)
def test_sobol_points_agree_within_their_reported_error(neurons, teachers):
    pairs, bounds = rates(neurons, teachers, 3 * neurons + teachers, 2**16, "sobol")
    errors = [bound / student(8) for bound in bounds]  # standard errors
    # in up to 9 dimensions Sobol points are worth at least nine times as many random ones; the
    # error of dQ exceeds that of its parts, being a bound on their sum over directions
    m = random_overlaps(neurons, teachers, 3 * neurons + teachers)[0]
    random = random_points_error(neurons, teachers, 3 * neurons + teachers, 2**16)
    assert np.max(errors[0]) < random[0] / 3
    assert np.max(errors[1]) < 2 * random[1] / 3 + 2 * np.abs(m).sum() * random[0] / 3
    for (found, expected), error in zip(pairs, errors, strict=True):
        # 8 scramblings: the t quantile at 1e-6 for at most 16 components
        assert np.max(np.abs(found - expected) / (error + 1e-12)) < 13


@pytest.mark.slow
def test_reported_tensor_error_is_honest():
    for points in (2**10, 2**12, 2**14):
        pairs, errors = rates(2, 1, 9, points, "tensor")
        for (found, expected), error in zip(pairs, errors, strict=True):
            assert np.all(np.abs(found - expected) <= error + 1e-12)


@pytest.mark.slow
def test_trajectory_follows_closed_form():
    """Heun steps of the closed form against the adaptive solution."""
    m, q, v, a = random_overlaps(2, 1, 5)
    problem = ld.Problem(Teacher(a), Committee(2), 0.7, parameter_rates={"v": 0.4})
    times = np.array([0.5, 2.0])
    start = ld.order_parameters(m, q, {"v": v})
    limit = ld.integrate(problem, times=times, start=start, points=2**13, method="tensor")

    def rate(y):
        return np.concatenate(
            [r.ravel() for r in committee_rates(y[:2, None], y[2:6].reshape(2, 2), y[6:], a,
                                                0.7, 0.4, 0.0)]
        )  # fmt: skip

    y, step = np.concatenate([m.ravel(), q.ravel(), v]), 2e-3
    for i in range(1000):
        slope = rate(y)
        y = y + step / 2 * (slope + rate(y + step * slope))
        if i == 249:
            early = y
    for index, expected in ((0, early), (1, y)):
        found = np.concatenate(
            [limit.values[name][index].ravel() for name in ("signal", "norms", "v")]
        )
        np.testing.assert_allclose(found, expected, atol=3e-6)
    assert limit.attributes["reached_the_end"]
    middle = limit.at([2.0, 0.5, 2.0])  # in any order
    np.testing.assert_allclose(middle.norms[0, 1].ravel(), early[2:6], atol=3e-6)
    np.testing.assert_allclose(middle.norms[0, [0, 2]], limit.paths["norms"][0, [1, 1]], rtol=1e-7)


@pytest.mark.slow
def test_repeated_starts_count_as_often_as_they_occur():
    m, q, _, a = random_overlaps(2, 1, 5)
    problem = ld.Problem(Teacher(a), Committee(2), 0.7)
    one, other = ld.order_parameters(m, q), ld.order_parameters(0.5 * m, q)
    rule = {"points": 2**10, "method": "tensor"}
    alone = [ld.integrate(problem, times=[0.5], start=start, **rule) for start in (one, other)]
    rows = [0, 1, 0]
    both = jax.tree.map(lambda a, b: np.stack([(a, b)[i] for i in rows]), one, other)
    limit = ld.integrate(problem, times=[0.5], start=both, **rule)
    for name, found in limit.paths.items():
        expected = np.concatenate([alone[i].paths[name] for i in rows])
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(limit.values[name], expected.mean(axis=0), rtol=1e-12)
    assert limit.at([0.2]).signal.shape == (3, 1, 2, 1)
