"""Leading directions of samples of spiked data, and of what is generated after learning them."""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from learning_dynamics.images.patches import generator
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.random import check_key
from learning_dynamics.validation import positive_integer, positive_number
from linear_diffusion.data import DataLaw, draw_moments
from linear_diffusion.learners import optimum
from linear_diffusion.sampling import generate

__all__ = ["draw_spike_overlaps", "generated_spike_overlaps"]

Array = NDArray[np.float64]


def draw_spike_overlaps(
    dimension: int, spike: float, samples: int, *, replicas: int, key: Any
) -> Array:
    """Squared overlap of the leading sample eigenvector with a spike over a flat bulk.

    Rotations of the samples, and of all directions but the spike, leave the law of n centred
    Gaussian rows as it is, and take them to a bidiagonal matrix with independent entries (Dumitriu
    and Edelman 2002; Bloemendal and Virag 2013 with a spike),

        N Sigma_hat ~ B' B,   B_ii = chi_(n-i),   B_(i,i+1) = chi_(d-1-i),   i = 0, 1, ...,

    with B_00 multiplied by l^(1/2); the spike is the first coordinate. No matrix is stored: a
    draw costs a few milliseconds at d = 4096.

    Args:
        dimension: d.
        spike: l, the variance along the spike; one in all other directions.
        samples: N >= 2; the mean is estimated, n = N - 1.
        replicas: number of data sets.
        key: typed random key or integer seed.

    Returns:
        Shape (replicas,).

    Raises:
        ValueError: a dimension below 2, samples < 2, a spike that is not positive or no replica.

    Equation: :eq:`eq:linear-bidiagonal`.
    """
    d, strength = positive_integer("dimension", dimension, least=2), positive_number("spike", spike)
    n = positive_integer("samples", samples, least=2) - 1
    rng, i = generator(key), np.arange(min(n, d))
    overlaps = np.empty(positive_integer("replicas", replicas))
    for replica in range(overlaps.size):
        diagonal, above = np.zeros(d), np.zeros(d)
        diagonal[: i.size] = rng.chisquare(n - i)
        inside = i[i < d - 1]
        above[: inside.size] = rng.chisquare(d - 1 - inside)
        diagonal[0] *= strength
        squares = diagonal + np.concatenate([[0.0], above[:-1]])
        products = np.sqrt(diagonal * above)[:-1]
        _, vector = eigh_tridiagonal(squares, products, select="i", select_range=(d - 1, d - 1))
        overlaps[replica] = vector[0, 0] ** 2
    return overlaps


def generated_spike_overlaps(
    law: DataLaw,
    samples: int,
    generated: int,
    schedule: NoiseSchedule,
    *,
    replicas: int,
    key: jax.Array,
    ridge: float = 0.0,
) -> Array:
    """Squared overlap of the leading direction of DDPM samples with that of the data.

    A model is trained on every data set, and the covariance of what it generates diagonalised:
    simulation of `theory.generated_spike_recovery`.

    Args:
        law: data law.
        samples: N >= 2 training samples.
        generated: m >= 2 samples of each model.
        schedule: noise schedule.
        replicas: number of data sets.
        key: typed random key; data set r at size N has the key `fold_in(fold_in(key, r), N)`.
        ridge: c >= 0.

    Returns:
        Shape (replicas,).

    Raises:
        ValueError: samples or generated < 2, negative ridge or no replica.
    """
    check_key(key)
    N = positive_integer("samples", samples, least=2)
    m = positive_integer("generated", generated, least=2)
    overlaps = np.empty(positive_integer("replicas", replicas))
    for replica in range(overlaps.size):
        run = jax.random.fold_in(jax.random.fold_in(key, replica), N)
        data_key, noise_key = jax.random.split(run)
        mean, covariance = draw_moments(law, N, key=data_key, dtype=np.float32)
        denoiser = optimum(mean, covariance, schedule.alpha_bar, ridge=ridge)
        drawn = np.asarray(generate(denoiser, schedule, key=noise_key, count=m), np.float64)
        leading = np.linalg.eigh(np.atleast_2d(np.cov(drawn, rowvar=False)))[1][:, -1]
        overlaps[replica] = (law.basis[:, 0] @ leading) ** 2
    return overlaps
