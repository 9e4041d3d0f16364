"""What is measured on samples and on generated laws."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.compilation import compiled
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.random import check_key
from learning_dynamics.tracking import track
from learning_dynamics.validation import integers, positive_integer, reject
from linear_diffusion.data import DataLaw, draw, draw_moments
from linear_diffusion.learners import optimum
from linear_diffusion.sampling import generate

__all__ = [
    "Memorisation",
    "Neighbours",
    "estimate_kl",
    "gaussian_kl",
    "memorisation",
    "nearest_neighbours",
    "place_of_minimum",
    "shared_noise_cosine",
]

HIGHEST = lax.Precision.HIGHEST


def gaussian_kl(
    mean: jax.Array, covariance: jax.Array, other_mean: jax.Array, other_covariance: jax.Array
) -> jax.Array:
    """KL( N(mean, covariance) || N(other_mean, other_covariance) ) in nats.

        1/2 { tr B^-1 (A + e e') - d - ln det A + ln det B },   e = mean - other_mean

    Both covariances must be positive definite; NaN otherwise.
    """
    d = mean.shape[0]
    root, other = jnp.linalg.cholesky(covariance), jnp.linalg.cholesky(other_covariance)
    columns = jnp.concatenate([root, (mean - other_mean)[:, None]], axis=1)
    solved = jax.scipy.linalg.solve_triangular(other, columns, lower=True)
    logs = 2 * jnp.sum(jnp.log(jnp.diagonal(other)) - jnp.log(jnp.diagonal(root)))
    return (jnp.sum(solved**2) - d + logs) / 2


def estimate_kl(
    samples: jax.Array, mean: jax.Array, covariance: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Both divergences between N(mean, covariance) and the Gaussian fitted to samples.

    The fit is the maximum-likelihood mean and covariance. Its own sampling error adds about
    d (d + 3) / (4 count) to either value, so draw many more samples than d^2.

    Args:
        samples: (count, d), count > d.
        mean: population mean, (d,).
        covariance: population covariance, (d, d).

    Returns:
        forward = KL(population || samples) and reverse = KL(samples || population), in nats.

    Raises:
        ValueError: if there are no more samples than dimensions.
    """
    count, d = samples.shape
    if count <= d:
        raise reject("samples", f"hold more than d = {d} rows", count)
    fitted = jnp.mean(samples, axis=0)
    centred = samples - fitted[None, :]
    cov = jnp.matmul(centred.T, centred, precision=HIGHEST) / count
    return (
        gaussian_kl(mean, covariance, fitted, cov),
        gaussian_kl(fitted, cov, mean, covariance),
    )


class Neighbours(NamedTuple):
    """Nearest-neighbour measures of memorisation, per generated sample."""

    training_cosine: jax.Array  #: largest cosine to the training set, (count,)
    fresh_cosine: jax.Array  #: largest cosine to a fresh set of equal size, (count,)
    distance_ratio: jax.Array  #: first over second smallest distance to the training set, (count,)

    def __repr__(self) -> str:
        return short_text.represent(self)


def nearest_neighbours(
    generated: jax.Array, training: jax.Array, fresh: jax.Array, *, threshold: float = 1 / 3
) -> tuple[Neighbours, jax.Array]:
    """Compare generated samples with the training set and with a fresh set of the same size.

    Args:
        generated: (count, d).
        training: (samples, d), samples >= 2.
        fresh: (samples, d), independent of the training set.
        threshold: a sample counts as copied when its distance ratio is below it.

    Returns:
        The measures, and the fraction of copied samples. The ratio is zero for a copy of a row
        that the training set holds twice.

    Raises:
        ValueError: if the two sets differ in size, which would bias the comparison, or hold
            fewer than two rows.
    """
    if training.shape != fresh.shape:
        raise reject("fresh", f"have the training set's shape {training.shape}", fresh.shape)
    if training.shape[0] < 2:
        raise reject("training", "hold at least two rows", training.shape)

    def largest_cosine(others: jax.Array) -> jax.Array:
        products = jnp.matmul(generated, others.T, precision=HIGHEST)
        scale = (
            jnp.linalg.norm(generated, axis=1)[:, None] * jnp.linalg.norm(others, axis=1)[None, :]
        )
        return jnp.max(products / scale, axis=1)

    # The two nearest rows are found by inner products about the training mean; their distances
    # are then taken from differences, because products would lose a copy's to rounding.
    centre = jnp.mean(training, axis=0)[None, :]
    rows = training - centre
    closeness = jnp.matmul(generated - centre, rows.T, precision=HIGHEST)
    chosen = lax.top_k(closeness - jnp.sum(rows**2, axis=1)[None, :] / 2, 2)[1]
    nearest = jnp.linalg.norm(generated[:, None, :] - training[chosen], axis=-1)
    second = jnp.maximum(jnp.max(nearest, axis=1), jnp.finfo(nearest.dtype).tiny)
    ratio = jnp.min(nearest, axis=1) / second
    neighbours = Neighbours(largest_cosine(training), largest_cosine(fresh), ratio)
    return neighbours, jnp.mean(ratio < threshold)


class Memorisation(NamedTuple):
    """Samples of models that were trained on more and more rows, and what is nearest to them."""

    generated: NDArray[np.float32]  #: from the same noise for every model, (sizes, count, d)
    training_cosine: NDArray[np.float32]  #: largest cosine to the training set, (sizes, count)
    fresh_cosine: NDArray[np.float32]  #: largest cosine to a fresh set of equal size, likewise
    fresh: NDArray[np.float32]  #: rows of the largest fresh set, (rows, d)

    def __repr__(self) -> str:
        return short_text.represent(self)


def memorisation(
    law: DataLaw, samples: ArrayLike, schedule: NoiseSchedule, *, count: int, key: jax.Array
) -> Memorisation:
    """Generate by DDPM from models trained on the first N rows of one data set, for several N.

    Args:
        law: data law.
        samples: N >= 2, shape (sizes,).
        schedule: noise schedule.
        count: samples of each model.
        key: typed random key.

    Raises:
        ValueError: without a size, on one below 2, or without samples of each model.
    """
    check_key(key)
    sizes = integers("samples", samples, least=2).ravel().tolist()
    if not sizes:
        raise reject("samples", "hold at least one size", sizes)
    positive_integer("count", count)
    data_key, fresh_key, noise_key = jax.random.split(key, 3)
    sets = [np.asarray(draw(law, max(sizes), key=each)) for each in (data_key, fresh_key)]
    made = []
    for N in track(sizes, "models"):
        mean, covariance = draw_moments(law, N, key=data_key, dtype=np.float32)
        centre = mean + jnp.asarray(law.mean, np.float32)
        denoiser = optimum(centre, covariance, schedule.alpha_bar)
        drawn = generate(denoiser, schedule, key=noise_key, count=count)
        # the first row again in place of rows beyond N: one program for all N, the same cosines
        inside = (np.arange(max(sizes)) < N)[:, None]
        filled = [jnp.asarray(np.where(inside, rows, rows[:1])) for rows in sets]
        made.append((drawn, *_largest_cosines(drawn, *filled)))
    generated, training, fresh = (
        np.stack([np.asarray(array) for array in column]) for column in zip(*made, strict=True)
    )
    return Memorisation(generated, training, fresh, sets[1])


@compiled
def _largest_cosines(
    generated: jax.Array, training: jax.Array, fresh: jax.Array
) -> tuple[jax.Array, jax.Array]:
    neighbours, _ = nearest_neighbours(generated, training, fresh)
    return neighbours.training_cosine, neighbours.fresh_cosine


def shared_noise_cosine(first: jax.Array, second: jax.Array) -> jax.Array:
    """Cosine between what two models made of the same noise, <x, x'> / sqrt(<x, x> <x', x'>).

    Averages run over samples and coordinates.

    Args:
        first: samples of one model, shape (count, d).
        second: samples of the other from the same key, same shape.
    """
    return jnp.sum(first * second) / jnp.sqrt(jnp.sum(first**2) * jnp.sum(second**2))


def place_of_minimum(curve: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of the minimum of curves over a uniform grid, by a parabola through three points.

    Args:
        curve: shape (..., points), three points or more.
        grid: uniform, shape (points,).

    Returns:
        Shape (...,).
    """
    at = np.clip(np.argmin(curve, axis=-1), 1, grid.size - 2)
    left, centre, right = (
        np.take_along_axis(curve, (at + shift)[..., None], axis=-1)[..., 0] for shift in (-1, 0, 1)
    )
    return np.asarray(
        grid[at] + (grid[1] - grid[0]) * (left - right) / (2 * (left - 2 * centre + right))
    )
