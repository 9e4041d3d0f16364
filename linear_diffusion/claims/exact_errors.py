"""`linear/exact-errors`: KL, generated law and losses against simulation, at finite size."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion import theory
from linear_diffusion.claims import cells
from linear_diffusion.claims.common import SOURCE, SPECTRA, laws, over_spectra
from linear_diffusion.data import draw_moments
from linear_diffusion.learners import optimum
from linear_diffusion.patches import photograph_law
from linear_diffusion.sampling import generate

Array = NDArray[np.float64]
DIMENSIONS = np.array([20, 50, 100, 200])
OVERSAMPLING = np.array([1.5, 2.0, 3.0, 5.0, 10.0])
SIZES, RIDGE = (60, 240), 0.01
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
    kl, law, losses = _exact_kl(run), _generated_law(run), _losses(run)
    fine = np.geomspace(OVERSAMPLING[0], OVERSAMPLING[-1], 60)
    panels = {
        "exact-kl": Panel(
            kl[0][0].plot(
                x="N_over_d", x_label="N/d", series="d", logx=True, logy=True,
                fine=(fine, _kl(fine, "forward").values),
            ),
            "Expected KL of Gaussian data against oversampling, four dimensions: the closed form "
            "is exact at any size and does not depend on the spectrum (here k = 1).",
        ),
        "sampler-law": Panel(
            law[0].plot(x="mode", series="sampler", x_label="sample mode, by variance", logy=True),
            "Variance generated along the modes of 60 photograph patches (d = 63). DDPM leaves "
            r"variance $\beta_1$ where the data do not reach; 40 steps shrink large modes.",
        ),
        "test-loss": Panel(
            losses["test", SIZES[0]][0].plot(
                x="noise_level", series="spectrum", x_label=r"noise level $\sqrt{1 - \bar\alpha}$"
            ),
            "Test loss against the noise level below the transition (N = d/2) for power "
            "laws and for the covariance of photograph patches.",
        ),
    }  # fmt: skip
    return Evidence.of([*kl, law, *losses.values()], panels, NOTES)


NOTES = (
    "The exact KL and the finite-T sampler law allow no bias at all. The losses are deterministic "
    "equivalents with their first correction, whose allowed error is stated.",
    "Controls: the KL with N - 1 replaced by N degrees of freedom and no error of the mean; the "
    "generated law of infinitely many steps, N(mu, Sigma_hat + c).",
)


def _kl(
    oversampling: Array, direction: theory.Direction, *, mean_known: bool = False
) -> ld.Prediction:
    """Closed form at every dimension, shape (dimensions, oversampling)."""
    return stack(
        theory.exact_kl(
            d, np.rint(oversampling * d).astype(int), direction=direction, mean_known=mean_known
        )
        for d in DIMENSIONS.tolist()
    )


def _exact_kl(run: Run) -> list[ld.Comparisons]:
    axes = {"dimension": DIMENSIONS, "oversampling": OVERSAMPLING}
    fixed = {"replicas": 64 if run.quick else 512, "key": run.key}
    table = run.sweep(cells.exact_divergences, axes, fixed=fixed)
    return [
        ld.compare_with_controls(
            cells.measurement(table[direction], {"d": DIMENSIONS, "N_over_d": OVERSAMPLING}),
            _kl(OVERSAMPLING, direction),
            _kl(OVERSAMPLING, direction, mean_known=True).labelled(
                f"{direction} KL without the error of the mean"
            ),
            name=f"exact {direction} KL",
            quantity="KL (nats)",
        )
        for direction in cells.DIRECTIONS
    ]


def _generated_law(run: Run) -> ld.Comparisons:
    """Sample with both samplers from a denoiser trained on a few real patches."""
    schedule, ridge, samples = NoiseSchedule.linear(40, 5e-3, 0.2), 0.02, 60
    batches, count = (16, 512) if run.quick else (32, 4096)
    patches = photograph_law(8, 20_000, key=jax.random.fold_in(run.key, 1))
    data_key, sample_key = jax.random.split(jax.random.fold_in(run.key, 2))
    samplers: tuple[theory.Sampler, ...] = ("ddpm", "ddim")
    with jax.enable_x64(True):
        mean, covariance = draw_moments(patches, samples, key=data_key)
        denoiser = optimum(mean, covariance, schedule.alpha_bar, ridge=ridge)
        variance, vectors = (np.asarray(array) for array in jnp.linalg.eigh(covariance))
        modes = np.unique(np.rint(np.linspace(0, variance.size - 1, 16)).astype(int))[::-1]

        def generated_variance(sampler: theory.Sampler, batch: int) -> Array:
            key = jax.random.fold_in(sample_key, batch)
            drawn = generate(denoiser, schedule, key=key, count=count, sampler=sampler)
            return (np.asarray(drawn) @ vectors[:, modes]).var(axis=0, ddof=1)

        variances = [
            [generated_variance(sampler, batch) for sampler in samplers]
            for batch in run.track(range(batches), "sampling")
        ]
    names = np.array([sampler.upper() for sampler in samplers])
    measured = ld.Measurement.from_replicas(
        variances, {"sampler": names, "mode": 1 + np.arange(modes.size)}
    )
    kept = np.maximum(variance[modes], 0)
    finite = stack(
        theory.generated_variance(kept, schedule, ridge=ridge, sampler=sampler)
        for sampler in samplers
    )
    infinite = ld.Prediction(np.stack([kept + ridge] * 2), label="infinitely many steps")
    return ld.compare_with_controls(
        measured, finite.labelled("finite number of steps"), infinite,
        name="finite-T sampler law on patches", quantity="generated variance",
    )  # fmt: skip


def _losses(run: Run) -> dict[tuple[str, int], ld.Comparisons]:
    """Both losses at all noise levels, below and above N = d, by kind and N."""
    known = laws(run)
    table = run.sweep(
        cells.losses,
        {"source": cells.sources(run, known, 10), "samples": SIZES},
        fixed={
            "replicas": 32 if run.quick else 256, "ridge": RIDGE, "levels": tuple(LEVELS.tolist()),
        },
    )  # fmt: skip
    axes = {"spectrum": np.array(SPECTRA), "noise_level": np.sqrt(1 - LEVELS)}
    spectra = [law.spectrum for law in known.values()]

    def compared(kind: str, title: str, at: int) -> ld.Comparisons:
        N = SIZES[at]
        return ld.compare_with_controls(
            cells.measurement(table[kind][:, at], axes),
            over_spectra(lambda s: getattr(theory.losses(s, N, RIDGE, LEVELS), kind), spectra, N),
            name=f"{title} loss, N/d = {N / 120:g}",
            quantity="loss / d",
        )

    return {
        (kind, N): compared(kind, title, at)
        for at, N in enumerate(SIZES)
        for kind, title in (("train", "training"), ("test", "test"))
    }
