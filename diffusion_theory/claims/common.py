"""What the claims share: measured drifts, and exponents beside those of a law."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.statistics import slopes_of_law
from learning_dynamics.search.sample_complexity import ExponentFit

__all__ = ["RATE", "SOURCE", "Force", "growth_of", "measured_force", "predicted_force"]
__all__ += ["within_ten_percent"]

Array = NDArray[np.float64]
SOURCE = "Bardone, Merger and Goldt, arXiv 2603.12901; formulas derived here"
DIMENSION, RATE, TIME = 1000, 0.05, 0.4  # d, delta, tau of a measured drift


class Force(NamedTuple):
    """Predicted forces along one overlap, their numerical error and allowed bias, (starts,)."""

    values: Array
    error: Array
    bias: Array


def _contraction(inputs: MixedCumulant, learner: TiedDenoiser, alpha: Array) -> Array:
    """What the gradient's noise takes away: alpha (1 - exp(-delta^2 V tau / 2)) / (delta tau).

    Along a flat direction nothing else moves the overlap, and the measured force is zero exactly.
    """
    shrink = RATE**2 / 2 * theory.gradient_norm(inputs, learner, alpha) * TIME
    return np.asarray(-np.expm1(-shrink) * alpha / (RATE * TIME))


def measured_force(
    inputs: MixedCumulant,
    learner: TiedDenoiser,
    starts: ArrayLike,
    replicas: int,
    key: jax.Array,
) -> Array:
    """-dL/dalpha along the only overlap that is not zero, from drifts of the overlap chain.

        [alpha(tau) - alpha(0) exp(-delta^2 V tau / 2)] / (delta tau (1 - alpha^2))

    The chain is exact in law at d = 1000; delta = 0.05, tau = n/d = 0.4, spherical updates. The
    contraction by the gradient's noise is taken from theory.

    Returns:
        Shape (replicas, starts).
    """
    alpha = np.asarray(starts, np.float64)
    count = alpha.shape[0]
    signal = np.tile(alpha, (replicas, 1))[:, None]  # (replicas * starts, 1, r)
    problem = ld.Problem(inputs, learner, RATE, update="spherical")
    trajectory = ld.simulate(
        problem,
        dimension=DIMENSION,
        times=[TIME],
        replicas=replicas * count,
        level="overlaps",
        key=key,
        start=ld.order_parameters(signal, np.ones((replicas * count, 1, 1))),
    )
    last = trajectory.values["signal"][:, 0, 0].reshape(replicas, count, -1)
    drift = np.asarray((last - alpha) / (RATE * TIME), np.float64)
    return _along(drift + [_contraction(inputs, learner, a) for a in alpha], alpha)


def _along(drift: Array, alpha: Array) -> Array:
    """Component along the overlap that is not zero, over 1 - alpha^2; (..., starts)."""
    place = np.argmax(np.abs(alpha), axis=1)
    rows = np.arange(place.size)
    return np.asarray(drift[..., rows, place] / (1 - alpha[rows, place] ** 2))


def _step(inputs: MixedCumulant, learner: TiedDenoiser, alpha: Array) -> tuple[Array, Array]:
    """The two-overlap flow over the short time TIME: a step of order four and one of order two."""

    def velocity(overlaps: Array) -> Array:
        return theory.overlap_velocity(inputs, learner, RATE, overlaps)

    first = velocity(alpha)
    second = velocity(alpha + TIME / 2 * first)
    third = velocity(alpha + TIME / 2 * second)
    fourth = velocity(alpha + TIME * third)
    fine = alpha + TIME / 6 * (first + 2 * second + 2 * third + fourth)
    return fine, alpha + TIME * second


def predicted_force(inputs: MixedCumulant, learner: TiedDenoiser, starts: ArrayLike) -> Force:
    """The same from the two-overlap flow.

    Allowed bias: the relative error (r + 1) / d of the contraction, whose norm counts d - r - 1 of
    the d dimensions, and 1e-4 for float32 sums.
    """
    alpha = np.asarray(starts, np.float64)
    drift, error, bias = (np.empty_like(alpha) for _ in range(3))
    for i, start in enumerate(alpha):
        ahead, coarse = _step(inputs, learner, start)
        away = _contraction(inputs, learner, start)
        drift[i] = (ahead - start) / (RATE * TIME) + away
        error[i] = np.abs(ahead - coarse) / (RATE * TIME)
        bias[i] = (inputs.directions + 1) / DIMENSION * np.abs(away) + 1e-4
    return Force(*(_along(x, alpha) for x in (drift, error, bias)))


def growth_of(
    fit: ExponentFit,
    medians: Array,
    other: float,
    why: str,
    *,
    logarithm: bool = False,
    allowance: tuple[ArrayLike, str] = (0.0, ""),
) -> tuple[Comparison, Comparison, str]:
    """Overall and local exponents beside those of a law at the same d, a wrong one, in words.

    `allowance` is the relative bias of the law's medians at each d, with its order as a formula.
    """
    measured = fit.measurement()
    logarithms = np.log(fit.dimensions) if logarithm else 1.0
    law = slopes_of_law(
        fit.dimensions, medians / logarithms, left_out=allowance[0], order=allowance[1],
        label="law at the same d",
    )  # fmt: skip
    slopes = law.values
    what = "n* / log d" if logarithm else "n*"
    quantity = f"exponent of {what} in d"
    low, high = fit.interval
    words = (
        f"Fitted exponent of {what}: {fit.exponent:.3f}, 95 % interval {low:.3f} to {high:.3f} "
        f"(bootstrap over replicas, jointly across d); "
        f"the law at the same d gives {slopes[0]:.3f}; "
        "local slopes "
        + ", ".join(f"{s:.2f} (law {p:.2f})" for s, p in zip(fit.local, slopes[1:], strict=False))
        + "."
    )
    control = Prediction(np.full(slopes.shape, other), label=why)
    return (
        compare(measured, law, name="exponents", quantity=quantity),
        compare(measured, control, name=why, quantity=quantity),
        words,
    )


def within_ten_percent(quantiles: Measurement, predicted: float, label: str) -> Comparison:
    """Median at the largest d against the leading law, a tenth of it allowed."""
    place = int(np.flatnonzero(quantiles.coordinates["quantile"] == 0.5)[0])
    d = quantiles.coordinates["dimension"][-1:]
    last = Measurement(
        quantiles.values[place, -1:],
        quantiles.standard_error[place, -1:],
        quantiles.replicas,
        {"dimension": d},
        quantiles.lost[place, -1:],
        quantiles.label,
    )
    law = Prediction(np.array([predicted]), label=label)
    return compare(
        last, law.with_bias([predicted / 10], "10 %"), name="median at the largest d",
        quantity="samples to recovery",
    )  # fmt: skip
