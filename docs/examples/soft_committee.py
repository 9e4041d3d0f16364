"""A soft committee with a trained second layer: three neurons learn two of a teacher."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld


@ld.configuration
class Teacher(ld.InputModel):
    directions = 2

    def latents(self):
        return {"x": ld.Normal((2,))}

    def signal(self, latents):
        return latents["x"][None], jnp.sum(erf(latents["x"] / 2**0.5))


@ld.configuration
class Committee(ld.Learner):
    neurons = 3

    def parameters(self):
        return {"v": np.ones(3)}

    def loss(self, fields, norms, parameters, sample):
        return (parameters["v"] @ erf(fields[:, 0] / 2**0.5) - sample.label) ** 2 / 2


def problem(rate):
    return ld.Problem(Teacher(), Committee(), rate, parameter_rates={"v": rate})


START = ld.order_parameters([[0.3, 0.0], [0.0, 0.3], [0.1, 0.1]], 0.5 * np.eye(3))

if __name__ == "__main__":
    print(ld.integrate(problem(1.0), times=[1.0, 10.0], start=START, accuracy=0.01))
