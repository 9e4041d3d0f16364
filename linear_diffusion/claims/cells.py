"""Measures of the sweeps over N: each draws its data sets and returns one number per replica."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.measurement import Measurement
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Run
from learning_dynamics.spectra import power_law
from linear_diffusion.data import DataLaw, EmpiricalLaw, LatentLaw, draw, draw_moments
from linear_diffusion.learners import optimum
from linear_diffusion.measures import nearest_neighbours
from linear_diffusion.patches import photograph_law
from linear_diffusion.sampling import generate
from linear_diffusion.simulation import (
    SampleModes,
    draw_modes,
    kl_of_modes,
    losses_of_modes,
    root_overlap,
    trained_variance,
)
from linear_diffusion.spiked import draw_spike_overlaps
from linear_diffusion.theory import Direction

Array = NDArray[np.float64]
DIRECTIONS: tuple[Direction, ...] = ("forward", "reverse")
SCHEDULE = NoiseSchedule.linear(40, 2e-3, 0.25)  # of the models whose spike is looked for


@dataclass(frozen=True, eq=False)
class Source:
    """A law with the key from which its data sets are drawn."""

    law: DataLaw
    key: jax.Array

    def modes(self, samples: int, replicas: int) -> SampleModes:
        """Data sets of one size."""
        return draw_modes(self.law, [samples], replicas=replicas, key=self.key)


def sources(run: Run, laws: dict[str, LatentLaw], first: int = 0) -> dict[str, Source]:
    """The laws with independent keys, numbered from `first`."""
    return {
        name: Source(law, jax.random.fold_in(run.key, first + i))
        for i, (name, law) in enumerate(laws.items())
    }


def measurement(
    cells: ArrayLike, coordinates: Mapping[str, ArrayLike], *, unit: ArrayLike = 1.0
) -> Measurement:
    """Mean over the replicas, the last axis of a sweep over cells, in units of `unit`."""
    replicas = np.moveaxis(np.asarray(cells, np.float64), -1, 0)
    return Measurement.from_replicas(replicas / np.asarray(unit), coordinates)


def losses(
    source: Source, samples: int, replicas: int, ridge: float, levels: tuple[float, ...]
) -> dict[str, Array]:
    """Training and test loss per dimension, shape (noise levels, replicas)."""
    modes = source.modes(samples, replicas)
    train, test = losses_of_modes(modes, ridge, np.array(levels))
    return {"train": train[:, 0].T, "test": test[:, 0].T}


def overlaps(source: Source, samples: int, replicas: int, ridge: float) -> Array:
    """Overlap of two models trained on disjoint samples, shape (replicas,)."""
    first, second = (
        Source(source.law, jax.random.fold_in(source.key, half)).modes(samples, replicas)
        for half in (0, 1)
    )
    return root_overlap(first, second, ridge=ridge)[:, 0]


def divergences(source: Source, samples: int, replicas: int) -> dict[str, Array]:
    """KL in both directions without ridge, shape (replicas,)."""
    modes = source.modes(samples, replicas)
    return {
        direction: kl_of_modes(modes, modes.variance, direction=direction)[:, 0]
        for direction in DIRECTIONS
    }


def exact_divergences(
    dimension: int, oversampling: float, replicas: int, key: jax.Array
) -> dict[str, Array]:
    """The same for Gaussian data with spectrum exponent 1, at N = oversampling * dimension."""
    source = Source(LatentLaw(power_law(dimension, 1.0)), jax.random.fold_in(key, dimension))
    return divergences(source, round(oversampling * dimension), replicas)


@lru_cache(maxsize=2)
def _pool(pixels: int, count: int, words: tuple[int, ...], equal_contrast: bool) -> EmpiricalLaw:
    key = jax.random.wrap_key_data(jnp.array(words, np.uint32))
    return photograph_law(pixels, count, key=key, equal_contrast=equal_contrast)


def pool(pixels: int, count: int, key: jax.Array, equal_contrast: bool = False) -> EmpiricalLaw:
    """Law of photograph patches; too large for the key of a cell, it is made again from `key`."""
    words = tuple(int(word) for word in np.asarray(jax.random.key_data(key)))
    return _pool(pixels, count, words, equal_contrast)


def patch_divergence(equal_contrast: bool, samples: int, replicas: int, key: jax.Array) -> Array:
    """Reverse KL with photograph patches of 8 x 8 pixels as data, shape (replicas,)."""
    offset = int(equal_contrast)
    law = pool(8, 30_000, jax.random.fold_in(key, 40 + offset), equal_contrast)
    source = Source(law, jax.random.fold_in(key, 42 + offset))
    return divergences(source, samples, replicas)["reverse"]


def generated_patches(
    ratio: float, pixels: int, count: int, shown: int, key: jax.Array
) -> dict[str, Array]:
    """Patches made by DDPM from a model trained on N = ratio * d patches.

    Returns:
        Some of them, shape (shown, d), and the cosine of each of `count` to its nearest neighbour
        in the training set and in a fresh set, shape (count,).
    """
    law = pool(pixels, 20_000, jax.random.fold_in(key, 300))
    data_key, fresh_key, noise_key = jax.random.split(jax.random.fold_in(key, 301), 3)
    schedule = NoiseSchedule.linear(250, 4e-4, 8e-2)
    N = round(ratio * law.spectrum.size)
    mean, covariance = draw_moments(law, N, key=data_key, dtype=np.float32)
    denoiser = optimum(mean + jnp.asarray(law.mean, np.float32), covariance, schedule.alpha_bar)
    generated = generate(denoiser, schedule, key=noise_key, count=count)
    neighbours, _ = nearest_neighbours(
        generated, draw(law, N, key=data_key), draw(law, N, key=fresh_key)
    )
    return {
        "patches": np.asarray(generated[:shown]),
        "training_cosine": np.asarray(neighbours.training_cosine),
        "fresh_cosine": np.asarray(neighbours.fresh_cosine),
    }


def recoveries(source: Source, samples: int, replicas: int, time: float) -> dict[str, Array]:
    """Models trained for `time` and run for the steps of SCHEDULE, shape (replicas,) each.

    The squared overlap of the leading direction of the generated law with the leading direction of
    the data, and the reverse KL.
    """
    modes = source.modes(samples, replicas)
    variance, share = trained_variance(modes, SCHEDULE, [time])
    leading = variance[:, 0, 0].argmax(axis=-1)
    kl = kl_of_modes(modes, variance, direction="reverse", mean_share=share)
    return {
        "overlap": modes.overlap[np.arange(replicas), 0, leading, 0] ** 2,
        "divergence": kl[:, 0, 0],
    }


def reduced_recoveries(
    dimension: int, ratio: float, spike: float, replicas: int, key: jax.Array
) -> Array:
    """Squared overlap of the leading sample eigenvector at N = ratio * d, shape (replicas,)."""
    samples = round(ratio * dimension)
    chosen = jax.random.fold_in(jax.random.fold_in(key, dimension), samples)
    return draw_spike_overlaps(dimension, spike, samples, replicas=replicas, key=chosen)


def generated_recoveries(
    source: Source, samples: int, ridge: float, replicas: int, count: int
) -> Array:
    """Squared overlap of the leading direction of `count` DDPM samples with that of the data."""
    overlaps = np.empty(replicas)
    for replica in range(replicas):
        key = jax.random.fold_in(jax.random.fold_in(source.key, replica), samples)
        data_key, noise_key = jax.random.split(key)
        mean, covariance = draw_moments(source.law, samples, key=data_key, dtype=np.float32)
        denoiser = optimum(mean, covariance, SCHEDULE.alpha_bar, ridge=ridge)
        drawn = np.asarray(generate(denoiser, SCHEDULE, key=noise_key, count=count), np.float64)
        leading = np.linalg.eigh(np.cov(drawn, rowvar=False))[1][:, -1]
        overlaps[replica] = (source.law.basis[:, 0] @ leading) ** 2
    return overlaps
