"""Optimisers that ask for more than the gradient, and keys of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from learning_dynamics.optimisers import extra_arguments, update_parameters
from learning_dynamics.training import Minibatches, train

DATA = Minibatches(jnp.ones((8, 3)), 4)
PLATEAU = optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau())


def build(rngs):
    return nnx.Linear(3, 1, rngs=rngs)


def loss(network, batch, key):
    return jnp.mean((network(batch) - 1) ** 2)


def observe(network, tests, key):
    return {"loss": jnp.mean((network(tests) - 1) ** 2)}


def run(optimiser, key, **options):
    return train(
        build, loss, DATA, optimiser=optimiser, steps=[0, 5], observe=observe,
        tests=jnp.ones((8, 3)), key=key, **options,
    ).values["loss"]  # fmt: skip


def quadratic(parameters):
    return jnp.sum((parameters["w"] - 1) ** 2)


def updated(optimiser, updates=12):
    """Loss of a quadratic after a few updates outside any network."""
    parameters = {"w": jnp.zeros(2)}
    extras = extra_arguments(optimiser, parameters)
    memory = optimiser.init(parameters)
    for _ in range(updates):
        value, gradient = jax.value_and_grad(quadratic)(parameters)
        parameters, memory = update_parameters(
            optimiser, extras, parameters, memory, value, gradient, quadratic
        )
    return float(quadratic(parameters))


def scaled_by_the_loss(updates, state, params=None, *, value):
    return jax.tree.map(lambda g: -0.1 * value * g, updates), state


OWN = optax.GradientTransformationExtraArgs(lambda params: (), scaled_by_the_loss)
OPTIMISERS = {
    "polyak_sgd": optax.polyak_sgd(),
    "line search": optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)
    ),
    "sam": optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.01), opaque_mode=True),
    "own": OWN,
    "adam": optax.adam(0.1),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_optimisers_ask_for(name):
    assert updated(OPTIMISERS[name]) < 1.0  # 2 at the start


@pytest.mark.slow
def test_quasi_newton_and_curvature():
    assert updated(optax.lbfgs()) < 1e-10
    assert updated(optax.contrib.sophia(0.1)) < 2.0
    assert updated(optax.contrib.momo()) < 2.0


def test_a_rule_with_the_loss_in_it():
    """w <- w - 0.1 L 2 (w - 1), by hand."""
    w = 0.0
    for _ in range(3):
        w -= 0.1 * 2 * (w - 1) ** 2 * 2 * (w - 1)
    assert updated(OWN, 3) == pytest.approx(2 * (w - 1) ** 2, rel=1e-6)


def wants_more(updates, state, params=None, *, hessian):
    return updates, state


@pytest.mark.parametrize(
    ("optimiser", "message"),
    [
        ("adam", "be a transformation of optax, but got 'adam'"),
        (None, "be a transformation of optax"),
        (optax.adam, "be a transformation of optax"),
        (
            optax.GradientTransformationExtraArgs(lambda params: (), wants_more),
            "update parameters given the loss.*hessian",
        ),
    ],
)
def test_other_optimisers_are_refused(optimiser, message, key):
    with pytest.raises(ValueError, match=f"`optimiser` must {message}"):
        run(optimiser, key)


def test_bad_keys():
    message = "`key` must be a typed key from jax.random.key, but got"
    with pytest.raises(ValueError, match=f"{message} int"):
        run(PLATEAU, 0)
    with pytest.raises(ValueError, match=rf"{message} an array of uint32 and shape \(2,\)"):
        run(PLATEAU, jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match="`key` must be a single key"):
        run(PLATEAU, jax.random.split(jax.random.key(0)))


@pytest.mark.slow
def test_replicas_of_any_generator_train_with_the_loss_and_without_their_company():
    key = jax.random.key(0, impl="rbg")
    both = run(PLATEAU, key, replicas=2)
    assert both.shape == (2, 2)
    assert np.all(both[:, 1] < both[:, 0])
    assert np.abs(both[0] - both[1]).max() > 1e-3
    np.testing.assert_allclose(both[0], run(PLATEAU, key)[0], rtol=1e-6)
