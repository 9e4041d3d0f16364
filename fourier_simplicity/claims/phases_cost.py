"""`fourier/phases-cost-n-cubed`: phases alone are learned after of order N^3 samples."""

import warnings
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import integrate

import learning_dynamics as ld
from fourier_simplicity.claims.input_model import SOURCE
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.simulation import TieOverlap, phase_problem, recovery_law
from fourier_simplicity.theory import leading_form, slope_moments
from fourier_simplicity.ties import harmonic, triad
from learning_dynamics.claims import Evidence, Panel, Run, claim
from learning_dynamics.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.figures import figure_style, legend_below, new_figure

Array = NDArray[np.float64]
LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
AT = 0.3  # quantile whose growth with N gives the exponents


@dataclass(frozen=True)
class Case:
    """A tie with the activation that sees it at order k.

    Attributes:
        share: part of the largest overlap product that counts as recovery.
        sizes: N and numbers of replicas, at quick size.
        until: quantile of the law at which runs are given up.
    """

    inputs: FourierInputs
    activation: str
    order: int
    rate: float
    share: float
    sizes: tuple[tuple[int, int], ...]
    until: float


HARMONIC = Case(
    FourierInputs(64, harmonic(1)), "he4", 4, 0.4, 0.25, ((12, 512), (24, 256), (48, 128)), 0.55
)
TRIAD = Case(FourierInputs(64, triad(1, 2)), "he3", 3, 0.25, 0.5, ((48, 256), (96, 128)), 0.8)


@claim(
    "fourier/phases-cost-n-cubed",
    statement=(
        "Isotropic inputs whose classes differ in phases alone: online SGD needs a number of "
        "samples of order N³, where N² suffice for a relation between three phases."
    ),
    source=SOURCE,
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
            longest=40.0,
        )
        for i, case in enumerate(run.track([HARMONIC, TRIAD], "laws of the search phase"))
    }
    runs = {
        (case, n): _times(run, case, n, replicas, float(np.quantile(laws[case], case.until)))
        for case, n, replicas in run.track(list(_sizes(run)), "recovery times")
    }
    sizes = [n for case, n in runs if case is HARMONIC]
    seen = _distribution(laws[HARMONIC], [runs[HARMONIC, n] for n in sizes[1:]], sizes[1:])
    law = _law(laws[HARMONIC], sizes[1:])
    at_law = compare(seen, law, name="distribution of n*/N³", quantity="share recovered")
    square = compare(
        seen, _square(laws[HARMONIC], sizes), name="n* of order N²", quantity="share recovered"
    )
    exponents, swapped = _exponents(run, runs, laws)
    blind, broken = _blind(run, laws[HARMONIC])
    panels = {
        "samples": Panel(
            _figure(runs, laws),
            "Samples to recovery against N: medians and lower quartiles (open markers); lines "
            "are the laws of the search phase, in which no N is left, with slopes 3 and 2. "
            "Nothing is fitted.",
        ),
        "distribution": Panel(
            at_law.plot(x="time", series="N", x_label="n / N³", logx=False, logy=False),
            "Share of runs that have found the phases after n samples, against n/N³, beside the "
            "explosion times of the limit diffusion (line); the allowed bias is twice the "
            "finite-N shift of a straight run to recovery.",
        ),
    }
    return Evidence([at_law, exponents, blind], [square, swapped, broken], panels, NOTES)


NOTES = (
    "Recovery is a product of overlaps, Re m_1³ conj(m_3) for the harmonic tie 3 φ_1 = φ_3, above "
    "a quarter (triad: a half) of its largest value. Learning rates are 0.4/N and 0.25/√N.",
    "Finite N: on the sphere growth slows down by 1 - |m|² and the threshold lies short of the "
    "explosion. Integrated along the steepest ray this shifts n*/N^(k-1); twice the shift is "
    "allowed for. At N = 12 a quarter of the largest overlap product is within reach of diffusion, "
    "so that its times are short, and the exponent from N = 12 is high with a wide allowance.",
    "Blind: an odd activation (erf, c_4 = 0) on the same inputs, and He4 when the jitter of the "
    "tie covers the whole circle. Controls: a number of samples of order N²; the exponents of "
    "triad and quartet exchanged; the broken tie held against the law of the whole one.",
)


