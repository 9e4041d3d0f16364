"""`linear/networks-follow`: networks trained on finite data, beside the linear theory."""

from collections.abc import Sequence
from itertools import product

import jax
import numpy as np

from learning_dynamics.evidence.comparison import (
    Comparisons,
    Measurement,
    Prediction,
    compare_each,
)
from learning_dynamics.evidence.statistics import jackknife, stack
from learning_dynamics.images import ImageSet
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion import theory
from linear_diffusion.claims.common import SOURCE, finite_size
from linear_diffusion.claims.finite_networks import (
    GAUSSIAN,
    SHOWN,
    Plan,
    Trained,
    expected_gains,
    gains_figure,
    losses_figure,
    optimal_gains,
    titles,
    train,
)
from linear_diffusion.data import DataLaw, LatentLaw
from linear_diffusion.patches import photograph_law

Array = np.ndarray
SIZE, POOL = 8, 20_000
DATA = (GAUSSIAN, "photographs")
LOSSES = ("training loss", "test loss")
ONSET = 0.5  # gap over the loss of the best linear denoiser that counts as open
LEAST = 0.25  # of the onset of the linear denoiser


@claim(
    "linear/networks-follow",
    statement=(
        "Non-linear denoisers trained on finite data behave like linear ones: the gap between test "
        "and training loss opens below about as many samples as dimensions, and their mean "
        "Jacobian follows the gains of the linear theory, from which it departs on images."
    ),
    source=SOURCE,
    seconds=25,
)
def networks_follow(run: Run) -> Evidence:
    """A linear and a convolutional denoiser, N = d/8 to 8 d, Gaussian data and photographs."""
    return follow(run)


def follow(run: Run, images: ImageSet | None = None) -> Evidence:
    """Run the claim on patches of given images, such as `load_cifar(folder)`.

    Args:
        run: size and key.
        images: by default the bundled photographs.
    """
    key = jax.random.fold_in(run.key, 0)
    pool = photograph_law(SIZE, POOL, key=key, equal_contrast=True, images=images)
    s = pool.spectrum
    plan = (
        Plan(s, np.array([1 / 8, 1 / 2, 2, 8]), (0.8,), 5, 500)
        if run.quick
        else Plan(s, 2.0 ** np.arange(-3, 4), (0.5, 0.8, 0.95), 20, 4000)
    )
    laws: dict[str, DataLaw] = {GAUSSIAN: LatentLaw(s, basis=pool.basis), DATA[1]: pool}
    trained = [
        train(run, plan, name, laws[name], level, jax.random.fold_in(run.key, 1 + i))
        for i, (level, name) in enumerate(product(plan.levels, DATA))
    ]
    gaussian = [each for each in trained if each.data == GAUSSIAN]
    losses, gains = linear_losses(plan, gaussian), linear_gains(plan, gaussian)
    onsets = gap_onsets(plan, trained)
    modes, below = gains_of_modes(plan, gaussian), beside_linear(plan, trained)
    compared = (losses, gains, onsets, modes, below)
    panels = {
        "losses": Panel(
            losses_figure(plan, trained),
            "Training loss (lower) and test loss (upper) of both denoisers against the number of "
            "samples; lines: linear theory for the same covariance, dotted: the best linear "
            "denoiser. The linear denoiser is claimed to lie on the lines on Gaussian data. The "
            "convolutional one is not: it overfits less below N = d, and on photographs it ends "
            "below the linear ones.",
        ),
        "gains": Panel(
            gains_figure(plan, trained),
            "Mean Jacobian of the convolutional denoiser along the eigenvectors of the covariance, "
            "over the gain of the best linear denoiser. Lines: expected gains of the linear "
            "denoiser for the same number of samples. With plenty of Gaussian data they agree; "
            "with few samples the network learns less of the spurious gains, in the leading "
            "directions above all; on photographs its gains are larger than on Gaussian data.",
        ),
        "onset": Panel(
            onsets[0].plot(logy=False),
            "Number of samples at which the gap between test and training loss of the "
            "convolutional denoiser is half the loss of the best linear denoiser, over that of the "
            "linear theory.",
        ),
    }
    return Evidence([c[0] for c in compared], [w for c in compared for w in c[1:]], panels, NOTES)


