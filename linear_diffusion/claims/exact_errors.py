"""`linear/exact-errors`: KL, generated law and losses against simulation, at finite size."""

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims.common import SOURCE
from linear_diffusion.claims.noise_level_losses import SIZES, losses_at_levels
from linear_diffusion.claims.sampler_law import generated_law
from linear_diffusion.data import LatentLaw
from linear_diffusion.simulation import draw_modes, kl_of_modes
from linear_diffusion.theory.divergence import DIRECTIONS

Array = NDArray[np.float64]
DIMENSIONS = np.array([20, 50, 100, 200])
OVERSAMPLING = np.array([1.5, 2.0, 3.0, 5.0, 10.0])


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
    kl, law, losses = _exact_kl(run), generated_law(run), losses_at_levels(run)
    fine = np.geomspace(OVERSAMPLING[0], OVERSAMPLING[-1], 60)
    panels = {
        "exact-kl": Panel(
            kl[0][0].plot(logx=True, logy=True, fine=(fine, _kl(fine, "forward").values)),
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
                x="noise_level", series="law", x_label=r"noise level $\sqrt{1 - \bar\alpha}$"
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
    table = run.sweep(
        exact_divergences,
        {"dimension": DIMENSIONS, "oversampling": OVERSAMPLING},
        fixed={"replicas": 64 if run.quick else 512, "key": run.key},
    )
    axes = {"d": DIMENSIONS, "N_over_d": OVERSAMPLING}
    return [
        ld.compare_with_controls(
            ld.Measurement.from_replicas(table[direction], axes, axis=-1),
            _kl(OVERSAMPLING, direction),
            _kl(OVERSAMPLING, direction, mean_known=True).labelled(
                f"{direction} KL without the error of the mean"
            ),
            name=f"exact {direction} KL",
            quantity="KL (nats)",
        )
        for direction in DIRECTIONS
    ]


def exact_divergences(
    dimension: int, oversampling: float, replicas: int, key: jax.Array
) -> dict[str, Array]:
    """KL by direction, shape (replicas,), of data with spectrum exponent 1."""
    modes = draw_modes(
        LatentLaw(power_law(dimension, 1.0)), [round(oversampling * dimension)],
        replicas=replicas, key=jax.random.fold_in(key, dimension),
    )  # fmt: skip
    return {
        direction: kl_of_modes(modes, modes.variance, direction=direction)[:, 0]
        for direction in DIRECTIONS
    }
