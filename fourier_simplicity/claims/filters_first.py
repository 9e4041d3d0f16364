"""Part of `fourier/amplitudes-before-phases`: what the first layer learns, and when."""

from functools import partial

import numpy as np

from fourier_simplicity.networks import FilterLearning
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.report.claims import Panel

FACTOR = 2.0  # between the two steps, at least: more than between neighbouring observations

CAPTION = (
    "Filters of the first layer on textures and on the same patches made white. Left: share of the "
    "change since the start that lies in the principal subspace of the patches; it is there from "
    "the first updates on and leaves it later. White patches have no such subspace. Right: excess "
    "kurtosis of the responses of the filters to test patches, beside that on Gaussian clones with "
    "the mean and covariance of each class; it departs from theirs hundreds of updates later."
)
NOTES = (
    "Filters: the overlap is sum |P (w - w_0)|^2 / sum |w - w_0|^2, P the projection on as many "
    "leading eigenvectors of the covariance of training patches as its participation ratio; the "
    "random start w_0 never turns. It rises at the step where it first is half way from that of a "
    "random direction to one. The kurtosis departs at the step from which on more than half of its "
    "change against the clones is made. Patches of unit norm have a lower kurtosis than Gaussian "
    "ones from the start. Predicted is that the overlap rises first, by a factor of at least "
    f"{FACTOR:g}. Controls: both at the same step; white patches, whose overlap never rises, "
    "which counts as the end of training.",
)


def filters_first(
    real: FilterLearning, white: FilterLearning
) -> tuple[list[Comparison], list[Comparison], Panel]:
    """Comparisons that must pass, controls that must fail, and the figure.

    Args:
        real: filters of networks on patches.
        white: filters of networks on the same patches made white.
    """
    axis = {"order": np.array(["kurtosis after overlap"])}
    on_real, on_white = (
        Measurement.from_replicas(_ratio(each)[:, None], axis, label="network")
        for each in (real, white)
    )
    make = partial(compare, quantity="log10 of the ratio of steps")
    least, most = float(np.log10(FACTOR)), float(np.log10(real.steps[-1]))
    first = Prediction.between([least], [most], label="principal subspace first")
    at_once = Prediction([0.0], label="at the same step")
    return (
        [make(on_real, first, name="principal subspace before non-Gaussian directions")],
        [
            make(on_real, at_once, name="subspace and non-Gaussian directions at the same step"),
            make(on_white, first, name="filters on white patches, order of the subspace"),
        ],
        Panel(real.plot(white, name="white patches"), CAPTION),
    )


def _ratio(filters: FilterLearning) -> np.ndarray:
    """log10 of (step of the kurtosis / step of the overlap), both at most the end of training."""
    end = float(filters.steps[-1])
    late, early = (
        np.clip(step, 1, end)
        for step in (filters.departure_of_kurtosis(), filters.rise_of_overlap())
    )
    return np.asarray(np.log10(late / early))
