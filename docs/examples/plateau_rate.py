"""How long is the plateau of a committee? The rate at which two students tell teachers apart."""

import jax
import jax.numpy as jnp
import numpy as np
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

    def loss(self, fields, norms, parameters, sample):
        return (jnp.sum(erf(fields[:, 0] / 2**0.5)) - sample.label) ** 2 / 2


task = ld.Problem(Teacher(), Committee(), 1.0)


def velocity(signal, norms):
    """Time derivatives of M and Q."""
    state = ld.order_parameters(signal, norms)
    rate, _ = ld.right_hand_side(task, state, points=11**4, method="tensor")
    return rate.signal, rate.norms


def between_equals(x):
    """Derivatives where all students are alike: overlaps r, norms q, and c between students."""
    norms = jnp.array([[x[1], x[2]], [x[2], x[1]]])
    rate, change = velocity(jnp.full((2, 2), x[0]), norms)
    return jnp.array([rate[0, 0], change[0, 0], change[0, 1]])


with jax.enable_x64(True):
    slope = jax.jit(jax.jacfwd(between_equals))
    x = jnp.array([0.4, 0.4, 0.3])
    for _ in range(12):  # Newton's method
        x = x - jnp.linalg.solve(slope(x), between_equals(x))
    norms = jnp.array([[x[1], x[2]], [x[2], x[1]]])
    first = jax.jacfwd(lambda signal: velocity(signal, norms)[0])(jnp.full((2, 2), x[0]))
fastest = np.linalg.eigvals(np.asarray(first).reshape(4, 4)).real.max()
print("plateau: r = {:.4f}, q = {:.4f}, c = {:.4f}".format(*x), f"grows at {fastest:.4f}")
for part in (1e-2, 1e-4):
    print(f"a specialised part of {part:g} ends it after {np.log(1 / part) / fastest:.0f}")
