"""`linear/remedies-below-dimension`: ridge, early stopping and hierarchical covariances."""

import jax
import numpy as np

from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.statistics import jackknife, stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims.cells import losses, replicas_first, sources
from linear_diffusion.claims.common import (
    SOURCE,
    SPECTRA,
    Dense,
    finite_size,
    laws,
)
from linear_diffusion.data import LatentLaw
from linear_diffusion.measures import place_of_minimum
from linear_diffusion.simulation import SampleModes, draw_modes, kl_of_modes, losses_of_modes

ALPHA_BAR = 0.9
NEAR = np.linspace(-0.8, 0.8, 81)  # logarithm of the distance to the predicted optimum
RIDGES, TIMES = (3e-3, 10.0, 12), (0.05, 200.0, 14)  # least, largest, number
Array = np.ndarray


@claim(
    "linear/remedies-below-dimension",
    statement=(
        "With fewer samples than dimensions the test loss exceeds the training loss by far; ridge "
        "regularisation, early stopping and a hierarchical covariance prevent this overfitting."
    ),
    source=SOURCE,
    seconds=8,
)
def remedies(run: Run) -> Evidence:
    """KL against ridge, test loss against training time, and both optima, at N = d/2."""
    drawn = {
        name: draw_modes(
            law, [60], replicas=32 if run.quick else 256, key=jax.random.fold_in(run.key, i)
        )
        for i, (name, law) in enumerate(run.track(list(laws(run).items()), "training sets"))
    }
    ridge, ridge_optimum, ridge_control = _ridge(run, drawn)
    stopping, stopping_optimum, stopping_control = _stopping(drawn)
    ridge_curves, stopping_curves = _dense(drawn)
    hierarchy = _hierarchy(run)
    panels = {
        "ridge": Panel(
            ridge.plot(
                x="ridge",
                series="spectrum",
                logx=True,
                logy=True,
                x_label="ridge c",
                fine=ridge_curves,
            ),
            "Forward KL against ridge with half as many samples as dimensions: infinite without "
            "ridge, least at an interior optimum.",
        ),
        "ridge-optimum": Panel(
            ridge_optimum.plot(logy=True),
            "The ridge of least KL, read off the simulated curves (jackknife error) and predicted.",
        ),
        "stopping": Panel(
            stopping.plot(
                x="tau",
                series="spectrum",
                logx=True,
                logy=False,
                x_label=r"training time $\tau$",
                fine=stopping_curves,
            ),
            "Test loss along training without ridge: it overshoots once the null directions are "
            "fitted, most for flat spectra, and hardly at all for steep ones.",
        ),
        "stopping-optimum": Panel(
            stopping_optimum.plot(logy=False),
            "The time of least test loss, simulated and predicted.",
        ),
        "hierarchy": Panel(
            hierarchy.plot(x="exponent", series="N", logy=True, x_label="spectral exponent k"),
            "Test loss over that of the best linear denoiser, without any remedy, against the "
            "exponent of the spectrum: variance outside the span of few samples shrinks with k.",
        ),
    }
    return Evidence(
        [ridge, ridge_optimum, stopping, stopping_optimum, hierarchy],
        [ridge_control, stopping_control],
        panels,
        NOTES,
    )


NOTES = (
    "N = d/2 = 60, and alpha_bar = 0.9 for early stopping. The time tau is that of gradient flow, "
    "2 (learning rate) steps / d.",
    "Controls: the optimal ridge and stopping time of models with twice the data.",
)


def _dense(drawn: dict[str, SampleModes]) -> tuple[Dense, Dense]:
    """Theory curves against ridge and training time."""
    ridges, times = np.geomspace(*RIDGES[:2], 100), np.geomspace(*TIMES[:2], 100)
    spectra = [modes.spectrum for modes in drawn.values()]
    kl = [theory.kl(s, 60, ridges, direction="forward").values for s in spectra]
    losses = [theory.training_losses(s, 60, 0.0, ALPHA_BAR, times).test.values for s in spectra]
    return (ridges, np.stack(kl)), (times, np.stack(losses))


