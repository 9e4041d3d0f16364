"""`linear/finite-samples`: predictions for a linear diffusion model trained on the given data."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.inspection.samples import Samples
from learning_dynamics.inspection.sections import Findings, Number, inspection
from learning_dynamics.inspection.shared.gaussianity import contrast_spread, whitened
from learning_dynamics.markup import with_error
from learning_dynamics.report.claims import Panel
from learning_dynamics.tracking import track
from linear_diffusion import theory
from linear_diffusion.claims.common import SOURCE
from linear_diffusion.data import EmpiricalLaw
from linear_diffusion.data_sets import finite_size
from linear_diffusion.doubled_loss import measure_doubling, predict_doubling
from linear_diffusion.remedies import Remedy, early_stopping, ridge_regularisation
from linear_diffusion.simulation import (
    SampleModes,
    draw_modes,
    kl_of_modes,
    losses_of_modes,
    root_overlap,
)

__all__ = ["finite_samples"]

Array = NDArray[np.float64]
Law = Callable[[NDArray[np.int64]], Prediction]
LEVEL = 0.9  # alpha_bar
DIRECTIONS, REPLICAS = 96, 16
RATIOS = np.array([0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0])  # N / d of the subsamples
SHARE = 8  # a subsample is at most an eighth of the rows
FEWEST, POOL = 4, 16  # rows of a subsample; rows for each direction
UNIVERSAL = 0.1  # spread of the contrast up to which the theory of Gaussian data claims to hold
AROUND = 2 ** np.arange(-3.0, 2.5, 0.5)  # of the predicted N, where the test loss is measured
FAR = 10**9  # samples, in place of infinity
KINDS = ("forward", "reverse")
LABEL = "subsamples of the data"


@inspection(
    "linear/finite-samples",
    title="Linear diffusion models: losses, divergence, best ridge and best stopping time",
    source=SOURCE,
)
def finite_samples(samples: Samples, key: jax.Array) -> Findings:
    """Predictions for all rows, and markers from subsamples in the leading directions."""
    spectrum, rows = samples.spectrum.spectrum, len(samples.rows)
    subsample = _subsample(samples, key)
    claimed = subsample is not None and subsample.claimed
    numbers, notes = _at_hand(spectrum, rows, claimed)
    doubled, answer = _doubled(samples, jax.random.fold_in(key, 2), claimed)
    numbers += doubled
    notes.append(
        "N is the number of samples, d that of directions. At noise level alpha_bar an input is "
        "√alpha_bar × row + √(1 − alpha_bar) × white noise. The loss is the squared error of the "
        "predicted noise per direction, 1 for a prediction of zero. Forward divergence: "
        "KL(data ‖ generated); reverse: KL(generated ‖ data)."
    )
    if subsample is None:
        notes.append(
            f"{rows} rows are too few to draw subsamples from: no markers, and nothing shows that "
            "the data are of the kind for which the theory is claimed."
        )
        return Findings(numbers, notes=notes, answer=answer)
    compared, panels = [], {}
    curves = [_losses, _divergences, _similarity, _ridge, _stopping]
    for measure in track(curves, "linear models on subsamples"):
        for name, (comparison, panel) in measure(subsample).items():
            compared.append(comparison)
            panels[name] = panel
    d, drawn = subsample.spectrum.size, subsample.sizes
    share = spectrum[:d].sum() / spectrum.sum()
    notes.append(
        f"The figures show at most {DIRECTIONS} directions, and no more than the rows over {POOL}: "
        f"subsamples of up to {RATIOS[-1]:g} d rows must be small beside the data. These {d} have "
        f"{100 * share:.3g} % of the variance and are scaled to variance one on average. Markers "
        f"are {REPLICAS} subsamples of each size up to {drawn[-1]} rows, drawn with replacement. "
        "The covariance of all rows counts as that of "
        f"the population. Noise level alpha_bar = {LEVEL}. The allowed bias holds the theory's "
        "next order at finite size, rows that are drawn twice, and where the theory claims to hold "
        "the spread of the contrast."
    )
    if not subsample.claimed:
        reason = (
            "the theory is that of data whose whitened rows have nearly equal norms, such as "
            "Gaussian data or independent coordinates of any law. These rows are not shown to be "
            f"of this kind: the spread of the contrast, E|y|⁴ / (d (d + 2)) − 1, may in the {d} "
            f"leading directions be as large as {subsample.contrast:.2g}, its size plus its "
            f"standard error. The theory is claimed up to {UNIVERSAL:g}."
        )
        unclaimed = [(each, reason) for each in compared]
        return Findings(numbers, (), unclaimed, panels, (), notes, answer)
    return Findings(numbers, compared, (), panels, (), notes, answer)


def _at_hand(spectrum: Array, rows: int, claimed: bool) -> tuple[list[Number], list[str]]:
    """Predictions at the number of rows that there are, all directions."""
    unclaimed = not claimed
    d = spectrum.size
    losses = theory.losses(spectrum, rows, 0.0, LEVEL)
    best = theory.optimal_ridge(spectrum, rows, direction="forward")
    reverse = theory.kl(spectrum, rows, best.ridge.values, direction="reverse")
    stopping = theory.optimal_stopping(spectrum, rows, 0.0, LEVEL)
    at = f"per direction, mean of all {d} directions, N = {rows} samples, alpha_bar = {LEVEL}"
    nats = f"nats in all {d} directions"
    numbers = [
        _number("predicted training loss", losses.train, at, unclaimed),
        _number("predicted test loss", losses.test, at, unclaimed),
        _number("loss of the best linear denoiser", losses.bayes, "the same at N = ∞"),
        _number(
            "best ridge",
            best.ridge,
            f"of least forward divergence, N = {rows}, all {d} directions; added to eigenvalues",
            unclaimed,
        ),
        _number("forward divergence at the best ridge", best.kl, nats, unclaimed),
        _number("reverse divergence there", reverse, nats, unclaimed),
    ]
    notes = []
    if np.isfinite(stopping.time.values):
        numbers.append(
            _number(
                "best stopping time",
                stopping.time,
                f"τ of gradient flow, without ridge, all {d} directions",
                unclaimed,
            )
        )
    else:
        notes.append(f"Stopping early does not help at N = {rows} and alpha_bar = {LEVEL}.")
    numbers.append(
        Number("transition from memorising to generalising", d, None,
               f"N = d, the number of all directions that vary; N = {rows} is {rows / d:.3g} times "
               "that")
    )  # fmt: skip
    return numbers, notes


def _number(name: str, predicted: Prediction, meaning: str, unclaimed: bool = False) -> Number:
    value, error = float(predicted.values), float(predicted.numerical_error)
    known = error if error > 1e-4 * abs(value) else None
    return Number(name, value, known, meaning, "numerical error", unclaimed=unclaimed)


DOUBLED = "N at which the test loss is twice the best"


def _doubled(samples: Samples, key: jax.Array, claimed: bool) -> tuple[list[Number], str]:
    """N at which the test loss is twice the best in all directions, predicted and measured."""
    spectrum, rows = samples.spectrum.spectrum, len(samples.rows)
    model = "a linear diffusion model"
    predicted = predict_doubling(spectrum, LEVEL)
    if predicted is None:
        return [], f"The theory gives {model} less than twice the best test loss from two rows on."
    at = f"no ridge, alpha_bar = {LEVEL}, in all {spectrum.size} directions"
    text = f"{at}, from their spectrum; the last N where it is at least that"
    numbers = [Number(f"{DOUBLED}, predicted", predicted, None, text, unclaimed=not claimed)]
    theory_says = f"the theory says {predicted}"
    if not claimed:
        theory_says += ", which is not claimed for such data"
    sizes = np.unique(np.minimum(np.rint(predicted * AROUND), rows // SHARE).astype(np.int64))
    sizes = sizes[sizes >= FEWEST]
    if not sizes.size:
        return numbers, (
            f"{rows} rows are too few to measure at which N {model} has twice the best test loss; "
            f"{theory_says}."
        )
    coordinates = samples.coordinates
    found = measure_doubling(coordinates, spectrum, sizes, LEVEL, replicas=REPLICAS, key=key)
    if found.reached == "above":
        return numbers, (
            f"On your data {model} has more than twice the best test loss up to N = {sizes[-1]} "
            f"rows, the largest subsamples; {theory_says}."
        )
    if found.reached == "below":
        return numbers, (
            f"On your data {model} has less than twice the best test loss at N = {sizes[0]} "
            f"rows already, measured on subsamples; {theory_says}."
        )
    twice = found.samples**2 / rows
    numbers.append(
        Number(f"{DOUBLED}, measured", found.samples, found.error,
               f"{at}, read off {REPLICAS} subsamples of each size; rows drawn "
               f"twice act as about {twice:.2g} fewer samples",
               "standard error over subsamples")
    )  # fmt: skip
    return numbers, (
        f"On your data {model} has twice the best test loss at N = "
        f"{with_error(found.samples, found.error)} rows, measured on subsamples; {theory_says}. "
        f"You have {rows} rows."
    )


class _Subsample(NamedTuple):
    """Subsamples of the data in their leading directions, and what the theory allows for."""

    spectrum: Array
    rows: int  # of the pool
    sizes: NDArray[np.int64]
    fine: NDArray[np.int64]  # sizes of the lines
    modes: SampleModes
    others: SampleModes
    contrast: float  # its spread and the error of that, without sign
    directions: int  # of the data; the leading ones of them are here

    @property
    def where(self) -> str:
        """Sentence on the directions of the figures, for those who compare them with the table."""
        d = self.spectrum.size
        if d == self.directions:
            return f"All {d} directions, as in the table."
        return f"The {d} leading of {self.directions} directions; the table is for all of them."

    @property
    def claimed(self) -> bool:
        return self.contrast <= UNIVERSAL

    @property
    def allowance(self) -> float:
        """Relative bias from the contrast; none where nothing is claimed, to show how far off."""
        return 2 * self.contrast if self.claimed else 0.0

    def predicted(self, law: Law) -> Prediction:
        """The law at the sizes of the subsamples, with what it leaves out.

        Its own next correction; rows drawn twice, which act as N^2 / pool fewer samples; and twice
        the spread of the contrast, relative to what is left at N = infinity, where that is claimed.
        """
        at = law(self.sizes)
        fewer = np.abs(law(self.sizes + 1).values - law(self.sizes - 1).values) / 2
        repeated = self.repeats(fewer, self.sizes)
        infinite = law(np.full_like(self.sizes, FAR))
        contrast = self.allowance * np.abs(at.values - infinite.values)
        next_order = finite_size(at, self.sizes, self.spectrum.size).bias
        return at.with_bias(next_order + repeated + contrast, "finite size, repeats")

    def repeats(self, slope: Array, sizes: NDArray[np.int64]) -> Array:
        """Bias from rows drawn twice, N^2 / pool fewer samples, of a law with a slope in N."""
        return slope * sizes**2 / self.rows


def _subsample(samples: Samples, key: jax.Array) -> _Subsample | None:
    rows, r = samples.coordinates.shape
    d = min(r, DIRECTIONS, max(rows // POOL, FEWEST))
    sizes = np.unique(np.rint(RATIOS * d).astype(np.int64))
    sizes = sizes[(sizes >= FEWEST) & (sizes <= rows // SHARE)]
    if not sizes.size:
        return None
    leading = samples.coordinates[:, :d] / np.sqrt(samples.spectrum.spectrum[:d].mean())
    law = EmpiricalLaw.of(leading)
    modes, others = (
        draw_modes(law, sizes, replicas=REPLICAS, key=jax.random.fold_in(key, half))
        for half in track(range(2), "subsamples")
    )
    contrast, error = contrast_spread(whitened(samples, d), samples.blocks)
    fine = np.unique(np.rint(np.geomspace(FEWEST, max(rows, sizes[-1]), 60)).astype(np.int64))
    return _Subsample(law.spectrum, rows, sizes, fine, modes, others, abs(contrast) + error, r)


Compared = dict[str, tuple[Comparison, Panel]]


def _losses(of: _Subsample) -> Compared:
    """Training and test loss against the number of samples, no ridge."""
    train, test = losses_of_modes(of.modes, 0.0, LEVEL)
    measured = Measurement.from_replicas(
        np.stack([train, test], axis=1),
        {"loss": np.array(["training loss", "test loss"]), "N": of.sizes},
        label=LABEL,
    )

    def law(which: int) -> Law:
        return lambda N: theory.losses(of.spectrum, N, 0.0, LEVEL)[which]

    comparison = compare(
        measured, stack([of.predicted(law(i)) for i in (0, 1)]),
        name="training and test loss", quantity="loss per direction",
    )  # fmt: skip
    lines = (of.fine, np.stack([law(i)(of.fine).values for i in (0, 1)]))
    caption = (
        "Training and test loss of linear denoisers against the number of samples, on subsamples "
        f"of the data. The lines end at the {of.rows} rows at hand. {of.where}"
    )
    figure = comparison.plot(
        x="N", series="loss", logx=True, x_label="number of samples N", fine=lines
    )
    return {"losses": (comparison, Panel(figure, caption))}


def _divergences(of: _Subsample) -> Compared:
    """Divergence both ways at one ridge, the best one at N = d."""
    d = of.spectrum.size
    ridge = float(theory.optimal_ridge(of.spectrum, max(d, 2), direction="forward").ridge.values)
    draws = [kl_of_modes(of.modes, of.modes.variance + ridge, direction=kind) for kind in KINDS]
    measured = Measurement.from_replicas(
        np.stack(draws, axis=1), {"direction": np.array(KINDS), "N": of.sizes}, label=LABEL
    )

    def law(kind: theory.Direction) -> Law:
        return lambda N: theory.kl(of.spectrum, N, ridge, direction=kind)

    laws = [law("forward"), law("reverse")]
    comparison = compare(
        measured, stack([of.predicted(each) for each in laws]),
        name="forward and reverse divergence", quantity="divergence (nats)",
    )  # fmt: skip
    lines = (of.fine, np.stack([each(of.fine).values for each in laws]))
    caption = (
        "Divergence between the data and what a linear diffusion model generates, at the ridge "
        f"{ridge:.3g} that is best at N = d = {d}. {of.where}"
    )
    figure = comparison.plot(
        x="N", series="direction", logx=True, x_label="number of samples N", fine=lines
    )
    return {"divergence": (comparison, Panel(figure, caption))}


def _similarity(of: _Subsample) -> Compared:
    """Whether two models generate the same from the same noise: the transition."""
    ridge = 1e-3
    measured = Measurement.from_replicas(
        root_overlap(of.modes, of.others, ridge=ridge), {"N": of.sizes}, label=LABEL
    )

    def law(N: NDArray[np.int64]) -> Prediction:
        return theory.similarity(of.spectrum, N, ridge)

    comparison = compare(
        measured, of.predicted(law), name="similarity of two models",
        quantity="cosine of two models' samples",
    )  # fmt: skip
    lines = (of.fine, law(of.fine).values)
    caption = (
        "Cosine between what two models, trained on different subsamples, make of the same noise: "
        f"from memorising to generalising around N = d = {of.spectrum.size}. {of.where}"
    )
    figure = comparison.plot(
        x="N", logx=True, logy=False, x_label="number of samples N", fine=lines
    )
    return {"similarity": (comparison, Panel(figure, caption))}


def _ridge(of: _Subsample) -> Compared:
    """Ridge of least forward divergence against the number of samples."""
    caption = (
        "Ridge of least forward divergence, read off the curves of subsamples (jackknife error). "
        f"The line ends at the {of.rows} rows at hand. {of.where}"
    )
    return _optimum(of, ridge_regularisation("forward"), "best ridge", "best ridge", caption)


def _stopping(of: _Subsample) -> Compared:
    """Training time of least test loss against the number of samples; empty if none helps."""
    caption = (
        "Training time of least test loss without ridge, read off the curves of subsamples "
        "(jackknife error). Where the line ends, stopping early no longer helps. "
        f"{of.where}"
    )
    quantity = r"best stopping time $\tau$"
    return _optimum(of, early_stopping(LEVEL), "best stopping time", quantity, caption)


def _optimum(of: _Subsample, remedy: Remedy, name: str, quantity: str, caption: str) -> Compared:
    """Place of the minimum of measured curves beside the law, where that is finite."""

    def law(N: NDArray[np.int64]) -> Prediction:
        return remedy.best(of.spectrum, N)

    predicted = law(of.sizes)
    cases = np.flatnonzero(np.isfinite(predicted.values))
    if not cases.size:
        return {}
    sizes, predicted = of.sizes[cases], predicted[cases]
    centre, drawn = predicted.values, [of.modes.at(int(case)) for case in cases]
    measured = remedy.optimum(drawn, centre, {"N": sizes}).labelled(LABEL)
    fine = np.union1d(of.fine[::4], sizes)
    values = law(fine).values
    kept = np.isfinite(values)
    fine, values = fine[kept], values[kept]
    slope = np.abs(np.gradient(values, fine)) if fine.size > 2 else np.zeros(fine.size)
    repeated = of.repeats(np.interp(sizes, fine, slope), sizes)
    allowed = centre * (1 / of.spectrum.size + of.allowance) + repeated
    predicted = predicted.with_bias(allowed, "finite size, repeats")
    comparison = compare(measured, predicted.labelled("predicted"), name=name, quantity=quantity)
    figure = comparison.plot(
        x="N", logx=True, logy=True, x_label="number of samples N", fine=(fine, values)
    )
    stem = name.replace(" ", "-")
    return {stem: (comparison, Panel(figure, caption))}