def _sizes(run: Run) -> list[tuple[Case, int, int]]:
    factor = 1 if run.quick else 4
    found = [(c, n, factor * count) for c in (HARMONIC, TRIAD) for n, count in c.sizes]
    return found if run.quick else [*found, (HARMONIC, 96, 256), (TRIAD, 256, 256)]


def _times(
    run: Run, case: Case, n: int, replicas: int, longest: float, activation: str | None = None
) -> Array:
    """Recovery times n* / N^(k-1), infinite where there was none, shape (replicas,)."""
    k, watched = case.order, TieOverlap(case.inputs)
    return _simulated(run, case.inputs, activation or case.activation, case, n, replicas, longest,
                      ld.Stop(watched, case.share * watched.largest)) * n ** (1.0 - k)  # fmt: skip


def _simulated(
    run: Run, inputs: FourierInputs, activation: str, case: Case, n: int, replicas: int,
    longest: float, stop: ld.Stop,
) -> Array:  # fmt: skip
    k = case.order
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # blind on purpose
        rate = case.rate * n ** (-(k - 2) / 2)
        problem = phase_problem(inputs, activation, learning_rate=rate)
    seen = ld.simulate(
        problem, dimension=n, times=[longest * n ** (k - 2)], replicas=replicas,
        key=jax.random.fold_in(run.key, 1000 * k + n), level="overlaps", stop=stop,
    )  # fmt: skip
    stopped = np.zeros(0) if seen.stopped is None else seen.stopped.astype(np.float64)
    return np.where(stopped > 0, stopped, np.where(stopped == -2, np.nan, np.inf))


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
    grid = np.quantile(law, LEVELS)
    count = max(t.size for t in times)
    draws = np.full((count, len(sizes), LEVELS.size), np.nan)
    values, errors = [], []
    for i, t in enumerate(times):
        draws[: t.size, i] = t[:, None] <= grid
        share = (t[:, None] <= grid).mean(axis=0)
        values.append(share)
        errors.append(np.sqrt((share * (1 - share) + 1 / t.size) / t.size))
    lost = np.array([[int(np.isnan(t).sum())] * LEVELS.size for t in times])
    axes = {"N": np.array(sizes), "time": grid}
    few = min(t.size for t in times)
    return Measurement(np.stack(values), np.stack(errors), few, axes, lost)


def _law(law: Array, sizes: list[int]) -> Prediction:
    grid = np.quantile(law, LEVELS)
    values = np.tile(LEVELS, (len(sizes), 1))
    moved = [(law[:, None] + 2 * _shift(HARMONIC, n) <= grid).mean(axis=0) for n in sizes]
    error = np.sqrt(values * (1 - values) / law.size)
    bias = np.abs(np.stack(moved) - values)
    return Prediction(values, error, bias, "twice the shift, of order log(N)/N", "search-phase law")


def _square(law: Array, sizes: list[int]) -> Prediction:
    """The law if n* grew as N^2, right at the smallest N."""
    grid = np.quantile(law, LEVELS)
    values = np.stack([(law[:, None] * sizes[0] / n <= grid).mean(axis=0) for n in sizes[1:]])
    right = _law(law, sizes[1:])
    return Prediction(values, right.numerical_error, right.bias, right.bias_order, "n* ~ N²")


