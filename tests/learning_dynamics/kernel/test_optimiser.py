"""Optimisers of optax in place of the plain step: against the plain step, and loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import erf

import learning_dynamics as ld
from learning_dynamics.process.draws import draw_samples
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.motion import replica_keys, split
from learning_dynamics.process.starts import random_start
from learning_dynamics.random import row_place
from tests.learning_dynamics.kernel import test_options
from tests.learning_dynamics.kernel.models import Committee, Teacher

PLAIN = optax.sgd(1.0)
OPTIONS = {"dimension": 12, "times": [0.5, 2.0], "replicas": 3}
MOMENTUM, DECAYS, EPSILON = 0.9, (0.8, 0.95), 1e-3


def committee(rate=0.5, **options):
    given = {"parameter_rates": {"v": 0.4}, "initial_norm": 0.8} | options
    return ld.Problem(Teacher(np.array([1.0, -0.5])), Committee(3), rate, **given)


def assert_agree(one, other, tolerance):
    for name in other.values:
        np.testing.assert_allclose(
            one.values[name], other.values[name], rtol=tolerance, atol=tolerance
        )


OWN_STEPS = {
    "clip",
    "clipped batch",
    "normalise",
    "momentum",
    "heavy ball",
}  # refused beside an optimiser
BESIDE = [c for c in test_options.COMBINATIONS if not OWN_STEPS & c.options]


@pytest.mark.parametrize("combination", BESIDE, ids=str)
@pytest.mark.slow
def test_unit_descent_is_the_plain_step_whatever_the_options(combination, key):
    problem = test_options.problem(combination)
    options = {**OPTIONS, "key": key, "precision": "float64"}
    assert_agree(
        ld.simulate(problem, optimiser=PLAIN, **options), ld.simulate(problem, **options), 1e-11
    )


slow = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    "update",
    [pytest.param("plain", marks=slow), "spherical", pytest.param("projected", marks=slow)],
)
def test_unit_descent_is_the_plain_step(update, key):
    options = {"weight_decay": 0.3} if update == "plain" else {"initial_norm": None}
    problem = committee(update=update, batch=2, **options)
    plain = ld.simulate(problem, key=key, **OPTIONS)
    moved = ld.simulate(problem, key=key, optimiser=PLAIN, **OPTIONS)
    assert "optimiser" in moved.measurement().label  # not to be taken for plain steps
    assert "optimiser" not in plain.measurement().label
    assert_agree(moved, plain, 1e-5)
    assert "optimiser" not in plain.attributes
    assert "optimiser" in moved.attributes
    half = ld.simulate(problem, key=key, optimiser=optax.sgd(0.5), **OPTIONS)
    rates = {"v": problem.parameter_rates["v"] / 2}
    given = {"update": update, "batch": 2, "parameter_rates": rates, **options}
    assert_agree(half, ld.simulate(committee(0.25, **given), key=key, **OPTIONS), 1e-5)


def draws(problem, key, replica, dimension, updates):
    """Random inputs of each update of a replica, and its start, in float64."""
    layout = layout_of(problem, dimension, "ambient")

    @jax.jit
    def drawn(key):
        own = split(replica_keys(key, jnp.arange(replica + 1))[replica])
        rows = draw_samples(problem, layout, own[1], jnp.float64, jnp.int32(0), updates)
        order = np.array([row_place(j, updates) for j in range(updates)])
        rows = jax.tree.map(lambda a: a[order], rows)
        return random_start(problem, layout, own[0], jnp.float64), rows

    start, rows = jax.tree.map(np.asarray, drawn(key))
    return start, [jax.tree.map(lambda a, j=j: a[j], rows) for j in range(updates)]


def slopes(weights, second, vectors, labels):
    """Gradients of mean (v.erf(W x / sqrt 2) - y)^2 / 2, by hand."""
    fields = vectors @ weights.T
    units = erf(fields / np.sqrt(2))
    residual = units @ second - labels
    rise = np.sqrt(2 / np.pi) * np.exp(-(fields**2) / 2)
    return (residual[:, None] * rise * second).T @ vectors / len(labels), residual @ units / len(
        labels
    )


def adam(gradient, memory, count, decays=DECAYS):
    first, second = memory
    first = decays[0] * first + (1 - decays[0]) * gradient
    second = decays[1] * second + (1 - decays[1]) * gradient**2
    mean, square = first / (1 - decays[0] ** count), second / (1 - decays[1] ** count)
    return -mean / (np.sqrt(square) + EPSILON), (first, second)


@pytest.mark.slow
@pytest.mark.parametrize("decay", [pytest.param(None, marks=slow), 0.3])
def test_adam_is_a_loop_in_numpy_on_the_same_draws(decay, key):
    N, updates, replica = 9, 20, 1
    with jax.enable_x64(True):
        problem = committee(0.7, batch=2, weight_decay=decay)
        start, rows = draws(problem, key, replica, N, updates)
        weights = np.concatenate([start.signal, start.noise[0][0]], axis=1)
        second = np.asarray(start.parameters["v"])
        memory = [(0.0, 0.0), (0.0, 0.0)]
        for j, row in enumerate(rows):
            vectors = np.concatenate([row.signal[:, 0], row.noise[0][0]], axis=1)
            steep, slope = slopes(weights, second, vectors, row.label)
            steep = steep + (decay or 0.0) * weights
            move, memory[0] = adam(steep, memory[0], j + 1)
            shift, memory[1] = adam(slope, memory[1], j + 1)
            weights, second = weights + 0.7 / N * move, second + 0.4 / N * shift
    seen = ld.simulate(
        problem, dimension=N, times=[updates / N], replicas=2, key=key, precision="float64",
        optimiser=optax.adam(1.0, *DECAYS, eps=EPSILON),
    )  # fmt: skip
    np.testing.assert_allclose(seen.values["signal"][replica, 0], weights[:, :2], rtol=1e-9)
    np.testing.assert_allclose(seen.values["norms"][replica, 0], weights @ weights.T, rtol=1e-9)
    np.testing.assert_allclose(seen.values["v"][replica, 0], second, rtol=1e-9)


@pytest.mark.slow
def test_momentum_with_a_schedule_counts_updates(key):
    """Heavy ball with the rate halved after ten updates, in NumPy."""
    N, updates = 9, 20
    with jax.enable_x64(True):
        problem = committee(0.7, parameter_rates={})
        start, rows = draws(problem, key, 0, N, updates)
        weights = np.concatenate([start.signal, start.noise[0][0]], axis=1)
        velocity = np.zeros_like(weights)
        for j, row in enumerate(rows):
            vectors = np.concatenate([row.signal[:, 0], row.noise[0][0]], axis=1)
            steep, _ = slopes(weights, np.ones(3), vectors, row.label)
            velocity = MOMENTUM * velocity + steep
            weights = weights - (0.7 if j < 10 else 0.35) / N * velocity
    halved = optax.piecewise_constant_schedule(1.0, {10: 0.5})
    seen = ld.simulate(
        problem, dimension=N, times=[updates / N], replicas=1, key=key, precision="float64",
        optimiser=optax.sgd(halved, momentum=MOMENTUM),
    )  # fmt: skip
    np.testing.assert_allclose(seen.values["signal"][0, 0], weights[:, :2], rtol=1e-9)
    assert np.all(seen.values["v"] == 1)


ADAM = optax.adam(0.3)


@pytest.mark.slow
def test_a_resumed_run_is_the_whole_run(tmp_path, key):
    options = {**OPTIONS, "key": key, "times": np.linspace(0.5, 10, 20), "optimiser": ADAM}
    options["checkpoint"] = tmp_path / "run"

    def interrupt(items, _):
        for item in items:
            if item == 4:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        ld.simulate(committee(), tracker=interrupt, **options)
    resumed = ld.simulate(committee(), **options)
    del options["checkpoint"]
    whole = ld.simulate(committee(), **options)
    for name, values in whole.values.items():
        np.testing.assert_array_equal(resumed.values[name], values)
    options |= {"checkpoint": tmp_path / "run", "optimiser": optax.adam(0.4)}
    with pytest.raises(ValueError, match="`checkpoint` must belong to this very run"):
        ld.simulate(committee(), **options)


@pytest.mark.slow
def test_stopped_replicas_and_their_company(key):
    """Replicas are frozen with the optimiser's memory, and do not depend on the others."""
    stop = ld.Stop(lambda overlaps: jnp.abs(overlaps.signal[0, 0]), 0.4)
    options = {**OPTIONS, "key": key, "times": [0.5, 6.0], "optimiser": ADAM}
    whole = ld.simulate(committee(), stop=stop, **{**options, "replicas": 40})
    few = ld.simulate(committee(), stop=stop, **options)
    free = ld.simulate(committee(), **options)
    assert_agree(few, jax.tree.map(lambda a: a[:3], whole), 1e-6)
    np.testing.assert_array_equal(few.stopped, whole.stopped[:3])
    assert 0 < np.sum(whole.stopped >= 0) < 40
    early = (few.stopped < 0) | (few.stopped > 6)
    np.testing.assert_allclose(few.values["signal"][early, 0], free.values["signal"][early, 0])


