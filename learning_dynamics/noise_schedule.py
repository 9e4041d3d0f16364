"""Noise schedules of denoising diffusion models and their forward process."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["NoiseSchedule", "forward_process"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Variance-preserving schedule beta_1, ..., beta_T (Ho, Jain and Abbeel 2020).

        x_t = sqrt(1 - beta_t) x_(t-1) + sqrt(beta_t) eps_t
            = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps,
        alpha_bar_t = prod_(s <= t) (1 - beta_s).

    Index t - 1 of every array belongs to step t = 1, ..., T. Equation: :eq:`eq:forward`.

    Attributes:
        beta: variances added per step, shape (T,), float64.

    Raises:
        ValueError: if `beta` is empty, not one-dimensional or leaves (0, 1).
    """

    beta: Array

    def __post_init__(self) -> None:
        beta = finite_array("beta", self.beta, ndim=1)
        if beta.size == 0:
            raise reject("beta", "hold at least one step", "none")
        if np.any((beta <= 0) | (beta >= 1)):
            bad = beta[(beta <= 0) | (beta >= 1)][0]
            raise reject("beta", "lie strictly between 0 and 1", bad)
        object.__setattr__(self, "beta", beta)

    @classmethod
    def linear(cls, steps: int = 1000, first: float = 1e-4, last: float = 2e-2) -> "NoiseSchedule":
        """Return beta_t linear in t; the defaults are those of Ho, Jain and Abbeel (2020).

        Raises:
            ValueError: if `steps` is no positive whole number or a beta leaves (0, 1).
        """
        for name, value in (("first", first), ("last", last)):
            if not 0 < value < 1:
                raise reject(name, "lie strictly between 0 and 1", value)
        return cls(np.linspace(first, last, positive_integer("steps", steps)))

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return self.beta.size

    @cached_property
    def alpha_bar(self) -> Array:
        """Signal power left after step t, shape (T,)."""
        return np.exp(np.cumsum(np.log1p(-self.beta)))

    @cached_property
    def noise_power(self) -> Array:
        """1 - alpha_bar_t without cancellation at small t, shape (T,)."""
        return -np.expm1(np.cumsum(np.log1p(-self.beta)))

    @property
    def noise_to_signal(self) -> Array:
        """(1 - alpha_bar_t) / alpha_bar_t, shape (T,)."""
        return self.noise_power / self.alpha_bar


def forward_process(clean: jax.Array, noise: jax.Array, alpha_bar: ArrayLike) -> jax.Array:
    """Noisy input x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, in the dtype of `clean`.

    Args:
        clean: x_0, any shape.
        noise: eps, same shape.
        alpha_bar: scalar or array that broadcasts against `clean` with equal rank.
    """
    # 1 - alpha_bar is taken in double precision, because it cancels in float32
    power = alpha_bar if isinstance(alpha_bar, jax.Array) else np.asarray(alpha_bar, np.float64)
    signal, rest = (jnp.asarray(share, clean.dtype) for share in (power, 1 - power))
    return jnp.sqrt(signal) * clean + jnp.sqrt(rest) * noise
