"""`fourier/phases`: which rungs tell classes apart, what phases would cost, and surrogates."""

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fourier_simplicity.claims.input_model import SOURCE
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.modes import power_law_spectrum, spectrum_from_fields, wave_number
from fourier_simplicity.rungs import FEWEST, RUNGS, BetweenClasses, offered_rungs
from fourier_simplicity.surrogates import (
    amplitude_only,
    mean_amplitude,
    periodic_component,
    phase_only,
    spectrum_sweep,
)
from fourier_simplicity.theory import effective_dimension
from fourier_simplicity.ties import Tie, quartet
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    image_grid,
    legend_below,
    new_figure,
)
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.inspection.samples import Samples, in_blocks
from learning_dynamics.inspection.sections import Findings, Number, inspection
from learning_dynamics.report.claims import Panel
from learning_dynamics.spectra import fit_power_law

__all__ = ["phases"]

Array = NDArray[np.float64]
ORDER = 4  # at which a quartet is visible


@inspection(
    "fourier/phases",
    title="Cost of Fourier phases, and surrogates",
    source=SOURCE,
)
def phases(samples: Samples, key: jax.Array) -> Findings:
    """Effective dimension of quartets from low to high wave numbers; a sheet of surrogates."""
    if not samples.pictures:
        note = "Phases are those of images: rows of features have none."
        return Findings(notes=[note])
    panels = {"surrogates": Panel(_sheet(samples.pictures, key), SURROGATES)}
    classes, notes = _classes(samples)
    windows = samples.windows
    if windows is None or not _scales(windows.shape[1:]):
        note = "Pictures of this size hold no quartet of modes that could be scaled."
        return Findings(classes, panels=panels, notes=[*notes, note])
    numbers, figure = _effective(windows)
    panels = {"effective-dimension": Panel(figure, EFFECTIVE), **panels}
    notes.append(
        "The cost is that of a quartet of tied phases in a model with this spectrum, all phases "
        "but the tied ones random; whether these pictures hold such a tie is not measured here. "
        "d and d_eff are called N and N_eff in the theory of phases."
    )
    return Findings([*classes, *numbers], panels=panels, notes=notes)


MEANINGS = {
    "mean": "of the pixels: first-order statistics, which live in the phases and are learned first",
    "amplitudes": "of |X_k|: pair correlations, the same wherever an object is",
    "phases": "of triples of phases without the class mean, the same wherever an object is",
}


def _classes(samples: Samples) -> tuple[list[Number], list[str]]:
    """What of mean, amplitudes and phases tells the classes apart, if the rows have classes."""
    if samples.labels is None or samples.images is None:
        return [], []
    present, places = np.unique(samples.labels, return_inverse=True)
    counts = np.bincount(places)
    if len(present) < 2 or counts.max() == 1:  # pictures, of which each is its own class
        return [], []
    if counts.min() < FEWEST:
        note = (
            "Whether the classes differ in mean, amplitudes or phases is told from "
            f"{FEWEST} images of every class on."
        )
        return [], [note]
    images = np.asarray(periodic_component(samples.images), np.float64)
    images = images - images.mean(axis=(1, 2), keepdims=True)
    offered = offered_rungs(images, places)
    numbers = [
        Number(f"{rung}: share of the variance between {len(present)} classes",
               offered[rung].share, offered[rung].error, MEANINGS[rung])
        for rung in RUNGS
    ]  # fmt: skip
    return numbers, [_offer(offered)]


def _offer(offered: dict[str, BetweenClasses]) -> str:
    """One sentence on the rungs, and a warning where class means differ."""
    levels = "; ".join(f"{rung} (p = {offered[rung].p_value:.2g})" for rung in RUNGS)
    names = [rung for rung in RUNGS if offered[rung].significant]
    text = f"The classes differ in: {', '.join(names) or 'none of them'}. Tested were {levels}."
    if offered["mean"].significant:
        text += (
            " Class means differ, so that phases can win before amplitudes: they hold the means. "
            "Under random shifts only amplitudes and translation-invariant phases are left."
        )
    return text


SURROGATES = (
    "Pictures in grey; with random phases and their own amplitudes; with their own phases and the "
    "mean amplitude of all; and with their own phases and a flat spectrum. Jumps across the "
    "borders are taken out first."
)
EFFECTIVE = (
    "Samples that a quartet of tied phases costs, relative to white inputs of the same number of "
    "modes, (d_eff / d)³, against the scale m of its wave vectors (m, 2m), (m, −m), (2m, 0), "
    "(0, m): markers from the spectrum of the data with jackknife errors, line from the fitted "
    "power law. Below one the spectrum helps."
)


