"""Starts: equal checks at every level, singular noise blocks, weight decay in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.limit.moments import field_factor
from learning_dynamics.model.overlaps import checked_overlaps
from tests.learning_dynamics.kernel.models import Bands, Committee, Teacher

KEY = jax.random.key(0)


def linear(**options):
    return ld.Problem(Teacher(np.ones(1), "linear"), Committee(1, "linear"), 0.5, **options)


def moving_from(problem, start, level):
    if level == "simulate":
        return ld.simulate(problem, dimension=50, times=[1.0], replicas=4, start=start, key=KEY)
    if level == "right_hand_side":
        return ld.right_hand_side(problem, start)
    return getattr(ld, level)(problem, times=[1.0], start=start)


GOOD = ld.order_parameters([[0.5]], [[1.0]])
BAD = {
    "start must have rows of norm one": (
        linear(update="spherical"),
        GOOD._replace(blocks=[[[4.0]]]),
    ),
    "start.signal` must have shape": (linear(), ld.order_parameters([[0.5, 0.1]], [[1.0]])),
    "start.blocks` must have shape": (linear(), GOOD._replace(blocks=np.ones((2, 1, 1)))),
    "start.blocks` must be positive": (linear(), GOOD._replace(blocks=[[[-0.5]]])),
    "start.blocks` must be finite": (linear(), GOOD._replace(blocks=[[[np.nan]]])),
    "start.parameters` must name": (linear(), GOOD._replace(parameters={"u": 1.0})),
    "start.parameters['v']` must have shape": (linear(), GOOD._replace(parameters={"v": 1.0})),
    "start.parameters['v']` must be finite": (linear(), GOOD._replace(parameters={"v": [np.inf]})),
}


@pytest.mark.parametrize("level", ["simulate", "integrate", "right_hand_side", "fluctuations"])
@pytest.mark.parametrize("words", BAD)
def test_every_level_refuses_the_same_starts(words, level):
    with pytest.raises(ValueError, match="Argument `start") as caught:
        moving_from(*BAD[words], level)
    assert words.replace("start must", "start` must") in str(caught.value)


def test_weight_decay_has_its_closed_form():
    """dM = -eta (M - 1 + w M), dR = -2 eta (1 + w) R + eta^2 ((M - 1)^2 + R) for least squares."""
    start = ld.order_parameters([[0.1]], [[1.0]])
    problem = linear(weight_decay=0.1)
    rate, _ = ld.right_hand_side(problem, start, points=2**8, method="tensor")
    np.testing.assert_allclose(rate.signal.ravel(), 0.5 * (1 - 1.1 * 0.1), rtol=1e-9)
    np.testing.assert_allclose(rate.blocks.ravel(), -1.1 * 0.99 + 0.25 * (0.81 + 0.99), rtol=1e-9)


@pytest.mark.slow
def test_limit_with_weight_decay_has_its_closed_form():
    problem, times = linear(weight_decay=0.1), np.array([1.0, 3.0])
    start = ld.order_parameters([[0.1]], [[1.0]])
    limit = ld.integrate(problem, times=times, start=start, points=2**8, method="tensor")
    rest = 1 / 1.1
    exact = rest + (0.1 - rest) * np.exp(-0.55 * times)
    np.testing.assert_allclose(exact, [0.4423, 0.7537], atol=5e-5)
    np.testing.assert_allclose(limit.values["signal"].ravel(), exact, rtol=1e-6)
    around = ld.fluctuations(problem, times=times, start=start, points=2**8)
    seen = ld.simulate(
        problem, dimension=200, times=times, replicas=2000, start=start, key=KEY, level="overlaps"
    )
    for name in ("signal", "norms"):
        spread = seen.values[name].std(axis=0) * 200**0.5
        np.testing.assert_allclose(spread, around.spread[name], rtol=0.1)
        mean, shift = seen.values[name].mean(axis=0), around.shift[name] / 200
        error = 5 * spread / 200**0.5 / 2000**0.5
        assert np.all(np.abs(mean - limit.values[name] - shift) < error + 1e-4)


def singular(neurons, width, count=3):
    """Gram matrices of rows in fewer dimensions, as float32 leaves them: indefinite."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(count, neurons, width)).astype(np.float32) / np.float32(width**0.5)
    gram = rows @ np.swapaxes(rows, 1, 2)
    assert np.linalg.eigvalsh(gram.astype(np.float64)).min() < -1e-9
    return gram[:, None].astype(np.float64)


