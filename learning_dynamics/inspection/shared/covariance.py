"""`data/covariance`: spectrum, leading eigenvectors, effective dimensions, power law."""

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    image_grid,
    legend_below,
    new_figure,
)
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.inspection.samples import Samples
from learning_dynamics.inspection.sections import Findings, Number, inspection
from learning_dynamics.report.claims import Panel
from learning_dynamics.spectra import degrees_of_freedom, fit_power_law, participation_ratio

__all__ = ["block_moments", "covariance", "spread_ranks"]

Array = NDArray[np.float64]
LEVELS = (0.5, 0.9, 0.99)  # alpha_bar at which effective dimensions are given
RANKS, VECTORS = 24, 16


def spread_ranks(last: int, count: int = RANKS) -> NDArray[np.int64]:
    """At most `count` ranks from 1 to `last`, evenly spread in the logarithm."""
    return np.unique(np.rint(np.geomspace(1, max(last, 1), count)).astype(np.int64))


def block_moments(rows: Array, blocks: list[slice]) -> Array:
    """Second moments of parts of the rows, shape (parts, d, d)."""
    return np.stack([rows[part].T @ rows[part] / (part.stop - part.start) for part in blocks])


@inspection(
    "data/covariance",
    title="Spectrum of the covariance and effective dimensions",
    source="elementary; errors from a jackknife over parts of the data",
)
def covariance(samples: Samples, key: jax.Array) -> Findings:
    """Eigenvalues with errors, corrected for the sample size by the jackknife."""
    n, r = samples.coordinates.shape
    # beyond half of the rank of too few rows, eigenvalues say little about the population
    last = r if n > 2 * r else max(r // 2, 1)
    shown, fitted = spread_ranks(last), spread_ranks(max(last // 2, 3))
    fitted = fitted[fitted <= last]
    names = ["participation", "exponent", "amplitude"]
    names += [f"df{k} {level}" for k in (1, 2) for level in LEVELS]
    kappa = np.array([(1 - level) / level for level in LEVELS])
    straight = fitted.size >= 3

    def statistic(moments: Array) -> Array:
        spectrum = np.linalg.eigvalsh(moments)[::-1]
        spectrum = np.maximum(spectrum, 1e-12 * spectrum[0])
        fit = fit_power_law(fitted, spectrum[fitted - 1]) if straight else (np.nan, 0.0, 1.0)
        dimensions = degrees_of_freedom(spectrum, kappa)
        numbers = [participation_ratio(spectrum), fit[0], np.log(fit[2]), *np.ravel(dimensions)]
        return np.array([*numbers, *np.log(spectrum[shown - 1])])

    moments = block_moments(samples.coordinates, samples.blocks)
    labels = np.array([*names, *(f"rank {k}" for k in shown)])
    found = jackknife(moments, statistic, {"quantity": labels})
    value = dict(zip(labels, found.values, strict=True))
    error = dict(zip(labels, found.standard_error, strict=True))
    numbers = [
        Number("directions with variance", r, None, f"of {samples.rows.shape[1]} components"),
        Number("participation ratio", value["participation"], error["participation"],
               "(Σ λ)² / Σ λ²"),
    ]  # fmt: skip
    for k in (1, 2):
        power = "" if k == 1 else "²"
        numbers += [
            Number(f"$df_{k}$ at noise level alpha_bar = {level}", value[f"df{k} {level}"],
                   error[f"df{k} {level}"],
                   f"Σ [λ / (λ + κ)]{power} at κ = 1/alpha_bar − 1 = {s:.3g}")
            for level, s in zip(LEVELS, kappa, strict=True)
        ]  # fmt: skip
    lines = np.exp(np.array([value[f"rank {k}"] for k in shown]))
    errors = lines * np.array([error[f"rank {k}"] for k in shown])
    fit = None
    if straight:
        corrected = np.exp(np.interp(np.log(fitted), np.log(shown), np.log(lines)))
        scatter = fit_power_law(fitted, corrected).standard_error
        spread = float(np.hypot(error["exponent"], scatter))
        numbers.append(
            Number("exponent of the power law", value["exponent"], spread,
                   rf"$\lambda_\nu \propto \nu^{{-k}}$, ranks 1 to {fitted[-1]}; "
                   "the error holds the scatter")
        )  # fmt: skip
        fit = (fitted, np.exp(value["amplitude"]) * fitted ** -value["exponent"])
    panels = {
        "spectrum": Panel(
            _spectrum(shown, lines, errors, fit),
            "Eigenvalues of the covariance by rank, with jackknife errors, and the fitted power "
            "law. The jackknife takes out the first effect of the finite sample.",
        )
    }
    dimensions = [[(value[f"df{k} {s}"], error[f"df{k} {s}"]) for s in LEVELS] for k in (1, 2)]
    panels["dimensions"] = Panel(
        _dimensions(samples.spectrum.spectrum, kappa, np.array(dimensions)),
        "Effective dimensions against the noise-to-signal ratio κ: lines from the eigenvalues of "
        "all rows, markers with jackknife errors at the levels of the table.",
    )
    if samples.images is not None:
        panels["eigenvectors"] = Panel(
            _eigenvectors(samples),
            "Leading eigenvectors of the covariance, largest variance first.",
        )
    notes = []
    if n < 10 * r:
        notes.append(
            f"With {n} rows for {r} directions small eigenvalues are underestimated: predictions "
            "that depend on them, such as divergences, are those of the sample's own covariance."
        )
    return Findings(numbers, panels=panels, notes=notes)


def _spectrum(
    ranks: NDArray[np.int64], values: Array, errors: Array, fit: tuple[Array, Array] | None
) -> Figure:
    figure, grid = new_figure(width=6.4, height=4.7)
    axes = grid[0, 0]
    draw_simulation(axes, ranks, values, errors, label="eigenvalues")
    if fit is not None:
        draw_theory(axes, fit[0], fit[1], index=1, label="power law")
    with figure_style():
        axes.set(
            xscale="log", yscale="log", xlabel=r"rank $\nu$", ylabel=r"eigenvalue $\lambda_\nu$"
        )
        positive = values[values > 0]
        axes.set_ylim(positive.min() / 2, positive.max() * 2)
    legend_below(figure)
    return figure


def _dimensions(spectrum: Array, kappa: Array, found: Array) -> Figure:
    """Lines df_k(kappa), and markers of shape (k, levels, value and error)."""
    figure, grid = new_figure(width=6.4, height=4.7)
    axes = grid[0, 0]
    fine = np.geomspace(1e-3, 1e2, 100)
    for index, line in enumerate(degrees_of_freedom(spectrum, fine)):
        label = f"$df_{index + 1}$"
        draw_theory(axes, fine, line, index=index, label=label)
        draw_simulation(axes, kappa, *found[index].T, index=index)
    with figure_style():
        axes.set(xscale="log", xlabel=r"$\kappa$", ylabel="effective dimension")
    legend_below(figure)
    return figure


def _eigenvectors(samples: Samples) -> Figure:
    assert samples.images is not None
    shape = samples.images.shape[1:]
    vectors = samples.spectrum.basis[:, :VECTORS].T.reshape(-1, *shape)
    half = -(-len(vectors) // 2)
    rows = [vectors[:half], vectors[half:]] if len(vectors) > 1 else [vectors]
    labels = ["1 to " + str(half), f"{half + 1} to {len(vectors)}"][: len(rows)]
    return image_grid(rows, labels)
