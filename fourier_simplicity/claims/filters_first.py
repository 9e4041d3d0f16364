"""Part of `fourier/amplitudes-before-phases`: what the first layer learns, and when."""

import learning_dynamics as ld
from fourier_simplicity import networks
from fourier_simplicity.claims.learning import AT_ONCE, ORDER
from learning_dynamics.report.claims import Evidence, Panel
from learning_dynamics.training import comes_first, order_of_steps

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
    real: networks.FilterLearning | None, white: networks.FilterLearning | None
) -> Evidence:
    """The overlap with the principal subspace rises before the kurtosis departs.

    Args:
        real: filters of networks on patches.
        white: filters of networks on the same patches made white.
    """
    assert real is not None
    assert white is not None
    on_real, on_white = (
        order_of_steps(
            each.rise_of_overlap(), each.departure_of_kurtosis(), each.steps[-1],
            "kurtosis after overlap",
        )
        for each in (real, white)
    )  # fmt: skip
    first = comes_first(real.steps[-1], "principal subspace first", FACTOR)
    before, at_once = ld.compare_each(
        on_real, first, AT_ONCE, quantity=ORDER,
        name=[
            "principal subspace before non-Gaussian directions",
            "subspace and non-Gaussian directions at the same step",
        ],
    )  # fmt: skip
    name = "filters on white patches, order of the subspace"
    without = ld.compare(on_white, first, name=name, quantity=ORDER)
    panel = Panel(real.plot(white, name="white patches"), CAPTION)
    return Evidence([before], [at_once, without], {"filters": panel}, NOTES)
