"""Mixed cumulant models with several spikes of each kind, and with many noise levels at once."""

from collections.abc import Mapping
from dataclasses import field
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld
from diffusion_theory.inputs import MixedCumulant, UnmixedLevel
from learning_dynamics.model.latent import Latent
from learning_dynamics.noise_schedule import NoiseLevels
from learning_dynamics.pytrees import configuration, is_traced
from learning_dynamics.validation import finite_array, fractions, reject

__all__ = ["ManyLevels", "SeveralSpikes"]


@configuration
class SeveralSpikes(ld.InputModel):
    """Independent mixed cumulant models in orthogonal directions of one space.

        x0 = sum_j [ sqrt(beta_u,j) lambda_j u_j + sqrt(beta_v,j) nu_j S v_j + ... ] + S xi

    Spikes of different parts are independent of each other; within a part they may be coupled.

    Attributes:
        parts: models at one noise level.

    Raises:
        ValueError: if there is no part, something else among them, or noise levels differ.
    """

    parts: tuple[MixedCumulant, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts or not all(isinstance(part, MixedCumulant) for part in self.parts):
            raise reject("parts", "be one or more MixedCumulant", repr(self.parts))
        levels = [part.alpha_bar for part in self.parts]
        if not is_traced(levels) and any(float(a) != float(b) for a, b in pairwise(levels)):
            raise reject("parts", "share one alpha_bar", levels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the signal directions in the order of the overlaps: u1, v1, m1, u2, ..."""
        return tuple(f"{name}{j}" for j, part in enumerate(self.parts, 1) for name in part.names)

    @property
    def directions(self) -> int:
        """Number of spikes."""
        return sum(part.directions for part in self.parts)

    @property
    def vectors(self) -> int:
        """Two: the noisy input x and the noise z."""
        return 2

    @property
    def noise_level(self) -> NoiseLevels:
        """The level of all samples, the same for all parts."""
        return self.parts[0].noise_level

    def mixing(self) -> Any:
        """Matrix of the noise space, the same for all parts."""
        return self.parts[0].mixing()

    def noise_nodes(self) -> tuple[int | None, ...]:
        """Those of the parts."""
        return self.parts[0].noise_nodes()

    def latents(self) -> dict[str, Latent]:
        """Latents of all parts, numbered."""
        numbered = [(j, part.latents()) for j, part in enumerate(self.parts, 1)]
        return {
            f"{j} {name}": latent for j, latents in numbered for name, latent in latents.items()
        }

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, NoiseLevels]:
        """Coordinates of x and z along all spikes, shape (2, r), and the noise level."""
        columns = []
        for j, part in enumerate(self.parts, 1):
            part_latents = {name: latents[f"{j} {name}"] for name in part.latents()}
            coordinates, level = part.signal(part_latents)
            columns.append(coordinates)
        return jnp.concatenate(columns, axis=1), level

    def gaussian(self) -> "SeveralSpikes":
        """The Gaussian law of the same mean and covariance (covariance clone)."""
        return SeveralSpikes(tuple(part.gaussian() for part in self.parts))


@configuration
class ManyLevels(ld.InputModel):
    """A mixed cumulant model whose noise level is drawn anew for every sample.

        x = alpha_bar^(1/2) x0 + (1 - alpha_bar)^(1/2) z,   alpha_bar one of those given

    The two vectors of a sample are x0 and z; the label holds the level, by which a `TiedDenoiser`
    mixes them (its kappa and skip follow the level unless they are given). For one denoiser per
    level, train one at each `alpha_bar`.

    Attributes:
        inputs: the model; its own noise level is not used.
        alpha_bar: noise levels, shape (levels,).
        probabilities: of each level, uniform if None.

    Raises:
        ValueError: on levels outside (0, 1) or probabilities that do not sum to one.
    """

    inputs: MixedCumulant
    alpha_bar: Any = field(kw_only=True)
    probabilities: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, MixedCumulant):
            raise reject("inputs", "be a MixedCumulant", repr(self.inputs))
        if is_traced((self.alpha_bar, self.probabilities)):
            return
        levels = fractions("alpha_bar", self.alpha_bar, ndim=1)
        if levels.size == 0:
            raise reject("alpha_bar", "hold at least one level", "none")
        object.__setattr__(self, "alpha_bar", levels)
        if self.probabilities is not None:
            shares = finite_array("probabilities", self.probabilities, ndim=1)
            if shares.shape != levels.shape or np.any(shares < 0) or abs(shares.sum() - 1) > 1e-9:
                raise reject("probabilities", "be one per level and sum to one", shares.tolist())
            object.__setattr__(self, "probabilities", shares)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the signal directions, in the order of the overlaps."""
        return self.inputs.names

    @property
    def directions(self) -> int:
        """Number of spikes."""
        return self.inputs.directions

    @property
    def vectors(self) -> int:
        """Two: the clean sample x0 and the noise z."""
        return 2

    def latents(self) -> dict[str, Latent]:
        """Latents of the clean sample, the noise along the spikes, and the level."""
        r, count = self.directions, int(np.shape(self.alpha_bar)[0])
        shares = np.full(count, 1 / count) if self.probabilities is None else self.probabilities
        level: Latent = ld.Discrete(np.arange(count, dtype=np.float64), shares)
        noise = {"inner": ld.Normal((r,)), "added": ld.Normal((r,)), "level": level}
        return {**self.inputs.latents_of_pair(), **noise}

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, UnmixedLevel]:
        """Coordinates of x0 and z along the spikes, shape (2, r), and the level."""
        inner, added = latents["inner"], latents["added"]
        powers = jnp.asarray(self.alpha_bar, inner.dtype)
        power = powers[latents["level"].astype(jnp.int32)]
        clean = self.inputs.clean_signal(latents)
        return jnp.stack([clean, added]), UnmixedLevel(power, 1 - power)

    def gaussian(self) -> "ManyLevels":
        """The Gaussian law of the same mean and covariance at every level (covariance clone)."""
        return ManyLevels(
            self.inputs.gaussian(), alpha_bar=self.alpha_bar, probabilities=self.probabilities
        )
