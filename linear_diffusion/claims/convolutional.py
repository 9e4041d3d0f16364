"""A convolutional denoiser beside the linear theory, for `linear/networks-follow`."""

import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import jackknife
from linear_diffusion.claims.finite_networks import MODES, NETWORKS, Cases, gaussian, over
from linear_diffusion.finite_data import FiniteDataCurves

Array = NDArray[np.float64]
LEAST = 0.25  # of the onset of the linear denoiser


def gap_onsets(cases: Cases) -> ld.Comparisons:
    """Onset of the gap of the convolutional denoiser over that of the linear theory, in logs."""
    onset = np.array([case.onset(case.expected_gap()) for case in cases.values()])

    def measured(gaps: Array) -> Array:
        pairs = zip(cases.values(), gaps, strict=True)
        return np.array([case.onset(gap) for case, gap in pairs]) - onset

    def claimed(data: float, label: str) -> ld.Prediction:
        moved = measured(np.array([case.expected_gap(data) for case in cases.values()]))
        return ld.Prediction.between(moved + np.log(LEAST), moved, label=label)

    return ld.compare_with_controls(
        jackknife(over(cases, lambda c: c.gaps), measured, {"data": np.array(list(cases))}),
        claimed(1, f"{LEAST:g} to 1 of theory"),
        claimed(4, "onset for four times the data"),
        claimed(1 / 4, "onset for a quarter of the data"),
        name="onset of the gap",
        quantity="log of the onset in N over that of the theory",
    )


def gains_of_modes(cases: Cases) -> ld.Comparisons:
    """Mean Jacobian of the convolutional denoiser at the largest N on Gaussian data.

    The loss R in excess of the best, R*, may be an error of sqrt((R - R*) / c_k) in mode k, whose
    noisy variance is c_k = 1 / best gain.
    """
    best = np.array([case.best_gains() for case in cases.values()])
    excess = [case.losses[:, 1, -1].mean() - case.best_loss for case in cases.values()]
    allowed = np.sqrt(np.maximum(excess, 0.0)[:, None] / best)
    half = np.array([case.best_gains(0.5) for case in cases.values()])
    noise = np.array([[1 - case.alpha_bar] for case in cases.values()])
    laws = {
        "best linear denoiser": np.ones(best.shape),
        "half the signal": half / best,
        "white covariance": noise / best,  # variance one in every direction
    }
    order = r"$\sqrt{(R - R^*) / c_k}$"
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            over(cases, lambda c: c.gains[:, -1] / c.best_gains()),
            {"data": np.array(list(cases)), "mode": MODES}, label=NETWORKS[1],
        ),
        *(ld.Prediction(law, 0.0, allowed, order, label) for label, law in laws.items()),
        name="gains of a convolutional network", quantity="gain / best linear gain",
    )  # fmt: skip


def beside_linear(cases: Cases) -> ld.Comparisons:
    """Test loss of the convolutional denoiser at the largest N, beside a linear one.

    On Gaussian data the best linear denoiser, on images the one trained on the same data set.
    """
    on_gaussian = np.array([title in gaussian(cases) for title in cases])

    def ratio(case: FiniteDataCurves) -> Array:
        known = case in gaussian(cases).values()
        return case.losses[:, 1, -1] / (case.best_loss if known else case.linear_losses[:, 1, -1])

    def above(which: Array, label: str) -> ld.Prediction:
        low, high = np.where(which, 1.0, 0.5), np.where(which, 1.5, 1.0)
        return ld.Prediction.between(low, high, label=label)

    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            over(cases, ratio), {"data": np.array(list(cases))}, label=NETWORKS[1]
        ),
        above(on_gaussian, "below on images alone"),
        above(np.ones_like(on_gaussian), "never below"),
        above(~on_gaussian, "below on Gaussian data alone"),
        name="convolutional network beside linear ones",
        quantity="test loss / test loss of a linear denoiser",
    )
