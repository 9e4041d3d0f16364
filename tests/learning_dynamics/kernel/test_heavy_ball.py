"""Momentum 1 - gamma / N: velocities on the scale of tau, noise of their own, oscillations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import learning_dynamics as ld
from learning_dynamics.protocols.regression import regression_with_momentum
from tests.learning_dynamics.kernel import linear_regression as line
from tests.learning_dynamics.kernel import weights as witness
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher
from tests.learning_dynamics.kernel.searching import Monomial, NormalisedCorrelator

FRICTION, RATE = 0.7, 1.3
BALL = ld.HeavyBall(FRICTION)


def closed_form(times, noise=line.NOISE):
    """M_w and R_ww of linear regression from scipy: five equations, written out by hand."""

    def slope(_, y):
        m, speed, size, cross, square = y
        error = (1 - m) ** 2 + size
        return [
            speed,
            -FRICTION * speed - RATE * (m - 1),
            2 * cross,
            square - FRICTION * cross - RATE * size,
            -2 * FRICTION * square - 2 * RATE * cross + RATE**2 * (error + noise**2),
        ]

    first = [0.0, 0.0, line.RHO - 1, 0.0, 0.0]
    return solve_ivp(slope, (0, times[-1]), first, t_eval=times, rtol=1e-10, atol=1e-12).y


def test_limit_of_linear_regression():
    """The overlap is a damped oscillator; the size of the weights is driven by the noise."""
    times = np.array([0.5, 1.0, 3.0, 8.0])
    problem = line.problem(RATE, momentum=BALL)
    limit = ld.integrate(problem, times=times, start=line.START, points=2**6, method="tensor")
    m, _, size, *_ = closed_form(times)
    np.testing.assert_allclose(limit.values["signal"][:, 0, 0], m, atol=1e-6)
    np.testing.assert_allclose(limit.values["norms"][:, 0, 0], m**2 + size, atol=1e-6)
    frequency = np.sqrt(RATE - FRICTION**2 / 4)
    swing = np.cos(frequency * times) + FRICTION / (2 * frequency) * np.sin(frequency * times)
    np.testing.assert_allclose(m, 1 - np.exp(-FRICTION * times / 2) * swing, atol=1e-8)
    assert m.max() > 1.1  # beyond the teacher


@pytest.mark.slow
@pytest.mark.parametrize("level", ["ambient", "overlaps"])
def test_exact_second_moments_at_small_dimension(level):
    """The recursion of momentum 1 - gamma / N at the rate eta / N, in two halves."""
    n, updates = 10, 15
    problem = line.problem(RATE, momentum=BALL)
    options = {"dimension": n, "times": [updates / n], "replicas": 4000, "level": level}
    first = ld.simulate(problem, key=jax.random.key(1), start=line.START, **options)
    second = ld.simulate(problem, key=jax.random.key(2), start=first, **options)
    for run, count in ((first, updates), (second, 2 * updates)):
        error = run.values["norms"][:, 0, 0, 0] - 2 * run.values["signal"][:, 0, 0, 0] + 1
        exact = regression_with_momentum(
            [count], rate=RATE / n, momentum=1 - FRICTION / n, dimension=n,
            label_noise=line.NOISE, distance=line.RHO,
        )  # fmt: skip
        assert abs(error.mean() - exact[0]) < 5 * error.std() / len(error) ** 0.5 + 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [200, 2000])
@pytest.mark.parametrize("update", ["plain", "spherical", "projected", "orthogonal"])
def test_committee_against_weights(update, dimension):
    """Two coupled neurons with a second layer, SGD on the weights beside the limit."""
    problem = ld.Problem(
        Teacher(np.array([1.0, -0.5])), Committee(2), 0.9, update=update, batch=2,
        parameter_rates={"v": 0.5}, label_noise=0.5, momentum=ld.HeavyBall(1.2),
        weight_decay=0.3 if update == "plain" else None,
    )  # fmt: skip
    w = np.random.default_rng(1).normal(size=(2, dimension)) / dimension**0.5
    w[:, :2] = [[0.4, 0.1], [-0.2, 0.3]]
    left, _, right = np.linalg.svd(w, full_matrices=False)
    w = left @ right
    replicas = 80_000 // dimension
    expected = witness.sgd(
        problem, dimension, w, {}, replicas, jax.random.key(3), 3 * dimension // 2
    )
    first = witness.order_parameters(problem, w, dimension)
    start = ld.Overlaps(first["signal"], first["blocks"], {})
    limit = ld.integrate(problem, times=[1.5], start=start, points=2**10)
    for name, values in limit.values.items():
        draws = expected[name]
        scale = draws.std(0) / replicas**0.5 + limit.quadrature_error[name][0] + 1e-6
        off = np.abs(draws.mean(0) - values[0]) - 4 / dimension
        assert np.all(off < 5 * scale), (name, np.max(off / scale))
    moved = limit.values["signal"][0] - first["signal"]
    assert np.max(np.abs(moved)) > 0.1


@pytest.mark.slow
def test_large_friction_is_a_small_rate():
    """Gamma and eta large at a fixed ratio: SGD at eta / gamma, drift and noise alike."""
    start = ld.order_parameters([[0.1], [0.3]], [[0.5, 0.1], [0.1, 0.8]])
    inputs, options = Teacher(np.ones(1)), {"times": [1.0], "start": start, "points": 2**8}
    plain = ld.integrate(ld.Problem(inputs, Committee(2), 0.8), **options)
    off = []
    for friction in (100.0, 400.0):
        ball = ld.Problem(inputs, Committee(2), 0.8 * friction, momentum=ld.HeavyBall(friction))
        limit = ld.integrate(ball, **options)
        off.append(
            max(np.max(np.abs(limit.values[n] - plain.values[n])) for n in ("signal", "norms"))
        )
    assert off[1] < 0.02
    assert off[0] / off[1] == pytest.approx(4, rel=0.2)


@pytest.mark.slow
def test_gradients_in_the_friction():
    def end(friction):
        problem = line.problem(RATE, momentum=ld.HeavyBall(friction))
        limit = ld.integrate(problem, times=[2.0], start=line.START, points=2**6, method="tensor")
        return limit.values["norms"][0, 0, 0]

    with jax.enable_x64(True):
        slope = jax.grad(end)(jnp.float64(FRICTION))
        quotient = (end(FRICTION + 1e-4) - end(FRICTION - 1e-4)) / 2e-4
    assert slope == pytest.approx(quotient, rel=1e-5)


@pytest.mark.parametrize("friction", [0.0, -1.0, np.nan, np.ones(2)])
def test_bad_friction(friction):
    with pytest.raises(ValueError, match="Argument `friction`"):
        ld.HeavyBall(friction)


def test_repeats_are_refused():
    with pytest.raises(ValueError, match="Argument `repeats` must be 1 with a heavy ball"):
        line.problem(0.5, momentum=BALL, repeats=2)


def test_levels_without_velocities_refuse():
    problem = line.problem(RATE, momentum=BALL)
    search = ld.Problem(
        Monomial(2), NormalisedCorrelator(2), 0.5, momentum=BALL, update="spherical"
    )
    denoiser = ld.Problem(Spike(), Denoiser(1), 0.4, parameter_rates={"skip": 0.2}, momentum=BALL)
    start = ld.order_parameters([[0.5]], [[0.9]], {"skip": 0.5})
    for call in (
        lambda: ld.right_hand_side(problem, line.START),
        lambda: ld.fluctuations(problem, times=[1.0], start=line.START),
        lambda: ld.search_law(search, key=jax.random.key(0)),
        lambda: ld.integrate(denoiser, times=[1.0], start=start),
    ):
        with pytest.raises(ValueError, match=r"Argument `problem.momentum`"):
            call()


@pytest.mark.slow
def test_runs_go_on_and_frictions_are_batched(tmp_path, key):
    """Checkpoints, continued runs, a batch of frictions, and `Limit.at`."""
    problem = line.problem(RATE, momentum=BALL)
    options = {"dimension": 20, "replicas": 2, "level": "overlaps", "start": line.START}
    times = {"times": [1.0, 2.0], "key": key}
    saved = {"checkpoint": tmp_path / "a.npz"}
    first = ld.simulate(problem, **options, **times, **saved)
    again = ld.simulate(problem, **options, **times, **saved)
    np.testing.assert_array_equal(first.values["signal"], again.values["signal"])
    other = line.problem(RATE, momentum=ld.HeavyBall(2 * FRICTION))
    changed = ld.simulate(other, **options, **times)
    assert np.max(np.abs(changed.values["signal"] - first.values["signal"])) > 1e-3

    def run(friction):
        one = line.problem(RATE, momentum=ld.HeavyBall(friction))
        return ld.simulate(one, **options, **times).values["signal"]

    both = jax.vmap(run)(jnp.array([FRICTION, 2 * FRICTION]))
    np.testing.assert_allclose(both[0], first.values["signal"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both[1], changed.values["signal"], rtol=1e-4, atol=1e-5)
    options["start"] = first
    later = ld.simulate(problem, times=[1.0], key=jax.random.key(9), **options)
    with pytest.raises(ValueError, match="Argument `start` must have begun at rest"):
        ld.integrate(problem, start=later)
    limit = ld.integrate(problem, start=first, points=2**6, method="tensor")
    np.testing.assert_allclose(limit.at([1.0]).signal[0, 0, 0, 0], closed_form([1.0])[0], atol=1e-6)
    friction = ld.optimise(
        problem, over="momentum.friction", objective=line.rho, start=line.START, until=2.0,
        points=2**6, method="tensor",
    )  # fmt: skip
    assert friction.residual < 1e-2