@pytest.mark.slow
def test_transformations_in_numbers_of_problem_and_optimiser(key):
    options = {**OPTIONS, "key": key, "precision": "float64"}

    def final(rate, step):
        seen = ld.simulate(committee(rate), optimiser=optax.adam(step, eps=0.1), **options)
        return jnp.mean(jnp.sum(seen.values["signal"][:, -1] ** 2, axis=(1, 2)))

    with jax.enable_x64(True):
        plain = ld.simulate(committee(0.5), optimiser=optax.adam(0.3, eps=0.1), **options)
        inside = jax.jit(
            lambda rate: (
                ld.simulate(committee(rate), optimiser=optax.adam(0.3, eps=0.1), **options).values
            )
        )(0.5)
        for name, values in plain.values.items():
            np.testing.assert_allclose(inside[name], values, rtol=1e-10, atol=1e-12)
        slope = jax.jit(jax.grad(final, (0, 1)))(0.5, 0.3)
        forward = jax.jit(jax.jacfwd(final, (0, 1)))(0.5, 0.3)
        np.testing.assert_allclose(slope, forward, rtol=1e-8)
        # the rates of problem and optimiser multiply; v moves with that of the optimiser alone
        h = 1e-5
        for i, (up, down) in enumerate(
            [((0.5 + h, 0.3), (0.5 - h, 0.3)), ((0.5, 0.3 + h), (0.5, 0.3 - h))]
        ):
            quotient = (final(*up) - final(*down)) / (2 * h)
            np.testing.assert_allclose(slope[i], quotient, rtol=1e-6)
        batch = jax.jit(jax.vmap(final, (0, None)))(jnp.array([0.4, 0.5]), 0.3)
        np.testing.assert_allclose(batch, [final(0.4, 0.3), final(0.5, 0.3)], rtol=1e-10)


