"""`fourier/power-law-speeds-up-phases`: a shared power-law spectrum makes phases cheap."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from fourier_simplicity.claims.input_model import SOURCE
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.modes import power_law_spectrum
from fourier_simplicity.simulation import TieOverlap, phase_problem
from fourier_simplicity.theory import effective_dimension
from fourier_simplicity.ties import quartet
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.figures import figure_style, legend_below, new_figure, series_style
from learning_dynamics.evidence.statistics import binomial_error
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

Array = NDArray[np.float64]
RATE = 0.3
SHARE = 0.4  # of the largest tie overlap: beyond the reach of diffusion, within that of a neuron
LEVEL = 0.35  # share of the runs that know the tie at n*
POINTS = 24  # observations of a run
STEP = 0.05
STEP_ERROR = 0.04  # of the diffusion's n*: what changes under a step of 0.02
FINITE = 2.5  # relative bias times N_eff, see NOTES


@dataclass(frozen=True)
class Case:
    """A spectrum |k|^-gamma with a quartet tied at its low or high end.

    Attributes:
        gamma: exponent of the spectrum.
        dimension: N, even.
        low: whether modes 1 to 4 are tied, or the last four.
        replicas: number of runs.
        broken: whether jitter of the tie covers the circle.
    """

    gamma: float
    dimension: int
    low: bool
    replicas: int
    broken: bool = False

    @property
    def inputs(self) -> FourierInputs:
        """The input model, on a ring of N + 2 sites."""
        n = self.dimension
        last = n // 2
        if self.gamma == 0:  # any N will do
            return FourierInputs(12, quartet(1, 4, 2, jitter=np.pi * self.broken))
        modes = (1, 4, 2) if self.low else (last - 3, last, last - 2)
        spectrum = power_law_spectrum(n + 2, self.gamma)
        return FourierInputs(n + 2, quartet(*modes, jitter=np.pi * self.broken), spectrum)

    @property
    def effective(self) -> float:
        """N_eff of the whole tie."""
        if self.gamma == 0:
            return float(self.dimension)
        return effective_dimension(Case(self.gamma, self.dimension, self.low, 1).inputs)

    @property
    def horizon(self) -> float:
        """Samples followed: beyond the quantile LEVEL, which steep spectra delay."""
        effective = self.effective
        scaled = HORIZON if self.gamma < 1.5 else 2 * HORIZON
        return scaled * effective**3 * max(1.0, effective / self.dimension)

    @property
    def label(self) -> str:
        """Name in tables."""
        place = f"{'low' if self.low else 'high'}{' broken' * self.broken}"
        return f"γ={self.gamma:g} {place} N={self.dimension}"

    def problem(self) -> ld.Problem:
        """One neuron, step 0.3 min(1, N / N_eff) / N_eff."""
        effective = self.effective
        rate = RATE * min(1.0, self.dimension / effective) / effective
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the broken tie is blind on purpose
            return phase_problem(self.inputs, "he4", learning_rate=rate, normalised=True)


QUICK = (  # as many runs at one N, and at gamma = 0 at both, so that cases share programs
    *(Case(0.0, n, True, 192) for n in (14, 28)),
    *(Case(gamma, 12, True, 192) for gamma in (0.5, 1.0, 1.5)),
    *(Case(gamma, 24, True, 128) for gamma in (0.5, 1.0, 1.5)),
    *(Case(gamma, 48, True, 64) for gamma in (1.0, 1.5)),
    Case(0.5, 12, False, 96),
)
FULL = (
    *(Case(gamma, n, True, 512) for gamma in (0.0, 0.5, 1.0, 1.5) for n in (12, 24)),
    *(Case(gamma, 48, True, 256) for gamma in (0.0, 0.5, 1.0, 1.5)),
    *(Case(gamma, 96, True, 256) for gamma in (1.0, 1.5)),
    *(Case(0.5, n, False, 128) for n in (12, 24)),
    *(Case(1.0, n, False, 128) for n in (12, 16)),
)
HORIZON = 3.0  # of isotropic inputs, n / N^3
BROKEN = Case(1.0, 24, True, 128, broken=True)


class _Seen(NamedTuple):
    """What was found for a spectrum.

    Attributes:
        samples: n of the observations.
        measured: n* of the runs, and resamples of it, see `_bootstrap`.
        predicted: the same for paths of the diffusion.
        known: share of runs that know the tie at each observation.
        expected: the same for paths.
        lost: number of runs that diverged.
    """

    samples: Array
    measured: Array
    predicted: Array
    known: Array
    expected: Array
    lost: Array


@claim(
    "fourier/power-law-speeds-up-phases",
    statement=(
        "A power-law spectrum that both classes share, and that is therefore useless for the "
        "labels, makes phases in its dominant subspace cheap: N_eff³ = (tr Σ / λ_S)³ samples "
        "instead of N³."
    ),
    source=SOURCE,
    seconds=60,
)
def power_law(run: Run) -> Evidence:
    """Samples to recovery for several spectra, against the diffusion, N_eff and N."""
    cases = list(QUICK if run.quick else FULL)
    paths = 256 if run.quick else 2048
    table = run.sweep(
        _recovery,
        {"case": {case.label: case for case in (*cases, BROKEN)}},
        fixed={"paths": paths, "key": run.key},
    )
    *found, broken = (
        _Seen(**{name: np.asarray(table[name])[i] for name in _Seen._fields})
        for i in range(len(cases) + 1)
    )
    seen = dict(zip(cases, found, strict=True))
    measured = {c: s.measured for c, s in seen.items()}
    predicted = {c: s.predicted for c, s in seen.items()}
    flat = _isotropic(run, cases)
    prefactors, common = _prefactors(seen, measured, predicted)
    onto, against = _collapse(seen, measured, predicted, flat)
    exponents, cubic = _exponents(seen, measured, predicted)
    blind, as_whole = _blind(broken, seen, max(BROKEN.replicas, paths))
    panels = {
        "samples": Panel(
            _figure(seen, measured, predicted, flat),
            "Samples after which a share of 0.35 of the neurons knows the tie. Left: against N, "
            "the spectra fan out. Right: the same points against N_eff = tr Σ / λ_S; the grey "
            "line is the isotropic prediction at N = N_eff. Lines: diffusion, nothing is fitted.",
        ),
        "prefactors": Panel(
            prefactors.plot(logy=False, x_label="spectrum, place of the tied modes, N"),
            "Prefactors n*/N_eff³ of all cases beside those of the small-step diffusion.",
        ),
        "exponents": Panel(
            exponents.plot(x="gamma", logx=False, logy=False, x_label="exponent γ of the spectrum"),
            "Exponent of n* in N for tied modes at the low end of the spectrum.",
        ),
    }
    return Evidence(
        [prefactors, common, onto, exponents, blind], [against, cubic, as_whole], panels, NOTES
    )


NOTES = (
    "One neuron with He4 on its normalised preactivation; the phases of modes 1, 2, 3, 4 (low) or "
    "of the last four modes (high) form a quartet. A neuron knows the tie when the product of its "
    "whitened overlaps is above 0.4 of its largest value. Learning rate 0.3/N_eff, for tied modes "
    "weaker than the average 0.3 λ_S/N_eff.",
    "Derived here: on the sphere the step noise contracts overlaps at the rate δ² V tr Σ / 2N² and "
    "feeds each direction in proportion to its variance. In units of N_eff³ samples the drift is "
    "that of isotropic inputs and the contraction is divided by λ_S, while the variance of the "
    "field relaxes: n*/N_eff³ is a number of order one that depends on the spectrum. The collapse "
    "onto N_eff allows a factor of two for this; the prefactors themselves are predicted.",
    "The diffusion takes the noise of the gradient at zero overlap. At N = 12 and this rate runs "
    "are faster by a tenth to a fifth, at a third of the rate by less than a twentieth: the "
    "prefactor is lowered by 1.25/N_eff of its value, and as much is allowed for.",
    "Controls: n* of isotropic inputs at the same N; exponent 3 whatever the spectrum; the tie "
    "broken by full jitter against the law of the whole one.",
)


def _like(one: Case, other: Case) -> bool:
    return (one.gamma, one.dimension, one.low) == (other.gamma, other.dimension, other.low)


def _blocks(overlaps: ld.Overlaps) -> jax.Array:
    squares: jax.Array = overlaps.blocks[:, 0, 0]
    return squares


def _recovery(case: Case, paths: int, key: jax.Array) -> dict[str, Array]:
    """Runs and paths observed at the same times, from the same starts; fields of `_Seen`."""
    whole = Case(case.gamma, case.dimension, case.low, case.replicas)
    problem, n, watched = case.problem(), case.dimension, TieOverlap(whole.inputs)
    number = round(10 * case.gamma) + 100 * n + 10**6 * case.low + 2 * 10**6 * case.broken
    key = jax.random.fold_in(key, number)
    paths = max(case.replicas, paths)
    last = case.horizon
    samples = np.rint(np.geomspace(last / 30, last, POINTS))
    start, predicted = _paths(problem, watched, n, samples, paths, jax.random.fold_in(key, 1))
    first = jax.tree.map(lambda a: a[: case.replicas], start)
    found = ld.simulate(
        problem, dimension=n, times=samples / n, replicas=case.replicas,
        key=jax.random.fold_in(key, 2), start=first, observe={"blocks": _blocks},
        level="overlaps" if case.gamma == 0 else "ambient",
    )  # fmt: skip
    signal, blocks = found.values["signal"][:, :, 0], found.values["blocks"]
    groups = case.inputs.blocks(n)
    own = np.asarray(case.inputs.signal_variances())
    variance = (signal**2) @ own + blocks @ np.asarray(groups[0].variances)
    known = watched.along(signal, variance) >= SHARE * watched.largest
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return {
        "samples": samples,
        "measured": _bootstrap(rng, samples, known),
        "predicted": _bootstrap(rng, samples, predicted),
        "known": known.mean(axis=0),
        "expected": predicted.mean(axis=0),
        "lost": np.array(float(found.lost.sum())),
    }


def _paths(
    problem: ld.Problem, watched: TieOverlap, n: int, samples: Array, paths: int, key: jax.Array
) -> tuple[ld.Overlaps, NDArray[np.bool_]]:
    seen = neuron_diffusion(
        problem, dimension=n, times=samples / n, paths=paths, key=key, step=STEP
    )
    value = watched.along(seen.values["signal"][:, :, 0], seen.values["field_variance"])
    return seen.start, value >= SHARE * watched.largest


def _recovered(samples: Array, known: NDArray[np.bool_]) -> float:
    """Number of samples at which a share LEVEL of the runs knows the tie, between observations."""
    share = np.maximum.accumulate(known.mean(axis=0))
    if share[-1] < LEVEL:
        return float("inf")
    at = int(np.argmax(share >= LEVEL))
    if at == 0:
        return float(samples[0])
    part = (LEVEL - share[at - 1]) / (share[at] - share[at - 1])
    return float(samples[at - 1] * (samples[at] / samples[at - 1]) ** part)


def _bootstrap(rng: np.random.Generator, samples: Array, known: NDArray[np.bool_]) -> Array:
    """n* and resamples of it (first entry: the estimate)."""
    count = len(known)
    again = [_recovered(samples, known[rng.integers(count, size=count)]) for _ in range(400)]
    return np.array([_recovered(samples, known), *again])


def _error(logs: Array) -> float:
    """Spread of bootstrap logarithms by their quantiles: some resamples may not get there."""
    low, high = np.quantile(logs[1:], [0.16, 0.84], method="nearest")
    return float((high - low) / 2)


def _isotropic(run: Run, cases: list[Case]) -> tuple[Array, Array]:
    """n* of isotropic inputs by the diffusion, on a grid of N from the smallest N_eff on."""
    effective = [c.effective for c in cases]
    low, high = int(min(effective)), int(np.ceil(max(*effective, *(c.dimension for c in cases))))
    sizes = np.unique(np.rint(np.geomspace(low, high, 4 if run.quick else 8)).astype(int))
    key = jax.random.fold_in(run.key, 7)
    found = run.sweep(_isotropic_samples, {"dimension": sizes.tolist()}, fixed={"key": key})
    return sizes.astype(np.float64), np.asarray(found["samples"])


def _isotropic_samples(dimension: int, key: jax.Array) -> dict[str, float]:
    case = Case(0.0, dimension, True, 1)
    samples = dimension**3 * np.geomspace(0.2, HORIZON, POINTS)
    known = _paths(case.problem(), TieOverlap(case.inputs), dimension, samples, 256, key)[1]
    return {"samples": _recovered(samples, known)}


def _prefactors(
    seen: dict[Case, _Seen], measured: dict[Case, Array], predicted: dict[Case, Array]
) -> tuple[Comparison, Comparison]:
    """Prefactors case by case, and the factor between runs and diffusion that all cases share."""
    cases = list(seen)
    scale = np.array([c.effective**3 for c in cases])
    values = np.array([measured[c][0] for c in cases]) / scale
    errors = np.array([_error(np.log(measured[c])) for c in cases]) * values
    finite = FINITE / 2 / np.array([c.effective for c in cases])
    theory = np.array([predicted[c][0] for c in cases]) / scale * (1 - finite)
    drawn = np.array([_error(np.log(predicted[c])) for c in cases])
    error = np.hypot(drawn, STEP_ERROR) * theory
    bias = theory * finite
    axes = {"case": np.array([c.label for c in cases])}
    lost = np.array([int(seen[c].lost) for c in cases])
    few = min(c.replicas for c in cases)
    common = np.exp(np.mean(np.log(values / theory)))
    factor = Measurement(
        [common], common * np.linalg.norm(errors / values) / len(cases), few,
        {"spectra": np.array(["all"])}, lost.sum(),
    )  # fmt: skip
    one = Prediction(
        [1.0], np.hypot(np.linalg.norm(drawn) / len(cases), STEP_ERROR), finite.mean(),
        "mean of 1.25/N_eff", "diffusion, less 1.25/N_eff",
    )  # fmt: skip
    each = Measurement(values, errors, few, axes, lost)
    law = Prediction(theory, error, bias, "1.25/N_eff of the value", "diffusion, less 1.25/N_eff")
    return (
        compare(each, law, name="prefactors", quantity="n* / N_eff³"),
        compare(factor, one, name="common factor of all spectra", quantity="n* / predicted"),
    )


def _collapse(
    seen: dict[Case, _Seen], measured: dict[Case, Array], predicted: dict[Case, Array],
    flat: tuple[Array, Array],
) -> tuple[Comparison, Comparison]:  # fmt: skip
    """n* over that of isotropic inputs at N_eff (and, as a control, at N), in powers of two."""
    cases = [c for c in seen if c.gamma > 0]

    def over(size: Array) -> Measurement:
        isotropic = np.interp(np.log(size), np.log(flat[0]), np.log(flat[1]))
        logs = np.array([np.log(measured[c][0]) for c in cases]) - isotropic
        errors = np.array([np.hypot(_error(np.log(measured[c])), STEP_ERROR) for c in cases])
        axes = {"case": np.array([c.label for c in cases])}
        lost = np.array([int(seen[c].lost) for c in cases])
        few = min(c.replicas for c in cases)
        return Measurement(logs / np.log(2), errors / np.log(2), few, axes, lost)

    none = np.zeros(len(cases))
    same = Prediction(none, none, np.ones(len(cases)), "a factor of two", "isotropic inputs")
    quantity = "log2 of n* over isotropic n*"
    own = np.array([c.effective for c in cases])
    full = np.array([float(c.dimension) for c in cases])
    return (
        compare(over(own), same, name="collapse onto N_eff", quantity=quantity),
        compare(over(full), same, name="collapse onto N", quantity=quantity),
    )


def _exponents(
    seen: dict[Case, _Seen], measured: dict[Case, Array], predicted: dict[Case, Array]
) -> tuple[Comparison, Comparison]:
    gammas = np.array(sorted({c.gamma for c in seen}))
    values: list[float] = []
    errors: list[float] = []
    theory: list[float] = []
    numerical: list[float] = []
    bias: list[float] = []
    for gamma in gammas.tolist():
        own = sorted((c for c in seen if c.gamma == gamma and c.low), key=lambda c: c.dimension)
        x = np.log([c.dimension for c in own])
        weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
        for source, value, error in ((measured, values, errors), (predicted, theory, numerical)):
            logs = np.stack([np.log(source[c]) for c in own])
            if source is predicted:
                logs += np.log1p(-FINITE / 2 / np.array([c.effective for c in own]))[:, None]
            value.append(weights @ logs[:, 0])
            own_errors = np.array([_error(row) for row in logs])
            error.append(np.sqrt(np.sum((weights * own_errors) ** 2)))
        bias.append(abs(weights @ (FINITE / 2 / np.array([c.effective for c in own]))))
    few = min(c.replicas for c in seen)
    found = Measurement(np.array(values), np.array(errors), few, {"gamma": gammas})
    order = "of prefactors"
    right = Prediction(np.array(theory), np.array(numerical), np.array(bias), order, "diffusion")
    cubic = Prediction(np.full(gammas.size, 3.0), right.numerical_error, right.bias, order, "N³")
    quantity = "exponent of n* in N"
    return (
        compare(found, right, name="exponents", quantity=quantity),
        compare(found, cubic, name="N³ whatever the spectrum", quantity=quantity),
    )


def _blind(broken: _Seen, seen: dict[Case, _Seen], paths: int) -> tuple[Comparison, Comparison]:
    """The tie broken by jitter: diffusion alone, and nothing like the law of the whole tie."""
    whole = next(s for c, s in seen.items() if _like(c, BROKEN))
    at = slice(9, None, 5)

    values = broken.known[at]
    errors = binomial_error(values, BROKEN.replicas)
    axes = {"samples": broken.samples[at]}
    found = Measurement(values, errors, BROKEN.replicas, axes, int(broken.lost))
    own, law = (
        Prediction(p[at], binomial_error(p[at], paths), label=label)
        for p, label in ((broken.expected, "diffusion without drift"), (whole.expected, "whole"))
    )
    quantity = "share that seems to know the tie"
    return (
        compare(found, own, name="broken tie", quantity=quantity),
        compare(found, law, name="broken tie against the whole one", quantity=quantity),
    )


def _figure(
    seen: dict[Case, _Seen], measured: dict[Case, Array], predicted: dict[Case, Array],
    flat: tuple[Array, Array],
) -> Figure:  # fmt: skip
    figure, grid = new_figure(1, 2, width=9.0, height=4.8, sharey=True)
    with figure_style():
        left, right = grid[0]
        right.plot(*flat, color="#AAAAAA", linewidth=2.5, label="isotropic, N = N_eff")
        for low in (True, False):
            for i, gamma in enumerate(sorted({c.gamma for c in seen})):
                own = [c for c in seen if c.gamma == gamma and c.low == low]
                if not own:
                    continue
                style = series_style(i)
                own.sort(key=lambda c: c.dimension)
                values = np.array([measured[c][0] for c in own])
                errors = np.array([_error(np.log(measured[c])) for c in own])
                bars = values * np.stack([1 - np.exp(-errors), np.exp(errors) - 1])
                theory = [predicted[c][0] for c in own]
                place = "low" if low else "high"
                for axes, x in (
                    (left, [c.dimension for c in own]), (right, [c.effective for c in own]),
                ):  # fmt: skip
                    axes.errorbar(
                        x, values, bars, fmt=style.marker, color=style.colour,
                        markerfacecolor=style.colour if low else "white",
                        label=f"γ = {gamma:g}, {place} modes" if axes is left else None,
                    )  # fmt: skip
                    line = "-" if low else "none"
                    axes.plot(x, theory, line, color=style.colour, marker="_", markersize=11)
        left.set(xscale="log", yscale="log", xlabel="N", ylabel="samples n* (0.35 know the tie)")
        right.set(xscale="log", yscale="log", xlabel="N_eff = tr Σ / λ_S")
        for axes, marks in ((left, sorted({c.dimension for c in seen})), (right, [10, 20, 40, 80])):
            axes.set_xticks(marks, map(str, marks))
            axes.minorticks_off()
    legend_below(figure, columns=3)
    return figure
