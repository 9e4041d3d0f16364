"""`fourier/input-model`: amplitudes and phases of the inputs are controlled separately."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fourier_simplicity.inputs import FourierInputs, draw
from fourier_simplicity.modes import power_law_spectrum, to_sites, wave_vectors
from fourier_simplicity.moments import autocovariance, mode_moment
from fourier_simplicity.ties import Template, harmonic, quartet, triad
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.figures import figure_style, new_figure
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

Array = NDArray[np.float64]
SOURCE = "Ricci, Merger and Goldt, arXiv 2605.16913 (abstract); model and moments derived here"
RING, LAGS = 64, np.array([0, 1, 2, 4, 8, 16])
SMALL = 12  # sites of the ring on which every site is looked at
SPECTRUM, FLAT = (power_law_spectrum(RING, gamma) for gamma in (1.0, 0.0))
MODELS = {
    "triad, Rayleigh": FourierInputs(RING, triad(1, 2), SPECTRUM),
    "quartet, Rayleigh": FourierInputs(RING, quartet(1, 4, 2), SPECTRUM),
    "harmonic, deterministic": FourierInputs(
        RING, harmonic(1), SPECTRUM, amplitudes="deterministic"
    ),
    "template, deterministic": FourierInputs(
        RING, Template(16), SPECTRUM, amplitudes="deterministic"
    ),
}
TIED = {  # wave vectors whose product the tie makes visible
    "triad, Rayleigh": (1, 2, -3),
    "quartet, Rayleigh": (1, 4, -2, -3),
    "harmonic, deterministic": (1, 1, 1, -3),
    "template, deterministic": (1, 2, -3),
}
CLASSES = ("structured", "noise")
JITTER = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, np.pi])
FINE = np.linspace(0, np.pi, 100)


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
    covariance, wrong_covariance = _covariance(run, samples)
    ties, gaussian = _on_the_ties(run, samples)
    jitter, unbroken = _jitter(run, samples)
    sites, broken = _every_site(run, samples)
    panels = {
        "examples-ring": Panel(
            _ring_examples(run, samples),
            "Inputs of both classes on a ring of 64 sites: equal spectrum (power 1/k) and equal "
            "amplitudes; the structured class ties the phases of modes 1 to 16 to one random "
            "place, where a pulse appears.",
        ),
        "examples-torus": Panel(
            _torus_examples(run),
            "The same on a torus of 32 x 32 sites, with most power along the axes: these modes "
            "peak at a random place and draw lines; the noise class has the same amplitudes.",
        ),
        "covariance": Panel(
            covariance.plot(x="lag", series="input", x_label="lag (sites)"),
            "The covariance is the same in both classes and is that of the spectrum.",
        ),
        "jitter": Panel(
            jitter.plot(
                x="jitter",
                x_label="half width of the jitter (radians)",
                logy=False,
                fine=(FINE, jitter.predicted.values[0] * np.sinc(FINE / np.pi)),
            ),
            "Jitter of the tied phase scales the bispectrum by sin(a)/a; at a = π the tie is gone.",
        ),
        "every-site": Panel(
            sites.plot(x="site", series="correlation", x_label="site t"),
            "Correlations of order three and four between neighbouring sites are the same at every "
            "site t: translation invariance, with the value that the tie predicts.",
        ),
    }
    controls = [wrong_covariance, gaussian, unbroken, broken]
    return Evidence([covariance, ties, jitter, sites], controls, panels, NOTES)


NOTES = (
    "Amplitudes are either deterministic or Rayleigh distributed; with the latter the noise class "
    "is exactly Gaussian. The zero and Nyquist frequencies are left empty.",
    "Controls: the covariance of a flat spectrum; a Gaussian theory (no higher moments) for the "
    "structured class; the theory without jitter; a relation that does not conserve wave vectors "
    "(modes 1, 2, 4 tied like a triad), whose correlations differ from site to site.",
)


def _draw(run: Run, inputs: FourierInputs, samples: int, index: int, structured: bool) -> Array:
    key = jax.random.fold_in(run.key, 2 * index + structured)
    return np.asarray(draw(inputs, samples, key=key, structured=structured), np.float64)


def _covariance(run: Run, samples: int) -> tuple[Comparison, Comparison]:
    draws, expected, names = [], [], []
    items = list(itertools.product(MODELS.items(), CLASSES))
    for i, ((name, inputs), kind) in enumerate(run.track(items, "covariances")):
        x = _draw(run, inputs, samples, i, kind == "structured")
        draws.append(np.stack([(x * np.roll(x, -s, axis=1)).mean(axis=1) for s in LAGS], axis=1))
        expected.append(autocovariance(inputs)[LAGS])
        names.append(f"{name.split(',')[0]}, {kind}")
    measured = Measurement.from_replicas(
        np.stack(draws, axis=1), {"input": np.array(names), "lag": LAGS}
    )
    values = np.stack(expected)
    rounding = np.full(values.shape, 2e-6)  # float32 draws of moments without scatter
    flat = np.broadcast_to(autocovariance(FourierInputs(RING))[LAGS], values.shape)
    quantity = "covariance C(lag)"
    return (
        compare(measured, Prediction(values, rounding), name="covariance", quantity=quantity),
        compare(
            measured,
            Prediction(flat, rounding, label="flat spectrum"),
            name="covariance of a flat spectrum",
            quantity=quantity,
        ),
    )


def _product(x: Array, wave_vectors: tuple[int, ...]) -> Array:
    z = np.fft.fft(x, axis=1) / np.sqrt(x.shape[1])
    return np.prod([z[:, k] for k in wave_vectors], axis=0).real


def _on_the_ties(run: Run, samples: int) -> tuple[Comparison, Comparison]:
    draws, expected, scale = [], [], []
    for i, (name, inputs) in enumerate(run.track(list(MODELS.items()), "moments on the ties")):
        unit = float(np.prod(np.sqrt([SPECTRUM[abs(k) - 1] for k in TIED[name]])))
        for kind in CLASSES:
            structured = kind == "structured"
            x = _draw(run, inputs, samples, 20 + i, structured)
            draws.append(_product(x, TIED[name]) / unit)
            expected.append(mode_moment(inputs, TIED[name], structured=structured).real / unit)
            scale.append(unit)
    shape = (samples, len(MODELS), len(CLASSES))
    measured = Measurement.from_replicas(
        np.stack(draws, axis=1).reshape(shape),
        {"input": np.array(list(MODELS)), "kind": np.array(CLASSES)},
    )
    values = np.reshape(expected, shape[1:])
    rounding = np.full(shape[1:], 1e-5)
    quantity = "polyspectrum on the tie / amplitudes"
    return (
        compare(measured, Prediction(values, rounding), name="moments on ties", quantity=quantity),
        compare(
            measured,
            Prediction(np.zeros(shape[1:]), rounding, label="Gaussian"),
            name="a Gaussian theory without higher moments",
            quantity=quantity,
        ),
    )


def _jitter(run: Run, samples: int) -> tuple[Comparison, Comparison]:
    draws, expected = [], []
    for i, width in enumerate(run.track(list(JITTER), "jitter")):
        inputs = FourierInputs(RING, triad(1, 2, jitter=float(width)), FLAT)
        draws.append(_product(_draw(run, inputs, samples, 40 + i, True), (1, 2, -3)))
        expected.append(mode_moment(inputs, (1, 2, -3)).real)
    measured = Measurement.from_replicas(np.stack(draws, axis=1), {"jitter": JITTER})
    values = np.array(expected)
    quantity = "bispectrum of a triad"
    kept = Prediction(np.full(values.shape, values[0]), label="no jitter")
    return (
        compare(
            measured, Prediction(values, 1e-9), name="jitter",
            quantity=quantity,
        ),
        compare(measured, kept, name="a tie broken by jitter, as if whole", quantity=quantity),
    )  # fmt: skip


def _correlator(x: Array, lags: tuple[int, ...]) -> Array:
    return np.asarray(np.prod([np.roll(x, -lag, axis=1) for lag in (0, *lags)], axis=0))


def _exact_correlator(inputs: FourierInputs, lags: tuple[int, ...]) -> float:
    """E X(t) X(t + a) .. as the sum over all wave vectors that add up to zero."""
    half, total = SMALL // 2, 0.0
    ks = [k for k in range(1 - half, half) if k]
    for vectors in itertools.product(ks, repeat=len(lags) + 1):
        if sum(vectors) % SMALL == 0:
            angle = 2 * np.pi * sum(k * s for k, s in zip(vectors[1:], lags, strict=True)) / SMALL
            total += (mode_moment(inputs, vectors) * np.exp(1j * angle)).real
    return float(total / SMALL ** ((len(lags) + 1) / 2))


def _every_site(run: Run, samples: int) -> tuple[Comparison, Comparison]:
    cases = {
        "triad x(t)²x(t+1)": (FourierInputs(SMALL, triad(1, 2)), (0, 1)),
        "template x(t)x(t+1)x(t+2)": (FourierInputs(SMALL, Template(4)), (1, 2)),
        "quartet x(t)²x(t+1)²": (
            FourierInputs(SMALL, quartet(1, 4, 2), amplitudes="deterministic"), (0, 1, 1),
        ),
    }  # fmt: skip
    draws, expected = [], []
    for i, (inputs, lags) in enumerate(run.track(list(cases.values()), "every site")):
        draws.append(_correlator(_draw(run, inputs, samples, 60 + i, True), lags))
        expected.append(np.full(SMALL, _exact_correlator(inputs, lags)))
    coordinates = {"correlation": np.array(list(cases)), "site": np.arange(SMALL)}
    measured = Measurement.from_replicas(np.stack(draws, axis=1), coordinates)
    values = np.stack(expected)
    key = jax.random.fold_in(run.key, 99)
    phi = np.array(jax.random.uniform(key, (samples, SMALL // 2 - 1), np.float32, maxval=2 * np.pi))
    phi[:, 3] = phi[:, 0] + phi[:, 1]
    pairs = np.stack([np.cos(phi), np.sin(phi)], axis=-1).reshape(samples, -1)
    x = np.asarray(to_sites((SMALL,), jnp.asarray(pairs, jnp.float32)), np.float64)
    third = _correlator(x, (0, 0))
    mean_triple = Measurement.from_replicas(third, {"site": np.arange(SMALL)})
    level = Prediction(np.full(SMALL, third.mean()), label="equal at all sites")
    quantity = "correlation"
    return (
        compare(
            measured,
            Prediction(values, 1e-9),
            name="correlations at every site",
            quantity=quantity,
        ),
        compare(mean_triple, level, name="a relation that breaks invariance", quantity=quantity),
    )


def _ring_examples(run: Run, samples: int) -> Figure:
    """The first of as many samples as elsewhere, whose program is at hand."""
    inputs = MODELS["template, deterministic"]
    key = jax.random.fold_in(run.key, 200)
    figure, grid = new_figure(3, 2, width=8.0, height=4.6)
    both = [np.asarray(draw(inputs, samples, key=key, structured=s))[:3] for s in (True, False)]
    limit = 1.1 * max(np.abs(x).max() for x in both)
    with figure_style():
        for column, (x, kind) in enumerate(zip(both, CLASSES, strict=True)):
            for row in range(3):
                axes = grid[row, column]
                axes.plot(x[row], color=("#C0392B", "#777777")[column], linewidth=1.2)
                axes.set(ylim=(-limit, limit), xlim=(0, RING - 1))
                if row < 2:
                    axes.set_xticklabels([])
            grid[0, column].set_title(kind)
            grid[2, column].set_xlabel("site")
        grid[1, 0].set_ylabel("x")
    return figure


def _torus_examples(run: Run) -> Figure:
    shape = (32, 32)
    on_axis = (wave_vectors(shape) == 0).any(axis=1)
    spectrum = power_law_spectrum(shape, 0.5) * np.where(on_axis, 1.0, 0.02)
    inputs = FourierInputs(
        shape,
        (Template(15, (1, 0)), Template(15, (0, 1))),
        spectrum / spectrum.mean(),
        amplitudes="deterministic",
    )
    key = jax.random.fold_in(run.key, 201)
    figure, grid = new_figure(2, 4, width=8.0, height=4.2)
    with figure_style():
        for row, kind in enumerate(CLASSES):
            x = np.asarray(draw(inputs, 4, key=key, structured=kind == "structured"))
            for axes, image in zip(grid[row], x, strict=True):
                axes.imshow(image, cmap="gray", interpolation="nearest")
                axes.set(xticks=[], yticks=[])
            grid[row, 0].set_ylabel(kind)
    return figure