def _tie(scale: int) -> Tie:
    """A quartet of wave vectors of similar length, at a scale."""
    return quartet((scale, 2 * scale), (scale, -scale), (2 * scale, 0))


def _scales(shape: tuple[int, ...]) -> list[int]:
    """Scales at which the quartet stays below the highest wave number, spread evenly."""
    last = (min(shape) // 2 - 1) // 2
    if last < 1:
        return []
    return sorted({round(float(scale)) for scale in np.geomspace(1, last, 8)})


def _power(fields: Array) -> Array:
    """Mean power of each mode in units of the fields, so that parts can be averaged."""
    variance = fields.var(axis=(1, 2)).mean()
    return (
        spectrum_from_fields(fields) * variance
        if variance > 0
        else 0 * wave_number(fields.shape[1:])
    )


def _effective(windows: Array) -> tuple[list[Number], Figure]:
    shape = (int(windows.shape[1]), int(windows.shape[2]))
    fields = np.asarray(periodic_component(windows), np.float64)
    parts = np.stack([_power(fields[part]) for part in in_blocks(len(fields))])
    scales = _scales(shape)
    k = wave_number(shape)

    def sizes(spectrum: Array) -> Array:
        return np.log(
            [effective_dimension(FourierInputs(shape, _tie(m), spectrum)) for m in scales]
        )

    def statistic(spectrum: Array) -> Array:
        return np.append(sizes(spectrum), fit_power_law(k, spectrum).exponent)

    labels = np.array([*(f"scale {m}" for m in scales), "exponent"])
    measured = jackknife(np.maximum(parts, 1e-12 * parts.max()), statistic, {"quantity": labels})
    modes = 2 * len(k)
    logs, errors = measured.values[:-1], measured.standard_error[:-1]
    relative, spread = (ORDER - 1) * (logs - np.log(modes)), (ORDER - 1) * errors
    exponent, error = float(measured.values[-1]), float(measured.standard_error[-1])
    line = (ORDER - 1) * (sizes(power_law_spectrum(shape, max(exponent, 0.0))) - np.log(modes))
    numbers = [
        Number(
            "number of modes d",
            modes,
            None,
            f"real ones, of a picture of {shape[0]} × {shape[1]} pixels",
        ),
        Number("exponent of the power", exponent, error, r"$\lambda_k \propto |k|^{-\gamma}$"),
    ]
    for name, at in {"long": 0, "short": -1}.items():
        size = float(np.exp(logs[at]))
        cost = float(np.exp(relative[at]))
        numbers += [
            Number(f"effective dimension d_eff, {name} waves tied", size,
                   size * float(errors[at]),
                   "total variance over the geometric mean of the eigenvalues of the tied modes; "
                   f"scale m = {scales[at]} of the figure"),
            Number(f"cost of phases, {name} waves tied, relative to white inputs", cost,
                   cost * float(spread[at]), "(d_eff / d)³, a ratio of numbers of samples"),
        ]  # fmt: skip
        if len(scales) == 1:
            break
    figure, grid = new_figure(width=6.4, height=4.7)
    axes = grid[0, 0]
    values = np.exp(relative)
    draw_simulation(axes, scales, values, values * spread, label="spectrum of the data")
    draw_theory(axes, scales, np.exp(line), index=1, label=f"power law, γ = {exponent:.2f}")
    with figure_style():
        axes.axhline(1.0, color="#999999", linewidth=0.8, zorder=0)
        axes.set(xscale="log", yscale="log", xlabel="scale $m$ of the wave vectors")
        axes.set_ylabel("cost relative to white inputs")
        axes.set_xticks(scales, [str(m) for m in scales])
        axes.minorticks_off()
        axes.set_ylim(values.min() / 4, 4 * values.max())  # an error bar may reach zero
    legend_below(figure)
    return numbers, figure


def _sheet(pictures: tuple[Array, ...], key: jax.Array) -> Figure:
    images = np.stack(pictures)
    rows = [
        images,
        amplitude_only(images, key=key),
        phase_only(images, mean_amplitude(images)),
        spectrum_sweep(images, [0.0])[0],
    ]
    labels = ["real", "amplitudes only", "phases only", "whitened"]
    return image_grid([np.asarray(row, np.float64) for row in rows], labels, scale="image")
