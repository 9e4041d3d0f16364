"""A soft committee on its plateau, and after: error at finite size and in the limit."""

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

import learning_dynamics as ld


@ld.configuration
class Teacher(ld.InputModel):
    directions: int = ld.static(default=2)

    def latents(self):
        return {"x": ld.Normal((self.directions,))}

    def signal(self, latents):
        return latents["x"][None], jnp.sum(erf(latents["x"] / 2**0.5))


@ld.configuration
class Committee(ld.Learner):
    neurons: int = ld.static(default=2)

    def parameters(self):
        return {"v": jnp.full(self.neurons, 0.5)}  # the second layer

    def loss(self, fields, norms, parameters, sample):
        return (parameters["v"] @ erf(fields[:, 0] / 2**0.5) - sample.label) ** 2 / 2


task = ld.Problem(Teacher(), Committee(), 1.0, parameter_rates={"v": 1.0}, label_noise=0.1)
start = ld.order_parameters([[0.1, 0.0], [0.0, 0.1]], 0.25 * jnp.eye(2))
observe = {"error": ld.loss(label_noise=False)}
run = {"times": jnp.arange(2.0, 61.0, 2.0), "dimension": 2000, "replicas": 32, "level": "overlaps"}
seen = ld.simulate(task, **run, start=start, observe=observe, key=jax.random.key(0))
limit = ld.integrate(task, start=seen, observe=observe, accuracy=0.01, finite_size=False)
result = ld.compare(seen.measurement("error"), limit.prediction("error"), quantity="error")
result.plot("committee_plateau.png", logx=False, logy=True)
