"""Small models with known answers, used by several tests."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld

ROOT2 = 2.0**0.5


@ld.configuration
class Teacher(ld.InputModel):
    """Gaussian inputs, label sum_m A_m g(e_m . x) for a committee of orthonormal teachers."""

    amplitudes: object
    activation: str = ld.static(default="erf")

    @property
    def directions(self):
        return len(self.amplitudes)

    def latents(self):
        return {"x": ld.Normal((self.directions,))}

    def signal(self, latents):
        x = latents["x"]
        hidden = erf(x / ROOT2) if self.activation == "erf" else x
        return x[None], jnp.sum(jnp.asarray(self.amplitudes, x.dtype) * hidden)


@ld.configuration
class Committee(ld.Learner):
    """Squared loss of sum_k v_k g(w_k . x)."""

    hidden: int = ld.static(default=1)
    activation: str = ld.static(default="erf")

    @property
    def neurons(self):
        return self.hidden

    def parameters(self):
        return {"v": np.ones(self.hidden)}

    def loss(self, fields, norms, parameters, sample):
        h = fields[:, 0]
        g = erf(h / ROOT2) if self.activation == "erf" else h
        return (jnp.sum(parameters["v"] * g) - sample.label) ** 2 / 2


@ld.configuration
class Spike(ld.InputModel):
    """Noisy two-vector samples (input and noise target) with one non-Gaussian spike."""

    strength: object = 1.0
    signal_part: object = 0.8
    noise_part: object = 0.6

    @property
    def directions(self):
        return 1

    @property
    def vectors(self):
        return 2

    def mixing(self):  # noise vectors: clean noise, added noise; x = a x0 + b z, target z
        one = jnp.ones_like(jnp.asarray(self.signal_part))
        return jnp.stack(
            [
                jnp.stack([jnp.asarray(self.signal_part), jnp.asarray(self.noise_part)]),
                jnp.stack([0 * one, one]),
            ]
        )

    def latents(self):
        return {"sign": ld.Discrete((-1.0, 1.0)), "inside": ld.Normal((2,))}

    def signal(self, latents):
        clean = self.strength * latents["sign"] + 0.5 * latents["inside"][0]
        noise = latents["inside"][1]
        return jnp.stack([self.signal_part * clean + self.noise_part * noise, noise])[:, None], None


@ld.configuration
class Denoiser(ld.Learner):
    """|z - s x + W' tanh(W x)|^2 with a learned skip s, as a span loss."""

    hidden: int = ld.static(default=1)

    @property
    def neurons(self):
        return self.hidden

    def parameters(self):
        return {"skip": 0.3}

    def loss(self, fields, norms, parameters, sample):
        s, gram = parameters["skip"], sample.gram
        g = jnp.tanh(fields[:, 0])
        linear = gram[1, 1] - 2 * s * gram[0, 1] + s * s * gram[0, 0]
        cross = 2 * jnp.sum(g * (fields[:, 1] - s * fields[:, 0]))
        return linear + cross + jnp.sum(g[:, None] * norms * g[None, :])


@ld.configuration
class Blocks(Teacher):
    """The same teacher with a few noise blocks of different variance."""

    sizes: tuple = ld.static(default=(2, 3))

    def blocks(self, dimension):
        rest = dimension - self.directions - 2 * self.sizes[0] - self.sizes[1]
        groups = (
            ld.NoiseBlocks(self.sizes[0], np.array([2.0, 0.5])),
            ld.NoiseBlocks(self.sizes[1], np.array([1.5])),
        )
        return (*groups, ld.NoiseBlocks(rest, np.array([0.7]))) if rest else groups

    def signal_variances(self):
        return np.ones(self.directions)


@ld.configuration
class Bands(Teacher):
    """Noise in bands of given sizes (as shares of N) and variances."""

    shares: tuple = ld.static(default=(0.5, 0.5), kw_only=True)
    variances: object = ld.static(default=(1.0, 1.0), kw_only=True)

    def blocks(self, dimension):
        rest = dimension - self.directions
        sizes = [int(share * rest) for share in self.shares[1:]]
        sizes = [rest - sum(sizes), *sizes]
        pairs = zip(sizes, self.variances, strict=True)
        return tuple(ld.NoiseBlocks(n, np.array([v])) for n, v in pairs)


@ld.configuration
class Absolute(ld.Learner):
    """Absolute error |w.x - y|, whose gradient jumps."""

    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return jnp.abs(fields[0, 0] - sample.label)
