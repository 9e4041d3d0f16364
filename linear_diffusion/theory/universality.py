"""How far non-Gaussian data leave the universal curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.validation import finite_array, integers, one_of, positive_integer, reject
from linear_diffusion.theory.divergence import DIRECTIONS, Direction, exact_kl
from linear_diffusion.theory.resolvent import EPSILON

__all__ = ["kl_of_latents", "kurtosis_shift"]


def kurtosis_shift(
    dimension: int, samples: ArrayLike, excess_kurtosis: ArrayLike, *, direction: Direction
) -> Prediction:
    """First correction to the KL from the excess kurtosis k4 of independent coordinates.

    Without ridge, r = d/n with n = samples - 1,

        forward: (k4/2) [ r/(1 - r) - r/2 ],      reverse: k4 r/4,

    to be added to `exact_kl`. It follows from the shift -k4 df_2(kappa) / (2 n) of
    E ln det (Sigma_hat + c), whose derivative in c gives the inverse. It is of order one, so that
    the KL per dimension of all such data falls on one curve as d grows. Data whose |y|^2
    fluctuates as a whole (image patches of varying contrast) are not of this kind: see the
    `fourth_moment` of `kl_slope`.

    Args:
        dimension: d.
        samples: N > d + 1; broadcast with `excess_kurtosis`.
        excess_kurtosis: E y_i^4 - 3 of the independent unit-variance coordinates, at least -2.
        direction: "forward" or "reverse".

    Raises:
        ValueError: too few samples, or an excess kurtosis below -2.

    Equation: :eq:`eq:linear-kurtosis`.

    Source: derived here; relative corrections of order 1/d.
    """
    one_of("direction", direction, DIRECTIONS)
    d = positive_integer("dimension", dimension)
    N = integers("samples", samples, least=d + 2)
    k4 = finite_array("excess_kurtosis", excess_kurtosis)
    if np.any(k4 < -2):
        raise reject("excess_kurtosis", "be at least -2", k4.min())
    r = d / (N - 1.0)
    value = k4 * r / 4 if direction == "reverse" else k4 / 2 * (r / (1 - r) - r / 2)
    return Prediction(value, 8 * EPSILON * np.abs(value), label="kurtosis shift")


def kl_of_latents(
    dimension: int, samples: ArrayLike, excess_kurtosis: ArrayLike, *, direction: Direction
) -> Prediction:
    """Expected KL without ridge of data with independent coordinates of some excess kurtosis.

    `exact_kl` for Gaussian data, with `kurtosis_shift` for others: a relative bias of 2/d is
    allowed for these.

    Args: as in `kurtosis_shift`; N > d + 3 for "forward".

    Returns:
        Shape to which `samples` and `excess_kurtosis` broadcast.

    Raises:
        ValueError: too few samples, or an excess kurtosis below -2.

    Equations: :eq:`eq:linear-exact`, :eq:`eq:linear-kurtosis`.

    Source: derived here.
    """
    exact = exact_kl(dimension, samples, direction=direction)
    shift = kurtosis_shift(dimension, samples, excess_kurtosis, direction=direction)
    other = finite_array("excess_kurtosis", excess_kurtosis) != 0
    error = exact.numerical_error + shift.numerical_error
    law = Prediction(exact.values + shift.values, error, label="exact + kurtosis shift")
    if not np.any(other):
        return law
    return law.with_bias(
        np.where(other, 2 / dimension * exact.values, 0.0), "$2/d$ for the non-Gaussian laws"
    )
