"""Edits of one session and edits behind a checkpoint, at the public functions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from learning_dynamics.training import Minibatches, train
from tests.learning_dynamics.kernel.searching import Monomial

SCALE = 1.0
RUN = {
    "dimension": 32, "times": [0.5, 1.0], "replicas": 2, "key": jax.random.key(0),
    "level": "overlaps",
}  # fmt: skip
START = ld.order_parameters(np.full((1, 2), 0.2), np.eye(1))


@ld.configuration
class Quadratic(ld.Learner):
    """A loss whose slope is a global name of this module."""

    @property
    def neurons(self):
        return 1

    def loss(self, fields, norms, parameters, sample):
        return SCALE * jnp.sum((fields - 1) ** 2)


def watch(overlaps):
    return SCALE * overlaps.signal[0, 0]


def problem(learner=None):
    inputs = MixedCumulant(covariance=9.0, pair="sign")
    return ld.Problem(inputs, learner or TiedDenoiser(sign=-1), 0.2)


def level(kind):
    """A number that is linear in SCALE, from one level."""
    if kind in ("ambient", "overlaps"):
        run = ld.simulate(problem(), **{**RUN, "level": kind}, observe={"m": watch})
        return run.values["m"][:, -1]
    if kind == "integrate":
        limit = ld.integrate(
            problem(), times=[0.5], start=START, observe={"m": watch}, points=2**8, tolerance=1e-3
        )
        return limit.values["m"]
    if kind == "fluctuations":
        found = ld.fluctuations(
            problem(), times=[0.2], start=START, dimension=64, observe={"m": watch}, points=2**8,
            tolerance=1e-3,
        )  # fmt: skip
        return found.spread["m"]
    if kind == "expected_loss":
        return ld.expected_loss(problem(Quadratic()), START, points=2**8)[0]
    if kind == "right_hand_side":
        return ld.right_hand_side(problem(Quadratic()), START, points=2**8)[0].signal
    raise AssertionError(kind)


@pytest.fixture
def scale(monkeypatch):
    return lambda value: monkeypatch.setitem(globals(), "SCALE", value)


@pytest.mark.parametrize(
    "kind",
    [
        "expected_loss",
        pytest.param("overlaps", marks=pytest.mark.slow),
        pytest.param("ambient", marks=pytest.mark.slow),
        pytest.param("integrate", marks=pytest.mark.slow),
        pytest.param("right_hand_side", marks=pytest.mark.slow),
        pytest.param("fluctuations", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_an_edit_is_seen_at_every_level(scale, kind):
    scale(1.0)
    before = level(kind)
    scale(1000.0)
    np.testing.assert_allclose(level(kind), 1000 * before, rtol=1e-5)


@pytest.mark.slow
def test_a_limit_refuses_to_go_on_after_an_edit(scale):
    scale(1.0)
    limit = ld.integrate(
        problem(), times=[0.5], start=START, observe={"m": watch}, points=2**8, tolerance=1e-3
    )
    first = limit.at([0.25]).signal
    np.testing.assert_array_equal(limit.at([0.25]).signal, first)
    scale(2.0)
    with pytest.raises(ValueError, match=r"this limit was edited meanwhile.*watch"):
        limit.at([0.25])
    scale(1.0)
    np.testing.assert_array_equal(limit.at([0.25]).signal, first)


@pytest.mark.slow
def test_a_stop_quantity_is_followed(scale):
    stop = ld.Stop(watch, 0.9)
    scale(1.0)
    assert np.all(ld.simulate(problem(), **RUN, stop=stop).stopped == -1)
    scale(1000.0)
    assert np.all(ld.simulate(problem(), **RUN, stop=stop).stopped > 0)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.weights = nnx.Param(jnp.ones(3))

    def __call__(self, x):
        return SCALE * jnp.sum(x * self.weights[...][None], axis=-1)


def loss(network, batch, key):
    return jnp.mean(network(batch))


def see(network, tests, key):
    return {"w": jnp.sum(network.weights[...]), "value": SCALE * jnp.sum(network.weights[...])}


SGD = optax.sgd(0.1)


def trained(**options):
    return train(
        Net, loss, Minibatches(jnp.ones((8, 3)), 4), optimiser=SGD, steps=[2], observe=see,
        key=jax.random.key(0), **options,
    ).values["w"]  # fmt: skip


def test_train_sees_edits_of_the_network(scale):
    scale(1.0)
    before = 3 - trained()
    scale(5.0)
    np.testing.assert_allclose(3 - trained(), 5 * before, rtol=1e-5)


def simulated(**options):
    return ld.simulate(problem(Quadratic()), **RUN, observe={"m": watch}, **options).values["m"]


@pytest.mark.parametrize("run", [pytest.param(simulated, marks=pytest.mark.slow), trained])
def test_a_checkpoint_belongs_to_its_code(scale, tmp_path, run):
    scale(1.0)
    file = tmp_path / "run.npz"
    before = run(checkpoint=file)
    np.testing.assert_array_equal(run(checkpoint=file), before)
    scale(2.0)
    with pytest.raises(ValueError, match="belong to this very run"):
        run(checkpoint=file)
    vouched = tmp_path / "vouched.npz"
    first = run(checkpoint=vouched, code="v1")
    scale(3.0)
    np.testing.assert_array_equal(run(checkpoint=vouched, code="v1"), first)
    with pytest.raises(ValueError, match="belong to this very run"):
        run(checkpoint=vouched, code="v2")
    with pytest.raises(ValueError, match="`code` must be left out without a checkpoint"):
        run(code="v1")


@pytest.mark.slow
def test_every_function_behind_a_checkpoint_counts(tmp_path):
    """Functions without a name, rates of an optimiser, an augmentation: replaced, not edited."""
    one, other = (lambda o: o.signal[0, 0]), (lambda o: 1000 + o.signal[0, 0])

    def observed(function, threshold=5.0, quantity=one):
        ld.simulate(
            problem(), **RUN, observe={"m": function}, stop=ld.Stop(quantity, threshold),
            checkpoint=tmp_path / "a",
        )  # fmt: skip

    observed(one)
    observed(one)
    for change in ({"function": other}, {"threshold": 6.0}, {"quantity": lambda o: o.signal[0, 1]}):
        with pytest.raises(ValueError, match="checkpoint"):
            observed(**{"function": one, **change})

    options = {
        "batches": Minibatches(jnp.ones((8, 3)), 4), "optimiser": optax.sgd(0.1), "observe": see,
        "steps": [1], "key": jax.random.key(0), "checkpoint": tmp_path / "b",
    }  # fmt: skip
    train(Net, loss, **options)
    train(Net, loss, **options | {"optimiser": optax.sgd(0.1)})
    twice = Minibatches(jnp.ones((8, 3)), 4, lambda key, x: 2 * x)
    changes = (
        {"optimiser": optax.sgd(0.2)},
        {"optimiser": optax.adam(0.1)},
        {"batches": twice},
        {"observe": lambda network, tests, key: {"w": jnp.float32(0.0)}},
    )
    for change in changes:
        with pytest.raises(ValueError, match="checkpoint"):
            train(Net, loss, **options | change)
    with pytest.raises(ValueError, match="checkpoint"):
        train(Net, lambda network, batch, key: 2 * loss(network, batch, key), **options)


@dataclasses.dataclass(frozen=True)
class Activation:
    """Equal to every other one of its name."""

    name: str
    function: object = dataclasses.field(compare=False)


@ld.configuration
class Perceptron(ld.Learner):
    """One neuron with an activation that is a static part of the problem."""

    activation: object = ld.static(default=None)
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return (self.activation[0].function(fields[0, 0]) - sample.label) ** 2 / 2


@pytest.mark.slow
def test_equal_static_parts_that_hold_something_else_are_others():
    """JAX finds programs by equality of the static parts of a problem."""
    start = ld.order_parameters([[0.1]], [[1.0]])

    def learned(function):
        problem = ld.Problem(Monomial(order=1), Perceptron((Activation("a", function),)), 0.5)
        run = ld.simulate(
            problem, dimension=30, times=[1.0], replicas=2, key=jax.random.key(0), start=start
        )
        return run.values["signal"].ravel()

    moved = learned(jnp.tanh)
    assert np.all(np.abs(moved - 0.1) > 1e-3)
    np.testing.assert_allclose(learned(lambda x: 0 * x), 0.1, rtol=1e-6)
    np.testing.assert_array_equal(learned(jnp.tanh), moved)
