"""One direction of the inputs has heavy tails; a neuron on the sphere learns it."""

# %%
import jax
import jax.numpy as jnp
from own_latent import Laplace

import learning_dynamics as ld


@ld.configuration
class HeavyTails(ld.InputModel):
    directions = 1

    def latents(self):
        return {"x": Laplace((1,))}

    def signal(self, latents):
        return latents["x"][None], None


@ld.configuration
class Contrast(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return -jnp.exp(-(fields[0, 0] ** 2) / 2)


problem = ld.Problem(HeavyTails(), Contrast(), 0.2, update="spherical")
start = ld.order_parameters([[0.6]], [[1.0]])
run = {"dimension": 500, "times": [10.0, 30.0, 100.0], "start": start, "replicas": 512}
seen = ld.simulate(problem, **run, level="overlaps", key=jax.random.key(1))
limit = ld.integrate(problem, times=run["times"], start=start)
measured = seen.measurement("signal")
print("simulation", measured.values[:, 0].round(3))
print("its error ", measured.standard_error[:, 0].round(4))
print("limit     ", limit.values["signal"][:, 0, 0].round(3))
