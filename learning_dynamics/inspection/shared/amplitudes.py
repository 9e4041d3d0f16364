"""`data/fourier`: radial amplitude spectrum and distance from translation invariance."""

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.inspection.samples import Samples, in_blocks
from learning_dynamics.inspection.sections import Findings, Number, inspection
from learning_dynamics.inspection.shared.covariance import block_moments
from learning_dynamics.markup import with_error
from learning_dynamics.report.claims import Panel
from learning_dynamics.spectra import fit_power_law, radial_spectrum

__all__ = ["fourier_amplitudes", "stationary_part"]

Array = NDArray[np.float64]
RESOLVED = 4.0  # standard errors from which on the distance counts
FIRST, LEAST = 3, 16  # first ring that a window leaves alone; smallest side with enough of them


@inspection(
    "data/fourier",
    title="Fourier amplitudes and distance from translation invariance",
    source="elementary; errors from a jackknife over parts of the data",
)
def fourier_amplitudes(samples: Samples, key: jax.Array) -> Findings:
    """Radial spectrum of windowed pictures, and the part of the covariance that is not Toeplitz."""
    if samples.images is None:
        note = "Features have no order: Fourier spectra and translations are those of images."
        return Findings(notes=[note])
    numbers, panels, notes = [], {}, []
    if samples.windows is not None and min(samples.windows.shape[1:]) >= LEAST:
        exponent, panel = _radial(samples.windows)
        numbers.append(exponent)
        panels["radial"] = panel
    else:
        notes.append(f"Pictures of fewer than {LEAST} pixels a side have no radial spectrum.")
    invariance, panel = _invariance(samples.images, samples.blocks)
    return Findings([*numbers, invariance], panels={**panels, "pixels": panel}, notes=notes)


def _radial(windows: Array) -> tuple[Number, Panel]:
    """Exponent of the amplitude spectrum and its figure.

    A Hann window removes the jumps across the borders, which would add a cross of power |k|^-2.
    """
    height, width = windows.shape[1:]
    hann = np.outer(*(np.sin(np.pi * (np.arange(s) + 0.5) / s) ** 2 for s in (height, width)))
    centred = windows - (windows * hann).sum(axis=(1, 2), keepdims=True) / hann.sum()
    parts = [radial_spectrum(centred[part] * hann) for part in in_blocks(len(windows))]
    k, powers = parts[0][0], np.stack([power for _, power in parts])
    chosen = slice(FIRST - 1, None)

    def statistic(power: Array) -> Array:
        power = np.maximum(power, 1e-300)
        fit = fit_power_law(k[chosen], power[chosen])
        return np.array([fit.exponent / 2, np.log(fit.amplitude) / 2, *np.log(power) / 2])

    labels = np.array(["exponent", "amplitude", *(f"ring {j}" for j in range(1, len(k) + 1))])
    found = jackknife(powers, statistic, {"quantity": labels})
    amplitude = np.exp(found.values[2:])
    scatter = fit_power_law(k[chosen], amplitude[chosen] ** 2).standard_error / 2
    error = float(np.hypot(found.standard_error[0], scatter))
    figure, grid = new_figure(width=6.4, height=4.7)
    axes = grid[0, 0]
    draw_simulation(axes, k, amplitude, amplitude * found.standard_error[2:], label="amplitude")
    line = np.exp(found.values[1]) * k[chosen] ** -found.values[0]
    draw_theory(axes, k[chosen], line, index=1, label=f"$|k|^{{-{found.values[0]:.2f}}}$")
    with figure_style():
        axes.set(xscale="log", yscale="log", ylabel="amplitude")
        axes.set_xlabel(f"$|k|$ in cycles per {min(height, width)} pixels")
        ticks = [tick for tick in (1, 2, 5, 10, 20) if tick <= k[-1]]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    legend_below(figure)
    caption = (
        "Radial amplitude spectrum under a Hann window, with jackknife errors, and the fitted "
        f"power law from ring {FIRST} on. Photographs have exponents about 1, white noise 0."
    )
    meaning = (
        r"amplitude $\propto |k|^{-\alpha}$; the error holds the scatter about the line. Curved "
        "rings and the window shift it by about 0.02"
    )
    number = Number("exponent of the amplitudes", float(found.values[0]), error, meaning)
    return number, Panel(figure, caption)


def stationary_part(covariance: Array, shape: tuple[int, int]) -> Array:
    """Covariance averaged over all pairs of pixels with the same displacement.

    Args:
        covariance: shape (height * width, height * width).
        shape: height and width.
    """
    height, width = shape
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    place = (y[:, None] - y + height - 1) * (2 * width - 1) + x[:, None] - x + width - 1
    sums, pairs = np.bincount(place.ravel(), covariance.ravel()), np.bincount(place.ravel())
    return np.asarray((sums / np.maximum(pairs, 1))[place])


def _invariance(images: Array, blocks: list[slice]) -> tuple[Number, Panel]:
    """Share of the covariance that changes under translations, beside the mean grey level."""
    shape = images.shape[1:]
    mean, variance = images.mean(axis=0), images.var(axis=0)
    moments = block_moments((images - mean).reshape(len(images), -1), blocks)

    def without_level(matrix: Array) -> Array:
        rows = matrix - matrix.mean(axis=0)
        return np.asarray(rows - rows.mean(axis=1, keepdims=True))

    def squared(covariance: Array) -> Array:
        left = without_level(covariance - stationary_part(covariance, shape))
        return np.asarray(np.sum(left**2) / np.sum(without_level(covariance) ** 2))[None]

    found = jackknife(moments, squared, {"quantity": np.array(["squared"])})
    square, error = float(found.values[0]), float(found.standard_error[0])
    distance = np.sqrt(max(square, 0.0))
    meaning = (
        "|C − T| / |C| (Frobenius), T the covariance C averaged over equal displacements, without "
        "the mean grey level; 0 for stationary fields"
    )
    below = None
    if square < RESOLVED * error:  # the estimate of the square may be negative: no value then
        below = float(np.sqrt(max(square, 0.0) + RESOLVED * error))
        meaning += (
            f". Not told from zero: its square is {with_error(square, error)} (standard error), "
            f"and the bound {RESOLVED:g} standard errors above that, cut at zero"
        )
    # the error of a root: that of its square over twice the root, or the root of it at zero
    spread = min(error / (2 * distance), np.sqrt(error)) if distance > 0 else np.sqrt(error)
    number = Number(
        "distance from translation invariance",
        float(distance),
        float(spread),
        meaning,
        below=below,
    )
    caption = (
        "Mean and variance of each pixel, from the least (black) to the largest (white). Both are "
        "the same everywhere, up to chance, for images whose law does not change under "
        "translations; aligned objects show their class means here."
    )
    return number, Panel(_maps(mean, variance), caption)


def _maps(mean: Array, variance: Array) -> Figure:
    figure, grid = new_figure(1, 2, width=6.4, height=4.7)
    with figure_style():
        for axes, pixels, title in zip(
            grid[0], (mean, variance), ("mean", "variance"), strict=True
        ):
            axes.imshow(pixels, cmap="gray", interpolation="nearest")
            title = f"{title}, {pixels.min():.2g} to {pixels.max():.2g}"
            axes.set(xticks=[], yticks=[], title=title)
            axes.spines[:].set_visible(False)
    return figure