NOTES = (
    f"Patches of {SIZE} x {SIZE} pixels of equal contrast without their mean, d = 63. Gaussian "
    "data with their covariance are the case in which the linear theory is exact and the best "
    "denoiser is linear. Both denoisers see the same minibatches and noise (Adam).",
    "Claimed for the linear denoiser: losses and gains. Its scatter over data sets is reduced by "
    "the exact optimum on the same data sets, whose mean is taken over more of them. The excess "
    "that a finite number of updates leaves is allowed as 5 d / (updates x batch).",
    f"Claimed for the convolutional one: the gap opens at {LEAST:g} to 1 times the number of "
    "samples of the linear theory (weights are shared between places, so that fewer samples "
    "do); on Gaussian data at N = 8 d its mean Jacobian is diagonal with the linear gains up to "
    "sqrt((R - R*) / c_k) / 2, a quarter of an equal share of its excess loss R - R* in mode k, "
    "whose noisy variance is c_k: what the loss hardly sees, the leading directions, is learned "
    "least exactly. Elsewhere gains are shown and not claimed.",
    "No denoiser has a test loss below that of the best linear one on Gaussian data, whatever N. "
    "On images the best denoiser is not linear: at N = 8 d the convolutional denoiser must lie "
    "below the linear one that was trained on the same data sets.",
)


def _left_out(plan: Plan, prediction: Prediction, sizes: Array) -> Prediction:
    """Allow for the next order at finite size and for the end of training."""
    noise = plan.optimisation * np.abs(prediction.values)
    bias = finite_size(prediction, sizes, plan.spectrum.size).bias + noise
    return prediction.with_bias(bias, r"$10 / \min(N, d)^2 + 5 d / $(updates x batch)")


def linear_losses(plan: Plan, trained: Sequence[Trained]) -> Comparisons:
    """Losses of the linear denoiser against N on Gaussian data."""
    measured = Measurement.from_replicas(
        np.stack([t.linear_losses for t in trained], axis=1),
        {"data": titles(plan, trained), "loss": np.array(LOSSES), "N_over_d": plan.ratios},
        label="linear network",
    )

    def law(factor: int) -> Prediction:
        found = [
            theory.losses(plan.spectrum, factor * plan.sizes, 0.0, t.level)[:2] for t in trained
        ]
        return stack([stack([_left_out(plan, p, plan.sizes) for p in each]) for each in found])

    return compare_each(
        measured, law(1), law(4).labelled("four times the data"),
        name="losses of a linear network", quantity="loss / d",
    )  # fmt: skip


def linear_gains(plan: Plan, trained: Sequence[Trained]) -> Comparisons:
    """Gains of the linear denoiser along the modes on Gaussian data."""
    measured = Measurement.from_replicas(
        np.stack([t.linear_gains / optimal_gains(plan, t.level) for t in trained], axis=1),
        {"data": titles(plan, trained), "N_over_d": plan.ratios, "mode": SHOWN},
        label="linear network",
    )

    def law(factor: int) -> Prediction:
        found = [expected_gains(plan, t.level, factor) for t in trained]
        sizes = plan.sizes[:, None]
        return stack([_left_out(plan, p, sizes) for p in found])

    return compare_each(
        measured, law(1), law(4).labelled("four times the data"),
        name="gains of a linear network", quantity="gain / best linear gain",
    )  # fmt: skip


def _onset(plan: Plan, gaps: Array, level: float) -> Array:
    """Logarithm of N/d at which a gap, shape (..., sizes), is ONSET times the best linear loss."""
    line = np.log(ONSET * theory.bayes_loss(plan.spectrum, level).values)
    logs = np.log(np.maximum(gaps, 1e-9))
    rows = logs.reshape(-1, logs.shape[-1])
    found = [np.interp(-line, -row, np.log(plan.ratios)) for row in rows]
    return np.array(found).reshape(logs.shape[:-1])


