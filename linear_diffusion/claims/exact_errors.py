"""`linear/exact-errors`: KL, generated law and losses against simulation, at finite size."""

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion import theory
from linear_diffusion.claims.cells import (
    DIRECTIONS,
    exact_divergences,
    losses,
    replicas_first,
    sources,
)
from linear_diffusion.claims.common import SOURCE, SPECTRA, Dense, finite_size, laws
from linear_diffusion.data import draw_moments
from linear_diffusion.learners import optimum
from linear_diffusion.patches import photograph_law
from linear_diffusion.sampling import generate

DIMENSIONS = np.array([20, 50, 100, 200])
OVERSAMPLING = np.array([1.5, 2.0, 3.0, 5.0, 10.0])
SIZES = (60, 240)
LEVELS = np.array([0.2, 0.5, 0.8, 0.95, 0.99])


@claim(
    "linear/exact-errors",
    statement=(
        "Test and training error, sampling distribution and KL divergence of linear diffusion "
        "models have explicit expressions."
    ),
    source=SOURCE,
    seconds=18,
)
def exact_errors(run: Run) -> Evidence:
    """Exact KL at d = 20..200, the finite-T sampler law on patches, losses at five noise levels."""
    kl, kl_controls = _exact_kl(run)
    law, law_control = _generated_law(run)
    losses, loss_panels = _losses(run)
    panels = {
        "exact-kl": Panel(
            kl[0].plot(
                x="N_over_d", x_label="N/d", series="d", logx=True, logy=True, fine=_exact_curves()
            ),
            "Expected KL of Gaussian data against oversampling, four dimensions: the closed form "
            "is exact at any size and does not depend on the spectrum (here k = 1).",
        ),
        "sampler-law": Panel(
            law.plot(x="mode", series="sampler", x_label="sample mode, by variance", logy=True),
            "Variance generated along the modes of 60 photograph patches (d = 63). DDPM leaves "
            r"variance $\beta_1$ where the data do not reach; 40 steps shrink large modes.",
        ),
        **loss_panels,
    }
    return Evidence([*kl, law, *losses], [*kl_controls, law_control], panels, NOTES)


NOTES = (
    "The exact KL and the finite-T sampler law allow no bias at all. The losses are deterministic "
    "equivalents with their first correction, whose allowed error is stated.",
    "Controls: the KL with N - 1 replaced by N degrees of freedom and no error of the mean; the "
    "generated law of infinitely many steps, N(mu, Sigma_hat + c).",
)


def _exact_curves() -> Dense:
    """Closed form at many oversampling ratios, one curve for each dimension."""
    fine = np.geomspace(OVERSAMPLING[0], OVERSAMPLING[-1], 60)
    curves = [
        theory.exact_kl(int(d), np.rint(fine * d).astype(int), direction="forward").values
        for d in DIMENSIONS
    ]
    return fine, np.stack(curves)


def _exact_kl(run: Run) -> tuple[list[Comparison], list[Comparison]]:
    replicas = 64 if run.quick else 512
    draws = run.sweep(
        exact_divergences,
        {"dimension": DIMENSIONS, "oversampling": OVERSAMPLING},
        fixed={"replicas": replicas, "key": run.key},
    )
    passed, controls = [], []
    for direction in DIRECTIONS:
        measured = Measurement.from_replicas(
            replicas_first(draws[direction]), {"d": DIMENSIONS, "N_over_d": OVERSAMPLING}
        )
        sizes = [np.rint(OVERSAMPLING * d).astype(int) for d in DIMENSIONS]
        exact = stack(
            [
                theory.exact_kl(int(d), N, direction=direction)
                for d, N in zip(DIMENSIONS, sizes, strict=True)
            ]
        )
        naive = stack(
            [
                theory.exact_kl(int(d), N, direction=direction, mean_known=True)
                for d, N in zip(DIMENSIONS, sizes, strict=True)
            ]
        ).labelled("mean taken as known")
        name, quantity = f"{direction} KL", "KL (nats)"
        passed.append(compare(measured, exact, name=f"exact {name}", quantity=quantity))
        controls.append(
            compare(
                measured, naive, name=f"{name} without the error of the mean", quantity=quantity
            )
        )
    return passed, controls


