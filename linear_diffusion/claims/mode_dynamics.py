"""`linear/mode-dynamics`: linear denoisers learn mode by mode, large variance first."""

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.compilation import compiled
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims.common import SOURCE, SPECTRA, Dense, finite_size, laws
from linear_diffusion.data import LatentLaw, draw
from linear_diffusion.learners import online_sgd
from linear_diffusion.patches import photograph_law
from linear_diffusion.simulation import (
    draw_modes,
    kl_of_modes,
    population_gains,
    trained_variance,
)

ALPHA_BAR = 0.9


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
    gains, gains_control = _gains(run)
    sgd, sgd_control = _sgd(run)
    rates, rates_control = _rates(run)
    divergence, dense = _divergence(run)
    panels = {
        "gains": Panel(
            gains.plot(
                x="tau",
                series="mode",
                logx=True,
                logy=False,
                x_label=r"training time $\tau$",
                legend=[f"mode {k}" for k in gains.measured.coordinates["mode"]],
            ),
            "Gain of five modes of photograph patches' covariance over what unlimited data would "
            "give, N = 2d: learned in the order of their variance, then overfitted.",
        ),
        "sgd": Panel(
            sgd.plot(
                x="tau",
                series="mode",
                logx=True,
                logy=False,
                x_label=r"training time $\tau$ = 2 (learning rate) steps / d",
                legend=[f"mode {k}" for k in sgd.measured.coordinates["mode"]],
            ),
            "Online SGD with sampled noise and batches of 8 patches: its mean is gradient descent.",
        ),
        "rates": Panel(
            rates.plot(logx=True, logy=True, x_label="variance of the mode"),
            "Time at which a mode has learned half of its final gain, with plenty of data (spectra "
            "k = 1 and k = 2): log 2 over the rate "
            r"$\bar\alpha s + 1 - \bar\alpha$.",
        ),
        "kl": Panel(
            divergence.plot(
                x="tau",
                series="spectrum",
                logx=True,
                logy=True,
                x_label=r"training time $\tau$",
                fine=dense,
            ),
            "KL between data and generated distribution along training (DDPM, finite number of "
            "steps), N = d/2, small ridge: best in the middle, where the model knows the leading "
            "modes and has not yet fitted the null directions.",
        ),
    }
    return Evidence(
        [gains, sgd, rates, divergence], [gains_control, sgd_control, rates_control], panels, NOTES
    )


NOTES = (
    "Gradient descent here is gradient flow evaluated in the eigenbasis of each sample covariance; "
    "the bias stays at the estimated mean. SGD is the compiled loop on dense matrices.",
    "Controls: all modes learning at the mean rate; SGD with half the learning rate; rates that "
    "ignore the noise.",
)


def _final(spectrum: np.ndarray) -> np.ndarray:
    return np.sqrt(1 - ALPHA_BAR) / (ALPHA_BAR * spectrum + 1 - ALPHA_BAR)


def _gains(run: Run) -> tuple[Comparison, Comparison]:
    law = laws(run)["photographs"]
    d, times = law.spectrum.size, np.geomspace(0.02, 40, 16)
    shown = np.array([1, 3, 10, 30, 100])
    at = shown - 1
    modes = draw_modes(
        law, [2 * d], replicas=24 if run.quick else 256, key=jax.random.fold_in(run.key, 1)
    )
    final = _final(law.spectrum)[at]
    draws = population_gains(modes, ALPHA_BAR, times)[:, 0][..., at] / final
    measured = Measurement.from_replicas(
        draws.swapaxes(1, 2), {"mode": shown, "tau": times}, label="gradient descent"
    )
    gains = theory.training_gains(law.spectrum, 2 * d, 0.0, ALPHA_BAR, times)
    predicted = Prediction(
        gains.values[:, at].T / final[:, None], gains.numerical_error[:, at].T / final[:, None]
    )
    rate = ALPHA_BAR * law.spectrum.mean() + 1 - ALPHA_BAR
    together = np.broadcast_to(1 - np.exp(-rate * times), predicted.values.shape)
    control = Prediction(together, label="one rate for all")
    quantity = "gain / final gain"
    return (
        compare(
            measured,
            finite_size(predicted.labelled("gradient flow"), 2 * d, d),
            name="gain of single modes",
            quantity=quantity,
        ),
        compare(measured, control, name="all modes at the same rate", quantity=quantity),
    )


