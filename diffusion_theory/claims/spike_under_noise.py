"""A denoiser that learns a spike under a level of the noise that depends on the time."""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics import schedules

Array = NDArray[np.float64]
RATE, SPIKE, OVERLAP, END = 0.1, 2.0, 0.2, 40.0
PATH = "inputs.alpha_bar"
KNOTS, STEPS = np.linspace(0, END, 6), 400
DENOISER = TiedDenoiser(sign=-1)


def spiked(alpha_bar: Any) -> MixedCumulant:
    """Data with one spike of their covariance, at a level of the noise."""
    return MixedCumulant(covariance=SPIKE, cumulant=None, alpha_bar=alpha_bar)


def problem(levels: Any) -> ld.Problem:
    """A denoiser on the sphere, with a table of levels in place of a single one."""
    table = schedules.piecewise_linear(KNOTS, levels)
    return ld.Problem(spiked(0.4), DENOISER, RATE, update="spherical", protocol={PATH: table})


def error(overlaps: ld.Overlaps) -> jax.Array:
    """One minus the squared overlap with the spike."""
    return 1 - overlaps.signal[0, 0] ** 2


def flow_error(levels: Array) -> float:
    """The same at the end of the two-overlap flow of `diffusion_theory.theory`."""
    step, alpha = END / STEPS, np.array([OVERLAP])

    def velocity(tau: float, overlap: Array) -> Array:
        inputs = spiked(float(np.interp(tau, KNOTS, levels)))
        return theory.overlap_velocity(inputs, DENOISER, RATE, overlap)

    for tau in step * np.arange(STEPS):
        middle = alpha + step / 2 * velocity(tau, alpha)
        alpha = alpha + step * velocity(tau + step / 2, middle)
    return float(1 - alpha[0] ** 2)
