"""Models with a search phase and their known leading losses."""

from math import factorial

import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld


@ld.configuration
class Monomial(ld.InputModel):
    """One direction, label He_k(x) / sqrt(k!)."""

    order: int = ld.static(default=3)

    @property
    def directions(self):
        return 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        x = latents["x"]
        return x[None], hermite(self.order, x[0]) / np.sqrt(
            float(np.prod(range(1, self.order + 1)))
        )


def hermite(order, x):
    return {
        1: lambda: x,
        2: lambda: x**2 - 1,
        3: lambda: x**3 - 3 * x,
        4: lambda: x**4 - 6 * x**2 + 3,
    }[order]()


@ld.configuration
class Correlator(ld.Learner):
    """Loss -sign y He_k(w.x) / sqrt(k!)."""

    order: int = ld.static(default=3)
    sign: object = 1.0

    @property
    def neurons(self):
        return 1

    def loss(self, fields, norms, parameters, sample):
        scale = np.sqrt(float(factorial(self.order)))
        return -self.sign * sample.label * hermite(self.order, fields[0, 0]) / scale


@ld.configuration
class Spiked(ld.InputModel):
    """Covariance 1 + beta u u'."""

    beta: object = 1.0

    @property
    def directions(self):
        return 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return jnp.sqrt(1 + self.beta) * latents["x"][None], None


@ld.configuration
class Oja(ld.Learner):
    """Loss -sign h^2 / 2."""

    sign: object = 1.0

    @property
    def neurons(self):
        return 1

    def loss(self, fields, norms, parameters, sample):
        return -self.sign * fields[0, 0] ** 2 / 2


@ld.configuration
class Quartet(ld.InputModel):
    """Four Rayleigh modes; for y = 1 the fourth phase is phi_1 + phi_2 - phi_3.

    With `exact`, few nodes integrate everything of degree four exactly.
    """

    exact: bool = ld.static(default=False)

    @property
    def directions(self):
        return 8

    def latents(self):
        return {
            "class": ld.Discrete((-1.0, 1.0)),
            "amplitude": ld.Rayleigh((4,), nodes=3 if self.exact else None),
            "phase": ld.Phase((3,), nodes=6 if self.exact else None),
            "free": ld.Phase(nodes=6 if self.exact else None),
        }

    def signal(self, latents):
        phase = latents["phase"]
        tied = phase[0] + phase[1] - phase[2]
        fourth = jnp.where(latents["class"] > 0, tied, latents["free"])
        phase = jnp.concatenate([phase, fourth[None]])
        size = np.sqrt(2.0) * latents["amplitude"]
        c = jnp.stack([size * jnp.cos(phase), -size * jnp.sin(phase)], axis=1)
        return c.reshape(1, 8), latents["class"]


def quartet_problem(rate, exact=False):
    return ld.Problem(Quartet(exact), Correlator(4), rate, update="spherical")


@ld.configuration
class NormalisedCorrelator(Correlator):
    """Loss -y He_k(h) / sqrt(k!) of the preactivation h = w.x over its standard deviation."""

    normaliser = "inputs"

    def loss(self, fields, norms, parameters, sample):
        unit = fields / jnp.sqrt(norms[0, 0])
        return super().loss(unit, norms, parameters, sample)


@ld.configuration
class BandMonomial(Monomial):
    """The same label, noise in two bands."""

    shares: tuple = ld.static(default=(0.5, 0.5), kw_only=True)
    variances: tuple = ld.static(default=(0.4, 1.6), kw_only=True)

    def blocks(self, dimension):
        rest = dimension - 1
        second = int(self.shares[1] * rest)
        sizes = (rest - second, second)
        return tuple(
            ld.NoiseBlocks(n, np.array([v])) for n, v in zip(sizes, self.variances, strict=True)
        )


@ld.configuration
class Pair(Correlator):
    """Two neurons with a loss each."""

    @property
    def neurons(self):
        return 2

    def loss(self, fields, norms, parameters, sample):
        first = super().loss(fields[:1], norms, parameters, sample)
        return first + super().loss(fields[1:], norms, parameters, sample)
