"""Random streams of a network belong to the replica alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from learning_dynamics.pytrees import configuration
from learning_dynamics.training import train


class Masks(nnx.Module):
    """Its parameter is the sum of the masks it has drawn, two streams at each update."""

    def __init__(self, rngs):
        self.total = nnx.Param(jnp.zeros(16))
        self.first = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.Dropout(0.3, rngs=rngs)

    def __call__(self, x):
        return jnp.sum(self.second(self.first(x)) * self.total[...])


@configuration
class Ones:
    rows: object

    def __call__(self, key):
        return self.rows


def total(network, batch, key):
    return -network(batch)  # the gradient is minus the mask


def see(network, tests, key):
    return {"masks": network.total[...]}


OPTIMISER = optax.sgd(1.0)


def masks(replicas, together=None, steps=(1, 2, 5)):
    run = train(
        Masks, total, Ones(jnp.ones(16)), optimiser=OPTIMISER, steps=steps, observe=see,
        key=jax.random.key(3), replicas=replicas, together=together,
    )  # fmt: skip
    return run.values["masks"]


@pytest.fixture(scope="module")
def alone():
    return masks(4, together=1)


@pytest.mark.parametrize(("replicas", "together"), [(4, 2), (4, 4), (2, 2), (3, 3)])
def test_a_replica_does_not_depend_on_its_company(alone, replicas, together):
    np.testing.assert_array_equal(masks(replicas, together), alone[:replicas])


def test_masks_differ_between_replicas_and_updates(alone):
    flat = alone.reshape(4, 3, 16)
    assert len({row.tobytes() for row in flat[:, 0]}) == 4
    assert not np.array_equal(flat[:, 1] - flat[:, 0], flat[:, 0])
    np.testing.assert_array_equal(np.unique(flat[:, 0]), np.float32([0, 1 / (0.5 * 0.7)]))
