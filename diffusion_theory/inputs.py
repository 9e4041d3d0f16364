"""The mixed cumulant model under the forward process, as inputs of the kernel."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory.latents import (
    Gaussian,
    Independent,
    joint_cumulants,
    latent_pair,
)
from learning_dynamics.model.latent import Latent
from learning_dynamics.noise_schedule import NoiseLevels, alpha_bar_at_time
from learning_dynamics.pytrees import configuration, is_traced
from learning_dynamics.validation import between, finite_array, reject

__all__ = ["MixedCumulant", "UnmixedLevel"]

ALPHA_BAR = float(alpha_bar_at_time(0.3))  # of a model that is given none

Array = NDArray[np.float64]


class UnmixedLevel(NoiseLevels):
    """Noise level of a sample whose two vectors are x0 and z, which the denoiser is to mix."""


@configuration
class MixedCumulant(ld.InputModel):
    """Noisy samples of a law with a covariance spike u and a whitened higher-order spike v.

        x0 = sqrt(beta_m) m + sqrt(beta_u) lambda u + S (sqrt(beta_v) nu v + xi),   x = a x0 + b z,

    u, v, m orthonormal, xi and z standard Gaussian, S = 1 - (1 - (1+beta_v)^(-1/2)) v v' so that
    the variance along v is one; a^2 = alpha_bar, b^2 = 1 - a^2. The two vectors of a sample are x
    and the noise z; the label holds the `NoiseLevels`. Given the latents, a coordinate of x is
    mu + s n_1 and that of z is (b/s) n_1 + (1 - b^2/s^2)^(1/2) n_2 with independent normals.

    Equations: :eq:`eq:mcm-data`, :eq:`eq:mcm-forward`.

    Attributes:
        covariance: beta_u, None for no spike u.
        cumulant: beta_v, infinite by default (the v coordinate is nu itself), None for no spike v.
        mean: beta_m, None for a centred law.
        pair: joint law of lambda and nu: a `LatentPair`, a law of nu (independent of lambda), or
            one of the names "rademacher", "sign", "square", "cube".
        alpha_bar: share of the signal in the power of the noise level, 0 to 1; exp(-2 t) at time t
            of the forward process (`learning_dynamics.noise_schedule.alpha_bar_at_time`).

    Raises:
        ValueError: on strengths that are not positive, a level outside (0, 1), no spike at all, or
            a coupling that would be ignored.

    Source: mixed cumulant model of Bardone, Merger and Goldt (arXiv 2603.12901); this writing of
    it was derived here.
    """

    covariance: Any = None
    cumulant: Any = np.inf
    mean: Any = None
    pair: Any = "rademacher"
    alpha_bar: Any = field(default=ALPHA_BAR, kw_only=True)

    def __post_init__(self) -> None:
        pair = latent_pair(self.pair)
        object.__setattr__(self, "pair", pair)
        strengths = {"covariance": self.covariance, "cumulant": self.cumulant, "mean": self.mean}
        for name, value in strengths.items():
            if value is None or is_traced(value):
                continue
            if name == "cumulant" and np.ndim(value) == 0 and value == np.inf:
                continue
            if not finite_array(name, value, ndim=0) > 0:
                raise reject(name, "be positive, or None for no such spike", value)
        if not self.names:
            raise reject("covariance, cumulant, mean", "not all be None", strengths)
        if not is_traced(self.alpha_bar):
            between("alpha_bar", self.alpha_bar, 0, 1)
        default = isinstance(pair, Independent)
        if (self.covariance is None or self.cumulant is None) and not default:
            raise reject("pair", "be independent unless there are both spikes", pair)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the signal directions, in the order of the overlaps: some of u, v, m."""
        given = {"u": self.covariance, "v": self.cumulant, "m": self.mean}
        return tuple(name for name, strength in given.items() if strength is not None)

    @property
    def directions(self) -> int:
        """Number of spikes."""
        return len(self.names)

    @property
    def vectors(self) -> int:
        """Two: the noisy input x and the noise z."""
        return 2

    @property
    def noise_level(self) -> NoiseLevels:
        """The level of all samples, with the amplitudes a (`signal`) and b (`noise`)."""
        power = self.alpha_bar
        if not (is_traced(power) or isinstance(power, jax.Array)):
            power = float(power)
        return NoiseLevels(power, 1 - power)

    def mixing(self) -> Any:
        """Matrix with x = n_1 and z = b n_1 + a n_2 in the noise space."""
        a, b = self.noise_level.signal, self.noise_level.noise
        if not isinstance(a, jax.Array):
            return np.array([[1.0, 0.0], [b, a]])
        return jnp.stack([jnp.stack([jnp.ones_like(a), jnp.zeros_like(a)]), jnp.stack([b, a])])

    def noise_nodes(self) -> tuple[int | None, ...]:
        """A denoiser's loss is linear in n_2, its gradient's moments quadratic: two nodes."""
        return None, 2

    def latents_of_pair(self) -> dict[str, Latent]:
        """Latents behind lambda and nu that the inputs use."""
        known = dict(self.pair.latents())
        if self.pair.independent:  # lambda then is part of the Gaussian coordinate
            return {"nu": known["nu"]} if self.cumulant is not None else {}
        return known

    def _given_latents(
        self, latents: Mapping[str, jax.Array], dtype: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and deviation w of x0 along the spikes, given the latents."""
        one = jnp.ones((), dtype)
        means, deviations = [], []
        lam: Any = jnp.zeros((), dtype)
        nu: Any = jnp.zeros((), dtype)
        if self.pair.independent:
            nu = latents.get("nu", nu)
        else:
            lam, nu = self.pair.pair(latents)
        if self.covariance is not None:
            beta = jnp.asarray(self.covariance, dtype)
            means.append(jnp.sqrt(beta) * lam)
            deviations.append(jnp.sqrt(1 + beta) if self.pair.independent else one)
        if self.cumulant is not None:
            strength = jnp.asarray(self.cumulant, dtype)
            means.append(nu / jnp.sqrt(1 + 1 / strength))
            deviations.append(jax.lax.rsqrt(1 + strength))
        if self.mean is not None:
            means.append(jnp.sqrt(jnp.asarray(self.mean, dtype)))
            deviations.append(one)
        return jnp.stack(means), jnp.stack(deviations)

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, NoiseLevels]:
        """Coordinates of x and z along the spikes, shape (2, r), and the noise level.

        With s^2 = a^2 w^2 + b^2 they are a E[x0] + s n_1 and (b n_1 + a w n_2) / s.
        """
        inner, added = latents["inner"], latents["added"]
        power = jnp.asarray(self.alpha_bar, inner.dtype)
        level = NoiseLevels(power, 1 - power)
        a, b = level.signal, level.noise
        mean, clean = self._given_latents(latents, inner.dtype)
        deviation = jnp.sqrt(a * a * clean * clean + b * b)
        noisy = a * mean + deviation * inner
        return jnp.stack([noisy, (b * inner + a * clean * added) / deviation]), level

    def clean_signal(self, latents: Mapping[str, jax.Array]) -> jax.Array:
        """Coordinates of x0 along the spikes, shape (r,)."""
        inner = latents["inner"]
        mean, deviation = self._given_latents(latents, inner.dtype)
        return mean + deviation * inner

    def latents(self) -> dict[str, Latent]:
        """Latents behind the coordinates; the added noise enters a loss at most squared."""
        r = self.directions
        normals: dict[str, Latent] = {
            "inner": ld.Normal((r,)),
            "added": ld.Normal((r,), nodes=2),
        }
        return {**self.latents_of_pair(), **normals}

    def strengths(self) -> tuple[float, float, float]:
        """Amplitudes (sqrt(beta_u), gamma, sqrt(beta_m)) of the spikes in x0; 0 for one left out.

        gamma^2 = beta_v / (1 + beta_v).
        """
        u = 0.0 if self.covariance is None else float(self.covariance) ** 0.5
        v = 0.0 if self.cumulant is None else (1 + 1 / float(self.cumulant)) ** -0.5
        m = 0.0 if self.mean is None else float(self.mean) ** 0.5
        return u, v, m

    def cumulants(self) -> Array:
        """Joint cumulants of (lambda, nu), k[i, j] with i copies of lambda and j of nu, i + j <= 6.

        Exact, float64; NaN where a cumulant does not exist.
        """
        return joint_cumulants(self.pair.moments())

    def gaussian(self) -> "MixedCumulant":
        """The Gaussian law of the same mean and covariance (covariance clone), same directions."""
        correlated = self.covariance is not None and self.cumulant is not None and self.pair.rho
        pair = Gaussian(self.pair.rho) if correlated else Independent(ld.Normal())
        return MixedCumulant(
            self.covariance, self.cumulant, self.mean, pair, alpha_bar=self.alpha_bar
        )
