"""Runs of one spherical neuron from random starts until it finds a spike, and laws of their time.

`simulate_search` runs one over a grid of dimensions, its laws predict the number n* of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.escape import EscapeLaw
from learning_dynamics.search.recovery_diffusion import RecoveryLaw
from learning_dynamics.search.recovery_times import Recoveries, recovery_times

if TYPE_CHECKING:  # imported where they are used
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["CovarianceSearch", "CumulantSearch", "simulate_search"]


@dataclass(frozen=True)
class _Mixture:
    """Size of the overlap of one neuron with a mixture of the spikes."""

    direction: tuple[float, ...]

    def __call__(self, state: ld.Overlaps) -> jax.Array:
        return jnp.abs(jnp.sum(state.signal[0] * jnp.asarray(self.direction, jnp.float32)))


def _size(state: ld.Overlaps) -> jax.Array:
    return jnp.abs(jnp.sum(state.signal))


@lru_cache(maxsize=8)  # every cell of a sweep asks for it
def _escape_law(search: CovarianceSearch) -> EscapeLaw:
    return theory.escape_law(
        search.inputs, search.learner, search.learning_rate, search.threshold
    )  # fmt: skip


@dataclass(frozen=True)
class CovarianceSearch:
    """Search for the mixture of spikes whose overlap grows linearly from zero.

    Recovered is a run whose overlap with the mixture stays above the threshold for d/50 updates.

    Attributes:
        inputs: the model.
        learner: a denoiser with one neuron.
        learning_rate: delta, the same at every d.
        threshold: overlap that counts as recovery.
    """

    inputs: MixedCumulant
    learner: TiedDenoiser
    learning_rate: float
    threshold: float

    @property
    def law(self) -> EscapeLaw:
        """Law of n* / d as d grows."""
        return _escape_law(self)

    def law_at(self, dimension: int) -> RecoveryLaw:
        """Law of n* at finite d, of a single spike."""
        return theory.recovery_law(
            self.inputs, self.learner, self.learning_rate, dimension, self.threshold,
            self.longest(dimension), sustained=self._lasting(dimension),
        )  # fmt: skip

    def problem(self, dimension: int) -> ld.Problem:
        """The problem, whatever d."""
        return ld.Problem(self.inputs, self.learner, self.learning_rate, update="spherical")

    def longest(self, dimension: int) -> float:
        """Samples after which nearly every run has recovered."""
        return float(np.ceil((1.2 * float(self.law.quantile(0.95, dimension)) + 1) * dimension))

    def stop(self, dimension: int) -> ld.Stop:
        """Sustained crossing of the threshold."""
        mixture = _Mixture(tuple(self.law.direction.tolist()))
        return ld.Stop(mixture, self.threshold, sustained=self._lasting(dimension))

    def _lasting(self, dimension: int) -> int:
        return max(1, dimension // 50)

    def plot_quantiles(self, comparison: ld.Comparison) -> Figure:
        """Quantiles of n* / d against d, with the line of the escape law.

        Args:
            comparison: of measured quantiles, coordinates (quantile, dimension).
        """
        levels, d = (comparison.measured.coordinates[name] for name in ("quantile", "dimension"))
        fine = np.geomspace(float(d[0]), float(d[-1]), 60)
        return comparison.plot(
            x="dimension", series="quantile", logx=True, logy=False, x_label="dimension d",
            fine=(fine, self.law.quantiles(levels, fine).values),
        )  # fmt: skip

    def plot_collapse(self, recoveries: Recoveries) -> Figure:
        """Shares recovered against n/d less log(d / d_0) / 2g: one curve, the escape law's.

        Args:
            recoveries: measured n*; d_0 is the smallest d.
        """
        d = recoveries.dimensions.astype(np.float64)
        shifted = recoveries.samples / d - np.log(d / d[0]) / (2 * self.law.rate)
        levels = np.linspace(0.005, 0.95, 150)
        return ld.plot_collapse(
            recoveries.dimensions, [np.sort(column) for column in shifted.T],
            [("escape law", self.law.quantile(levels, d[0]), levels)],
            x_label=f"n / d - log(d / {d[0]:g}) / (2 g)", symbol="d", logx=False,
        )  # fmt: skip


@dataclass(frozen=True)
class CumulantSearch:
    """Search for one spike of information exponent four: of order d^3 samples at the step delta'/d.

    Attributes:
        inputs: a model with one spike.
        learner: a denoiser with one neuron.
        rate: delta'.
        threshold: overlap that counts as recovery.
        longest_scaled: n / d^3 after which a run is given up.
    """

    inputs: MixedCumulant
    learner: TiedDenoiser
    rate: float
    threshold: float
    longest_scaled: float

    def law_at(self, dimension: int) -> RecoveryLaw:
        """Law of n* at finite d."""
        return theory.recovery_law(
            self.inputs, self.learner, self.rate / dimension, dimension, self.threshold,
            self.longest(dimension),
        )  # fmt: skip

    def problem(self, dimension: int) -> ld.Problem:
        """The problem at d."""
        return ld.Problem(self.inputs, self.learner, self.rate / dimension, update="spherical")

    def longest(self, dimension: int) -> float:
        """Samples after which a run is given up."""
        return self.longest_scaled * dimension**3

    def stop(self, dimension: int) -> ld.Stop:
        """First crossing of the threshold."""
        return ld.Stop(_size, self.threshold)


def simulate_search(
    search: CovarianceSearch | CumulantSearch,
    dimensions: Sequence[int],
    *,
    replicas: int,
    key: jax.Array,
    sweep: Callable[..., xr.Dataset] | None = None,
) -> Recoveries:
    """Numbers of samples to recovery on the overlap chain, from common starts at every d.

    Args:
        search: what is looked for.
        dimensions: d, increasing.
        replicas: independent runs at each d.
        key: typed random key.
        sweep: as of `learning_dynamics.search.recovery_times.recovery_times`.
    """
    return recovery_times(
        search.problem, dimensions=dimensions, replicas=replicas, longest=search.longest,
        stop=search.stop, key=key, sweep=sweep,
    )  # fmt: skip
