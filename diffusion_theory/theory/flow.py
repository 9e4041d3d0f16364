"""The limit d -> infinity of one spherical neuron as an equation for its overlaps alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.loss import loss_terms
from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["overlap_flow", "overlap_velocity"]

Array = NDArray[np.float64]


def overlap_velocity(
    inputs: MixedCumulant,
    learner: TiedDenoiser,
    learning_rate: float,
    overlaps: ArrayLike,
    batch: int = 1,
) -> Array:
    """D alpha / d tau for spherical online SGD, tau = n / d (updates), shape (r,).

        d alpha/d tau = -delta [grad L - alpha (alpha . grad L)] - (delta^2 / (2 batch)) V alpha

    V(alpha) is the squared gradient norm per dimension. Written from the contrast, apart from the
    kernel's equations. Equation: :eq:`eq:mcm-flow`.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        learning_rate: delta.
        overlaps: alpha, shape (r,).
        batch: samples per update.

    Source: derived here.
    """
    alpha = finite_array("overlaps", overlaps, ndim=1)
    terms = loss_terms(inputs, learner, alpha)
    delta = float(finite_array("learning_rate", learning_rate, ndim=0))
    tangent = terms.gradient - alpha * (alpha @ terms.gradient)
    return -delta * tangent - delta**2 / (2 * positive_integer("batch", batch)) * terms.norm * alpha


def overlap_flow(
    inputs: MixedCumulant,
    learner: TiedDenoiser,
    learning_rate: float,
    start: ArrayLike,
    times: ArrayLike,
    batch: int = 1,
) -> Prediction:
    """Overlaps along the limit, shape (times, r); the error is the change under a looser tolerance.

    Equation: :eq:`eq:mcm-flow`.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        learning_rate: delta.
        start: overlaps at time zero, shape (r,).
        times: tau = n / d, increasing, shape (times,).
        batch: samples per update.

    Raises:
        ValueError: on times that do not increase from zero on, or a start outside the unit ball.

    Source: derived here.
    """
    tau = finite_array("times", times, ndim=1)
    if tau.size == 0 or tau[0] < 0 or np.any(np.diff(tau) <= 0):
        raise reject("times", "be non-negative and increase strictly", tau.tolist())
    alpha = finite_array("start", start, ndim=1)

    def velocity(_: float, overlaps: Array) -> Array:
        shrink = max(1.0, float(np.linalg.norm(overlaps)))  # a trial step may leave the ball
        return overlap_velocity(inputs, learner, learning_rate, overlaps / shrink, batch)

    def solve(tolerance: float) -> Array:
        solution = solve_ivp(
            velocity, (0.0, max(float(tau[-1]), 1e-12)), alpha, "DOP853", tau, rtol=tolerance,
            atol=tolerance,
        )  # fmt: skip
        return np.asarray(solution.y.T)

    fine, loose = solve(1e-9), solve(1e-6)
    return Prediction(fine, np.abs(fine - loose) + 1e-10, label="two-overlap flow")
