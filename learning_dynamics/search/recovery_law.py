"""Distribution of the number of updates to weak recovery at large N."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.search.forms import Form
from learning_dynamics.validation import finite_array, reject

__all__ = ["SearchLaw"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SearchLaw:
    """Law of the number of updates n* to weak recovery at large N.

    Attributes:
        order: information exponent k.
        draws: independent draws of n* / N^(k-1) for k >= 3, of n* / N - log N / (2 g) for k = 2;
            infinite where a path had not exploded by the end (`censored`).
        draw_errors: bounds on their numerical errors, same shape.
        growth: growth rate g of the overlap for k = 2, otherwise NaN.
        direction: steepest direction, shape (r,).
        gradient_covariance: S0 = E[A C C^T A] at zero overlap, per update, shape (r, r).
        gradient_norm: V = E[A Gamma A^T] at zero overlap, per update, Gamma the covariance of the
            noise per dimension.
        form: the leading part L_k of the population loss.
        rate: delta (k = 2) or delta' (k >= 3).
        errors: bounds on the errors of "form", "gradient_covariance", "gradient_norm" (largest
            entries) and, for k = 2, of "growth" and the "constant" c.

    S0, V and the form are those where the noise blocks come to rest (see `search_law`).
    """

    order: int
    draws: Array
    draw_errors: Array
    growth: float
    direction: Array
    gradient_covariance: Array
    gradient_norm: float
    form: Form
    rate: float
    errors: Mapping[str, float]

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        unit = "n*/N - log(N)/(2 g)" if self.order == 2 else f"n*/N^{self.order - 1}"
        errors = ", ".join(f"{name} {value:.2g}" for name, value in self.errors.items())
        median = self.median()
        return f"order k = {self.order}, rate {self.rate:.4g}", {
            "median": f"{float(median.value):.4g} +- {float(median.error):.2g} of {unit}",
            "draws": f"{self.draws.size}, {self.censored} infinite",
            "growth": f"g = {self.growth:.4g}" if self.order == 2 else "",
            "direction": short_text.array_text(self.direction),
            "S0": short_text.array_text(self.gradient_covariance),
            "V": f"{self.gradient_norm:.4g}",
            "errors": errors,
        }

    @property
    def censored(self) -> int:
        """Number of draws that are only known to be late."""
        return int(np.sum(~np.isfinite(self.draws)))

    def learning_rate(self, dimension: int) -> float:
        """Learning rate to simulate with at N: rate * N^(-(k-2)/2)."""
        return float(self.rate * float(dimension) ** (-(self.order - 2) / 2))

    def updates(self, dimension: int) -> Array:
        """Draws of n* at N; `updates_errors` bounds their numerical errors.

        Zero where random weights of that size are beyond the threshold already.
        """
        n = float(dimension)
        if self.order == 2:
            return np.maximum(n * (self.draws + np.log(n) / (2 * self.growth)), 0)
        return self.draws * n ** (self.order - 1)

    def updates_errors(self, dimension: int) -> Array:
        """Bounds on the numerical errors of the draws of n* at N, same shape."""
        n = float(dimension)
        if self.order == 2:
            slope = np.log(n) / (2 * self.growth**2) * self.errors["growth"]
            return n * (self.draw_errors + slope)
        return self.draw_errors * n ** (self.order - 1)

    def median(self) -> Estimate:
        """Median of the draws: the prefactor of the sample complexity; see `quantile`."""
        return self.quantile(0.5)

    def quantile(self, level: ArrayLike) -> Estimate:
        """Quantiles of the draws (infinite ones count), and bounds on their errors.

        The error holds that of the draws and that of their number: the distance to the order
        statistics 3.3 standard errors of a rank away.

        Raises:
            ValueError: if a level is not between 0 and 1.
        """
        p = finite_array("level", level)
        if np.any((p <= 0) | (p >= 1)):
            raise reject("level", "lie strictly between 0 and 1", p.tolist())
        order, count = np.argsort(self.draws, kind="stable"), self.draws.size
        times, lost = self.draws[order], self.draw_errors[order]
        rank, spread = np.ceil(p * count) - 1, 3.3 * np.sqrt(count * p * (1 - p))
        at, below, above = (
            np.clip(np.rint(r), 0, count - 1).astype(int)
            for r in (rank, np.floor(rank - spread), np.ceil(rank + spread))
        )
        with np.errstate(invalid="ignore"):
            sides = np.stack([times[at] - times[below], times[above] - times[at]])
        sampling = np.max(np.where(np.isnan(sides), np.inf, sides), axis=0)
        return Estimate(times[at], lost[at] + sampling, "draws", count)
