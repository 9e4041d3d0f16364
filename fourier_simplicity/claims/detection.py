"""Detection of structure by the trained neuron, a part of `fourier/phases-cost-n-cubed`."""

from functools import lru_cache
from typing import NamedTuple

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
RATE, SHARE = 0.4, 0.25  # RATE / N is below `largest_rate` at every N that is tried
TIMES = np.array([0.02, 0.2, 1.0, 2.5, 6.0, 15.0])  # n / N^3, up to log^2 N at the largest N
HELD_OUT = 600  # inputs of each class, per run
SCORED = 48  # paths of the diffusion whose AUC is evaluated
FINITE = 2.5  # relative bias of the diffusion's AUC - 1/2, times N

CAPTION = (
    "Can the neuron tell structured inputs from noise? Top: area under the ROC curve on "
    "held-out inputs (chance is 0.5). Bottom: share of runs whose overlaps are those of "
    "the tie. It is at chance well below n = N³ and succeeds beyond n = N³ log² N. Lines: "
    "diffusion, with the AUC as a function of the overlaps; dotted: the law of the search "
    "phase, times the AUC of a neuron at the tie."
)


class Trained(NamedTuple):
    """Neurons along training, first axis N where several are stacked.

    Attributes:
        auc: measured on held-out inputs, shape (replicas, times).
        theory: mean of the AUC over paths of the diffusion, shape (times,).
        error: its standard error.
        known: share of the runs that know the tie.
        expected: the same of the paths.
    """

    auc: Array
    theory: Array
    error: Array
    known: Array
    expected: Array


def detect(run: Run, law: Array) -> Evidence:
    """Train at several N, test on fresh inputs of both classes.

    Args:
        run: size and key.
        law: draws of n* / N^3 at RATE.
    """
    sizes, replicas, paths = ([12, 24], 96, 192) if run.quick else ([12, 24, 48], 256, 1024)
    fixed = {"replicas": replicas, "paths": paths, "key": run.key}
    table = run.sweep(train, {"dimension": sizes}, fixed=fixed)
    trained = Trained(*(np.asarray(table[name]) for name in Trained._fields))
    n, axes = np.array(sizes)[:, None], {"N": np.array(sizes), "time": TIMES}
    draws = trained.auc.swapaxes(0, 1)
    bias = FINITE / n * np.abs(trained.theory - 0.5) + 1e-4
    detected, at_chance = ld.compare_each(
        ld.Measurement.from_replicas(draws, axes),
        ld.Prediction(trained.theory, trained.error, bias, "2.5/N of AUC - 1/2", "diffusion"),
        ld.Prediction(np.full(bias.shape, 0.5), label="chance"),
        name="detection",
        quantity="AUC on held-out inputs",
    )
    success = np.array([resting_auc(size) for size in sizes])[:, None] - 0.5

    def until(times: Array, label: str) -> ld.Prediction:
        share = share_until(law, times)
        bias = FINITE / n * share + 1e-3
        return ld.Prediction(
            share, binomial_error(share, law.size), bias, "2.5/N of the share", label
        )

    window, sooner, later = ld.compare_each(
        ld.Measurement.from_replicas((draws - 0.5) / success, axes),
        until(TIMES + 0.0 * n, "n / N³"),
        until(TIMES * n, "n / N²: sooner"),
        until(TIMES / np.log(n) ** 2, "n / (N³ log² N): later"),
        name="detection in the window",
        quantity="AUC - 1/2 over that at the tie",
    )
    panel = Panel(figure(sizes, trained, law), CAPTION)
    return Evidence([detected, window], [at_chance, sooner, later], {"detection": panel})


@lru_cache(maxsize=8)
def resting_auc(dimension: int) -> float:
    """AUC of a neuron that rests at the tie."""
    overlaps = fs.resting_overlaps(INPUTS, "he4", RATE / dimension)
    return float(fs.detection_auc(INPUTS, "he4", overlaps[None])[0])


def train(dimension: int, replicas: int, paths: int, key: jax.Array) -> Trained:
    """Cell of a sweep: runs, and paths of the diffusion from the same starts."""
    n, watched = dimension, fs.TieOverlap(INPUTS)
    key = jax.random.fold_in(key, 5000 + n)
    problem = fs.phase_problem(INPUTS, "he4", learning_rate=RATE / n)
    diffusion = fs.neuron_diffusion(
        problem, dimension=n, times=TIMES * n**2, paths=max(paths, replicas), key=key, step=0.1
    )
    simulated = ld.simulate(
        problem, dimension=n, times=TIMES * n**2, replicas=replicas, level="overlaps",
        key=jax.random.fold_in(key, 1),
        start=jax.tree.map(lambda a: a[:replicas], diffusion.start),
    )  # fmt: skip
    signal, of_paths = (each.values["signal"][:, :, 0] for each in (simulated, diffusion))
    expected = fs.detection_auc(INPUTS, "he4", of_paths[:SCORED])
    return Trained(
        fs.held_out_auc(INPUTS, "he4", signal, held_out=HELD_OUT, key=jax.random.fold_in(key, 2)),
        expected.mean(axis=0),
        expected.std(axis=0) / np.sqrt(len(expected)),
        watched.known(simulated, SHARE).mean(axis=0),
        watched.known(diffusion, SHARE).mean(axis=0),
    )


def figure(sizes: list[int], trained: Trained, law: Array) -> Figure:
    """AUC above, recovery below, against n / N^3 and against n / (N^3 log^2 N)."""
    drawn, grid = drawing.new_figure(2, 2, width=9.4, height=6.0)
    fine, replicas = np.geomspace(TIMES[0], TIMES[-1], 80), trained.auc.shape[1]
    errors = trained.auc.std(axis=1, ddof=1) / np.sqrt(replicas)
    known_errors = binomial_error(trained.known, replicas)
    share = share_until(law, fine)
    for i, n in enumerate(sizes):
        rows = (
            (
                trained.auc.mean(axis=1),
                errors,
                trained.theory,
                0.5 + (resting_auc(n) - 0.5) * share,
            ),
            (trained.known, known_errors, trained.expected, share),
        )
        for panels, (values, bars, theory, curve) in zip(grid, rows, strict=True):
            for axes, unit in zip(panels, (1.0, np.log(n) ** 2), strict=True):
                drawing.draw_simulation(axes, TIMES / unit, values[i], bars[i], index=i)
                drawing.draw_theory(axes, TIMES / unit, theory[i], index=i)
                drawing.draw_theory(axes, fine / unit, curve, index=i, linestyle=":")
        style = drawing.series_style(i)
        grid[0, 0].plot([], [], style.marker, color=style.colour, label=f"N = {n}")
    with drawing.figure_style():
        for upper, lower in grid.T:
            upper.axhline(0.5, color="#999999", linewidth=0.8)
            upper.set(xscale="log")
            lower.set(xscale="log", ylim=(-0.03, 1.03))
        grid[0, 0].set(ylabel="AUC on held-out inputs")
        grid[1, 0].set(xlabel="n / N³", ylabel="share that knows the tie")
        grid[1, 1].set(xlabel="n / (N³ log² N)")
    drawing.legend_below(drawn, title="lines: diffusion at this N, dotted: law of the search phase")
    return drawn