def _generated_law(run: Run) -> tuple[Comparison, Comparison]:
    """Sample with both samplers from a denoiser trained on a few real patches."""
    schedule, ridge, samples = NoiseSchedule.linear(40, 5e-3, 0.2), 0.02, 60
    batches, count = (16, 512) if run.quick else (32, 4096)
    law = photograph_law(8, 20_000, key=jax.random.fold_in(run.key, 1))
    data_key, sample_key = jax.random.split(jax.random.fold_in(run.key, 2))
    with jax.enable_x64(True):
        mean, covariance = draw_moments(law, samples, key=data_key)
        denoiser = optimum(mean, covariance, schedule.alpha_bar, ridge=ridge)
        variance, vectors = (np.asarray(array) for array in jnp.linalg.eigh(covariance))
        kept = np.unique(np.rint(np.linspace(0, variance.size - 1, 16)).astype(int))[::-1]
        kept_vectors = vectors[:, kept]
        draws = []
        for sampler in ("ddpm", "ddim"):
            for batch in run.track(range(batches), f"sampling, {sampler}"):
                key = jax.random.fold_in(sample_key, batch)
                generated = np.asarray(
                    generate(denoiser, schedule, key=key, count=count, sampler=sampler)
                )
                draws.append((generated @ kept_vectors).var(axis=0, ddof=1))
    shape = (2, batches, kept.size)
    coordinates = {"sampler": np.array(["DDPM", "DDIM"]), "mode": 1 + np.arange(kept.size)}
    measured = Measurement.from_replicas(np.reshape(draws, shape).swapaxes(0, 1), coordinates)
    modes = np.maximum(variance[kept], 0)
    finite = stack(
        [
            theory.generated_variance(modes, schedule, ridge=ridge, sampler=sampler)
            for sampler in ("ddpm", "ddim")
        ]
    ).labelled("finite number of steps")
    limit = np.broadcast_to(modes + ridge, finite.values.shape)
    infinite = Prediction(limit, label="infinitely many steps")
    quantity = "generated variance"
    return (
        compare(measured, finite, name="finite-T sampler law on patches", quantity=quantity),
        compare(measured, infinite, name="infinitely many steps", quantity=quantity),
    )


def _losses(run: Run) -> tuple[list[Comparison], dict[str, Panel]]:
    replicas = 32 if run.quick else 256
    comparisons, panels = [], {}
    known = laws(run)
    spectra = [law.spectrum for law in known.values()]
    cells = run.sweep(
        losses,
        {"source": sources(run, known, 10), "samples": SIZES},
        fixed={"replicas": replicas, "ridge": 0.01, "levels": tuple(LEVELS.tolist())},
    )
    for at, N in enumerate(SIZES):
        for which in (0, 1):
            drawn = replicas_first(cells[("train", "test")[which]][:, at])
            measured = Measurement.from_replicas(
                drawn, {"spectrum": np.array(SPECTRA), "noise_level": np.sqrt(1 - LEVELS)}
            )
            expected = [
                finite_size(theory.losses(s, N, 0.01, LEVELS)[which], N, s.size) for s in spectra
            ]
            kind = ("training", "test")[which]
            compared = compare(
                measured,
                stack(expected),
                name=f"{kind} loss, N/d = {N / 120:g}",
                quantity="loss / d",
            )
            comparisons.append(compared)
            if (kind, N) == ("test", 60):
                panels["test-loss"] = Panel(
                    compared.plot(
                        x="noise_level",
                        series="spectrum",
                        x_label=r"noise level $\sqrt{1 - \bar\alpha}$",
                    ),
                    "Test loss against the noise level below the transition (N = d/2) for power "
                    "laws and for the covariance of photograph patches.",
                )
    return comparisons, panels
