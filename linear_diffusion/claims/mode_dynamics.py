"""`linear/mode-dynamics`: linear denoisers learn mode by mode, large variance first."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.compilation import compiled
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims.common import SOURCE, SPECTRA, finite_size, laws, over_spectra
from linear_diffusion.data import LatentLaw, draw
from linear_diffusion.learners import online_sgd
from linear_diffusion.patches import photograph_law
from linear_diffusion.simulation import (
    draw_modes,
    kl_of_modes,
    learning_times,
    population_gains,
    trained_variance,
)

Array = NDArray[np.float64]
ALPHA_BAR = 0.9
SCHEDULE, RIDGE, TIMES = NoiseSchedule.linear(60, 2e-3, 0.2), 0.02, np.geomspace(0.5, 300, 12)


@claim(
    "linear/mode-dynamics",
    statement=(
        "Linear denoisers learn the principal components of the data one after the other, in the "
        "order of their variance and at rates set by it; sampling quality along training has an "
        "optimum."
    ),
    source=SOURCE,
    seconds=10,
)
def mode_dynamics(run: Run) -> Evidence:
    """Gains of single modes by gradient descent and by SGD, learning rates, KL along training."""
    gains, sgd, rates = _gains(run), _sgd(run), _rates(run)
    divergence, fine = _divergence(run)
    time = r"training time $\tau$"
    panels = {
        "gains": Panel(
            gains[0].plot(
                x="tau", series="mode", logx=True, logy=False, x_label=time, legend=_modes(gains)
            ),
            "Gain of five modes of photograph patches' covariance over what unlimited data would "
            "give, N = 2d: learned in the order of their variance, then overfitted.",
        ),
        "sgd": Panel(
            sgd[0].plot(
                x="tau", series="mode", logx=True, logy=False, legend=_modes(sgd),
                x_label=f"{time} = 2 (learning rate) steps / d",
            ),
            "Online SGD with sampled noise and batches of 8 patches: its mean is gradient descent.",
        ),
        "rates": Panel(
            rates[0].plot(logx=True, logy=True, x_label="variance of the mode"),
            "Time at which a mode has learned half of its final gain, with plenty of data (spectra "
            "k = 1 and k = 2): log 2 over the rate "
            r"$\bar\alpha s + 1 - \bar\alpha$.",
        ),
        "kl": Panel(
            divergence[0].plot(
                x="tau", series="spectrum", logx=True, logy=True, x_label=time, fine=fine
            ),
            "KL between data and generated distribution along training (DDPM, finite number of "
            "steps), N = d/2, small ridge: best in the middle, where the model knows the leading "
            "modes and has not yet fitted the null directions.",
        ),
    }  # fmt: skip
    return Evidence.of([gains, sgd, rates, divergence], panels, NOTES)


NOTES = (
    "Gradient descent here is gradient flow evaluated in the eigenbasis of each sample covariance; "
    "the bias stays at the estimated mean. SGD is the compiled loop on dense matrices.",
    "Controls: all modes learning at the mean rate; SGD with half the learning rate; rates that "
    "ignore the noise.",
)


def _modes(tests: ld.Comparisons) -> list[str]:
    return [f"mode {k}" for k in tests[0].measured.coordinates["mode"]]


def _rate(variance: Array) -> Array:
    """Rate at which a mode is learned from unlimited data."""
    return ALPHA_BAR * variance + 1 - ALPHA_BAR


def _gains(run: Run) -> ld.Comparisons:
    """Gains over the final ones of unlimited data, along gradient descent at N = 2d."""
    law, shown, times = laws(run)["photographs"], [1, 3, 10, 30, 100], np.geomspace(0.02, 40, 16)
    at, d = np.array(shown) - 1, law.spectrum.size
    samples = 2 * d
    key, replicas = jax.random.fold_in(run.key, 1), 24 if run.quick else 256
    modes = draw_modes(law, [samples], replicas=replicas, key=key)
    final = np.sqrt(1 - ALPHA_BAR) / _rate(law.spectrum[at])
    gains = population_gains(modes, ALPHA_BAR, times)[:, 0][..., at] / final
    measured = ld.Measurement.from_replicas(
        gains.swapaxes(1, 2), {"mode": shown, "tau": times}, label="gradient descent"
    )
    flow = theory.training_gains(law.spectrum, samples, 0.0, ALPHA_BAR, times)[:, at]
    together = 1 - np.exp(-_rate(law.spectrum.mean()) * times) * np.ones((at.size, 1))
    return ld.compare_with_controls(
        measured,
        finite_size(flow.T.scaled(1 / final[:, None]), samples, d),
        ld.Prediction(together, label="all modes at the same rate"),
        name="gain of single modes",
        quantity="gain / final gain",
    )


def _sgd(run: Run) -> ld.Comparisons:
    """Online SGD on fixed patches; the mean over runs is gradient descent on the same patches."""
    law = photograph_law(6, 20_000, key=jax.random.fold_in(run.key, 2))
    samples, rate, replicas = 100, 0.25, 64 if run.quick else 256
    steps, shown = np.unique(np.rint(np.geomspace(4, 2000, 10)).astype(int)), [1, 2, 5, 12, 30]
    data = draw(law, samples, key=jax.random.fold_in(run.key, 3))
    basis, at = jnp.asarray(law.basis, data.dtype), np.array(shown) - 1

    @compiled
    def train(key: jax.Array) -> jax.Array:
        weights = online_sgd(data, [ALPHA_BAR], learning_rate=rate, batch=8, steps=steps, key=key)
        return jnp.einsum("ik,sij,jk->sk", basis, weights[:, 0], basis)

    keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(run.key, 4)))(
        jnp.arange(replicas, dtype=jnp.int32)
    )
    gains = np.asarray(jax.lax.map(train, keys, batch_size=16))[:, :, at].swapaxes(1, 2)
    step = 2 * rate / law.spectrum.size
    final = (np.sqrt(1 - ALPHA_BAR) / _rate(law.spectrum[at]))[:, None]
    measured = ld.Measurement.from_replicas(
        gains / final, {"mode": shown, "tau": step * steps}, label="online SGD"
    )
    centred = np.asarray(data, np.float64) - np.asarray(data, np.float64).mean(axis=0)
    variance, vectors = np.linalg.eigh(centred.T @ centred / samples)
    overlap = (vectors.T @ law.basis[:, at]) ** 2

    def descent(size: float, label: str) -> ld.Prediction:
        growth = theory.gain_growth(_rate(np.maximum(variance, 0)), size * steps[:, None], size)
        values = (np.sqrt(1 - ALPHA_BAR) * growth @ overlap).T / final
        return ld.Prediction(values, 1e-5, label=label)  # float32 accumulation over the steps

    return ld.compare_with_controls(
        measured,
        descent(step, "gradient descent"),
        descent(step / 2, "SGD at half the learning rate"),
        name="mean of online SGD",
        quantity="gain / final gain",
    )


def _rates(run: Run) -> ld.Comparisons:
    """Half-learning times, read off simulated curves with plenty of data."""
    d, at = 120, np.array([1, 2, 4, 8, 15, 30, 60, 120]) - 1
    spectra, replicas = [power_law(d, k) for k in (1.0, 2.0)], 12 if run.quick else 64
    halves = []
    for i, spectrum in enumerate(spectra):
        key = jax.random.fold_in(run.key, 10 + i)
        modes = draw_modes(LatentLaw(spectrum), [100 * d], replicas=replicas, key=key)
        times = np.geomspace(0.002, 20, 400)
        halves.append(learning_times(modes, ALPHA_BAR, times, directions=at)[:, 0])
    # one comparison needs one axis: both spectra share ranks, not variances
    variances = np.concatenate([spectrum[at] for spectrum in spectra])
    order = np.argsort(variances)
    variance = variances[order]
    measured = ld.Measurement.from_replicas(
        np.concatenate(halves, axis=1)[:, order], {"variance": variance}
    )
    half, noiseless = np.log(2) / _rate(variance), np.log(2) / (ALPHA_BAR * variance)
    accuracy = 1e-4  # linear interpolation between 400 times
    return ld.compare_with_controls(
        measured,
        ld.Prediction(half, accuracy, half / 100, "$d/N$, relative", "log 2 / rate"),
        ld.Prediction(noiseless, accuracy, label="rates without the noise"),
        name="half-learning time of modes",
        quantity=r"half-learning time $\tau_{1/2}$",
    )


def _divergence(run: Run) -> tuple[ld.Comparisons, tuple[Array, Array]]:
    """KL along training at N = d/2, and the theory at many times."""
    known, samples, divergences = laws(run), 60, []
    for i, law in enumerate(run.track(list(known.values()), "KL along training")):
        key, replicas = jax.random.fold_in(run.key, 30 + i), 24 if run.quick else 256
        modes = draw_modes(law, [samples], replicas=replicas, key=key)
        variance, share = trained_variance(modes, SCHEDULE, TIMES, ridge=RIDGE)
        kl = kl_of_modes(modes, variance, direction="forward", mean_share=share)
        divergences.append(kl[:, 0])
    measured = ld.Measurement.from_replicas(
        np.stack(divergences, axis=1), {"spectrum": np.array(SPECTRA), "tau": TIMES}
    )

    def law_at(times: Array) -> ld.Prediction:
        return over_spectra(
            lambda s: theory.training_kl(s, samples, RIDGE, SCHEDULE, times, direction="forward"),
            [law.spectrum for law in known.values()], samples,
        )  # fmt: skip

    fine = np.geomspace(TIMES[0], TIMES[-1], 60)
    tests = ld.compare_with_controls(
        measured, law_at(TIMES), name="KL along training", quantity="forward KL (nats)"
    )
    return tests, (fine, law_at(fine).values)
