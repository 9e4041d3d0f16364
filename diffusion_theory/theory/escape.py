"""Law of the time to weak recovery at information exponent two."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.integrate import solve_ivp

from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.contrast import contrast, smooth_nodes
from diffusion_theory.theory.exponent import growth, signal_form
from diffusion_theory.theory.flow import overlap_velocity
from diffusion_theory.theory.loss import gradient_norm
from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Prediction
from learning_dynamics.validation import between, finite_array, fractions, reject

__all__ = ["EscapeLaw", "escape_law", "gradient_covariance"]

Array = NDArray[np.float64]
BIAS = r"$1 / (g \sqrt{d})$"  # of quantiles of n* / d


def gradient_covariance(inputs: MixedCumulant, learner: TiedDenoiser) -> Array:
    """S0 = E[A C C' A'] at zero overlap, covariance of the gradient along the spikes, (r, r).

        S0 = V 1 + E[A_x^2] (Sigma_x - 1),   A_x = dl/dh = -2 e [kappa sigma' w.r + (p - s) sigma],

    Sigma_x the covariance of x along the spikes (and mean square along m).
    Equation: :eq:`eq:mcm-covariance`.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.

    Source: derived here.
    """
    psi = contrast(inputs, learner)
    h, mass = smooth_nodes(np.zeros(1), np.ones(1))
    value, slope = psi.sigma(h)
    along = (psi.p - psi.skip + psi.q * psi.b) * h - psi.sign * value
    spread = psi.q**2 * (1 - psi.b**2)
    drift = (psi.p - psi.skip) * value
    square = (psi.kappa * slope * along + drift) ** 2 + (psi.kappa * slope) ** 2 * spread
    size = 4 * float(np.sum(mass * square))
    norm = gradient_norm(inputs, learner, np.zeros(inputs.directions))
    return norm * np.eye(inputs.directions) + size * signal_form(inputs)


def _dimensions(argument: str, value: ArrayLike, ndim: int | None = None) -> Array:
    d = finite_array(argument, value, ndim=ndim)
    if np.any(d < 1):
        raise reject(argument, "be at least 1", d.min())
    return d


class EscapeLaw(NamedTuple):
    """Number n* of updates until |alpha . direction| reaches a threshold, from a random start.

        n* / d = log(d) / (2 g) - log|xi| / g + c,   xi ~ N(0, 1 + delta^2 S0 / (2 g)).

    Attributes:
        rate: growth rate g.
        direction: growing direction in the overlaps, shape (r,).
        deviation: standard deviation of xi.
        constant: c.
    """

    rate: float
    direction: Array
    deviation: float
    constant: float

    def __repr__(self) -> str:
        return short_text.represent(self)

    def quantile(self, level: ArrayLike, dimension: ArrayLike) -> Array:
        """Quantiles of n* / d; level and dimension broadcast.

        Raises:
            ValueError: on levels outside (0, 1), or a dimension below 1.
        """
        p = fractions("level", level)
        size = self.deviation * special.ndtri(1 - p / 2)  # early escapes start far out
        d = _dimensions("dimension", dimension)
        return np.asarray(np.log(d) / (2 * self.rate) - np.log(size) / self.rate + self.constant)

    def quantiles(
        self, levels: ArrayLike, dimensions: ArrayLike, *, label: str = "escape law"
    ) -> Prediction:
        """Quantiles of n* / d beside runs at finite d, shape (levels, dimensions).

        Allowed bias 1 / (g sqrt(d)): a relative error d^(-1/2) of the scaled start.

        Args:
            levels: of the quantiles, shape (levels,).
            dimensions: d, shape (dimensions,).
            label: name for legends and tables.

        Raises:
            ValueError: on levels outside (0, 1), dimensions below 1, or arrays of another rank.
        """
        p = fractions("levels", levels, ndim=1)
        d = _dimensions("dimensions", dimensions, ndim=1)
        if not p.size or not d.size:
            name = "dimensions" if p.size else "levels"
            raise reject(name, "hold one at least", "none")
        values = self.quantile(p[:, None], d)
        return Prediction(values, 1e-4, 1 / (self.rate * np.sqrt(d)), BIAS, label)


def escape_law(
    inputs: MixedCumulant, learner: TiedDenoiser, learning_rate: float, threshold: float
) -> EscapeLaw:
    """The law for a model whose overlaps grow linearly from zero (spherical updates, batch 1).

    Equation: :eq:`eq:mcm-escape`.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        learning_rate: delta, of order one.
        threshold: overlap with the growing direction that counts as recovery.

    Raises:
        ValueError: if nothing grows, or the threshold is not reached.

    Source: derived here; the kernel's `search_law` draws from the same law.
    """
    growing = growth(inputs, learner, learning_rate)
    g, direction = float(growing.rates[0]), growing.directions[0]
    if g <= 0:
        raise reject("learning_rate", "leave a growing overlap", f"rate {g:.3g}")
    between("threshold", threshold, 0, 1)
    covariance = float(direction @ gradient_covariance(inputs, learner) @ direction)
    deviation = np.sqrt(1 + learning_rate**2 * covariance / (2 * g))
    first = 1e-3

    def velocity(_: float, alpha: Array) -> Array:
        shrink = max(1.0, float(np.linalg.norm(alpha)))
        return overlap_velocity(inputs, learner, learning_rate, alpha / shrink)

    def excess(_: float, alpha: Array) -> float:
        return float(direction @ alpha) - threshold

    excess.terminal = True  # type: ignore[attr-defined]
    span = np.log(threshold / first) / g
    solution = solve_ivp(
        velocity, (0.0, 10 * span), first * direction, "DOP853", rtol=1e-8, atol=1e-10,
        events=excess,
    )  # fmt: skip
    if not solution.t_events[0].size:
        raise reject("threshold", "be reached", f"{threshold}, only {solution.y[:, -1]} is")
    constant = float(solution.t_events[0][0]) + np.log(first) / g
    return EscapeLaw(g, direction, float(deviation), float(constant))