def _optima(
    curves: list[Array],
    optimal: list[Prediction],
    doubled: list[Prediction],
    name: str,
    quantity: str,
) -> tuple[Comparison, Comparison]:
    """Minimum of simulated curves around the predicted optima, beside right and wrong theory."""
    centre = np.array([float(o.values) for o in optimal])
    place = jackknife(
        np.stack(curves, axis=1),
        lambda curve: centre * np.exp(place_of_minimum(curve, NEAR)),
        {"spectrum": np.array(SPECTRA)},
    )
    predicted_place, control = (
        stack(predicted).with_bias(centre / 120, "$1/d$, relative").labelled(label)
        for predicted, label in ((optimal, "predicted"), (doubled, "twice the data"))
    )
    return (
        compare(place, predicted_place, name=name, quantity=quantity),
        compare(place, control, name=f"{name} for twice the data", quantity=quantity),
    )


def _ridge(run: Run, drawn: dict[str, SampleModes]) -> tuple[Comparison, Comparison, Comparison]:
    ridges = np.geomspace(*RIDGES)
    curves, expected, fine_curves, optimal, doubled = [], [], [], [], []
    for modes in run.track(list(drawn.values()), "ridges"):
        s = modes.spectrum
        best = theory.optimal_ridge(s, 60, direction="forward").ridge
        variance = modes.variance[:, 0, None]
        curves.append(_kl(modes, variance + ridges[:, None]))
        expected.append(finite_size(theory.kl(s, 60, ridges, direction="forward"), 60, s.size))
        fine_curves.append(_kl(modes, variance + best.values * np.exp(NEAR)[:, None]))
        optimal.append(best)
        doubled.append(theory.optimal_ridge(s, 120, direction="forward").ridge)
    measured = Measurement.from_replicas(
        np.stack(curves, axis=1), {"spectrum": np.array(SPECTRA), "ridge": ridges}
    )
    return (
        compare(measured, stack(expected), name="KL against ridge", quantity="forward KL (nats)"),
        *_optima(fine_curves, optimal, doubled, "optimal ridge", "optimal ridge"),
    )


def _kl(modes: SampleModes, variance: Array) -> Array:
    """Forward KL for ridges at the single sample size, shape (replicas, ridges)."""
    return kl_of_modes(modes, variance[:, None], direction="forward")[:, 0]


def _stopping(drawn: dict[str, SampleModes]) -> tuple[Comparison, Comparison, Comparison]:
    times = np.geomspace(*TIMES)
    curves, expected, fine_curves, optimal, doubled = [], [], [], [], []
    for modes in drawn.values():
        s = modes.spectrum
        best = theory.optimal_stopping(s, 60, 0.0, ALPHA_BAR).time
        curves.append(losses_of_modes(modes, 0.0, ALPHA_BAR, times)[1][:, 0])
        predicted = theory.training_losses(s, 60, 0.0, ALPHA_BAR, times).test
        expected.append(finite_size(predicted, 60, s.size))
        near = best.values * np.exp(NEAR)
        fine_curves.append(losses_of_modes(modes, 0.0, ALPHA_BAR, near)[1][:, 0])
        optimal.append(best)
        doubled.append(theory.optimal_stopping(s, 120, 0.0, ALPHA_BAR).time)
    measured = Measurement.from_replicas(
        np.stack(curves, axis=1), {"spectrum": np.array(SPECTRA), "tau": times}
    )
    quantity = r"optimal stopping time $\tau$"
    return (
        compare(
            measured, stack(expected), name="test loss along training", quantity="test loss / d"
        ),
        *_optima(fine_curves, optimal, doubled, "optimal stopping", quantity),
    )


def _hierarchy(run: Run) -> Comparison:
    exponents, sizes = np.array([0.0, 0.5, 1.0, 1.5, 2.0]), np.array([30, 60])
    spectra = {f"{k:g}": LatentLaw(power_law(120, float(k))) for k in exponents}
    cells = run.sweep(
        losses,
        {"source": sources(run, spectra, 50), "samples": sizes},
        fixed={"replicas": 24 if run.quick else 256, "ridge": 0.0, "levels": (ALPHA_BAR,)},
    )
    bayes = [float(theory.bayes_loss(law.spectrum, ALPHA_BAR).values) for law in spectra.values()]
    expected = [
        finite_size(theory.losses(law.spectrum, sizes, 0.0, ALPHA_BAR).test, sizes, 120).scaled(
            1 / b
        )
        for law, b in zip(spectra.values(), bayes, strict=True)
    ]
    measured = Measurement.from_replicas(
        replicas_first(cells["test"][:, :, 0]) / np.array(bayes)[:, None],
        {"exponent": exponents, "N": sizes},
    )
    return compare(
        measured, stack(expected), name="hierarchical covariances", quantity="test loss / optimum"
    )
