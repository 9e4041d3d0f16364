"""`linear/spike-recovery`: a spike is recovered sharply, the distribution converges smoothly."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion import theory
from linear_diffusion.claims import cells
from linear_diffusion.claims.common import SOURCE, over_spectra
from linear_diffusion.data import LatentLaw

Array = NDArray[np.float64]
RATIOS = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])  # N/d
SPIKES = {"flat bulk, l = 2.4": 2.4, "uneven bulk, l = 2.4": 2.4, "flat bulk, l = 1.7": 1.7}
TIME = 300.0  # of training
OVERLAP = "squared overlap with the spike"


@claim(
    "linear/spike-recovery",
    statement=(
        "A direction of large variance is recovered at a sharp threshold in N/d: below it the "
        "leading direction of what a linear diffusion model generates is blind to it, while the "
        "divergence between data and generated distribution falls smoothly."
    ),
    source=SOURCE,
    seconds=17,
)
def spike_recovery(run: Run) -> Evidence:
    """Overlap and KL in one sweep, the threshold in three dimensions, and generated samples."""
    d = 100 if run.quick else 240
    sizes = np.rint(RATIOS * d).astype(int)
    laws = {name: LatentLaw(_spectrum(name, d)) for name in SPIKES}
    spectra = [law.spectrum for law in laws.values()]
    table = run.sweep(
        cells.recoveries,
        {"source": cells.sources(run, laws), "samples": sizes},
        fixed={"replicas": 48 if run.quick else 256, "time": TIME},
    )
    axes = {"law": np.array(list(laws)), "N_over_d": RATIOS}
    recovered = ld.compare_with_controls(
        cells.measurement(table["overlap"], axes),
        _overlaps(spectra, sizes),
        _overlaps(spectra, sizes, 0.9).labelled("a spike of 0.9 times the strength"),
        _no_threshold(spectra, sizes),
        name="overlap of the generated law",
        quantity=OVERLAP,
    )
    converged = ld.compare_with_controls(
        cells.measurement(table["divergence"], axes, unit=d),
        _divergences(spectra, sizes),
        _divergences(spectra, sizes + sizes // 20).labelled("KL for 5 % more data"),
        name="KL",
        quantity="reverse KL / d (nats)",
    )
    sharper, drawn = _sharpness(run), _generated(run)
    panels = {
        "recovery": Panel(
            _figure([recovered[0], converged[0]], spectra),
            "Left, the overlap of the leading generated direction with the spike: lines for this "
            "dimension (shaded: what the theory leaves out), dotted for infinite dimension, where "
            "it is zero below the threshold. Right, the divergence of the same models: nothing "
            "happens at the thresholds (vertical lines).",
        ),
        "sharpness": Panel(
            sharper[0].plot(x="N_over_d", x_label="N/d", series="dimension", logx=True, logy=True),
            "The same overlap in dimensions 64 to 4096: below the threshold at N/d = 1 it falls as "
            "1/d, at the threshold as d^(-1/3), above it not at all.",
        ),
        "generated": Panel(
            drawn[0].plot(x="N_over_d", x_label="N/d", series="model", logx=True, logy=False),
            "Leading direction of 4 d samples that DDPM has generated. They show the spike only "
            "above a second threshold, which a ridge moves although it leaves the eigenvectors of "
            "the generated law as they are.",
        ),
    }
    return Evidence.of([recovered, converged, sharper, drawn], panels, NOTES)


NOTES = (
    "Models trained for a finite time and run for 40 DDPM steps. Ridge, training time, sampler and "
    "steps change the generated variances, not their order or the eigenvectors: the overlap of the "
    "generated law is that of the sample covariance.",
    "A spike that is missed adds (log l - 1 + 1/l)/2 nats to the divergence, 0.15 at l = 2.4, one "
    "term among d: the divergence cannot tell whether it is recovered.",
    "The generated law is taken whole (infinitely many samples) in all panels but the last.",
    "The rounding at finite d is universal; what it leaves out is of relative order n^(-1/3).",
    "Controls: perturbation theory in 1/N, which has no threshold; a spike weaker by a tenth; the "
    "limit without its rounding; generated samples taken for the law; a ridge that is ignored; 5 % "
    "more data for the divergence.",
)


def _spectrum(name: str, d: int) -> Array:
    """Spike first, then the bulk."""
    bulk = np.linspace(1.6, 0.4, d - 1) if name.startswith("uneven") else np.ones(d - 1)
    return np.append(SPIKES[name], bulk)


def _overlaps(spectra: Sequence[Array], sizes: Array, share: float = 1.0) -> ld.Prediction:
    """Overlaps with spikes whose excess variance is a share of the true one."""
    spikes = [1 + share * (s[0] - 1) for s in spectra]
    pairs = zip(spectra, spikes, strict=True)
    return stack(theory.spike_recovery(s[1:], spike, sizes).overlap for s, spike in pairs)


def _no_threshold(spectra: Sequence[Array], sizes: Array) -> ld.Prediction:
    """First order in 1/N of the eigenvector's error, l s_i / (N (l - s_i)^2) in each direction."""
    lost = [np.sum(s[0] * s[1:] / (s[0] - s[1:]) ** 2) for s in spectra]
    return ld.Prediction(1 / (1 + np.divide.outer(lost, sizes)), label="no threshold")


