"""First time of a one-dimensional diffusion at a threshold on either side, by Fokker-Planck."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.integrate import solve_ivp

from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Prediction
from learning_dynamics.validation import finite_array, positive_number, real_array, reject

__all__ = ["RecoveryLaw", "diffusion_law", "quantiles_of_laws"]

Array = NDArray[np.float64]
_CELLS = 1000


@dataclass(frozen=True, eq=False, repr=False)
class RecoveryLaw:
    """Distribution of the time until an overlap reaches a threshold.

    Attributes:
        times: grid of times, increasing, in updates or in the units of the law.
        share: P(recovery time <= time), same shape.
        error: change of the share on half as many cells.
    """

    times: Array
    share: Array
    error: float

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        ends = f"share {self.share[-1]:.4g} at time {self.times[-1]:.4g}"
        return f"{self.times.size} times, {ends}, error {self.error:.2g}", {}

    def probability(self, times: ArrayLike) -> Array:
        """P(recovery time <= time) at any times; the last value of the grid beyond it."""
        return np.interp(real_array("times", times), self.times, self.share, left=0.0)

    def quantile(self, level: ArrayLike) -> Array:
        """Times by which given shares have recovered, infinite beyond the grid."""
        p = finite_array("level", level)
        if np.any((p <= 0) | (p >= 1)):
            raise reject("level", "lie strictly between 0 and 1", p.tolist())
        times = np.interp(p, self.share, self.times)
        return np.where(p > self.share[-1], np.inf, times)

    def rescaled(self, factor: float) -> "RecoveryLaw":
        """The law of `factor` times the time: of n* = N tau, for example.

        Raises:
            ValueError: unless the factor is positive.
        """
        return RecoveryLaw(self.times * positive_number("factor", factor), self.share, self.error)


def quantiles_of_laws(
    laws: Sequence[RecoveryLaw], levels: ArrayLike, *, label: str = "diffusion at each N"
) -> Prediction:
    """Quantiles of the laws at several N, with the error that their shares leave, (levels, sizes).

    Args:
        laws: one for each N.
        levels: of the quantiles, shape (levels,).
        label: name for legends and tables.
    """
    marks = finite_array("levels", levels, ndim=1)
    values = np.array([law.quantile(marks) for law in laws]).T
    late = np.array([law.quantile(np.minimum(marks + law.error, 1 - 1e-12)) for law in laws]).T
    with np.errstate(invalid="ignore"):  # infinite beyond the grid of a law
        error = np.where(np.isfinite(values), late - values, np.inf)
    return Prediction(values, error, label=label)


Coefficient = Callable[[Array], Array]


def diffusion_law(
    drift: Coefficient, half: Coefficient, start: Coefficient, end: float, longest: float
) -> RecoveryLaw:
    """Law of the first time at |mu| = end for d mu = drift dt + (2 half)^(1/2) dB.

    Args:
        drift: of mu, elementwise.
        half: half the variance per time, elementwise.
        start: distribution function of mu(0).
        end: threshold, positive.
        longest: last time of the grid.

    Raises:
        ValueError: unless threshold and last time are positive.
    """
    for name, number in (("end", end), ("longest", longest)):
        positive_number(name, number)
    times = np.concatenate([[0.0], np.geomspace(longest * 1e-4, longest, 400)])
    fine, coarse = (_absorbed(drift, half, start, end, times, n) for n in (_CELLS, _CELLS // 2))
    return RecoveryLaw(times, fine, float(np.max(np.abs(fine - coarse))))


def _absorbed(
    drift: Coefficient, half: Coefficient, start: Coefficient, end: float, times: Array, cells: int
) -> Array:
    """Birth-death chain on even cells in y = arsinh(mu), rates exponentially fitted.

    Absorbing beyond both ends. Rates up and down are (D/h^2) B(-+ v h / D), B(x) = x / (e^x - 1),
    which have the drift v exactly and the diffusion D up to order h^2.
    """
    top = np.arcsinh(end)
    width = 2 * top / cells
    edges = np.linspace(-top, top, cells + 1)
    mu = np.sinh((edges[:-1] + edges[1:]) / 2)
    slope = 1 / np.sqrt(1 + mu**2)  # dy/dmu, and -mu slope^3 is the second derivative
    D = half(mu) * slope**2
    v = drift(mu) * slope - half(mu) * mu * slope**3
    x = v * width / D
    up, down = (D / width**2 * _bernoulli(s * x) for s in (-1.0, 1.0))
    out = up + down
    first = np.diff(np.concatenate([[0.0], start(np.sinh(edges[1:-1])), [1.0]]))

    def rate(_: float, p: Array) -> Array:
        change = -out * p
        change[1:] += (up * p)[:-1]
        change[:-1] += (down * p)[1:]
        return change

    def jacobian(_: float, __: Array) -> Array:
        banded = np.zeros((3, cells))
        banded[0, 1:], banded[1], banded[2, :-1] = down[1:], -out, up[:-1]
        return banded

    # mass that starts beyond the ends counts as absorbed at once
    outside = start(np.array([-end]))[0] + 1 - start(np.array([end]))[0]
    first[0] -= start(np.array([-end]))[0]
    first[-1] -= 1 - start(np.array([end]))[0]
    solution = solve_ivp(
        rate, (0.0, times[-1]), first, "LSODA", times, rtol=1e-7, atol=1e-10,
        jac=jacobian, lband=1, uband=1,
    )  # fmt: skip
    share = 1 - solution.y.sum(axis=0)
    share[0] = outside
    return np.maximum.accumulate(np.clip(share, 0.0, 1.0))


def _bernoulli(x: Array) -> Array:
    return np.asarray(1 / special.exprel(x))
