"""Generalisation error of a teacher-student perceptron: a custom model."""

import jax
import jax.numpy as jnp

import learning_dynamics as ld


@ld.configuration
class PerceptronTeacher(ld.InputModel):
    directions = 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return latents["x"][None], jnp.sign(latents["x"][0])


@ld.configuration
class LogisticStudent(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return jnp.logaddexp(0.0, -sample.label * fields[0, 0])


def error(overlaps):
    return jnp.arccos(overlaps.signal[0, 0] / jnp.sqrt(overlaps.norms[0, 0])) / jnp.pi


problem = ld.Problem(PerceptronTeacher(), LogisticStudent(), learning_rate=2.0)
start = ld.order_parameters([[0.1]], [[1.0]])
options = {"times": [0.5, 2.0, 8.0], "start": start, "observe": {"error": error}}
seen = ld.simulate(problem, dimension=500, replicas=64, key=jax.random.key(0), **options)
limit = ld.integrate(problem, start=seen, observe={"error": error})
result = ld.compare(seen, limit, quantities="error")
print("simulation", result.measured.values[:, 0].round(3))
print("limit     ", result.predicted.values[:, 0].round(3), result.verdict)
