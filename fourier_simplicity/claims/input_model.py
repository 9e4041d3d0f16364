"""`fourier/input-model`: amplitudes and phases of the inputs are controlled separately."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fourier_simplicity as fs
import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.figures import image_grid
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

Array = NDArray[np.float64]
SOURCE = "Ricci, Merger and Goldt, arXiv 2605.16913 (abstract); model and moments derived here"
RING, LAGS = 64, np.array([0, 1, 2, 4, 8, 16])
SMALL = 12  # sites of the ring on which every site is looked at
SPECTRUM, FLAT = (fs.power_law_spectrum(RING, gamma) for gamma in (1.0, 0.0))
MODELS = {  # with the wave vectors whose product the tie makes visible
    "triad, Rayleigh": (fs.FourierInputs(RING, fs.triad(1, 2), SPECTRUM), (1, 2, -3)),
    "quartet, Rayleigh": (fs.FourierInputs(RING, fs.quartet(1, 4, 2), SPECTRUM), (1, 4, -2, -3)),
    "harmonic, deterministic": (
        fs.FourierInputs(RING, fs.harmonic(1), SPECTRUM, amplitudes="deterministic"), (1, 1, 1, -3),
    ),
    "template, deterministic": (
        fs.FourierInputs(RING, fs.Template(16), SPECTRUM, amplitudes="deterministic"), (1, 2, -3),
    ),
}  # fmt: skip
CLASSES = ("structured", "noise")
JITTER = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, np.pi])


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
    parts = [part(run, samples) for part in (_covariance, _moments, _jitter, _every_site)]
    evidence = parts[0] + parts[1] + parts[2] + parts[3]
    examples = {
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
    }
    return replace(evidence, panels={**examples, **evidence.panels}, notes=NOTES)


NOTES = (
    "Amplitudes are either deterministic or Rayleigh distributed; with the latter the noise class "
    "is exactly Gaussian. The zero and Nyquist frequencies are left empty.",
    "Controls: the covariance of a flat spectrum; a Gaussian theory (no higher moments) for the "
    "structured class; the theory without jitter; a relation that does not conserve wave vectors "
    "(modes 1, 2, 4 tied like a triad), whose correlations differ from site to site.",
)


def _draw(run: Run, inputs: fs.FourierInputs, samples: int, index: int, structured: bool) -> Array:
    key = jax.random.fold_in(run.key, 2 * index + structured)
    return np.asarray(fs.draw(inputs, samples, key=key, structured=structured), np.float64)


def _covariance(run: Run, samples: int) -> Evidence:
    cases = list(itertools.product(MODELS, CLASSES))
    draws = []
    for i, (name, kind) in enumerate(run.track(cases, "covariances")):
        x = _draw(run, MODELS[name][0], samples, i, kind == "structured")
        draws.append(np.stack([(x * np.roll(x, -s, axis=1)).mean(axis=1) for s in LAGS], axis=1))
    names = [f"{name.split(',')[0]}, {kind}" for name, kind in cases]
    values = np.stack([fs.autocovariance(MODELS[name][0])[LAGS] for name, _ in cases])
    flat = np.broadcast_to(fs.autocovariance(fs.FourierInputs(RING))[LAGS], values.shape)
    covariance, of_flat = ld.compare_each(
        ld.Measurement.from_replicas(np.stack(draws, axis=1), {"input": names, "lag": LAGS}),
        ld.Prediction(values, 2e-6),  # float32 draws of moments without scatter
        ld.Prediction(flat, 2e-6, label="flat spectrum"),
        name=["covariance", "covariance of a flat spectrum"],
        quantity="covariance C(lag)",
    )
    panel = Panel(
        covariance.plot(x="lag", series="input", x_label="lag (sites)"),
        "The covariance is the same in both classes and is that of the spectrum.",
    )
    return Evidence([covariance], [of_flat], {"covariance": panel})


def _product(x: Array, modes: tuple[int, ...]) -> Array:
    z = np.fft.fft(x, axis=1) / np.sqrt(x.shape[1])
    return np.prod([z[:, k] for k in modes], axis=0).real


def _moments(run: Run, samples: int) -> Evidence:
    """Products of the tied modes, over their amplitudes."""
    draws, values = [], np.zeros((len(MODELS), len(CLASSES)))
    models = list(MODELS.values())
    for i, (inputs, tied) in enumerate(run.track(models, "moments on the ties")):
        scale = float(np.prod(np.sqrt([SPECTRUM[abs(k) - 1] for k in tied])))
        for j, structured in enumerate((True, False)):
            draws.append(_product(_draw(run, inputs, samples, 20 + i, structured), tied) / scale)
            values[i, j] = fs.mode_moment(inputs, tied, structured=structured).real / scale
    products = np.stack(draws, axis=1).reshape(samples, *values.shape)
    on_ties, gaussian = ld.compare_each(
        ld.Measurement.from_replicas(products, {"input": list(MODELS), "kind": CLASSES}),
        ld.Prediction(values, 1e-5),
        ld.Prediction(0 * values, 1e-5, label="Gaussian"),
        name=["moments on ties", "a Gaussian theory without higher moments"],
        quantity="polyspectrum on the tie / amplitudes",
    )
    return Evidence([on_ties], [gaussian], {})


def _jitter(run: Run, samples: int) -> Evidence:
    draws, values = [], np.zeros(JITTER.size)
    for i, width in enumerate(run.track(JITTER.tolist(), "jitter")):
        inputs = fs.FourierInputs(RING, fs.triad(1, 2, jitter=width), FLAT)
        draws.append(_product(_draw(run, inputs, samples, 40 + i, True), (1, 2, -3)))
        values[i] = fs.mode_moment(inputs, (1, 2, -3)).real
    jitter, unbroken = ld.compare_each(
        ld.Measurement.from_replicas(np.stack(draws, axis=1), {"jitter": JITTER}),
        ld.Prediction(values, 1e-9),
        ld.Prediction(np.full(values.shape, values[0]), label="no jitter"),
        name=["jitter", "a tie broken by jitter, as if whole"],
        quantity="bispectrum of a triad",
    )
    widths = np.linspace(0, np.pi, 100)
    curve = (widths, values[0] * np.sinc(widths / np.pi))
    panel = Panel(
        jitter.plot(
            x="jitter", x_label="half width of the jitter (radians)", logy=False, fine=curve
        ),
        "Jitter of the tied phase scales the bispectrum by sin(a)/a; at a = π the tie is gone.",
    )
    return Evidence([jitter], [unbroken], {"jitter": panel})


def _correlator(x: Array, lags: tuple[int, ...]) -> Array:
    return np.asarray(np.prod([np.roll(x, -lag, axis=1) for lag in (0, *lags)], axis=0))


def _every_site(run: Run, samples: int) -> Evidence:
    """Correlations in space, and those of three modes whose relation breaks the invariance."""
    even = fs.FourierInputs(SMALL, fs.quartet(1, 4, 2), amplitudes="deterministic")
    cases = {
        "triad x(t)²x(t+1)": (fs.FourierInputs(SMALL, fs.triad(1, 2)), (0, 1)),
        "template x(t)x(t+1)x(t+2)": (fs.FourierInputs(SMALL, fs.Template(4)), (1, 2)),
        "quartet x(t)²x(t+1)²": (even, (0, 1, 1)),
    }
    draws, values = [], []
    for i, (inputs, lags) in enumerate(run.track(list(cases.values()), "every site")):
        draws.append(_correlator(_draw(run, inputs, samples, 60 + i, True), lags))
        values.append(np.full(SMALL, fs.site_moment(inputs, lags)))
    axes = {"correlation": np.array(list(cases)), "site": np.arange(SMALL)}
    sites = ld.compare(
        ld.Measurement.from_replicas(np.stack(draws, axis=1), axes),
        ld.Prediction(values, 1e-9),
        name="correlations at every site",
        quantity="correlation",
    )
    key = jax.random.fold_in(run.key, 99)
    phi = np.array(jax.random.uniform(key, (samples, SMALL // 2 - 1), np.float32, maxval=2 * np.pi))
    phi[:, 3] = phi[:, 0] + phi[:, 1]
    pairs = np.stack([np.cos(phi), np.sin(phi)], axis=-1).reshape(samples, -1)
    x = np.asarray(fs.to_sites((SMALL,), jnp.asarray(pairs, jnp.float32)), np.float64)
    third = _correlator(x, (0, 0))
    broken = ld.compare(
        ld.Measurement.from_replicas(third, {"site": np.arange(SMALL)}),
        ld.Prediction(np.full(SMALL, third.mean()), label="equal at all sites"),
        name="a relation that breaks invariance",
        quantity="correlation",
    )
    panel = Panel(
        sites.plot(x="site", series="correlation", x_label="site t"),
        "Correlations of order three and four between neighbouring sites are the same at every "
        "site t: translation invariance, with the value that the tie predicts.",
    )
    return Evidence([sites], [broken], {"every-site": panel})


def _ring_examples(run: Run, samples: int) -> Figure:
    """The first of as many samples as elsewhere, whose program is at hand."""
    inputs, _ = MODELS["template, deterministic"]
    key = jax.random.fold_in(run.key, 200)
    figure, grid = drawing.new_figure(3, 2, width=8.0, height=4.6, sharex=True, sharey=True)
    with drawing.figure_style():
        for column, kind, colour in zip(grid.T, CLASSES, ("#C0392B", "#777777"), strict=True):
            x = fs.draw(inputs, samples, key=key, structured=kind == "structured")
            for axes, row in zip(column, np.asarray(x), strict=False):
                axes.plot(row, color=colour, linewidth=1.2)
            column[0].set(title=kind, xlim=(0, RING - 1))
            column[2].set_xlabel("site")
        grid[1, 0].set_ylabel("x")
    return figure


def _torus_examples(run: Run) -> Figure:
    on_axis = (fs.wave_vectors((32, 32)) == 0).any(axis=1)
    spectrum = fs.power_law_spectrum((32, 32), 0.5) * np.where(on_axis, 1.0, 0.02)
    inputs = fs.FourierInputs(
        (32, 32), (fs.Template(15, (1, 0)), fs.Template(15, (0, 1))), spectrum / spectrum.mean(),
        amplitudes="deterministic",
    )  # fmt: skip
    key = jax.random.fold_in(run.key, 201)
    images = [fs.draw(inputs, 4, key=key, structured=kind == "structured") for kind in CLASSES]
    return image_grid(images, CLASSES, scale="image")
