"""Gains of single modes along training, for `linear/mode-dynamics`."""

import jax
import numpy as np

import learning_dynamics as ld
from learning_dynamics.report.claims import Run
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims.common import laws
from linear_diffusion.data import LatentLaw, draw
from linear_diffusion.data_sets import finite_size
from linear_diffusion.patches import photograph_law
from linear_diffusion.simulation import (
    draw_modes,
    learning_times,
    modes_of,
    population_gains,
    sgd_gains,
)

ALPHA_BAR = 0.9
GAIN = "gain / final gain"  # what unlimited data would give


def gains(run: Run) -> ld.Comparisons:
    """Gradient descent at N = 2d."""
    law, modes, times = laws(run)["photographs"], [1, 3, 10, 30, 100], np.geomspace(0.02, 40, 16)
    at, d = np.array(modes) - 1, law.spectrum.size
    key, replicas = jax.random.fold_in(run.key, 1), 24 if run.quick else 256
    drawn = draw_modes(law, [2 * d], replicas=replicas, key=key)
    final = np.sqrt(1 - ALPHA_BAR) / theory.mode_rates(law.spectrum[at], ALPHA_BAR)
    learned = population_gains(drawn, ALPHA_BAR, times)[:, 0][..., at] / final
    flow = theory.training_gains(law.spectrum, 2 * d, 0.0, ALPHA_BAR, times)[:, at]
    together = 1 - np.exp(-theory.mode_rates(law.spectrum.mean(), ALPHA_BAR) * times)
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            learned.swapaxes(1, 2), {"mode": modes, "tau": times}, label="gradient descent"
        ),
        finite_size(flow.T.scaled(1 / final[:, None]), 2 * d, d),
        ld.Prediction(np.tile(together, (at.size, 1)), label="all modes at the same rate"),
        name="gain of single modes", quantity=GAIN,
    )  # fmt: skip


def sgd(run: Run) -> ld.Comparisons:
    """Online SGD on fixed patches; the mean over runs is gradient descent on the same patches."""
    law = photograph_law(6, 20_000, key=jax.random.fold_in(run.key, 2))
    data = np.asarray(draw(law, 100, key=jax.random.fold_in(run.key, 3)), np.float64)
    steps, modes = np.unique(np.rint(np.geomspace(4, 2000, 10)).astype(int)), [1, 2, 5, 12, 30]
    at, rate, key = np.array(modes) - 1, 0.25, jax.random.fold_in(run.key, 4)
    learned = sgd_gains(
        data, law.basis[:, at], ALPHA_BAR, learning_rate=rate, batch=8, steps=steps,
        replicas=64 if run.quick else 256, key=key,
    )  # fmt: skip
    final = np.sqrt(1 - ALPHA_BAR) / theory.mode_rates(law.spectrum[at], ALPHA_BAR)
    step, drawn = 2 * rate / law.spectrum.size, modes_of(data, law)

    def descent(size: float, label: str) -> ld.Prediction:
        exact = population_gains(drawn, ALPHA_BAR, size * steps, step_size=size)[0, 0][:, at]
        return ld.Prediction((exact / final).T, 1e-5, label=label)  # float32 sums over the steps

    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            (learned / final).swapaxes(1, 2), {"mode": modes, "tau": step * steps},
            label="online SGD",
        ),
        descent(step, "gradient descent"),
        descent(step / 2, "SGD at half the learning rate"),
        name="mean of online SGD", quantity=GAIN,
    )  # fmt: skip


def rates(run: Run) -> ld.Comparisons:
    """Half-learning times, read off simulated curves with plenty of data."""
    d, at = 120, np.array([1, 2, 4, 8, 15, 30, 60, 120]) - 1
    spectra, times = [power_law(d, k) for k in (1.0, 2.0)], np.geomspace(0.002, 20, 400)
    halves = []
    for i, spectrum in enumerate(spectra):
        drawn = draw_modes(
            LatentLaw(spectrum), [100 * d], replicas=12 if run.quick else 64,
            key=jax.random.fold_in(run.key, 10 + i),
        )  # fmt: skip
        halves.append(learning_times(drawn, ALPHA_BAR, times, directions=at)[:, 0])
    # one comparison needs one axis: both spectra share ranks, not variances
    variances = np.concatenate([spectrum[at] for spectrum in spectra])
    order = np.argsort(variances)
    variance = variances[order]
    half = np.log(2) / theory.mode_rates(variance, ALPHA_BAR)
    accuracy = 1e-4  # linear interpolation between 400 times
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            np.concatenate(halves, axis=1)[:, order], {"variance": variance}
        ),
        ld.Prediction(half, accuracy, half / 100, "$d/N$, relative", "log 2 / rate"),
        ld.Prediction(
            np.log(2) / (ALPHA_BAR * variance), accuracy, label="rates without the noise"
        ),
        name="half-learning time of modes", quantity=r"half-learning time $\tau_{1/2}$",
    )  # fmt: skip
