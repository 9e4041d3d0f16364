"""Searches for a tie beside the law without N: a part of `fourier/phases-cost-n-cubed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fourier_simplicity as fs
import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import share_until, shares, slopes
from learning_dynamics.report.claims import Evidence, Run

Array = NDArray[np.float64]
LEVELS = np.array([0.1, 0.2, 0.3, 0.4])
AT = (0.1, 0.2, 0.3)  # quantiles whose geometric mean gives exponents and prefactors
UNTIL = 0.52  # quantile of the law at which runs are given up: the heavy tail is never followed
FINITE = 2.5  # relative bias of the diffusion's n* times N: its noise is that at zero overlap
SHIFT = "the shift, of order log(N)/N"


@dataclass(frozen=True)
class Case:
    """A tie with the activation that sees it at order k, and delta' = rate.

    Attributes:
        share: part of the largest overlap product that counts as recovery.
        replicas: number of runs at each N, four times as many at full size.
        label: for the legend; it begins with the kind of the tie.
    """

    inputs: fs.FourierInputs
    activation: str
    order: int
    rate: float
    share: float
    replicas: int
    label: str

    def problem(self, n: int) -> ld.Problem:
        """One neuron at N, with the learning rate of its order."""
        rate = self.rate * n ** (-(self.order - 2) / 2)
        return fs.phase_problem(self.inputs, self.activation, learning_rate=rate, may_be_blind=True)

    def stop(self, n: int) -> ld.Stop:
        """What counts as recovery, the same at every N."""
        watched = fs.TieOverlap(self.inputs)
        return ld.Stop(watched, self.share * watched.largest)

    def samples(self, n: int, scaled: float) -> float:
        """Number of samples scaled N^(k-1)."""
        return float(scaled * n ** (self.order - 1.0))

    def shifts(self, sizes: Sequence[int]) -> Array:
        """Finite-N shift of n* / N^(k-1), shape (sizes, 1)."""
        shift = partial(
            fs.recovery_shift, self.inputs, self.activation, self.rate, share=self.share
        )
        return np.array([[shift(dimension=n)] for n in sizes])


LABELS = ("harmonic 3φ₁ = φ₃, He4: N³", "triad φ₁ + φ₂ = φ₃, He3: N²")
HARMONIC = Case(fs.FourierInputs(64, fs.harmonic(1)), "he4", 4, 0.4, 0.25, 160, LABELS[0])
TRIAD = Case(fs.FourierInputs(64, fs.triad(1, 2)), "he3", 3, 0.25, 0.5, 256, LABELS[1])


@dataclass(frozen=True, eq=False)
class Search:
    """Recovery times of a case beside the laws of its search.

    Attributes:
        law: draws of n* / N^(k-1), without N.
        times: of the runs.
        fit: exponents of the runs.
        paths: the same of the diffusion at finite N.
    """

    case: Case
    law: Array
    times: ld.Recoveries
    fit: ld.ExponentFit
    paths: ld.ExponentFit

    @property
    def name(self) -> str:
        """Kind of the tie."""
        return self.case.label.split(" ")[0]


def search(run: Run, case: Case, number: int, *, sizes: Sequence[int], longest: float) -> Search:
    """Runs, paths of the diffusion and draws of the law.

    Args:
        run: of the claim.
        case: which tie.
        number: of the case, for its random keys.
        sizes: N.
        longest: n / N^(k-1) up to which laws are followed, past the quantile UNTIL.
    """
    law = fs.recovery_law(
        case.inputs, case.activation, case.rate, key=jax.random.fold_in(run.key, number),
        draws=1024 if run.quick else 8192, longest=longest,
    )  # fmt: skip
    times = ld.recovery_times(  # the same scaled starts at every N
        case.problem, dimensions=sizes, replicas=case.replicas * (1 if run.quick else 4),
        longest=partial(case.samples, scaled=float(np.quantile(law, UNTIL))), stop=case.stop,
        key=jax.random.fold_in(run.key, 1000 * case.order), sweep=run.sweep,
    )  # fmt: skip
    paths = run.sweep(
        path_times,
        {"dimension": list(sizes)},
        fixed={"case": case, "longest": longest, "key": jax.random.fold_in(run.key, 300 + number)},
    )
    of_runs, of_paths = (
        ld.fit_exponent(times.dimensions, samples, level=AT, confidence=0.68)
        for samples in (times.samples, np.asarray(paths["samples"]).T)
    )
    return Search(case, law, times, of_runs, of_paths)


def path_times(dimension: int, case: Case, longest: float, key: jax.Array) -> dict[str, Array]:
    """Cell of a sweep: recovery times of the small-step diffusion at N, shape (paths,)."""
    n = dimension
    diffusion = fs.neuron_diffusion(
        case.problem(n), dimension=n, times=[longest * n ** (case.order - 2.0)], paths=512,
        key=key, stop=case.stop(n), step=0.06,
    )  # fmt: skip
    stopped = np.asarray(diffusion.stopped, np.float64)
    return {"samples": np.where(stopped > 0, stopped, np.inf)}


def _shares(law: Array, case: Case, times: ld.Recoveries, first: int = 0) -> ld.Measurement:
    """Share recovered by quantiles of the law, from N number `first` on; axes (N, time)."""
    grid = np.quantile(law, LEVELS)
    scaled = ld.collapse(times.dimensions, times.samples, case.order - 1.0)[first:]
    recovered = np.stack([column[:, None] <= grid for column in scaled], axis=1)
    axes = {"N": times.dimensions[first:], "time": grid}
    return shares(recovered, axes, lost=times.lost[first:, None])


def _shares_of_law(law: Array, sizes: Sequence[int]) -> ld.Prediction:
    """The same of the law for the harmonic tie, shifted."""
    grid, shift = np.quantile(law, LEVELS), HARMONIC.shifts(sizes)
    none, once, twice = (share_until(law, grid - factor * shift) for factor in (0, 1, 2))
    bias = np.maximum(np.abs(none - once), np.abs(twice - once))
    error = np.sqrt(LEVELS * (1 - LEVELS) / law.size)
    return ld.Prediction(once, error * np.ones(once.shape), bias, SHIFT, "law without N, shifted")


def distribution(each: Search) -> ld.Comparisons:
    """Share recovered against n / N^3 at all N but the first; as a control n* grows as N^2."""
    first, *sizes = each.times.dimensions.tolist()
    law = _shares_of_law(each.law, sizes)
    sooner = np.quantile(each.law, LEVELS) * np.array(sizes)[:, None] / first
    return ld.compare_each(
        _shares(each.law, each.case, each.times, first=1),
        law,
        replace(law, values=share_until(each.law, sooner), label="n* ~ N²"),
        name=["distribution of n*/N³", "n* of order N²"],
        quantity="share recovered",
    )


def exponents(searches: Sequence[Search]) -> ld.Comparisons:
    """Growth of a quantile of n*, over all N and between neighbours, against the diffusion."""
    parts, names = [], []
    for each in searches:
        measured, predicted = each.fit.measurement(), each.paths.measurement()
        finite = slopes(each.times.dimensions, np.log1p(FINITE / each.times.dimensions))
        rows = (
            measured.values, measured.standard_error, predicted.values, predicted.standard_error,
            np.abs(finite)[: measured.values.size], 0 * measured.values + each.case.order - 1,
        )  # fmt: skip
        parts.append(np.stack(rows))
        names += [f"{each.name} {sizes}" for sizes in measured.coordinates["range"]]
    values, errors, exact, numerical, bias, order = np.concatenate(parts, axis=1)
    few, why = min(each.fit.replicas for each in searches), f"of n* of {FINITE:g}/N"
    return ld.compare_each(
        ld.Measurement(values, errors, few, {"range": names}),
        ld.Prediction(exact, numerical, bias, why, "diffusion at finite N"),
        ld.Prediction(5 - order, numerical, bias + np.abs(exact - order), why, "exchanged"),
        name=["local exponents", "exponents of triad and quartet exchanged"],
        quantity="exponent of n* in N",
    )


def prefactors(searches: Sequence[Search]) -> ld.Comparison:
    """Lower quantiles of n* at the largest N over those of the law without N."""
    rows, names = [], []
    for each in searches:
        n = int(each.times.dimensions[-1])
        law, error = _lower_middle(each.law)
        shifted, _ = _lower_middle(each.law + each.case.shifts([n])[0])
        least, most = each.fit.quantile_intervals[-1]
        scale = each.case.samples(n, law)
        rows.append(
            (each.fit.quantile[-1] / scale, (most - least) / 2 / scale, shifted / law, error)
        )
        names.append(f"{each.name}, N = {n}")
    values, errors, predicted, numerical = np.array(rows).T
    few = min(each.fit.replicas for each in searches)
    return ld.compare(
        ld.Measurement(values, errors, few, {"tie": names}),
        ld.Prediction(predicted, numerical, np.abs(predicted - 1), SHIFT, "law without N, shifted"),
        name="prefactors at the largest N",
        quantity="n* / law",
    )


def _lower_middle(times: Array) -> tuple[float, float]:
    """Geometric mean of the quantiles AT of draws, and its relative bootstrap error."""
    again = np.random.default_rng(0).choice(times, (200, times.size))
    logs = np.log(np.quantile(np.concatenate([times[None], again]), AT, axis=1, method="lower"))
    means = logs.mean(axis=0)
    return float(np.exp(means[0])), float(means[1:].std(ddof=1))


def blind(run: Run, law: Array) -> Evidence:
    """Odd activation, and a tie that full jitter breaks: nobody recovers."""
    n, broken = 24, fs.FourierInputs(64, fs.harmonic(1, jitter=np.pi))
    longest = partial(HARMONIC.samples, scaled=float(np.quantile(law, LEVELS[-1])))
    learners = {
        "erf": replace(HARMONIC, activation="erf"),
        "broken tie": replace(HARMONIC, inputs=broken),
    }
    times = {
        # as many runs and the same threshold as for the whole tie: one program serves both
        name: ld.recovery_times(
            case.problem, dimensions=[n], replicas=HARMONIC.replicas, stop=HARMONIC.stop,
            longest=longest, key=jax.random.fold_in(run.key, 4000 + n), sweep=run.sweep,
        )
        for name, case in learners.items()
    }  # fmt: skip
    recovered = np.stack([np.isfinite(each.samples[:, 0]) for each in times.values()], axis=1)
    lost = np.array([each.lost[0] for each in times.values()])
    measured = shares(recovered, {"learner": list(times)}, lost=lost)
    nothing = ld.Prediction([0.0, 0.0], label="blind")
    at_law = ld.compare(
        _shares(law, HARMONIC, times["broken tie"]), _shares_of_law(law, [n]),
        name="broken tie against the law", quantity="share recovered",
    )  # fmt: skip
    return Evidence(
        [ld.compare(measured, nothing, name="blind learners", quantity="share recovered")],
        [at_law],
        {},
    )


def figure(searches: Sequence[Search]) -> Figure:
    """Quantiles 0.4 and 0.2 of n* against N, markers for runs and lines for the laws."""
    drawn, grid = drawing.new_figure(1, 1, width=6.4, height=4.8)
    axes = grid[0, 0]
    with drawing.figure_style():
        for i, each in enumerate(searches):
            sizes, power = each.times.dimensions, each.case.order - 1.0
            fine = np.geomspace(sizes[0] / 1.2, sizes[-1] * 1.2, 50)
            for level, line in ((0.2, ":"), (0.4, "-")):
                law = np.quantile(each.law, level) * fine**power
                drawing.draw_theory(axes, fine, law, index=i, linestyle=line)
                scaled = ld.collapse(sizes, each.times.samples, power)
                quantiles = [np.quantile(c, level, method="inverted_cdf") for c in scaled]
                label = each.case.label if level == 0.4 else None
                drawing.draw_simulation(
                    axes, sizes, quantiles * sizes**power, None, index=i, filled=level == 0.4,
                    label=label,
                )  # fmt: skip
        axes.plot([], [], "-", color="#777777", label="law: quantile 0.4")
        axes.plot([], [], ":", color="#777777", label="law: quantile 0.2 (open markers)")
        axes.set(xscale="log", yscale="log", xlabel="N", ylabel="samples to recovery n*")
    drawing.legend_below(drawn, columns=2)
    return drawn
