"""A head of dot-product attention learns which tokens of a sequence belong together."""

import jax
import jax.numpy as jnp

import learning_dynamics as ld


@ld.configuration
class Sequences(ld.InputModel):
    """Three tokens of two topics +-1, each in noise and with a value."""

    directions, vectors = 1, 3

    def latents(self):
        return dict.fromkeys(("topic", "value"), ld.Discrete((-1.0, 1.0), shape=(3,)))

    def signal(self, latents):
        topic, value = latents["topic"], latents["value"]
        same = (topic[:, None] == topic[None]).astype(value.dtype)
        return 2 * topic[:, None], jnp.stack([value, same @ value / same.sum(axis=1)])


@ld.configuration
class Head(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        value, target = sample.label
        attention = jax.nn.softmax(fields.T @ fields / 2)  # tokens ask and answer with the same w
        return jnp.mean((attention @ value - target) ** 2)


problem = ld.Problem(Sequences(), Head(), 1.0, update="spherical")
run = {"dimension": 2000, "replicas": 20, "level": "overlaps", "key": jax.random.key(0)}
start = ld.order_parameters([[0.2]], [[1.0]])
seen = ld.simulate(problem, start=start, times=jnp.arange(1, 21), **run)
limit = ld.integrate(problem, start=seen, points=2**15, method="tensor", finite_size=False)
ld.compare(seen, limit, quantities="signal").plot("attention_head.png", logx=False)
