"""`data/gaussian`: kurtosis of whitened projections beside Gaussian clones."""

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.images.patches import generator
from learning_dynamics.inspection.samples import Samples
from learning_dynamics.inspection.sections import Findings, Number, inspection
from learning_dynamics.inspection.shared.covariance import spread_ranks
from learning_dynamics.report.claims import Panel
from learning_dynamics.tracking import track

__all__ = ["contrast_spread", "distance_from_gaussian", "whitened"]

Array = NDArray[np.float64]
MODES, PROJECTIONS, CLONES = 128, 64, 8


def whitened(samples: Samples, most: int = MODES) -> Array:
    """Coordinates of variance one along the leading eigenvectors, shape (n, modes).

    At most an eighth of the number of rows: more directions could not be whitened by them.

    Args:
        samples: the data.
        most: number of eigenvectors.
    """
    n, r = samples.coordinates.shape
    modes = max(1, min(r, most, n // 8))
    return samples.coordinates[:, :modes] / np.sqrt(samples.spectrum.spectrum[:modes])


def contrast_spread(white: Array, blocks: list[slice]) -> tuple[float, float]:
    """Excess spread of |y|^2 over that of a Gaussian, E|y|^4 / (d (d + 2)) - 1, and its error.

    Small for independent coordinates of any law (of order 1/d); of order one where the contrast of
    a whole row fluctuates, as in patches of photographs.

    Args:
        white: whitened rows y, shape (n, d).
        blocks: parts of the rows for the jackknife.
    """
    d = white.shape[1]
    fourth = (white**2).sum(axis=1) ** 2
    parts = np.array([[fourth[part].mean()] for part in blocks])
    found = jackknife(parts, lambda mean: mean / (d * (d + 2)) - 1, {"quantity": np.array(["q"])})
    return float(found.values[0]), float(found.standard_error[0])


@inspection(
    "data/gaussian",
    title="Distance from a Gaussian of the same covariance",
    source="elementary; errors from a jackknife over parts of the data",
)
def distance_from_gaussian(samples: Samples, key: jax.Array) -> Findings:
    """Kurtosis along eigenvectors and random directions of whitened rows, and of clones."""
    rng = generator(key)
    white = whitened(samples)
    n, modes = white.shape
    directions = rng.standard_normal((modes, PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    ranks = spread_ranks(modes)

    def moments(rows: Array) -> Array:
        fields = np.concatenate([rows[:, ranks - 1], rows @ directions], axis=1)
        return np.stack([fields**2, fields**4]).mean(axis=1)

    def kurtosis(mean: Array) -> Array:
        each = mean[1] / mean[0] ** 2 - 3
        return np.append(each[: ranks.size], each[ranks.size :].mean())

    labels = np.array([*(f"rank {k}" for k in ranks), "projections"])
    parts = np.stack([moments(white[part]) for part in samples.blocks])
    found = jackknife(parts, kurtosis, {"quantity": labels})
    clones = np.stack(
        [kurtosis(moments(_clone(n, modes, rng))) for _ in track(range(CLONES), "Gaussian clones")]
    )
    middle, spread = clones.mean(axis=0), clones.std(axis=0, ddof=1)
    value, error = float(found.values[-1]), float(found.standard_error[-1])
    apart = (value - middle[-1]) / np.hypot(error, spread[-1])
    excess, excess_error = contrast_spread(white, samples.blocks)
    figure, grid = new_figure(width=6.4, height=4.7)
    axes = grid[0, 0]
    draw_simulation(axes, ranks, found.values[:-1], found.standard_error[:-1], label="data")
    draw_theory(
        axes, ranks, middle[:-1], index=1, bias=2 * spread[:-1],
        label="Gaussian clones, two standard deviations",
    )  # fmt: skip
    with figure_style():
        axes.set(xscale="log", xlabel="eigenvector, by variance", ylabel="excess kurtosis")
        low, high = found.values[:-1].min(), found.values[:-1].max()
        if high - low > 20:
            axes.set_yscale("symlog", linthresh=1.0)
    legend_below(figure)
    numbers = [
        Number("excess kurtosis of random projections", value, error,
               f"mean over {PROJECTIONS} directions of {modes} whitened ones; 0 for a Gaussian"),
        Number("the same of Gaussian clones", float(middle[-1]),
               float(spread[-1] / np.sqrt(CLONES)),
               f"{CLONES} clones of as many rows and the same covariance"),
        Number("distance from the clones", float(apart), None, "in standard errors"),
        Number("spread of the contrast", excess, excess_error,
               f"E|y|⁴ / (d (d + 2)) − 1 for whitened rows y in the d = {modes} leading "
               "directions: 0 for a Gaussian, of order 1/d for independent coordinates of any law"),
    ]  # fmt: skip
    caption = (
        "Excess kurtosis along the eigenvectors of the covariance. Clones are Gaussian rows of the "
        "same number and covariance; what exceeds them is not in the covariance."
    )
    return Findings(numbers, panels={"kurtosis": Panel(figure, caption)})


def _clone(n: int, modes: int, rng: np.random.Generator) -> Array:
    """Gaussian rows, whitened by their own covariance as the data are."""
    rows = rng.standard_normal((n, modes))
    rows -= rows.mean(axis=0)
    root = np.linalg.cholesky(rows.T @ rows / n)
    return np.asarray(np.linalg.solve(root, rows.T).T)