def _exponents(
    run: Run, runs: dict[tuple[Case, int], Array], laws: dict[Case, Array]
) -> tuple[Comparison, Comparison]:
    """Exponents from ratios of quantiles; errors by bootstrap over the replicas."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(run.key)))
    names, values, errors, orders, bias = [], [], [], [], []
    for case, name in ((HARMONIC, "harmonic"), (TRIAD, "triad")):
        sizes = [n for c, n in runs if c is case]
        centre = float(np.quantile(laws[case], AT))
        for first in range(len(sizes) - 1):
            pair = (sizes[first], sizes[-1])
            scale = np.log(pair[1] / pair[0])

            def slope(samples: list[Array], scale: float = scale, k: int = case.order) -> float:
                low, high = (np.quantile(t, AT, method="inverted_cdf") for t in samples)
                return k - 1 + float(np.log(high / low)) / scale

            own = [runs[case, n] for n in pair]
            again = [slope([rng.choice(t, t.size) for t in own]) for _ in range(400)]
            names.append(f"{name}, N = {pair[0]} to {pair[1]}")
            values.append(slope(own))
            errors.append(np.std(again))
            orders.append(case.order - 1.0)
            moved = [np.log(1 + _shift(case, n) / centre) for n in pair]
            bias.append(2 * abs(moved[1] - moved[0]) / scale)
    few = min(t.size for t in runs.values())
    lost = np.zeros(len(names), np.int64)
    axes = {"tie": np.array(names)}
    measured = Measurement(np.array(values), np.array(errors), few, axes, lost)
    exact, none = np.array(orders), np.zeros(len(names))
    order = "twice the shift of the quantiles"
    right = Prediction(exact, none, np.array(bias), order, "k* - 1")
    swapped = Prediction(5 - exact, none, np.array(bias), order, "exchanged")
    make = partial(compare, measured, quantity="exponent of n* in N")
    return (
        make(right, name="local exponents"),
        make(swapped, name="exponents of triad and quartet exchanged"),
    )


def _blind(run: Run, law: Array) -> tuple[Comparison, Comparison]:
    """Odd activation, and a tie that full jitter breaks: nobody recovers."""
    n, replicas, watched = 24, 128, TieOverlap(HARMONIC.inputs)
    stop = ld.Stop(watched, HARMONIC.share * watched.largest)
    longest = float(np.quantile(law, LEVELS[-1]))
    broken = FourierInputs(64, harmonic(1, jitter=np.pi))
    cases = {"erf": (HARMONIC.inputs, "erf"), "broken tie": (broken, "he4")}
    times = {
        name: _simulated(run, inputs, activation, HARMONIC, n, replicas, longest, stop) / n**3
        for name, (inputs, activation) in cases.items()
    }
    shares = np.array([np.isfinite(t).mean() for t in times.values()])
    # the smallest count that differs from zero must weigh: one run in all has this error
    error = np.sqrt(np.maximum(shares * (1 - shares), 1 / replicas) / replicas)
    lost = np.array([int(np.isnan(t).sum()) for t in times.values()])
    seen = Measurement(shares, error, replicas, {"learner": np.array(list(cases))}, lost)
    nothing = Prediction(np.zeros(2), np.zeros(2), label="blind")
    return (
        compare(seen, nothing, name="blind learners", quantity="share recovered"),
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
            for level, style in ((0.25, ":"), (0.5, "-")):
                prefactor = float(np.quantile(laws[case], level))
                axes.plot(fine, prefactor * fine ** (case.order - 1.0), style, color=colour)
                found = [
                    np.quantile(runs[case, n], level, method="inverted_cdf") * n ** (case.order - 1)
                    for n in sizes.tolist()
                ]
                filled = colour if level == 0.5 else "white"
                label = name if level == 0.5 else None
                axes.plot(sizes, found, marker, color=colour, markerfacecolor=filled, label=label)
        axes.plot([], [], "-", color="#777777", label="law: median")
        axes.plot([], [], ":", color="#777777", label="law: lower quartile (open markers)")
        axes.set(xscale="log", yscale="log", xlabel="N", ylabel="samples to recovery n*")
    legend_below(figure, columns=2)
    return figure