def gap_onsets(plan: Plan, trained: Sequence[Trained]) -> Comparisons:
    """Onset of the gap of the convolutional denoiser over that of the linear theory, log 2."""
    levels = [t.level for t in trained]

    def of_theory(factor: float) -> Array:
        sizes = np.rint(factor * plan.sizes).astype(int)
        found = [theory.losses(plan.spectrum, sizes, 0.0, level) for level in levels]
        gaps = [each.test.values - each.train.values for each in found]
        return np.array([_onset(plan, *each) for each in zip(gaps, levels, strict=True)])

    linear = of_theory(1)
    curves = np.stack([t.losses[:, 1] - t.losses[:, 0] for t in trained], axis=1)
    measured = jackknife(
        curves,
        lambda mean: (
            np.array([_onset(plan, *each) for each in zip(mean, levels, strict=True)]) - linear
        ),
        {"data": titles(plan, trained)},
    )

    def claimed(factor: float) -> Prediction:
        moved = of_theory(factor) - linear
        return Prediction.between(moved + np.log(LEAST), moved, label=f"{LEAST:g} to 1 of theory")

    return compare_each(
        measured, claimed(1), claimed(4).labelled("four times the data"),
        claimed(1 / 3).labelled("a third of the data"),
        name="onset of the gap", quantity="log of the onset in N over that of the theory",
    )  # fmt: skip


def gains_of_modes(plan: Plan, trained: Sequence[Trained]) -> Comparisons:
    """Mean Jacobian of the convolutional denoiser at the largest N on Gaussian data."""
    measured = Measurement.from_replicas(
        np.stack([t.gains[:, -1] / optimal_gains(plan, t.level) for t in trained], axis=1),
        {"data": titles(plan, trained), "mode": SHOWN},
        label="convolutional network",
    )
    allowed = []
    for t in trained:
        excess = t.losses[:, 1, -1].mean() - theory.bayes_loss(plan.spectrum, t.level).values
        gains = optimal_gains(plan, t.level)
        # the variance of y along a mode is 1 / gain
        allowed.append(np.sqrt(max(float(excess), 0.0) / gains) / 2)
    one = np.ones(measured.values.shape)
    right = Prediction(one, label="best linear denoiser")
    others = [optimal_gains(plan, 0.5 * t.level) / optimal_gains(plan, t.level) for t in trained]
    white = [
        (1 - t.level) / optimal_gains(plan, t.level) for t in trained
    ]  # variance one in every direction
    order = r"$\sqrt{(R - R^*) / c_k} / 2$"
    predictions = [
        right,
        Prediction(np.stack(others), label="half the signal"),
        Prediction(np.stack(white), label="white covariance"),
    ]
    return compare_each(
        measured, *[p.with_bias(np.stack(allowed), order) for p in predictions],
        name="gains of a convolutional network", quantity="gain / best linear gain",
    )  # fmt: skip


def beside_linear(plan: Plan, trained: Sequence[Trained]) -> Comparisons:
    """Test loss of the convolutional denoiser at the largest N, beside a linear one.

    On Gaussian data the best linear denoiser, on images the one trained on the same data set.
    """
    references = [
        theory.bayes_loss(plan.spectrum, t.level).values
        if t.data == GAUSSIAN
        else t.linear_losses[:, 1, -1]
        for t in trained
    ]
    ratios = [t.losses[:, 1, -1] / r for t, r in zip(trained, references, strict=True)]
    measured = Measurement.from_replicas(
        np.stack(ratios, axis=1), {"data": titles(plan, trained)}, label="convolutional network"
    )
    gaussian = np.array([t.data == GAUSSIAN for t in trained])

    def above(which: Array, label: str) -> Prediction:
        return Prediction.between(np.where(which, 1.0, 0.5), np.where(which, 1.5, 1.0), label=label)

    return compare_each(
        measured,
        above(gaussian, "below on images alone"),
        above(np.ones_like(gaussian), "never below"),
        above(~gaussian, "below on Gaussian data alone"),
        name="convolutional network beside linear ones",
        quantity="test loss / test loss of a linear denoiser",
    )