GAIN = 1.0


def scaled(updates, state, params=None):
    return jax.tree.map(lambda g: -GAIN * g, updates), state


@pytest.mark.slow
def test_an_edit_of_the_optimiser_is_seen(key, monkeypatch):
    own = optax.GradientTransformation(lambda params: (), scaled)
    options = {**OPTIONS, "key": key}
    assert_agree(
        ld.simulate(committee(), optimiser=own, **options),
        ld.simulate(committee(), **options),
        1e-5,
    )
    monkeypatch.setitem(globals(), "GAIN", 0.5)
    half = ld.simulate(committee(0.25, parameter_rates={"v": 0.2}), **options)
    assert_agree(ld.simulate(committee(), optimiser=own, **options), half, 1e-5)


@pytest.mark.slow
def test_weights_are_one_matrix_and_labels_choose_optimisers(key):
    shapes = {}

    def init(params):
        shapes.update(jax.tree.map(jnp.shape, params))
        return ()

    own = optax.GradientTransformation(init, scaled)
    ld.simulate(committee(), key=key, optimiser=own, **OPTIONS)
    assert shapes == {"weights": (3, 12), "parameters": {"v": (3,)}}
    apart = optax.multi_transform(
        {"descend": PLAIN, "stay": optax.set_to_zero()},
        {"weights": "descend", "parameters": {"v": "stay"}},
    )
    seen = ld.simulate(committee(), key=key, optimiser=apart, **OPTIONS)
    assert_agree(seen, ld.simulate(committee(parameter_rates={}), key=key, **OPTIONS), 1e-5)


def by_the_loss(updates, state, params=None, *, value):
    return jax.tree.map(lambda g: -value * g, updates), state


@pytest.mark.slow
def test_an_optimiser_is_given_the_loss_of_the_batch(key):
    """Linear student: one update with the loss as step size, by hand on the same draws."""
    with jax.enable_x64(True):
        problem = committee(0.7, parameter_rates={}, batch=2)
        start, (row, _) = draws(problem, key, 0, 9, 2)
        weights = np.concatenate([start.signal, start.noise[0][0]], axis=1)
        vectors = np.concatenate([row.signal[:, 0], row.noise[0][0]], axis=1)
        steep, _ = slopes(weights, np.ones(3), vectors, row.label)
        units = erf(vectors @ weights.T / np.sqrt(2))
        loss = np.mean((units.sum(axis=1) - row.label) ** 2) / 2
    own = optax.GradientTransformationExtraArgs(lambda params: (), by_the_loss)
    seen = ld.simulate(
        problem, dimension=9, times=[1 / 9], replicas=1, key=key, precision="float64", optimiser=own
    )
    moved = weights - 0.7 / 9 * loss * steep
    np.testing.assert_allclose(seen.values["signal"][0, 0], moved[:, :2], rtol=1e-9)


REFUSED = {
    "level='ambient'": (PLAIN, {"level": "overlaps"}),
    "be a transformation of optax": (0.1, {}),
    "given the loss and its gradient as arrays": (
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(3)), {},
    ),
    "hold no random key": (optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), PLAIN), {}),
    "keep the structure and types": (
        optax.GradientTransformation(lambda params: 0, lambda u, s, p=None: (u, s * 0.5)), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message, key):
    optimiser, options = REFUSED[message]
    with pytest.raises(ValueError, match=f"`optimiser` must .*{message}"):
        ld.simulate(committee(), key=key, optimiser=optimiser, **OPTIONS, **options)
