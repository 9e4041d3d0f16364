"""Committees whose population loss and limit are known in closed form, with and without kinks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld

FAMILIES = ("erf", "steep", "relu", "sign", "absolute", "perceptron")
SLOPES = {"erf": 1.0, "steep": 4.0}


def activate(family, h):
    if family in SLOPES:
        return erf(SLOPES[family] * h / 2**0.5)
    return {"relu": jax.nn.relu, "sign": jnp.sign, "absolute": lambda h: h}[family](h)


@ld.configuration
class Labels(ld.InputModel):
    """x ~ N(0, 1_r); label sum_m a_m g(x_m), or the sign of a.x for the perceptron."""

    amplitudes: object
    family: str = ld.static(default="relu")

    @property
    def directions(self):
        return len(self.amplitudes)

    def latents(self):
        return {"x": ld.Normal((self.directions,))}

    def signal(self, latents):
        x = latents["x"]
        amplitudes = jnp.asarray(self.amplitudes, x.dtype)
        if self.family == "perceptron":
            return x[None], jnp.sign(jnp.sum(amplitudes * x))
        return x[None], jnp.sum(amplitudes * activate(self.family, x))


@ld.configuration
class Pupil(ld.Learner):
    """Half the squared error, the absolute error, or sum_k max(0, -label F_k)."""

    hidden: int = ld.static(default=1)
    family: str = ld.static(default="relu")

    @property
    def neurons(self):
        return self.hidden

    def loss(self, fields, norms, parameters, sample):
        h = fields[:, 0]
        if self.family == "perceptron":
            return jnp.sum(jax.nn.relu(-sample.label * h))
        gap = jnp.sum(activate(self.family, h)) - sample.label
        return jnp.abs(gap) if self.family == "absolute" else gap**2 / 2


def problem(family, amplitudes, hidden, eta):
    return ld.Problem(Labels(np.asarray(amplitudes), family), Pupil(hidden, family), eta)


def angle(s, i, j):
    return jnp.arcsin(s[i, j] / jnp.sqrt(s[i, i] * s[j, j]))


def pair(family, s, i, j):
    """E g(u_i) g(u_j) for Gaussian u of covariance s: arcsine and arc-cosine kernels."""
    if family in SLOPES:
        k = SLOPES[family] ** 2
        root = jnp.sqrt((1 + k * s[i, i]) * (1 + k * s[j, j]))
        return 2 / np.pi * jnp.arcsin(k * s[i, j] / root)
    if family == "sign":
        return 1.0 if i == j else 2 / np.pi * angle(s, i, j)
    if i == j:
        return s[i, i] / 2
    theta = np.pi / 2 - angle(s, i, j)
    size = jnp.sqrt(s[i, i] * s[j, j]) / (2 * np.pi)
    return size * (jnp.sin(theta) + (np.pi - theta) * jnp.cos(theta))


def joint(signal, noise):
    """Covariance of the fields and x."""
    r = signal.shape[1]
    return jnp.block([[signal @ signal.T + noise, signal], [signal.T, jnp.eye(r)]])


def with_teacher(a, signal, noise):
    """Covariance of the fields and t = a.x / |a|."""
    along = signal @ a / jnp.linalg.norm(a)
    last = jnp.concatenate([along, jnp.ones(1)])[None]
    return jnp.concatenate(
        [jnp.concatenate([signal @ signal.T + noise, along[:, None]], axis=1), last]
    )


def loss(family, a, signal, noise):
    neurons = signal.shape[0]
    if family == "perceptron":
        s = with_teacher(a, signal, noise)
        rho = s[:-1, -1] / jnp.sqrt(jnp.diagonal(s)[:-1])
        return jnp.sum(jnp.sqrt(jnp.diagonal(s)[:-1] / (2 * np.pi)) * (1 - rho))
    s, c = joint(signal, noise), jnp.concatenate([jnp.ones(neurons), -a])
    if family == "absolute":
        return jnp.sqrt(2 / np.pi * (c @ s @ c))
    count = c.size
    return sum(c[i] * c[j] * pair(family, s, i, j) for i in range(count) for j in range(count)) / 2


def second(family, a, signal, noise):
    """E A A^T of the absolute error and of the perceptron."""
    neurons = signal.shape[0]
    if family == "absolute":
        return jnp.ones((neurons, neurons))
    s, t = with_teacher(a, signal, noise), neurons

    def both(k, m):
        if k == m:
            return 0.5 - angle(s, k, t) / np.pi
        sides = angle(s, k, m) - angle(s, k, t) - angle(s, m, t)
        return 0.25 + sides / (2 * np.pi)

    return jnp.array([[both(k, m) for m in range(neurons)] for k in range(neurons)])


def right_values(family, a, signal, noise, eta):
    """Loss, dM / dtau, and dR / dtau (None where E A A^T has no closed form), from derivatives.

    E[A C] = dL/dM, and E[A h^T] = 2 dL/dR R for the noise part h of the fields.
    """
    with jax.enable_x64(True):
        arrays = (jnp.asarray(x, jnp.float64) for x in (a, signal, noise, eta))
        values = [np.asarray(value) for value in _right_values(family, *arrays)]
    known = family in ("absolute", "perceptron", "sign")
    return values[0], values[1], values[2] if known else None


@partial(jax.jit, static_argnames="family")
def _right_values(family, a, signal, noise, eta):
    def population(m, r):
        return loss(family, a, m, (r + r.T) / 2)

    value, (by_signal, by_noise) = jax.value_and_grad(population, (0, 1))(signal, noise)
    if family == "sign":  # the derivative of the activation vanishes
        return value, 0 * signal, 0 * noise
    half = 2 * by_noise @ noise
    square = second(family, a, signal, noise) if family in ("absolute", "perceptron") else 0 * noise
    return value, -eta * by_signal, -eta * (half + half.T) + eta**2 * square
