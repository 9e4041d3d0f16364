"""Noise levels and schedules of denoising diffusion models, and their forward process.

A noise level is the share `alpha_bar` of the signal in the power of the noisy input,
x = alpha_bar^(1/2) x_0 + (1 - alpha_bar)^(1/2) eps, in everything that takes one. Levels that are
known otherwise are turned into it by `alpha_bar_at_time` and `alpha_bar_of_noise_to_signal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import (
    between,
    finite_array,
    fractions,
    integers,
    non_negative,
    plain_array,
    positive_integer,
    reject,
)

__all__ = [
    "NoiseLevels",
    "NoiseSchedule",
    "alpha_bar_at_time",
    "alpha_bar_of_noise_to_signal",
    "forward_process",
    "noise_levels",
]

Array = NDArray[np.float64]


def alpha_bar_at_time(time: Any) -> Any:
    """Noise level of the Ornstein-Uhlenbeck forward process at a time, alpha_bar = exp(-2 t).

    Args:
        time: t >= 0, in units in which the data decay as exp(-t), any shape; may be traced.

    Raises:
        ValueError: if a time is negative or not finite.
    """
    if is_traced(time):
        return jnp.exp(-2 * time)
    return np.exp(-2 * non_negative("time", time))[()]


def alpha_bar_of_noise_to_signal(ratio: Any) -> Any:
    """Noise level with this power of the noise over that of the signal, 1 / (1 + sigma2).

    Args:
        ratio: sigma2 = (1 - alpha_bar) / alpha_bar >= 0, any shape; may be traced.

    Raises:
        ValueError: if a ratio is negative or not finite.
    """
    if is_traced(ratio):
        return 1 / (1 + ratio)
    return (1 / (1 + non_negative("ratio", ratio)))[()]


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

    __repr__ = short_text.represent

    def __post_init__(self) -> None:
        beta = fractions("beta", self.beta, ndim=1)
        if beta.size == 0:
            raise reject("beta", "hold at least one step", "none")
        object.__setattr__(self, "beta", beta)

    @classmethod
    def linear(cls, steps: int = 1000, first: float = 1e-4, last: float = 2e-2) -> NoiseSchedule:
        """Return beta_t linear in t; the defaults are those of Ho, Jain and Abbeel (2020).

        Raises:
            ValueError: if `steps` is no positive whole number or a beta leaves (0, 1).
        """
        for name, value in (("first", first), ("last", last)):
            between(name, value, 0, 1)
        return cls(np.linspace(first, last, positive_integer("steps", steps)))

    @classmethod
    def of_alpha_bar(cls, alpha_bar: ArrayLike) -> NoiseSchedule:
        """Return the schedule with these noise levels, beta_t = 1 - alpha_bar_t / alpha_bar_(t-1).

        Args:
            alpha_bar: alpha_bar_1, ..., alpha_bar_T, falling, inside (0, 1).

        Raises:
            ValueError: if a level leaves (0, 1), they do not fall or there is none.
        """
        levels = fractions("alpha_bar", alpha_bar, ndim=1)
        if levels.size == 0:
            raise reject("alpha_bar", "hold at least one level", "none")
        before = np.append(1.0, levels[:-1])
        if np.any(levels >= before):
            raise reject("alpha_bar", "fall from step to step", levels.tolist())
        return cls((before - levels) / before)

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


def _root(power: Any) -> Any:
    """Square root; of numbers and NumPy arrays in double precision."""
    return jnp.sqrt(power) if isinstance(power, jax.Array) else power**0.5


class NoiseLevels(NamedTuple):
    """One noise level or several, as everything that denoises receives them.

    Both powers are kept, because 1 - alpha_bar cancels in float32.

    Attributes:
        signal_power: alpha_bar; a scalar, or shape (levels,).
        noise_power: 1 - alpha_bar, same shape.
    """

    signal_power: Any
    noise_power: Any

    @property
    def signal(self) -> Any:
        """Amplitudes alpha_bar^(1/2) of the signal."""
        return _root(self.signal_power)

    @property
    def noise(self) -> Any:
        """Amplitudes (1 - alpha_bar)^(1/2) of the noise."""
        return _root(self.noise_power)

    def at(self, index: Any) -> NoiseLevels:
        """Levels with these indices, counted from zero, such as one for each sample.

        Args:
            index: a whole number or an array of them; the levels take its shape.

        Raises:
            ValueError: if there is one level alone, or an index is none of theirs. JAX would take
                the last level instead; traced indices are not looked at.
        """
        shape = np.shape(self.signal_power)
        if len(shape) != 1:
            raise reject(
                "levels", "be several, shape (levels,), to be chosen from", f"shape {shape}"
            )
        if not is_traced(index):
            index = integers("index", index, least=0)
            if np.any(index >= shape[0]):
                raise reject("index", f"lie below the number of levels, {shape[0]}", index.max())
        return NoiseLevels(self.signal_power[index], self.noise_power[index])

    def mix(self, clean: jax.Array, noise: jax.Array) -> jax.Array:
        """Noisy input x_t = alpha_bar^(1/2) x_0 + (1 - alpha_bar)^(1/2) eps.

        Args:
            clean: x_0, shape (n, ...); the noisy input has its floating type.
            noise: eps, same shape.

        Raises:
            ValueError: unless there is one level, or one for each sample, and noise for each.
        """
        if jnp.ndim(self.signal_power):
            self.check_one_for_each(clean)
        if jnp.shape(noise) != clean.shape:
            demand = f"have the shape of `clean`, {clean.shape}"
            raise reject("noise", demand, f"shape {jnp.shape(noise)}")
        axes = tuple(range(jnp.ndim(self.signal_power), clean.ndim))
        dtype = clean.dtype if jnp.issubdtype(clean.dtype, jnp.floating) else None
        signal, strength = (
            jnp.expand_dims(jnp.asarray(x, dtype), axes) for x in (self.signal, self.noise)
        )
        return signal * clean + strength * noise

    def check_one_for_each(self, samples: jax.Array) -> None:
        """Refuse levels that are not as many as there are samples.

        Args:
            samples: shape (n, ...).

        Raises:
            ValueError: naming `levels`.
        """
        if jnp.shape(self.signal_power) != samples.shape[:1]:
            demand = f"hold one level for each sample, shape {samples.shape[:1]}"
            raise reject("levels", demand, f"shape {jnp.shape(self.signal_power)}")


def noise_levels(alpha_bar: ArrayLike, dtype: DTypeLike = np.float32) -> NoiseLevels:
    """Check noise levels and split them into signal and noise power.

    Args:
        alpha_bar: shares of signal power, each strictly between 0 and 1, shape (n,).
        dtype: floating type of both powers.

    Raises:
        ValueError: if a level leaves (0, 1), there is none, the array is not one-dimensional, or
            a power is zero in this type.
    """
    levels = fractions("alpha_bar", alpha_bar, ndim=1)
    if levels.size == 0:
        raise reject("alpha_bar", "hold at least one level", "none")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise reject("dtype", "be floating point", repr(dtype))
    powers = levels, 1 - levels
    least = float(jnp.finfo(dtype).tiny)  # what is smaller is zero on most devices
    lost = np.minimum(*powers) < least
    if np.any(lost):
        demand = f"leave signal and noise a power of at least {least:.3g} in {jnp.dtype(dtype)}"
        raise reject("alpha_bar", demand, levels[lost][0])
    return NoiseLevels(*(jnp.asarray(power, dtype) for power in powers))


def forward_process(clean: jax.Array, noise: jax.Array, alpha_bar: ArrayLike) -> jax.Array:
    """Noisy input x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, in the dtype of `clean`.

    Args:
        clean: x_0, floating point, any shape; samples along the first axis.
        noise: eps, same shape.
        alpha_bar: in [0, 1]: one level for all, one for each sample, shape (n,), or an array of as
            many axes as `clean` that broadcasts against it.

    Raises:
        ValueError: on whole numbers, shapes that do not fit, or levels outside [0, 1].
    """
    clean, noise = (
        x if is_traced(x) or isinstance(x, jax.Array) else jnp.asarray(plain_array(name, x))
        for name, x in (("clean", clean), ("noise", noise))
    )
    if not jnp.issubdtype(clean.dtype, jnp.floating):
        raise reject("clean", "be floating point, or levels would be rounded", clean.dtype)
    if noise.shape != clean.shape or jnp.iscomplexobj(noise):
        demand = f"be real and have the shape of `clean`, {clean.shape}"
        raise reject("noise", demand, f"{noise.dtype} of shape {noise.shape}")
    # 1 - alpha_bar is taken in double precision, because it cancels in float32
    power: Any = alpha_bar if is_traced(alpha_bar) else finite_array("alpha_bar", alpha_bar)
    if not is_traced(power) and np.any((power < 0) | (power > 1)):
        raise reject("alpha_bar", "lie in [0, 1]", f"{power.min()}..{power.max()}")
    shape = power.shape
    if len(shape) == 1 < clean.ndim:
        power = power.reshape(-1, *(1,) * (clean.ndim - 1))
    sizes = zip(power.shape, clean.shape, strict=False)
    if power.ndim not in (0, clean.ndim) or any(n not in (1, size) for n, size in sizes):
        demand = f"be one level, or one for each sample of `clean`, shape {clean.shape[:1]}"
        raise reject("alpha_bar", demand, f"shape {shape}")
    signal, rest = (jnp.asarray(share, clean.dtype) for share in (power, 1 - power))
    return jnp.sqrt(signal) * clean + jnp.sqrt(rest) * noise
