"""Staircase and parity: in which order directions are learned, and at which leaps."""

# %%
import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld


@ld.configuration
class Target(ld.InputModel):
    weights: np.ndarray  # of the terms x_1, x_1 x_2, x_1 x_2 x_3
    directions = 3

    def latents(self):
        return {"x": ld.Normal((3,))}

    def signal(self, latents):
        return latents["x"][None], jnp.sum(self.weights * jnp.cumprod(latents["x"]))


@ld.configuration
class Neuron(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        h = fields[0, 0]
        return -sample.label * (h + h**2 / 2 + h**3 / 6)


for weights in ([0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]):
    problem = ld.Problem(Target(np.array(weights)), Neuron(), 0.05, update="spherical")
    print(weights, ld.leap_map(problem, highest=3, points=2**12, method="tensor"), sep="\n")
start, times = ld.order_parameters([[0.1, 0.0, 0.0]], [[1.0]]), np.arange(1, 41)
run = {"dimension": 1000, "replicas": 20, "level": "overlaps", "start": start, "times": times}
seen = ld.simulate(problem, key=jax.random.key(0), **run)
limit = ld.integrate(problem, start=seen, points=2**12, method="tensor", finite_size=False)
ld.compare(seen, limit, quantities="signal").plot("staircase.png", logx=False)
