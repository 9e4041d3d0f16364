"""Detection of structure by the trained neuron, a part of `fourier/phases-cost-n-cubed`."""

from functools import lru_cache

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fourier_simplicity as fs
import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import binomial_error, share_until
from learning_dynamics.report.claims import Evidence, Panel, Run

Array = NDArray[np.float64]
INPUTS = fs.FourierInputs(64, fs.harmonic(1))
RATE = 0.4  # RATE / N is below `largest_rate` at every N that is tried
TIMES = np.array([0.02, 0.2, 1.0, 2.5, 6.0, 15.0])  # n / N^3, up to log^2 N at the largest N
FINITE = 2.5  # relative bias of the diffusion's AUC - 1/2, times N

CAPTION = (
    "Can the neuron tell structured inputs from noise? Top: area under the ROC curve on "
    "held-out inputs (chance is 0.5). Bottom: share of runs whose overlaps are those of "
    "the tie. It is at chance well below n = N³ and succeeds beyond n = N³ log² N. Lines: "
    "diffusion, with the AUC as a function of the overlaps; dotted: the law of the search "
    "phase, times the AUC of a neuron at the tie."
)


def train(dimension: int, replicas: int, paths: int, key: jax.Array) -> fs.DetectionAlong:
    """Cell of a sweep: neurons at N, and paths of the diffusion from the same starts."""
    n, key = dimension, jax.random.fold_in(key, 5000 + dimension)
    return fs.detect_along(
        INPUTS, "he4", RATE / n, TIMES * n**2, dimension=n, replicas=replicas, paths=paths, key=key
    )


@lru_cache(maxsize=8)
def resting_auc(dimension: int) -> float:
    """AUC of a neuron that rests at the tie."""
    overlaps = fs.resting_overlaps(INPUTS, "he4", RATE / dimension)
    return float(fs.detection_auc(INPUTS, "he4", overlaps[None])[0])


def detect(run: Run, law: Array) -> Evidence:
    """Train at several N, test on fresh inputs of both classes.

    Args:
        run: size and key.
        law: draws of n* / N^3 at RATE.
    """
    sizes, replicas, paths = ([12, 24], 96, 192) if run.quick else ([12, 24, 48], 256, 1024)
    fixed = {"replicas": replicas, "paths": paths, "key": run.key}
    table = run.sweep(train, {"dimension": sizes}, fixed=fixed)
    draws, theory, error, known, expected = (
        np.asarray(table[name]) for name in fs.DetectionAlong._fields
    )
    axes, draws = {"N": np.array(sizes), "time": TIMES}, draws.swapaxes(0, 1)
    n = axes["N"][:, None]
    auc = ld.Measurement.from_replicas(draws, axes)
    bias = FINITE / n * np.abs(theory - 0.5) + 1e-4
    exact = ld.Prediction(theory, error, bias, "2.5/N of AUC - 1/2", "diffusion")
    detected = ld.compare_with_controls(
        auc, exact, ld.Prediction(np.full(bias.shape, 0.5), label="detection by chance"),
        name="detection", quantity="AUC on held-out inputs",
    )  # fmt: skip
    success = np.array([resting_auc(size) for size in sizes])[:, None] - 0.5

    def until(times: Array, label: str) -> ld.Prediction:
        share = share_until(law, times)
        error = binomial_error(share, law.size)
        return ld.Prediction(share, error, FINITE / n * share + 1e-3, "2.5/N of the share", label)

    window = ld.compare_with_controls(
        ld.Measurement.from_replicas((draws - 0.5) / success, axes),
        until(TIMES + 0.0 * n, "n / N³"),
        until(TIMES * n, "n / N²: sooner"),
        until(TIMES / np.log(n) ** 2, "n / (N³ log² N): later"),
        name="detection in the window", quantity="AUC - 1/2 over that at the tie",
    )  # fmt: skip
    knowing = ld.Measurement(known, binomial_error(known, replicas), replicas, axes)
    fine = np.geomspace(TIMES[0], TIMES[-1], 80)
    share = share_until(law, fine) * np.ones(n.shape)
    upper, lower = (auc, theory, 0.5 + success * share), (knowing, expected, share)
    panel = Panel(_figure(upper, lower, n, fine), CAPTION)
    return Evidence.of([detected, window], {"detection": panel})


Curves = tuple[ld.Measurement, Array, Array]


def _figure(upper: Curves, lower: Curves, n: Array, fine: Array) -> Figure:
    """AUC above, recovery below, against n / N^3 and against n / (N^3 log^2 N)."""
    figure, grid = drawing.new_figure(2, 2, width=9.4, height=6.0)
    for panels, (measured, theory, limit) in zip(grid, (upper, lower), strict=True):
        for axes, units in zip(panels, (1.0 + 0.0 * n, np.log(n) ** 2), strict=True):
            names = [f"N = {size}" if axes is grid[0, 0] else None for size in n.ravel()]
            drawing.draw_measurement(axes, measured, TIMES / units, labels=names)
            for i, unit in enumerate(units.ravel()):
                drawing.draw_theory(axes, TIMES / unit, theory[i], index=i)
                drawing.draw_theory(axes, fine / unit, limit[i], index=i, linestyle=":")
            axes.set(xscale="log")
    with drawing.figure_style():
        for above, below in grid.T:
            above.axhline(0.5, color=drawing.GREY, linewidth=0.8)
            below.set(ylim=(-0.03, 1.03))
        grid[0, 0].set(ylabel="AUC on held-out inputs")
        grid[1, 0].set(xlabel="n / N³", ylabel="share that knows the tie")
        grid[1, 1].set(xlabel="n / (N³ log² N)")
    title = "lines: diffusion at this N, dotted: law of the search phase"
    drawing.legend_below(figure, title=title)
    return figure
