"""`fourier/phases-cost-n-cubed`: phases alone are learned after of order N^3 samples."""

import warnings
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import integrate

import learning_dynamics as ld
from fourier_simplicity.claims.detection import detect
from fourier_simplicity.claims.input_model import SOURCE
from fourier_simplicity.claims.levels import three_levels
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.recovery import TieOverlap, recovery_law
from fourier_simplicity.simulation import phase_problem
from fourier_simplicity.theory import leading_form, slope_moments
from fourier_simplicity.ties import harmonic, triad
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.figures import figure_style, legend_below, new_figure
from learning_dynamics.evidence.statistics import shares, slopes
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.recovery_times import Recoveries, recovery_times
from learning_dynamics.search.sample_complexity import collapse, fit_exponent

Array = NDArray[np.float64]
LEVELS = np.array([0.1, 0.2, 0.3, 0.4])
AT = (0.1, 0.2, 0.3)  # quantiles whose geometric mean gives exponents and prefactors
UNTIL = 0.52  # quantile of the law at which runs are given up: the heavy tail is never followed
FINITE = 2.5  # relative bias of the diffusion's n* times N: its noise is that at zero overlap


@dataclass(frozen=True)
class Case:
    """A tie with the activation that sees it at order k.

    Attributes:
        share: part of the largest overlap product that counts as recovery.
        sizes: N at quick size.
        full: N at full size.
        replicas: number of runs at each N at quick size, a quarter of those at full size.
        longest: time beyond which the law is not followed, past its quantile UNTIL.
    """

    inputs: FourierInputs
    activation: str
    order: int
    rate: float
    share: float
    sizes: tuple[int, ...]
    full: tuple[int, ...]
    replicas: int
    longest: float

    def problem(self, n: int) -> ld.Problem:
        """One neuron at N, with the learning rate of its order."""
        rate = self.rate * n ** (-(self.order - 2) / 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # blind on purpose
            return phase_problem(self.inputs, self.activation, learning_rate=rate)

    def stop(self, n: int) -> ld.Stop:
        """What counts as recovery, the same at every N."""
        watched = TieOverlap(self.inputs)
        return ld.Stop(watched, self.share * watched.largest)


HARMONIC = Case(
    FourierInputs(64, harmonic(1)),
    "he4",
    4,
    0.4,
    0.25,
    (12, 24, 48),
    (8, 16, 32, 64, 128),
    160,
    15.0,
)
TRIAD = Case(
    FourierInputs(64, triad(1, 2)), "he3", 3, 0.25, 0.5, (48, 96), (24, 48, 96, 192, 384), 256, 20.0
)


@claim(
    "fourier/phases-cost-n-cubed",
    statement=(
        "Isotropic inputs whose classes differ in phases alone: online SGD needs a number of "
        "samples of order N³, where N² suffice for a relation between three phases."
    ),
    source=SOURCE,
    seconds=105,
)
def phases_cost(run: Run) -> Evidence:
    """Times to recovery against the law without N, local exponents, and neurons that are blind."""
    draws = 1024 if run.quick else 8192
    laws = {
        case: recovery_law(
            case.inputs,
            case.activation,
            case.rate,
            key=jax.random.fold_in(run.key, i),
            draws=draws,
            longest=case.longest,
        )
        for i, case in enumerate(run.track([HARMONIC, TRIAD], "laws of the search phase"))
    }
    found = {
        case: _times(run, case, float(np.quantile(laws[case], UNTIL)))
        for case in run.track([HARMONIC, TRIAD], "recovery times")
    }
    runs = {
        (case, int(n)): column
        for case, times in found.items()
        for n, column in zip(times.dimensions, _scaled(case, times), strict=True)
    }
    sizes = [n for case, n in runs if case is HARMONIC]
    seen = _distribution(laws[HARMONIC], [runs[HARMONIC, n] for n in sizes[1:]], sizes[1:])
    law = _law(laws[HARMONIC], sizes[1:])
    at_law = compare(seen, law, name="distribution of n*/N³", quantity="share recovered")
    square = compare(
        seen, _square(laws[HARMONIC], sizes), name="n* of order N²", quantity="share recovered"
    )
    exponents, swapped = _exponents(run, found)
    prefactors = _prefactors(found, laws)
    detection, undetected = detect(run, laws[HARMONIC])
    blind, broken = _blind(run, laws[HARMONIC])
    levels, slower, trajectories = three_levels(run)
    panels = {
        "samples": Panel(
            _figure(runs, laws),
            "Samples to recovery against N: quantiles 0.4 and 0.2 (open markers); lines "
            "are the laws of the search phase, in which no N is left, with slopes 3 and 2. "
            "Nothing is fitted.",
        ),
        "distribution": Panel(
            at_law.plot(x="time", series="N", x_label="n / N³", logx=False, logy=False),
            "Share of runs that have found the phases after n samples, against n/N³, beside the "
            "explosion times of the limit diffusion (line); the law is moved by the "
            "finite-N shift of a straight run to recovery, and as much is allowed for.",
        ),
        "exponents": Panel(
            exponents.plot(logy=False, x_label="N, growth of the lower 30 % of n*"),
            "Exponents of n* between neighbouring N (and over all): they fall towards 3 and 2 as "
            "the diffusion at finite N predicts.",
        ),
        "detection": Panel(
            detection.figure(),
            "Can the neuron tell structured inputs from noise? Top: area under the ROC curve on "
            "held-out inputs (chance is 0.5). Bottom: share of runs whose overlaps are those of "
            "the tie. It is at chance well below n = N³ and succeeds beyond n = N³ log² N. Lines: "
            "diffusion, with the AUC as a function of the overlaps; dotted: the law of the search "
            "phase, times the AUC of a neuron at the tie.",
        ),
        "levels": Panel(
            trajectories,
            "A neuron that starts with an overlap with a triad: all weights, the exact process of "
            "the overlaps, and the limit equations with the allowed shift of order 1/N. The grey "
            "line is the largest possible value; noise of the gradient keeps below it.",
        ),
    }
    return Evidence(
        [at_law, prefactors, exponents, detection.comparison, detection.window, blind, *levels],
        [square, swapped, *undetected, broken, slower],
        panels,
        NOTES,
    )


NOTES = (
    "Recovery is a product of overlaps, Re m_1³ conj(m_3) for the harmonic tie 3 φ_1 = φ_3, above "
    "a quarter (triad: a half) of its largest value. Learning rates are 0.4/N and 0.25/√N.",
    "Finite N: on the sphere growth slows down by 1 - |m|² and the threshold lies short of the "
    "explosion. Integrated along the steepest ray this shifts n*/N^(k-1): the law is shifted, and "
    "as much again is allowed for, to both sides. At N = 12 a quarter of the largest overlap "
    "product is within reach of diffusion, so that its times are short and the exponent from "
    "N = 12 is high, as the diffusion says.",
    "Detection: the success is AUC - 1/2 over that of a neuron that rests at the tie, where the "
    "growth of the overlap balances the noise of its gradient. A neuron at N rests there if its "
    "rate is below 0.039 (0.47 / N at N = 12); the law's median falls with the rate up to "
    "about 1.4 / N. One rate for all N, 0.4 / N, is best. Controls: n / N² and n / (N³ log² N) in "
    "place of n / N³ in the law.",
    "The AUC of one neuron stays near one half even when it knows the tie: the tie moves a fourth "
    "cumulant of one field, and the tied modes are noisy. Both classes are drawn afresh for every "
    "run; the law of the field depends on the overlaps alone.",
    "Blind: an odd activation (erf, c_4 = 0) on the same inputs, and He4 when the jitter of the "
    "tie covers the whole circle. Controls: a number of samples of order N²; the exponents of "
    "triad and quartet exchanged; the broken tie held against the law of the whole one.",
)


def _times(run: Run, case: Case, longest: float) -> Recoveries:
    """Samples to recovery, the same scaled starts at every N."""
    return recovery_times(
        case.problem,
        dimensions=case.sizes if run.quick else case.full,
        replicas=case.replicas * (1 if run.quick else 4),
        longest=partial(_longest, case=case, scaled=longest),
        stop=case.stop,
        key=jax.random.fold_in(run.key, 1000 * case.order),
        sweep=run.sweep,
    )


def _longest(n: int, case: Case, scaled: float) -> float:
    return float(scaled * n ** (case.order - 1.0))


def _scaled(case: Case, times: Recoveries) -> list[Array]:
    """n*/N^(k-1) at each N, infinite where there was no recovery, NaN where a run diverged."""
    scaled = collapse(times.dimensions, times.samples, case.order - 1.0)
    for column, lost in zip(scaled, times.lost, strict=True):
        column[column.size - lost :] = np.nan  # sorted: those that did not recover come last
    return scaled


def _shift(case: Case, n: int) -> float:
    """Finite-N shift of n*/N^(k-1) along the steepest ray, from beyond the diffusive barrier."""
    k, share = case.order, case.share
    c = -case.rate * k * leading_form(case.inputs, case.activation).lowest()[0]
    b = case.rate**2 * slope_moments(case.activation)[0] / 2
    start = max(1.0, 1.5 * (b / c) ** (1 / (k - 2)))
    end = max(start, np.sqrt(n) * share ** (1 / k))
    finite = integrate.quad(lambda m: 1 / (c * m ** (k - 1) * (1 - m * m / n) - b * m), start, end)
    whole = integrate.quad(lambda m: 1 / (c * m ** (k - 1) - b * m), start, np.inf)
    return float(finite[0] - whole[0])


def _distribution(law: Array, times: list[Array], sizes: list[int]) -> Measurement:
    """Share of runs that have recovered, coordinates (N, time)."""
    grid = np.quantile(law, LEVELS)
    lost = np.array([[int(np.isnan(t).sum())] for t in times])
    recovered = np.stack([t[:, None] <= grid for t in times], axis=1)
    return shares(recovered, {"N": np.array(sizes), "time": grid}, lost=lost)


def _law(law: Array, sizes: list[int]) -> Prediction:
    grid = np.quantile(law, LEVELS)
    none, once, twice = (
        np.stack([(law[:, None] + f * _shift(HARMONIC, n) <= grid).mean(axis=0) for n in sizes])
        for f in (0, 1, 2)
    )
    error = np.sqrt(LEVELS * (1 - LEVELS) / law.size)
    bias = np.maximum(np.abs(none - once), np.abs(twice - once))
    why = "the shift, of order log(N)/N"
    return Prediction(once, np.broadcast_to(error, once.shape), bias, why, "law without N, shifted")


def _square(law: Array, sizes: list[int]) -> Prediction:
    """The law if n* grew as N^2, right at the smallest N."""
    grid = np.quantile(law, LEVELS)
    values = np.stack([(law[:, None] * sizes[0] / n <= grid).mean(axis=0) for n in sizes[1:]])
    right = _law(law, sizes[1:])
    return Prediction(values, right.numerical_error, right.bias, right.bias_order, "n* ~ N²")


def _exponents(run: Run, found: dict[Case, Recoveries]) -> tuple[Comparison, Comparison]:
    """Growth of a quantile of n*, over all N and between neighbours, against the diffusion."""
    parts: list[tuple[Array, ...]] = []
    names: list[str] = []
    for i, (case, times) in enumerate(found.items()):
        sizes = times.dimensions
        fit = fit_exponent(sizes, times.samples, level=AT)
        own = fit.measurement()
        paths = run.sweep(
            _path_times,
            {"dimension": sizes.tolist()},
            fixed={"case": case, "key": jax.random.fold_in(run.key, 300 + i)},
        )
        theory = fit_exponent(sizes, np.asarray(paths["samples"]).T, level=AT)
        count = own.values.size
        exponent = np.array([theory.exponent, *theory.local])[:count]
        bias = np.abs(slopes(sizes, np.log1p(FINITE / sizes)))[:count]
        asymptotic = np.full(count, case.order - 1.0)
        parts.append(
            (own.values, own.standard_error, exponent, theory.errors[:count], bias, asymptotic)
        )  # fmt: skip
        tie = "harmonic" if case is HARMONIC else "triad"
        names += [f"{tie} {name}" for name in own.coordinates["range"]]
    values, errors, exact, numerical, bias_, order = map(np.concatenate, zip(*parts, strict=True))
    few = min(len(times.samples) for times in found.values())
    measured = Measurement(values, errors, few, {"range": np.array(names)})
    why = f"of n* of {FINITE:g}/N"
    right = Prediction(exact, numerical, bias_, why, "diffusion at finite N")
    wrong = Prediction(5 - order, numerical, bias_ + np.abs(exact - order), why, "exchanged")
    make = partial(compare, measured, quantity="exponent of n* in N")
    return (
        make(right, name="local exponents"),
        make(wrong, name="exponents of triad and quartet exchanged"),
    )


def _path_times(dimension: int, case: Case, key: jax.Array) -> dict[str, Array]:
    """Recovery times of the small-step diffusion at N, shape (paths,)."""
    n = dimension
    seen = neuron_diffusion(
        case.problem(n), dimension=n, times=[case.longest * n ** (case.order - 2.0)], paths=512,
        key=key, stop=case.stop(n), step=0.06,
    )  # fmt: skip
    stopped = np.zeros(0) if seen.stopped is None else seen.stopped.astype(np.float64)
    return {"samples": np.where(stopped > 0, stopped, np.inf)}


def _prefactors(found: dict[Case, Recoveries], laws: dict[Case, Array]) -> Comparison:
    """Lower quantiles of n* at the largest N over those of the law without N."""
    names, values, errors, predicted, numerical = [], [], [], [], []
    for case, times in found.items():
        n = int(times.dimensions[-1])
        fit = fit_exponent(times.dimensions, times.samples, level=AT, confidence=0.68)
        law, error = _middle(laws[case])
        moved, _ = _middle(laws[case] + _shift(case, n))
        scale = law * n ** (case.order - 1.0)
        low, high = fit.quantile_intervals[-1] / scale
        names.append(f"{'harmonic' if case is HARMONIC else 'triad'}, N = {n}")
        values.append(fit.quantile[-1] / scale)
        errors.append((high - low) / 2)
        numerical.append(error)
        predicted.append(moved / law)
    few = min(len(times.samples) for times in found.values())
    measured = Measurement(values, errors, few, {"tie": np.array(names)})
    bias = np.abs(np.array(predicted) - 1)
    why = "the shift, of order log(N)/N"
    right = Prediction(predicted, numerical, bias, why, "law without N, shifted")
    return compare(measured, right, name="prefactors at the largest N", quantity="n* / law")


def _middle(times: Array) -> tuple[float, float]:
    """Geometric mean of the quantiles AT of draws, and its relative bootstrap error."""
    rng = np.random.default_rng(0)
    again = rng.choice(times, (200, times.size))
    logs = np.log(np.quantile(np.concatenate([times[None], again]), AT, axis=1, method="lower"))
    means = logs.mean(axis=0)
    return float(np.exp(means[0])), float(means[1:].std(ddof=1))


def _blind(run: Run, law: Array) -> tuple[Comparison, Comparison]:
    """Odd activation, and a tie that full jitter breaks: nobody recovers."""
    n, longest = 24, float(np.quantile(law, LEVELS[-1]))
    broken = FourierInputs(64, harmonic(1, jitter=np.pi))
    cases = {
        "erf": replace(HARMONIC, activation="erf"), "broken tie": replace(HARMONIC, inputs=broken)
    }  # fmt: skip
    times = {}
    for name, case in cases.items():
        # as many runs and the same threshold as for the whole tie: one program serves both
        seen = recovery_times(
            case.problem, dimensions=[n], replicas=HARMONIC.replicas, stop=HARMONIC.stop,
            longest=partial(_longest, case=HARMONIC, scaled=longest), sweep=run.sweep,
            key=jax.random.fold_in(run.key, 4000 + n),
        )  # fmt: skip
        times[name] = _scaled(case, seen)[0]
    lost = np.array([int(np.isnan(t).sum()) for t in times.values()])
    recovered = np.stack([np.isfinite(t) for t in times.values()], axis=1)
    measured = shares(recovered, {"learner": np.array(list(cases))}, lost=lost)
    nothing = Prediction([0.0, 0.0], label="blind")
    return (
        compare(measured, nothing, name="blind learners", quantity="share recovered"),
        compare(
            _distribution(law, [times["broken tie"]], [n]), _law(law, [n]),
            name="broken tie against the law", quantity="share recovered",
        ),
    )  # fmt: skip


def _figure(runs: dict[tuple[Case, int], Array], laws: dict[Case, Array]) -> Figure:
    figure, grid = new_figure(1, 1, width=6.4, height=4.8)
    axes = grid[0, 0]
    with figure_style():
        for case, name, colour, marker in (
            (HARMONIC, "harmonic 3φ₁ = φ₃, He4: N³", "#0072B2", "o"),
            (TRIAD, "triad φ₁ + φ₂ = φ₃, He3: N²", "#D55E00", "s"),
        ):
            sizes = np.array([n for c, n in runs if c is case])
            fine = np.geomspace(sizes[0] / 1.2, sizes[-1] * 1.2, 50)
            for level, style in ((0.2, ":"), (0.4, "-")):
                prefactor = float(np.quantile(laws[case], level))
                axes.plot(fine, prefactor * fine ** (case.order - 1.0), style, color=colour)
                found = [
                    np.quantile(runs[case, n], level, method="inverted_cdf") * n ** (case.order - 1)
                    for n in sizes.tolist()
                ]
                filled = colour if level == 0.4 else "white"
                label = name if level == 0.4 else None
                axes.plot(sizes, found, marker, color=colour, markerfacecolor=filled, label=label)
        axes.plot([], [], "-", color="#777777", label="law: quantile 0.4")
        axes.plot([], [], ":", color="#777777", label="law: quantile 0.2 (open markers)")
        axes.set(xscale="log", yscale="log", xlabel="N", ylabel="samples to recovery n*")
    legend_below(figure, columns=2)
    return figure
