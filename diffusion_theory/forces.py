"""Forces -dL/dalpha on the overlaps, measured from drifts of the overlap chain and predicted."""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.evidence.measurement import Prediction
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["measured_force", "predicted_force"]

Array = NDArray[np.float64]
DIMENSION, RATE, TIME = 1000, 0.05, 0.4  # d, delta, tau of a measured drift


def _contraction(inputs: MixedCumulant, learner: TiedDenoiser, alpha: Array) -> Array:
    """What the gradient's noise takes away: alpha (1 - exp(-delta^2 V tau / 2)) / (delta tau).

    Along a flat direction nothing else moves the overlap, and the measured force is zero exactly.
    """
    shrink = RATE**2 / 2 * theory.gradient_norm(inputs, learner, alpha) * TIME
    return np.asarray(-np.expm1(-shrink) * alpha / (RATE * TIME))


def _starts(inputs: MixedCumulant, starts: ArrayLike) -> Array:
    """Overlaps of which one at most is not zero, shape (starts, r)."""
    alpha = finite_array("starts", starts, ndim=2)
    if alpha.shape[1] != inputs.directions:
        raise reject("starts", f"have shape (starts, {inputs.directions})", f"shape {alpha.shape}")
    if np.any(np.count_nonzero(alpha, axis=1) > 1) or np.any(np.abs(alpha) >= 1):
        raise reject("starts", "be zero but for one overlap between -1 and 1", alpha)
    return alpha


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

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        starts: overlaps, all but one zero, shape (starts, r).
        replicas: drifts from each start.
        key: typed random key.

    Returns:
        Shape (replicas, starts).

    Raises:
        ValueError: on other starts, or as `simulate`.
    """
    alpha, replicas = _starts(inputs, starts), positive_integer("replicas", replicas)
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


def predicted_force(inputs: MixedCumulant, learner: TiedDenoiser, starts: ArrayLike) -> Prediction:
    """The force that `measured_force` measures, from the two-overlap flow, shape (starts,).

    Allowed bias: the relative error (r + 1) / d of the contraction, whose norm counts d - r - 1 of
    the d dimensions, and 1e-4 for float32 sums.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        starts: overlaps, all but one zero, shape (starts, r).

    Raises:
        ValueError: on other starts.
    """
    alpha = _starts(inputs, starts)
    drift, error, bias = (np.empty_like(alpha) for _ in range(3))
    for i, start in enumerate(alpha):
        ahead, coarse = _step(inputs, learner, start)
        away = _contraction(inputs, learner, start)
        drift[i] = (ahead - start) / (RATE * TIME) + away
        error[i] = np.abs(ahead - coarse) / (RATE * TIME)
        bias[i] = (inputs.directions + 1) / DIMENSION * np.abs(away) + 1e-4
    force, error, bias = (_along(each, alpha) for each in (drift, error, bias))
    order = r"$(r + 1)/d$ of the contraction"
    return Prediction(force, error, bias, order, "two-overlap flow")
