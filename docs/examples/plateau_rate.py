"""How long is the plateau of a committee? The rate at which two students part on it."""

import jax
import jax.numpy as jnp
from scipy.optimize import root

import learning_dynamics as ld


@ld.configuration
class Teachers(ld.InputModel):
    directions = 2

    def latents(self):
        return {"x": ld.Normal((2,))}

    def signal(self, latents):
        return latents["x"][None], jnp.sum(jax.lax.erf(latents["x"] / 2**0.5))


@ld.configuration
class Students(ld.Learner):
    neurons = 2

    def loss(self, fields, norms, parameters, sample):
        return (jnp.sum(jax.lax.erf(fields[:, 0] / 2**0.5)) - sample.label) ** 2 / 2


def velocity(r, q, c, part=0.0):  # all students alike, but for a specialised part
    state = ld.order_parameters(r + part * jnp.array([[1.0, -1], [-1, 1]]), [[q, c], [c, q]])
    task = ld.Problem(Teachers(), Students(), 1.0)
    rate, _ = ld.right_hand_side(task, state, points=11**4, method="tensor")
    return jnp.array([rate.signal[0].mean(), *rate.norms[0]]), -jnp.diff(rate.signal[0])[0] / 2


with jax.enable_x64(True):
    x = root(jax.jit(lambda x: velocity(*x)[0]), [0.4, 0.4, 0.3]).x
    growth = jax.jacfwd(lambda part: velocity(*x, part)[1])(0.0)
print("plateau: r = {:.4f}, q = {:.4f}, c = {:.4f},".format(*x), f"parts grow at {growth:.4f}")
