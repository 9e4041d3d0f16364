"""`fourier/input-model`: amplitudes and phases of the inputs are controlled separately."""

import itertools
from typing import Any

import jax
import numpy as np

import fourier_simplicity as fs
import learning_dynamics as ld
from fourier_simplicity.claims.correlations import every_site, jitter
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

SOURCE = "Ricci, Merger and Goldt, arXiv 2605.16913 (abstract); model and moments derived here"
RING, LAGS = 64, [0, 1, 2, 4, 8, 16]
SPECTRUM = fs.power_law_spectrum(RING, 1.0)
FIXED: dict[str, Any] = {"spectrum": SPECTRUM, "amplitudes": "deterministic"}
PULSE = fs.FourierInputs(RING, fs.Template(16), **FIXED)
MODELS = {  # with the wave vectors whose product the tie makes visible
    "triad, Rayleigh": (fs.FourierInputs(RING, fs.triad(1, 2), SPECTRUM), (1, 2, -3)),
    "quartet, Rayleigh": (fs.FourierInputs(RING, fs.quartet(1, 4, 2), SPECTRUM), (1, 4, -2, -3)),
    "harmonic, deterministic": (fs.FourierInputs(RING, fs.harmonic(1), **FIXED), (1, 1, 1, -3)),
    "template, deterministic": (PULSE, (1, 2, -3)),
}
SIDES = (32, 32)
ON_AXIS = np.where((fs.wave_vectors(SIDES) == 0).any(axis=1), 1.0, 0.02)
TEMPLATES = fs.Template(15, (1, 0)), fs.Template(15, (0, 1))
LINES = fs.FourierInputs(
    SIDES, TEMPLATES, ON_AXIS * fs.power_law_spectrum(SIDES, 0.5), amplitudes="deterministic"
)
CLASSES = {"structured": True, "noise": False}


@claim(
    "fourier/input-model",
    statement=(
        "Translation-invariant inputs whose amplitudes and phases are controlled separately: both "
        "classes have the same mean and covariance, and only tied phases tell them apart."
    ),
    source=SOURCE,
    seconds=11,
)
def input_model(run: Run) -> Evidence:
    """Covariance, moments on the ties, jitter, and correlations at every site, against theory."""
    samples = 8000 if run.quick else 200_000
    covariance, moments = _covariance(run, samples), _moments(run, samples)
    panels = {
        "examples-ring": Panel(
            fs.plot_inputs(PULSE, drawn=samples, key=jax.random.fold_in(run.key, 200)),
            "Inputs of both classes on a ring of 64 sites: equal spectrum (power 1/k) and equal "
            "amplitudes; the structured class ties the phases of modes 1 to 16 to one random "
            "place, where a pulse appears.",
        ),
        "examples-torus": Panel(
            fs.plot_inputs(LINES, count=4, key=jax.random.fold_in(run.key, 201)),
            "The same on a torus of 32 x 32 sites, with most power along the axes: these modes "
            "peak at a random place and draw lines; the noise class has the same amplitudes.",
        ),
        "covariance": Panel(
            covariance[0].plot(x="lag", series="input", x_label="lag (sites)"),
            "The covariance is the same in both classes and is that of the spectrum.",
        ),
    }
    moments_and_covariance = Evidence.of([covariance, moments], panels, NOTES)
    return moments_and_covariance + jitter(run, samples) + every_site(run, samples)


NOTES = (
    "Amplitudes are either deterministic or Rayleigh distributed; with the latter the noise class "
    "is exactly Gaussian. The zero and Nyquist frequencies are left empty.",
    "Controls: the covariance of a flat spectrum; a Gaussian theory (no higher moments) for the "
    "structured class; the theory without jitter; a relation that does not conserve wave vectors "
    "(modes 1, 2, 4 tied like a triad), whose correlations differ from site to site.",
)


def _draw(run: Run, inputs: fs.FourierInputs, samples: int, index: int, kind: str) -> jax.Array:
    key = jax.random.fold_in(run.key, 2 * index + CLASSES[kind])
    return fs.draw(inputs, samples, key=key, structured=CLASSES[kind])


def _covariance(run: Run, samples: int) -> ld.Comparisons:
    """Autocovariance of both classes of every model, and that of a flat spectrum."""
    cases = list(itertools.product(MODELS, CLASSES))
    draws = [
        fs.lagged_products(_draw(run, MODELS[name][0], samples, i, kind), LAGS)
        for i, (name, kind) in enumerate(run.track(cases, "covariances"))
    ]
    names = [f"{name.split(',')[0]}, {kind}" for name, kind in cases]
    values = np.stack([fs.autocovariance(MODELS[name][0])[LAGS] for name, _ in cases])
    flat = np.broadcast_to(fs.autocovariance(fs.FourierInputs(RING))[LAGS], values.shape)
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(np.stack(draws, axis=1), {"input": names, "lag": LAGS}),
        ld.Prediction(values, 2e-6),  # float32 draws of moments without scatter
        ld.Prediction(flat, 2e-6, label="covariance of a flat spectrum"),
        name="covariance", quantity="covariance C(lag)",
    )  # fmt: skip


def _moments(run: Run, samples: int) -> ld.Comparisons:
    """Products of the tied modes, over their amplitudes, and those of Gaussian inputs."""
    draws, values = [], np.zeros((len(MODELS), len(CLASSES)))
    for i, (inputs, tied) in enumerate(run.track(list(MODELS.values()), "moments on the ties")):
        scale = np.sqrt(np.prod([SPECTRUM[abs(k) - 1] for k in tied]))
        for j, (kind, structured) in enumerate(CLASSES.items()):
            draws.append(fs.mode_products(_draw(run, inputs, samples, 20 + i, kind), tied) / scale)
            values[i, j] = fs.mode_moment(inputs, tied, structured=structured).real / scale
    products = np.stack(draws, axis=1).reshape(samples, *values.shape)
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(products, {"input": list(MODELS), "kind": list(CLASSES)}),
        ld.Prediction(values, 1e-5),
        ld.Prediction(0 * values, 1e-5, label="a Gaussian theory without higher moments"),
        name="moments on ties", quantity="polyspectrum on the tie / amplitudes",
    )  # fmt: skip
