"""`linear/remedies-below-dimension`: ridge, early stopping and hierarchical covariances."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import jackknife, stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims import cells
from linear_diffusion.claims.common import SOURCE, SPECTRA, laws, over_spectra
from linear_diffusion.data import LatentLaw
from linear_diffusion.measures import place_of_minimum
from linear_diffusion.simulation import SampleModes, draw_modes, kl_of_modes, losses_of_modes

Array = NDArray[np.float64]
ALPHA_BAR = 0.9
SAMPLES, D = 60, 120


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
    replicas, drawn = 32 if run.quick else 256, []
    for i, law in enumerate(run.track(list(laws(run).values()), "training sets")):
        key = jax.random.fold_in(run.key, i)
        drawn.append(draw_modes(law, [SAMPLES], replicas=replicas, key=key))
    ridge, ridge_optimum = RIDGE.tests(drawn)
    stopping, stopping_optimum = STOPPING.tests(drawn)
    hierarchy = _hierarchy(run)
    panels = {
        "ridge": Panel(
            RIDGE.figure(ridge[0], drawn, logy=True),
            "Forward KL against ridge with half as many samples as dimensions: infinite without "
            "ridge, least at an interior optimum.",
        ),
        "ridge-optimum": Panel(
            ridge_optimum[0].plot(logy=True),
            "The ridge of least KL, read off the simulated curves (jackknife error) and predicted.",
        ),
        "stopping": Panel(
            STOPPING.figure(stopping[0], drawn, logy=False),
            "Test loss along training without ridge: it overshoots once the null directions are "
            "fitted, most for flat spectra, and hardly at all for steep ones.",
        ),
        "stopping-optimum": Panel(
            stopping_optimum[0].plot(logy=False),
            "The time of least test loss, simulated and predicted.",
        ),
        "hierarchy": Panel(
            hierarchy[0].plot(x="exponent", series="N", logy=True, x_label="spectral exponent k"),
            "Test loss over that of the best linear denoiser, without any remedy, against the "
            "exponent of the spectrum: variance outside the span of few samples shrinks with k.",
        ),
    }
    tests = [ridge, ridge_optimum, stopping, stopping_optimum, hierarchy]
    return Evidence.of(tests, panels, NOTES)


NOTES = (
    "N = d/2 = 60, and alpha_bar = 0.9 for early stopping. The time tau is that of gradient flow, "
    "2 (learning rate) steps / d.",
    "Controls: the optimal ridge and stopping time of models with twice the data.",
)


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A number that keeps a model from overfitting, with the error that its best value makes least.

    Attributes:
        axis: coordinate of the number.
        label: axis label.
        values: at which the error is measured.
        error: name of the error against the number.
        error_label: its axis label.
        optimum: name of the best value.
        optimum_label: its axis label.
        simulate: modes and values to the error of each replica, shape (replicas, values).
        law: spectrum and values to the expected error.
        best: spectrum and N to the best value.
    """

    axis: str
    label: str
    values: Array
    error: str
    error_label: str
    optimum: str
    optimum_label: str
    simulate: Callable[[SampleModes, Array], Array]
    law: Callable[[Array, Array], ld.Prediction]
    best: Callable[[Array, int], ld.Prediction]

    def tests(self, drawn: list[SampleModes]) -> tuple[ld.Comparisons, ld.Comparisons]:
        """The error against the number, and where it is least, with twice the data as a control."""
        spectra = [modes.spectrum for modes in drawn]
        right, wrong = (
            stack(self.best(s, samples) for s in spectra) for samples in (SAMPLES, 2 * SAMPLES)
        )  # fmt: skip
        best, logs = right.values, np.linspace(-0.8, 0.8, 81)  # of the distance to the optimum
        near = [self.simulate(m, b * np.exp(logs)) for m, b in zip(drawn, best, strict=True)]
        errors = [self.simulate(modes, self.values) for modes in drawn]
        spectrum = {"spectrum": np.array(SPECTRA)}
        measured = ld.Measurement.from_replicas(
            np.stack(errors, axis=1), {**spectrum, self.axis: self.values}
        )
        law = over_spectra(lambda s: self.law(s, self.values), spectra, SAMPLES)
        places = jackknife(
            np.stack(near, axis=1), lambda mean: best * np.exp(place_of_minimum(mean, logs)),
            spectrum,
        )  # fmt: skip
        predicted, control = (
            each.with_bias(best / D, "$1/d$, relative").labelled(label)
            for each, label in ((right, "predicted"), (wrong, f"{self.optimum} for twice the data"))
        )
        return (
            ld.compare_with_controls(measured, law, name=self.error, quantity=self.error_label),
            ld.compare_with_controls(
                places, predicted, control, name=self.optimum, quantity=self.optimum_label
            ),
        )

    def figure(self, comparison: ld.Comparison, drawn: list[SampleModes], *, logy: bool) -> Figure:
        """The error against the number, with the theory at many values."""
        fine = np.geomspace(self.values[0], self.values[-1], 100)
        curves = np.stack([self.law(modes.spectrum, fine).values for modes in drawn])
        return comparison.plot(
            x=self.axis, series="spectrum", logx=True, logy=logy, x_label=self.label,
            fine=(fine, curves),
        )  # fmt: skip


