"""Remedies against overfitting, each a number that has an optimum: ridge and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.measurement import Measurement, Prediction
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.validation import between, finite_array, non_negative, one_of, reject
from linear_diffusion import theory
from linear_diffusion.measures import place_of_minimum
from linear_diffusion.simulation import SampleModes, kl_of_modes, losses_of_modes
from linear_diffusion.theory.divergence import DIRECTIONS

__all__ = ["Remedy", "early_stopping", "ridge_regularisation"]

Array = NDArray[np.float64]
NEAR = np.linspace(-0.8, 0.8, 81)  # logarithm of the distance to the guess


@dataclass(frozen=True)
class Remedy:
    """A number x that keeps a model from overfitting, and an error that is least at its best x.

    Attributes:
        axis: name of x in measurements.
        error: data sets of one size and values of x, shape (values,), -> error of each model, shape
            (replicas, 1, values).
        expected: spectrum, N and values of x -> expected error, shape (*N.shape, values).
        best: spectrum and N -> predicted best x, shape of N.
    """

    axis: str
    error: Callable[[SampleModes, Array], Array]
    expected: Callable[[Array, ArrayLike, Array], Prediction]
    best: Callable[[Array, ArrayLike], Prediction]

    def errors(
        self, drawn: Sequence[SampleModes], values: ArrayLike, cases: Mapping[str, ArrayLike]
    ) -> Measurement:
        """Mean error at values of x in each case.

        Args:
            drawn: data sets of one size for each case, such as another spectrum or another N.
            values: of x, shape (values,).
            cases: name -> what tells the cases apart.

        Raises:
            ValueError: on negative values, or data sets of several sizes or unlike replicas.
        """
        x = non_negative("values", values, ndim=1)
        _check_drawn(drawn)
        draws = np.concatenate([self.error(modes, x) for modes in drawn], axis=1)
        return Measurement.from_replicas(draws, {**cases, self.axis: x})

    def optimum(
        self, drawn: Sequence[SampleModes], near: ArrayLike, cases: Mapping[str, ArrayLike]
    ) -> Measurement:
        """The x of least mean error in each case, with its jackknife error over the replicas.

        Args:
            drawn: as in `errors`.
            near: guess within a factor of two, such as the predicted best x, shape (cases,).
            cases: as in `errors`.

        Raises:
            ValueError: unless there is a positive guess for each case.
        """
        _check_drawn(drawn)
        centre = finite_array("near", near, ndim=1)
        if centre.size != len(drawn) or not np.all(centre > 0):
            raise reject("near", f"be {len(drawn)} positive numbers", centre)
        curves = [self.error(m, x * np.exp(NEAR)) for m, x in zip(drawn, centre, strict=True)]
        return jackknife(
            np.concatenate(curves, axis=1),
            lambda mean: centre * np.exp(place_of_minimum(mean, NEAR)),
            cases,
        )


def _check_drawn(drawn: Sequence[SampleModes]) -> None:
    shapes = [modes.variance.shape[:2] for modes in drawn]
    if len(set(shapes)) != 1 or shapes[0][1] != 1:
        demand = "be data sets of one size each (`SampleModes.at`), of equally many replicas"
        raise reject("drawn", demand, f"(replicas, sizes) {shapes}")


def ridge_regularisation(direction: theory.Direction = "forward") -> Remedy:
    """Ridge c against the KL between data and generated distribution, in nats.

    Args:
        direction: of the KL, "forward" or "reverse".

    Raises:
        ValueError: on another direction.
    """
    one_of("direction", direction, DIRECTIONS)
    return Remedy(
        "ridge",
        lambda modes, ridges: kl_of_modes(
            modes, modes.variance[:, :, None] + ridges[:, None], direction=direction
        ),
        lambda spectrum, N, ridges: theory.kl(
            spectrum, np.asarray(N)[..., None], ridges, direction=direction
        ),
        lambda spectrum, N: theory.optimal_ridge(spectrum, N, direction=direction).ridge,
    )


def early_stopping(alpha_bar: float, *, ridge: float = 0.0) -> Remedy:
    """Training time tau against the test loss per dimension, by gradient flow.

    Args:
        alpha_bar: noise level in (0, 1).
        ridge: c >= 0.

    Raises:
        ValueError: on a level outside (0, 1) or a negative ridge.
    """
    between("alpha_bar", alpha_bar, 0, 1)
    non_negative("ridge", ridge, ndim=0)
    return Remedy(
        "tau",
        lambda modes, times: losses_of_modes(modes, ridge, alpha_bar, times)[1],
        lambda spectrum, N, times: (
            theory.training_losses(spectrum, N, ridge, alpha_bar, times).test
        ),
        lambda spectrum, N: theory.optimal_stopping(spectrum, N, ridge, alpha_bar).time,
    )
