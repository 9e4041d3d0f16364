"""Neurons that learn a quartet in a power-law spectrum: runs, the diffusion, and comparisons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fourier_simplicity as fs
import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import binomial_error, log_slope

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
SHARE = 0.4  # of the largest tie overlap: beyond the reach of diffusion, within that of a neuron
LEVEL = 0.35  # share of the runs that know the tie at n*
POINTS = 24  # observations of a run
HORIZON = 3.0  # of isotropic inputs, n / N^3
STEP, STEP_ERROR = 0.05, 0.04  # of the diffusion; what log n* changes by under a step of 0.02
FINITE = 1.25  # relative bias of the diffusion's n* times N_eff, see the notes of the claim


@dataclass(frozen=True)
class Case:
    """One neuron, a spectrum |k|^-gamma and a quartet tied at its low or high end.

    Attributes:
        gamma: exponent of the spectrum.
        dimension: N, even.
        replicas: number of runs.
        low: whether modes 1 to 4 are tied, or the last four.
        broken: whether jitter of the tie covers the circle.
    """

    gamma: float
    dimension: int
    replicas: int = 1
    low: bool = True
    broken: bool = False

    @property
    def label(self) -> str:
        """Name in tables."""
        place = f"{'low' if self.low else 'high'}{' broken' * self.broken}"
        return f"γ={self.gamma:g} {place} N={self.dimension}"

    @property
    def inputs(self) -> fs.FourierInputs:
        """The input model, on a ring of N + 2 sites."""
        n, jitter = self.dimension, np.pi * self.broken
        if self.gamma == 0:  # any N will do
            return fs.FourierInputs(12, fs.quartet(1, 4, 2, jitter=jitter))
        modes = (1, 4, 2) if self.low else (n // 2 - 3, n // 2, n // 2 - 2)
        spectrum = fs.power_law_spectrum(n + 2, self.gamma)
        return fs.FourierInputs(n + 2, fs.quartet(*modes, jitter=jitter), spectrum)

    @property
    def effective(self) -> float:
        """N_eff of the whole tie."""
        whole = replace(self, broken=False)
        return float(self.dimension) if self.gamma == 0 else fs.effective_dimension(whole.inputs)

    def problem(self) -> ld.Problem:
        """He4 on the normalised preactivation, step 0.3 min(1, N / N_eff) / N_eff."""
        rate = 0.3 * min(1.0, self.dimension / self.effective) / self.effective
        return fs.phase_problem(
            self.inputs, "he4", learning_rate=rate, normalised=True, may_be_blind=self.broken
        )

    def observations(self) -> Array:
        """Samples, to beyond the quantile LEVEL, which steep spectra delay."""
        scaled = HORIZON if self.gamma < 1.5 else 2 * HORIZON
        last = scaled * self.effective**3 * max(1.0, self.effective / self.dimension)
        return np.asarray(np.rint(np.geomspace(last / 30, last, POINTS)))


WHOLE, BROKEN = Case(1.0, 24, 128), Case(1.0, 24, 128, broken=True)


def _blocks(overlaps: ld.Overlaps) -> jax.Array:
    norms: jax.Array = overlaps.blocks[:, 0, 0]
    return norms


def recovery(case: Case, paths: int, key: jax.Array) -> dict[str, Array | float]:
    """Cell of a sweep: n* of runs and of paths from the same starts, and what is known along n."""
    problem, n = case.problem(), case.dimension
    watched = fs.TieOverlap(replace(case, broken=False).inputs)
    number = round(10 * case.gamma) + 100 * n + 10**6 * case.low + 2 * 10**6 * case.broken
    key = jax.random.fold_in(key, number)
    samples = case.observations()
    diffusion = fs.neuron_diffusion(
        problem, dimension=n, times=samples / n, paths=max(case.replicas, paths),
        key=jax.random.fold_in(key, 1), step=STEP,
    )  # fmt: skip
    simulated = ld.simulate(
        problem, dimension=n, times=samples / n, replicas=case.replicas,
        key=jax.random.fold_in(key, 2), observe={"blocks": _blocks},
        start=jax.tree.map(lambda a: a[: case.replicas], diffusion.start),
        level="overlaps" if case.gamma == 0 else "ambient",
    )  # fmt: skip
    known, expected = (watched.known(each, SHARE) for each in (simulated, diffusion))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    measured = fs.samples_to_share(samples, known, LEVEL, rng=rng)
    predicted = fs.samples_to_share(samples, expected, LEVEL, rng=rng)
    return {
        "gamma": case.gamma,
        "N": float(n),
        "N_eff": case.effective,
        "replicas": float(case.replicas),
        "low": case.low,
        "samples": samples,
        "measured": measured.value,
        "measured_error": measured.error,
        "predicted": predicted.value,
        "predicted_error": predicted.error,
        "known": known.mean(axis=0),
        "expected": expected.mean(axis=0),
        "lost": float(simulated.lost.sum()),
    }


def isotropic(dimension: int, key: jax.Array) -> dict[str, float]:
    """Cell of a sweep: n* of isotropic inputs by the diffusion."""
    case = Case(0.0, dimension)
    samples = dimension**3 * np.geomspace(0.2, HORIZON, POINTS)
    diffusion = fs.neuron_diffusion(
        case.problem(), dimension=dimension, times=samples / dimension, paths=256, key=key,
        step=STEP,
    )  # fmt: skip
    known = fs.TieOverlap(case.inputs).known(diffusion, SHARE)
    crossing = fs.samples_to_share(samples, known, LEVEL, rng=np.random.default_rng(0))
    return {"samples": crossing.value}


def isotropic_sizes(table: xr.Dataset, points: int) -> list[int]:
    """N from the smallest N_eff to the largest N and N_eff."""
    last = np.ceil(max(table.N_eff.max(), table.N.max()))
    sizes = np.geomspace(int(table.N_eff.min()), int(last), points)
    return [int(n) for n in np.unique(np.rint(sizes))]


def _of_cases(table: xr.Dataset, values: xr.DataArray, errors: xr.DataArray) -> ld.Measurement:
    """One number for each case."""
    return ld.Measurement(
        values, errors, int(table.replicas.min()), {"case": table.case}, table.lost.astype(int)
    )


def prefactors(table: xr.Dataset) -> tuple[ld.Comparison, ld.Comparison]:
    """Prefactors case by case, and the factor between runs and diffusion that all cases share."""
    scale, finite, count = table.N_eff**3, FINITE / table.N_eff, len(table.case)
    values, law = table.measured / scale, table.predicted / scale * (1 - finite)
    errors = np.hypot(table.predicted_error, STEP_ERROR)
    common = float(np.exp(np.log(values / law).mean()))
    factor = ld.Measurement(
        [common], [common * np.linalg.norm(table.measured_error) / count],
        int(table.replicas.min()), {"spectra": ["all"]}, int(table.lost.sum()),
    )  # fmt: skip
    one = ld.Prediction(
        [1.0], np.hypot(np.linalg.norm(table.predicted_error) / count, STEP_ERROR),
        finite.mean(), "mean of 1.25/N_eff", "diffusion, less 1.25/N_eff",
    )  # fmt: skip
    each = ld.Prediction(
        law, errors * law, law * finite, "1.25/N_eff of the value", "diffusion, less 1.25/N_eff"
    )
    return (
        ld.compare(
            _of_cases(table, values, table.measured_error * values), each,
            name="prefactors", quantity="n* / N_eff³",
        ),
        ld.compare(factor, one, name="common factor of all spectra", quantity="n* / predicted"),
    )  # fmt: skip


def collapse(table: xr.Dataset, flat: xr.Dataset) -> list[ld.Comparison]:
    """n* over that of isotropic inputs at N_eff (and, as a control, at N), in powers of two."""
    table = table.isel(case=table.gamma > 0)
    zero = np.zeros(len(table.case))
    same = ld.Prediction(zero, zero, zero + 1, "a factor of two", "isotropic inputs")
    comparisons = []
    for name, sizes in (("N_eff", table.N_eff), ("N", table.N)):
        isotropic_logs = np.interp(np.log(sizes), np.log(flat.dimension), np.log(flat.samples))
        measured = _of_cases(
            table, (np.log(table.measured) - isotropic_logs) / np.log(2),
            np.hypot(table.measured_error, STEP_ERROR) / np.log(2),
        )  # fmt: skip
        comparisons.append(
            ld.compare(
                measured, same, name=f"collapse onto {name}",
                quantity="log2 of n* over isotropic n*",
            )
        )  # fmt: skip
    return comparisons


def exponents(table: xr.Dataset) -> ld.Comparisons:
    """Exponent of n* in N for each spectrum, tied modes at the low end."""
    rows, gammas = [], np.unique(table.gamma)
    for gamma in gammas:
        spectrum = table.isel(case=(table.gamma == gamma) & table.low)
        finite = FINITE / spectrum.N_eff
        measured = log_slope(spectrum.N, np.log(spectrum.measured), spectrum.measured_error)
        law = np.log(spectrum.predicted) + np.log1p(-finite)
        predicted = log_slope(spectrum.N, law, spectrum.predicted_error)
        rows.append([*measured, *predicted, abs(log_slope(spectrum.N, finite).value)])
    values, errors, law, numerical, bias = np.array(rows).T
    return ld.compare_each(
        ld.Measurement(values, errors, int(table.replicas.min()), {"gamma": gammas}),
        ld.Prediction(law, numerical, bias, "of prefactors", "diffusion"),
        ld.Prediction(np.full(law.size, 3.0), numerical, bias, "of prefactors", "N³"),
        name=["exponents", "N³ whatever the spectrum"],
        quantity="exponent of n* in N",
    )


def broken_tie(broken: xr.Dataset, table: xr.Dataset, paths: int) -> ld.Comparisons:
    """The tie broken by jitter: diffusion alone, and nothing like the law of the whole tie."""
    at, whole = slice(9, None, 5), table.sel(case=WHOLE.label)
    share, count = broken.known[at], BROKEN.replicas
    laws = (
        ld.Prediction(law[at], binomial_error(law[at], max(count, paths)), label=label)
        for law, label in ((broken.expected, "diffusion without drift"), (whole.expected, "whole"))
    )
    error, axes = binomial_error(share, count), {"samples": broken.samples[at]}
    return ld.compare_each(
        ld.Measurement(share, error, count, axes, int(broken.lost)),
        *laws,
        name=["broken tie", "broken tie against the whole one"],
        quantity="share that seems to know the tie",
    )


def figure(table: xr.Dataset, flat: xr.Dataset) -> Figure:
    """n* against N and against N_eff, markers for runs and lines for the diffusion."""
    drawn, ((left, right),) = drawing.new_figure(1, 2, width=9.0, height=4.8, sharey=True)
    with drawing.figure_style():
        right.plot(
            flat.dimension, flat.samples, color="#AAAAAA", linewidth=2.5,
            label="isotropic, N = N_eff",
        )  # fmt: skip
        for low, place in ((True, "low"), (False, "high")):
            for i, gamma in enumerate(np.unique(table.gamma)):
                shown = table.isel(case=(table.gamma == gamma) & (table.low == low))
                error, colour = shown.measured_error, drawing.series_style(i).colour
                bars = shown.measured.values * np.stack([1 - np.exp(-error), np.exp(error) - 1])
                label = f"γ = {gamma:g}, {place} modes" if len(shown.case) else None
                for axes, sizes in ((left, shown.N), (right, shown.N_eff)):
                    drawing.draw_simulation(
                        axes, sizes, shown.measured, bars, index=i, filled=low,
                        label=label if axes is left else None,
                    )  # fmt: skip
                    line = "-" if low else "none"
                    axes.plot(sizes, shown.predicted, line, color=colour, marker="_", markersize=11)
        left.set(xscale="log", yscale="log", xlabel="N", ylabel="samples n* (0.35 know the tie)")
        right.set(xscale="log", yscale="log", xlabel="N_eff = tr Σ / λ_S")
        left.set_xticks(np.unique(table.N), np.unique(table.N).astype(int).astype(str))
        right.set_xticks([10, 20, 40, 80], ["10", "20", "40", "80"])
        left.minorticks_off()
        right.minorticks_off()
    drawing.legend_below(drawn, columns=3)
    return drawn