def _sgd(run: Run) -> tuple[Comparison, Comparison]:
    """Online SGD on fixed patches; the mean over runs is gradient descent on the same patches."""
    law = photograph_law(6, 20_000, key=jax.random.fold_in(run.key, 2))
    d, samples, rate, replicas = law.spectrum.size, 100, 0.25, 64 if run.quick else 256
    steps = np.unique(np.rint(np.geomspace(4, 2000, 10)).astype(int))
    data = draw(law, samples, key=jax.random.fold_in(run.key, 3))
    keys = jax.vmap(lambda r: jax.random.fold_in(jax.random.fold_in(run.key, 4), r))(
        jnp.arange(replicas, dtype=jnp.int32)
    )
    basis = jnp.asarray(law.basis, data.dtype)

    @compiled
    def train(key: jax.Array) -> jax.Array:
        weights = online_sgd(data, [ALPHA_BAR], learning_rate=rate, batch=8, steps=steps, key=key)[
            :, 0
        ]
        return jnp.einsum("ik,sij,jk->sk", basis, weights, basis)

    drawn = np.asarray(jax.lax.map(train, keys, batch_size=16))
    shown = np.array([1, 2, 5, 12, 30])
    h = 2 * rate / d
    tau = h * steps
    centred = np.asarray(data, np.float64) - np.asarray(data, np.float64).mean(axis=0)
    variance, vectors = np.linalg.eigh(centred.T @ centred / samples)

    final = _final(law.spectrum)[shown - 1]

    def descent(step_size: float) -> np.ndarray:
        m = ALPHA_BAR * np.maximum(variance, 0) + 1 - ALPHA_BAR
        decay = 1 - (1 - step_size * m) ** steps[:, None]
        w = np.sqrt(1 - ALPHA_BAR) * decay / m
        return (w @ ((vectors.T @ law.basis) ** 2)).T[shown - 1]

    measured = Measurement.from_replicas(
        drawn[:, :, shown - 1].swapaxes(1, 2) / final[:, None],
        {"mode": shown, "tau": tau},
        label="online SGD",
    )
    rounding = np.full((shown.size, steps.size), 1e-5)  # float32 accumulation over the steps
    predicted, control = descent(h) / final[:, None], descent(h / 2) / final[:, None]
    quantity = "gain / final gain"
    return (
        compare(
            measured,
            Prediction(predicted, rounding, label="gradient descent"),
            name="mean of online SGD",
            quantity=quantity,
        ),
        compare(
            measured,
            Prediction(control, rounding, label="half the learning rate"),
            name="SGD at half the learning rate",
            quantity=quantity,
        ),
    )


def _rates(run: Run) -> tuple[Comparison, Comparison]:
    """Half-learning times, read off simulated curves with plenty of data."""
    d, ranks = 120, np.array([1, 2, 4, 8, 15, 30, 60, 120])
    times = np.geomspace(0.002, 20, 400)
    names, values, expected, noiseless_times, variances = [], [], [], [], []
    for i, k in enumerate((1.0, 2.0)):
        s = power_law(d, k)
        modes = draw_modes(
            LatentLaw(s),
            [100 * d],
            replicas=12 if run.quick else 64,
            key=jax.random.fold_in(run.key, 10 + i),
        )
        curves = population_gains(modes, ALPHA_BAR, times)[:, 0][..., ranks - 1]
        final = population_gains(modes, ALPHA_BAR, [np.inf])[:, 0, 0][:, ranks - 1]
        share = curves / final[:, None, :]
        values.append(
            [
                [np.interp(0.5, share[r, :, j], times) for j in range(ranks.size)]
                for r in range(share.shape[0])
            ]
        )
        names.append(f"k = {k:g}")
        variances.append(s[ranks - 1])
        expected.append(np.log(2) / (ALPHA_BAR * s[ranks - 1] + 1 - ALPHA_BAR))
        noiseless_times.append(np.log(2) / (ALPHA_BAR * s[ranks - 1]))
    # One comparison needs one axis of variances: both spectra share ranks, not variances.
    order = np.argsort(np.concatenate(variances))
    flat = np.concatenate(variances)[order]
    draws = np.concatenate([np.array(v) for v in values], axis=1)[:, order]
    measured = Measurement.from_replicas(draws, {"variance": flat})
    accuracy = np.full(flat.shape, 1e-4)  # linear interpolation between 400 times
    predicted = Prediction(np.concatenate(expected)[order], accuracy, label="log 2 / rate")
    bias = predicted.values / 100
    line = predicted.with_bias(bias, "$d/N$, relative")
    noiseless = Prediction(np.concatenate(noiseless_times)[order], accuracy, label="without noise")
    quantity = r"half-learning time $\tau_{1/2}$"
    return (
        compare(measured, line, name="half-learning time of modes", quantity=quantity),
        compare(measured, noiseless, name="rates without the noise", quantity=quantity),
    )


def _divergence(run: Run) -> tuple[Comparison, Dense]:
    schedule, ridge, times = NoiseSchedule.linear(60, 2e-3, 0.2), 0.02, np.geomspace(0.5, 300, 12)
    values, expected, dense = [], [], []
    fine = np.geomspace(times[0], times[-1], 60)
    for i, law in enumerate(run.track(list(laws(run).values()), "KL along training")):
        modes = draw_modes(
            law, [60], replicas=24 if run.quick else 256, key=jax.random.fold_in(run.key, 30 + i)
        )
        variance, share = trained_variance(modes, schedule, times, ridge=ridge)
        values.append(kl_of_modes(modes, variance, direction="forward", mean_share=share)[:, 0])
        deterministic = theory.training_kl(
            law.spectrum, 60, ridge, schedule, times, direction="forward"
        )
        expected.append(finite_size(deterministic, 60, law.spectrum.size))
        curve = theory.training_kl(law.spectrum, 60, ridge, schedule, fine, direction="forward")
        dense.append(curve.values)
    measured = Measurement.from_replicas(
        np.stack(values, axis=1), {"spectrum": np.array(SPECTRA), "tau": times}
    )
    divergence = compare(
        measured, stack(expected), name="KL along training", quantity="forward KL (nats)"
    )
    return divergence, (fine, np.stack(dense))
