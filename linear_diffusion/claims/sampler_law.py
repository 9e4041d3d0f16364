"""Variance that samplers of finitely many steps generate, for `linear/exact-errors`."""

import jax
import numpy as np

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Run
from linear_diffusion import theory
from linear_diffusion.data import draw_moments
from linear_diffusion.learners import optimum
from linear_diffusion.patches import photograph_law
from linear_diffusion.sampling import generated_variances


def generated_law(run: Run) -> ld.Comparisons:
    """Sample with both samplers from a denoiser trained on a few real patches."""
    schedule, ridge, samples = NoiseSchedule.linear(40, 5e-3, 0.2), 0.02, 60
    batches, count = (16, 512) if run.quick else (32, 4096)
    patches = photograph_law(8, 20_000, key=jax.random.fold_in(run.key, 1))
    data_key, sample_key = jax.random.split(jax.random.fold_in(run.key, 2))
    samplers: tuple[theory.Sampler, ...] = ("ddpm", "ddim")
    with jax.enable_x64(True):
        mean, covariance = draw_moments(patches, samples, key=data_key)
        variance, vectors = np.linalg.eigh(covariance)
        modes = np.unique(np.rint(np.linspace(0, variance.size - 1, 16)).astype(int))[::-1]
        denoiser = optimum(mean, covariance, schedule.alpha_bar, ridge=ridge)
        variances = [
            generated_variances(
                denoiser, schedule, vectors[:, modes], batches=batches, count=count,
                key=sample_key, sampler=sampler,
            )
            for sampler in samplers
        ]  # fmt: skip
    names = np.array([sampler.upper() for sampler in samplers])
    kept = np.maximum(variance[modes], 0)
    finite = stack(
        theory.generated_variance(kept, schedule, ridge=ridge, sampler=sampler)
        for sampler in samplers
    )
    infinite = ld.Prediction(np.stack([kept + ridge] * 2), label="infinitely many steps")
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            variances, {"sampler": names, "mode": 1 + np.arange(modes.size)}, axis=1
        ),
        finite.labelled("finite number of steps"), infinite,
        name="finite-T sampler law on patches", quantity="generated variance",
    )  # fmt: skip