def _divergences(spectra: Sequence[Array], sizes: Array) -> ld.Prediction:
    """Reverse KL per dimension at the end of training."""
    return over_spectra(
        lambda s: theory.training_kl(
            s, sizes, 0.0, cells.SCHEDULE, [TIME], direction="reverse"
        )[:, 0],
        spectra, sizes,
    ).scaled(1 / spectra[0].size)  # fmt: skip


def _sharpness(run: Run) -> ld.Comparisons:
    """Overlaps in three dimensions against the law with and without the rounding at finite d."""
    ratios, dimensions, spike = 2.0 ** np.arange(-2, 3), np.array([64, 512, 4096]), 2.0
    table = run.sweep(
        cells.reduced_recoveries,
        {"dimension": dimensions, "ratio": ratios},
        fixed={"spike": spike, "replicas": 128 if run.quick else 2048, "key": run.key},
    )
    laws = [
        theory.spike_recovery(np.ones(d - 1), spike, np.rint(ratios * d).astype(int))
        for d in dimensions
    ]
    return ld.compare_with_controls(
        cells.measurement(table["value"], {"dimension": dimensions, "N_over_d": ratios}),
        stack(law.overlap for law in laws),
        stack(law.limit for law in laws).labelled("no rounding at finite d"),
        name="sharpness in the dimension",
        quantity=OVERLAP,
    )


def _generated(run: Run) -> ld.Comparisons:
    """Leading direction of generated samples, with and without a ridge."""
    d, spike, ridges = 64, 1 + np.sqrt(2), np.array([0.0, 2.0])
    ratios = np.array([1.0, 2.0, 5.0, 10.0])
    sizes = np.rint(ratios * d).astype(int)
    source = cells.sources(run, {"spike": LatentLaw(np.append(spike, np.ones(d - 1)))}, 50)
    table = run.sweep(
        cells.generated_recoveries,
        {"ridge": ridges, "samples": sizes},
        fixed={"source": source["spike"], "replicas": 48 if run.quick else 512, "count": 4 * d},
    )
    laws = [
        theory.generated_spike_recovery(d, spike, sizes, 4 * d, cells.SCHEDULE, ridge=ridge).overlap
        for ridge in ridges
    ]
    whole = theory.spike_recovery(np.ones(d - 1), spike, sizes).overlap
    models = np.array(["no ridge", "ridge c = 2"])
    return ld.compare_with_controls(
        cells.measurement(table["value"], {"model": models, "N_over_d": ratios}),
        stack(laws),
        stack([whole] * 2).labelled("the law in place of samples"),
        stack(laws[:1] * 2).labelled("a ridge without effect"),
        name="generated samples",
        quantity=OVERLAP,
    )


def _figure(comparisons: list[ld.Comparison], spectra: list[Array]) -> Figure:
    d = spectra[0].size
    fine, coarse = (
        np.unique(np.rint(np.geomspace(RATIOS[0], RATIOS[-1], points) * d).astype(int))
        for points in (90, 14)
    )
    limits = stack(theory.spike_recovery(s[1:], s[0], fine).limit for s in spectra).values
    laws = [(fine / d, _overlaps(spectra, fine)), (coarse / d, _divergences(spectra, coarse))]
    figure, panels = drawing.draw_panels(
        [comparison.measured for comparison in comparisons], laws, x_label="N/d",
        y_labels=[comparison.quantity for comparison in comparisons],
        ticks={0.3: "0.3", 1: "1", 3: "3", 10: "10"},
    )  # fmt: skip
    drawing.draw_curves(panels[0], fine / d, limits, linestyle=":")
    panels[0].set_yscale("linear")
    for axes in panels:
        for i, s in enumerate(spectra):
            threshold = float(theory.spike_threshold(s[1:], s[0]).values) / d
            colour = drawing.series_style(i).colour
            axes.axvline(threshold, color=colour, linewidth=0.8, alpha=0.6, zorder=0)
    legend = "markers: simulation, lines: theory, dotted: d = ∞"
    drawing.legend_below(figure, columns=3, title=legend)
    return figure