@pytest.mark.parametrize("neurons", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_more_neurons_than_noise_dimensions(neurons):
    """The loss at singular R_b is that of the fields W_b z written out."""
    problem = ld.Problem(Teacher(np.ones(1)), Committee(neurons), 0.5)
    blocks = singular(neurons, neurons // 2)
    state = ld.Overlaps(np.full((3, neurons, 1), 0.1), blocks, {"v": np.full(neurons, 1 / neurons)})
    loss, error = ld.expected_loss(problem, state, points=2**10)
    checked = checked_overlaps(problem, state, 1)
    assert np.linalg.eigvalsh(checked.blocks).min() > -1e-14
    np.testing.assert_allclose(checked.blocks, blocks, atol=1e-5)
    regular = state._replace(blocks=blocks + 1e-5 * np.eye(neurons))
    close, _ = ld.expected_loss(problem, regular, points=2**10)
    assert np.all(np.isfinite(loss))
    np.testing.assert_allclose(loss, close, atol=1e-4 + 5 * np.max(error))


@pytest.mark.slow
def test_factor_of_a_singular_covariance():
    """Equal to Cholesky's where that exists; finite, with finite derivatives, where it does not."""
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        rows = rng.normal(size=(8, 8))
        full, thin = rows @ rows.T, rows[:, :4] @ rows[:, :4].T
        compiled = jax.jit(field_factor)
        factor = np.asarray(compiled(jnp.asarray(full)))
        np.testing.assert_allclose(factor, np.linalg.cholesky(full), rtol=1e-6, atol=1e-9)
        factor = np.asarray(compiled(jnp.asarray(thin)))
        np.testing.assert_allclose(factor @ factor.T, thin, atol=1e-12 * np.trace(thin))
        assert np.all(np.triu(factor, 1) == 0)
        one = jnp.asarray(full[:2, :2])
        slope = jax.jacfwd(field_factor)(one)
        expected = jax.jacfwd(jnp.linalg.cholesky)(one)
        np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-12)
        indefinite = jnp.asarray(np.diag([1.0, 1.0, -1e-9]))
        assert np.all(np.isfinite(jax.jacfwd(field_factor)(indefinite)))


def test_blocks_that_are_empty_of_weights():
    """Several blocks, no weight in any: the noise has no part along the fields."""
    problem = ld.Problem(Bands(np.ones(1)), Committee(1), 0.5)
    state = ld.Overlaps([[0.5]], np.zeros((2, 1, 1)), {})
    rate, _ = ld.right_hand_side(problem, state, dimension=101, points=2**8)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(rate))
    assert np.all(rate.blocks > 0)


def test_a_start_without_room_in_the_noise():
    options = {"times": [1.0], "replicas": 4, "key": KEY}
    with pytest.raises(ValueError, match=r"start.blocks` must be zero"):
        ld.simulate(linear(), dimension=1, start=GOOD, **options)
    two = ld.Problem(Teacher(np.ones(1)), Committee(2), 0.5)
    start = ld.order_parameters([[0.1], [0.2]], np.eye(2))
    with pytest.raises(ValueError, match="rank at most 1"):
        ld.simulate(two, dimension=2, start=start, **options)
    many = jax.tree.map(lambda leaf: np.stack([leaf] * 3), start)
    with pytest.raises(ValueError, match="for each of 4 replicas"):
        ld.simulate(two, dimension=9, start=many, **options)


@pytest.mark.slow
def test_what_rounding_leaves_of_rows_in_the_signal_is_no_noise(key):
    """Rows inside the signal directions: Q - M M^T has an eigenvalue of -7e-18."""
    start = ld.order_parameters([[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.05], [0.05, 0.05]])
    problem = ld.Problem(Teacher((1.0, 1.0)), Committee(2), 0.1)
    seen = ld.simulate(problem, dimension=50, times=[0.1], replicas=2, start=start, key=key)
    np.testing.assert_allclose(seen.start.signal[0], start.signal, rtol=1e-6)
