"""A network, a loss and an observable of your own: trained, interrupted and resumed."""

import jax
import optax
from flax import nnx

from learning_dynamics.images import load_bundled
from learning_dynamics.training import Convolution, Minibatches, train


class Restorer(nnx.Module):  # two convolutions restore digits from noise
    def __init__(self, rngs):
        self.first, self.last = Convolution(1, 8, rngs=rngs), Convolution(8, 1, rngs=rngs)

    def __call__(self, images):
        return self.last(jax.nn.relu(self.first(images)))


def loss(network, images, key):
    return ((network(images + 0.5 * jax.random.normal(key, images.shape)) - images) ** 2).mean()


def observe(network, tests, key):
    return {"error": loss(network, tests, key), "kernel": network.last.kernel[...].std()}


def interrupted(items, description):  # a tracker of the progress that gives up after two items
    yield from items[:2]
    raise KeyboardInterrupt


digits, adam = load_bundled("digits").images[..., None], optax.adam(3e-3)
call = {"optimiser": adam, "steps": [0, 10, 100, 300], "observe": observe, "tests": digits[1500:]}
call |= {"replicas": 3, "together": 1, "key": jax.random.key(0), "checkpoint": "digits.npz"}
try:
    train(Restorer, loss, Minibatches(digits[:1500]), **call, tracker=interrupted)
except KeyboardInterrupt:
    run = train(Restorer, loss, Minibatches(digits[:1500]), **call)  # what is left of it
    print(f"error after {run.steps} updates: {run.values['error'].mean(axis=0).round(3)}")