RIDGE = Remedy(
    axis="ridge",
    label="ridge c",
    values=np.geomspace(3e-3, 10.0, 12),
    error="KL against ridge",
    error_label="forward KL (nats)",
    optimum="optimal ridge",
    optimum_label="optimal ridge",
    simulate=lambda modes, ridges: kl_of_modes(
        modes, modes.variance[:, :, None] + ridges[:, None], direction="forward"
    )[:, 0],
    law=lambda s, ridges: theory.kl(s, SAMPLES, ridges, direction="forward"),
    best=lambda s, samples: theory.optimal_ridge(s, samples, direction="forward").ridge,
)
STOPPING = Remedy(
    axis="tau",
    label=r"training time $\tau$",
    values=np.geomspace(0.05, 200.0, 14),
    error="test loss along training",
    error_label="test loss / d",
    optimum="optimal stopping",
    optimum_label=r"optimal stopping time $\tau$",
    simulate=lambda modes, times: losses_of_modes(modes, 0.0, ALPHA_BAR, times)[1][:, 0],
    law=lambda s, times: theory.training_losses(s, SAMPLES, 0.0, ALPHA_BAR, times).test,
    best=lambda s, samples: theory.optimal_stopping(s, samples, 0.0, ALPHA_BAR).time,
)


def _hierarchy(run: Run) -> ld.Comparisons:
    """Test loss without a remedy over that of the best linear denoiser."""
    exponents, sizes = np.array([0.0, 0.5, 1.0, 1.5, 2.0]), np.array([30, 60])
    spectra = {f"{k:g}": power_law(D, float(k)) for k in exponents}
    data = {name: LatentLaw(spectrum) for name, spectrum in spectra.items()}
    table = run.sweep(
        cells.losses,
        {"source": cells.sources(run, data, 50), "samples": sizes},
        fixed={"replicas": 24 if run.quick else 256, "ridge": 0.0, "levels": (ALPHA_BAR,)},
    )
    best = np.array([theory.bayes_loss(s, ALPHA_BAR).values for s in spectra.values()])[:, None]
    law = over_spectra(
        lambda s: theory.losses(s, sizes, 0.0, ALPHA_BAR).test, spectra.values(), sizes
    )
    return ld.compare_with_controls(
        cells.measurement(table["test"][:, :, 0], {"exponent": exponents, "N": sizes}, unit=best),
        law.scaled(1 / best), name="hierarchical covariances", quantity="test loss / optimum",
    )  # fmt: skip
