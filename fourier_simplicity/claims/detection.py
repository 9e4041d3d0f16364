"""Detection of structure by the trained neuron, a part of `fourier/phases-cost-n-cubed`."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata

import learning_dynamics as ld
from fourier_simplicity.detection import detection_auc
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.inputs import FourierInputs, draw
from fourier_simplicity.learners import activation_function
from fourier_simplicity.recovery import TieOverlap
from fourier_simplicity.simulation import phase_problem
from fourier_simplicity.theory import leading_form, slope_moments
from fourier_simplicity.ties import harmonic
from learning_dynamics.evidence.comparison import (
    Comparison,
    Comparisons,
    Measurement,
    Prediction,
    compare_each,
)
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
    series_style,
)
from learning_dynamics.evidence.statistics import binomial_error
from learning_dynamics.report.claims import Run
from learning_dynamics.validation import reject

__all__ = ["Detection", "detect", "largest_rate", "recovered_auc"]

Array = NDArray[np.float64]
INPUTS = FourierInputs(64, harmonic(1))
RATE, SHARE = 0.4, 0.25  # the rate is below `largest_rate` at every N that is tried
TIMES = np.array([0.02, 0.2, 1.0, 2.5, 6.0, 15.0])  # n / N^3, up to log^2 N at the largest N
HELD_OUT = 600  # inputs of each class, per run
SCORED = 48  # paths of the diffusion whose AUC is evaluated
FINITE = 2.5


@lru_cache(maxsize=1)
def _steepest() -> tuple[float, Array]:
    """Largest decrease f of the leading form on the unit sphere, and where it is."""
    lowest, where = leading_form(INPUTS, "he4").lowest()
    return -lowest, np.asarray(where) / np.linalg.norm(where)


def largest_rate(dimension: int) -> float:
    """Largest delta' at which a neuron at N can keep the tie, 2 f N / V.

    Along the steepest ray the loss is -f |m|^4, and the mean of rho = |m| in the diffusion obeys
    d rho / dn ~ 4 f rho^3 (1 - rho^2) - delta' V rho / (2 N): noise of the gradient turns the
    neuron away. It rests where rho^2 (1 - rho^2) = delta' V / (8 f N), which is at most 1/4.

    The law of n* / N^3 knows no such bound, and its median falls with delta' up to about 1.4. One
    rate for all N is therefore best just below the bound at the smallest N.

    Equation: :eq:`eq:phases-rest`.
    """
    return 2 * _steepest()[0] * dimension / slope_moments("he4")[0]


@lru_cache(maxsize=8)
def recovered_auc(dimension: int, rate: float = RATE) -> float:
    """AUC of a neuron that rests at the tie, rho^2 = (1 + sqrt(1 - delta' / largest_rate)) / 2.

    Raises:
        ValueError: unless the rate is below `largest_rate`.
    """
    if not 0 < rate < largest_rate(dimension):
        raise reject("rate", f"lie below {largest_rate(dimension):.4g} at N = {dimension}", rate)
    square = (1 + np.sqrt(1 - rate / largest_rate(dimension))) / 2
    overlaps = np.sqrt(square) * _steepest()[1]
    return float(detection_auc(INPUTS, "he4", overlaps[None])[0])


@dataclass(frozen=True, eq=False)
class Detection:
    """AUC on held-out inputs against theory, and the share of runs that know the tie.

    Attributes:
        comparison: AUC, coordinates (N, time), beside the diffusion at the same N.
        window: the same over that of a neuron at the tie, beside the law without N.
        known, predicted: share of runs, of paths, that know the tie, shape (sizes, times).
        law: draws of n* / N^3.
    """

    comparison: Comparison
    window: Comparison
    known: Array
    predicted: Array
    law: Array

    def figure(self) -> Figure:
        """AUC above, recovery below, against n / N^3 and against n / (N^3 log^2 N)."""
        figure, grid = new_figure(2, 2, width=9.4, height=6.0)
        measured, theory = self.comparison.measured, self.comparison.predicted
        count, fine = measured.replicas, np.geomspace(TIMES[0], TIMES[-1], 80)
        law = _share(self.law, fine)
        for i, n in enumerate(measured.coordinates["N"].tolist()):
            values, errors, p = measured.values[i], measured.standard_error[i], self.known[i]
            curve = 0.5 + (recovered_auc(n) - 0.5) * law
            for (upper, lower), unit in zip(grid.T, (1.0, np.log(n) ** 2), strict=True):
                draw_simulation(upper, TIMES / unit, values, errors, index=i)
                draw_theory(upper, TIMES / unit, theory.values[i], index=i)
                draw_theory(upper, fine / unit, curve, index=i, linestyle=":")
                draw_simulation(lower, TIMES / unit, p, binomial_error(p, count), index=i)
                draw_theory(lower, TIMES / unit, self.predicted[i], index=i)
                draw_theory(lower, fine / unit, law, index=i, linestyle=":")
            style = series_style(i)
            grid[0, 0].plot([], [], style.marker, color=style.colour, label=f"N = {n}")
        with figure_style():
            for axes in grid.ravel():
                axes.set(xscale="log")
            for axes in grid[0]:
                axes.axhline(0.5, color="#999999", linewidth=0.8)
            grid[0, 0].set(ylabel="AUC on held-out inputs")
            grid[1, 0].set(xlabel="n / N³", ylabel="share that knows the tie")
            grid[1, 1].set(xlabel="n / (N³ log² N)")
            for axes in grid[1]:
                axes.set(ylim=(-0.03, 1.03))
        legend_below(figure, title="lines: diffusion at this N, dotted: law of the search phase")
        return figure


def detect(run: Run, law: Array) -> tuple[Detection, list[Comparison]]:
    """Train at two N, test on fresh inputs of both classes; with the controls.

    Args:
        run: size and key.
        law: draws of n* / N^3 at RATE.
    """
    sizes, replicas, paths = ([12, 24], 96, 192) if run.quick else ([12, 24, 48], 256, 1024)
    fixed = {"replicas": replicas, "paths": paths, "key": run.key}
    seen = run.sweep(_trained, {"dimension": sizes}, fixed=fixed)
    table = {name: np.asarray(seen[name]) for name in ("theory", "error", "known", "paths")}
    axes = {"N": np.array(sizes), "time": TIMES}
    draws = np.asarray(seen["auc"]).swapaxes(0, 1)
    measured = Measurement.from_replicas(draws, axes)
    bias = FINITE / np.array(sizes)[:, None] * np.abs(table["theory"] - 0.5) + 1e-4
    theory = Prediction(table["theory"], table["error"], bias, "2.5/N of AUC - 1/2", "diffusion")
    chance = Prediction(np.full(bias.shape, 0.5), label="chance")
    quantity = "AUC on held-out inputs"
    found, unseen = compare_each(measured, theory, chance, name="detection", quantity=quantity)
    window, *outside = _window(draws, np.array(sizes), axes, law)
    detection = Detection(found, window, table["known"], table["paths"], law)
    return detection, [unseen, *outside]


def _share(law: Array, times: Array) -> Array:
    """Share of the law's draws up to each time."""
    return np.searchsorted(np.sort(law), times, side="right") / law.size


def _window(draws: Array, sizes: Array, axes: dict[str, NDArray[Any]], law: Array) -> Comparisons:
    """Success of the detection beside the law of the search phase, in which no N is left."""
    best = np.array([recovered_auc(int(n)) for n in sizes])[:, None]
    measured = Measurement.from_replicas((draws - 0.5) / (best - 0.5), axes)

    def at(times: Array, label: str) -> Prediction:
        share = _share(law, times)
        error = binomial_error(share, law.size)
        bias = FINITE / sizes[:, None] * share + 1e-3
        return Prediction(share, error, bias, "2.5/N of the share", label)

    n = sizes[:, None]
    return compare_each(
        measured,
        at(TIMES + 0.0 * n, "n / N³"),
        at(TIMES * n, "n / N²: sooner"),
        at(TIMES / np.log(n) ** 2, "n / (N³ log² N): later"),
        name="detection in the window",
        quantity="AUC - 1/2 over that at the tie",
    )


def _trained(dimension: int, replicas: int, paths: int, key: jax.Array) -> dict[str, Array]:
    """AUC of neurons, shape (replicas, times), and means over the diffusion, shape (times,)."""
    n, watched = dimension, TieOverlap(INPUTS)
    key = jax.random.fold_in(key, 5000 + n)
    problem = phase_problem(INPUTS, "he4", learning_rate=RATE / n)
    law = neuron_diffusion(
        problem, dimension=n, times=TIMES * n**2, paths=max(paths, replicas), key=key, step=0.1
    )
    start = jax.tree.map(lambda a: a[:replicas], law.start)
    seen = ld.simulate(
        problem, dimension=n, times=TIMES * n**2, replicas=replicas, level="overlaps",
        key=jax.random.fold_in(key, 1), start=start,
    )  # fmt: skip
    signal, expected_signal = (t.values["signal"][:, :, 0] for t in (seen, law))
    expected = detection_auc(INPUTS, "he4", expected_signal[:SCORED])
    known, predicted = (
        (watched.along(m) >= SHARE * watched.largest).mean(axis=0)
        for m in (signal, expected_signal)
    )
    return {
        "auc": held_out_auc(signal, jax.random.fold_in(key, 2)),
        "theory": expected.mean(axis=0),
        "error": expected.std(axis=0) / np.sqrt(len(expected)),
        "known": known,
        "paths": predicted,
    }


def held_out_auc(signal: Array, key: jax.Array) -> Array:
    """AUC of He4(w.x) on fresh inputs, for overlaps of shape (replicas, times, r)."""
    count, _, r = signal.shape
    at = INPUTS.tied()[0]
    own = np.stack([2 * at, 2 * at + 1], axis=-1).ravel()
    rest = np.sqrt(np.maximum(1 - (signal**2).sum(axis=-1), 0))
    fields = []
    for i, structured in enumerate((True, False)):
        drawn = draw(
            INPUTS, count * HELD_OUT, key=jax.random.fold_in(key, i), structured=structured,
            space="modes",
        )  # fmt: skip
        tied = np.asarray(drawn, np.float64)[:, own].reshape(count, HELD_OUT, r)
        noise = np.asarray(
            jax.random.normal(jax.random.fold_in(key, 10 + i), (count, HELD_OUT), np.float32)
        )
        fields.append(np.einsum("ctr,chr->cth", signal, tied) + rest[..., None] * noise[:, None])
    scores = np.asarray(activation_function("he4")(jnp.asarray(np.concatenate(fields, axis=-1))))
    ranks = rankdata(scores, axis=-1)[..., :HELD_OUT].sum(axis=-1)
    return np.asarray((ranks - HELD_OUT * (HELD_OUT + 1) / 2) / HELD_OUT**2)
