"""Correlations of tied phases, under jitter and at every site: parts of `fourier/input-model`."""

import jax
import jax.numpy as jnp
import numpy as np

import fourier_simplicity as fs
import learning_dynamics as ld
from learning_dynamics.report.claims import Evidence, Panel, Run

RING, JITTER = 64, np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, np.pi])
SITES = 12  # of the ring on which every site is looked at
EVEN = fs.FourierInputs(SITES, fs.quartet(1, 4, 2), amplitudes="deterministic")
CASES = {  # with the lags of the factors after x(t)
    "triad x(t)²x(t+1)": (fs.FourierInputs(SITES, fs.triad(1, 2)), (0, 1)),
    "template x(t)x(t+1)x(t+2)": (fs.FourierInputs(SITES, fs.Template(4)), (1, 2)),
    "quartet x(t)²x(t+1)²": (EVEN, (0, 1, 1)),
}


def jitter(run: Run, samples: int) -> Evidence:
    """Bispectrum of a triad against the width of its jitter, and that of the whole tie.

    Args:
        run: of the claim.
        samples: number of inputs.
    """
    tied, flat = (1, 2, -3), np.ones(RING // 2 - 1)
    models = [fs.FourierInputs(RING, fs.triad(1, 2, jitter=a), flat) for a in JITTER.tolist()]
    draws = []
    for i, inputs in enumerate(run.track(models, "jitter")):
        key = jax.random.fold_in(run.key, 81 + 2 * i)
        draws.append(fs.mode_products(fs.draw(inputs, samples, key=key), tied))
    values = np.array([fs.mode_moment(inputs, tied).real for inputs in models])
    whole = np.full(values.shape, values[0])
    tests = ld.compare_with_controls(
        ld.Measurement.from_replicas(np.stack(draws, axis=1), {"jitter": JITTER}),
        ld.Prediction(values, 1e-9),
        ld.Prediction(whole, label="a tie broken by jitter, as if whole"),
        name="jitter", quantity="bispectrum of a triad",
    )  # fmt: skip
    widths = np.linspace(0, np.pi, 100)
    figure = tests[0].plot(
        x="jitter", x_label="half width of the jitter (radians)", logy=False,
        fine=(widths, values[0] * np.sinc(widths / np.pi)),
    )  # fmt: skip
    caption = (
        "Jitter of the tied phase scales the bispectrum by sin(a)/a; at a = π the tie is gone."
    )
    return Evidence.of([tests], {"jitter": Panel(figure, caption)})


def every_site(run: Run, samples: int) -> Evidence:
    """Correlations beside their exact value; those of a relation that breaks the invariance.

    Args:
        run: of the claim.
        samples: number of inputs.
    """
    draws, values = [], []
    for i, (inputs, lags) in enumerate(run.track(CASES.values(), "every site")):
        key = jax.random.fold_in(run.key, 121 + 2 * i)
        draws.append(fs.site_products(fs.draw(inputs, samples, key=key), lags))
        values.append(np.full(SITES, fs.site_moment(inputs, lags)))
    sites = ld.compare(
        ld.Measurement.from_replicas(
            np.stack(draws, axis=1), {"correlation": list(CASES), "site": np.arange(SITES)}
        ),
        ld.Prediction(values, 1e-9), name="correlations at every site", quantity="correlation",
    )  # fmt: skip
    third = fs.site_products(_breaking(samples, jax.random.fold_in(run.key, 99)), (0, 0))
    broken = ld.compare(
        ld.Measurement.from_replicas(third, {"site": np.arange(SITES)}),
        ld.Prediction(np.full(SITES, third.mean()), label="equal at all sites"),
        name="a relation that breaks invariance", quantity="correlation",
    )  # fmt: skip
    panel = Panel(
        sites.plot(x="site", series="correlation", x_label="site t"),
        "Correlations of order three and four between neighbouring sites are the same at every "
        "site t: translation invariance, with the value that the tie predicts.",
    )
    return Evidence([sites], [broken], {"every-site": panel})


def _breaking(samples: int, key: jax.Array) -> jax.Array:
    """Fields whose modes 1, 2 and 4 are tied like a triad, though 1 + 2 is not 4."""
    shape = (samples, SITES // 2 - 1)
    phases = jax.random.uniform(key, shape, np.float32, maxval=2 * np.pi)
    phases = phases.at[:, 3].set(phases[:, 0] + phases[:, 1])
    pairs = jnp.stack([jnp.cos(phases), jnp.sin(phases)], axis=-1)
    return fs.to_sites((SITES,), pairs.reshape(samples, -1))
