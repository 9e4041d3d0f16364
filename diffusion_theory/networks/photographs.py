"""Patches of photographs, their Gaussian clones and the best that a linear denoiser can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.images import (
    ImageSet,
    PatchSet,
    cut_patches,
    load_bundled,
    split_by_source,
)
from learning_dynamics.images.patches import generator
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.random import check_key
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["Clones", "best_affine_loss", "clones", "photograph_patches"]

Array = NDArray[Any]
FLAT = 0.02  # standard deviation below which a patch holds mostly quantisation noise


def photograph_patches(
    size: int,
    *,
    images: ImageSet | None = None,
    train: int,
    test: int,
    fraction: float = 0.5,
    grayscale: bool = True,
    downscale: int = 2,
    key: jax.Array,
) -> tuple[Array, Array]:
    """Training and test patches that share no photograph, equally many of each photograph.

    Zero mean in each channel of each patch; scaled by one factor so that the training pixels have
    unit variance. Photographs are turned upright or on their side at random, patch by patch.

    Args:
        size: side of a patch, a multiple of 4.
        images: photographs, each image its own; by default the bundled ones.
        train: most training patches.
        test: most test patches.
        fraction: share of the photographs that goes to training.
        grayscale: take the luminance; otherwise all need the same channels.
        downscale: reduce photographs by this factor first, which removes JPEG blocking.
        key: typed random key of the split and the choice.

    Returns:
        float32 arrays of shape (n, size, size[, channels]).

    Raises:
        ValueError: if `size` is no multiple of 4, there are fewer than two photographs or too few
            patches in one, a photograph is smaller than a patch, or an argument is out of range.
    """
    check_key(key)
    size = positive_integer("size", size)
    if size % 4:
        raise reject("size", "be a multiple of 4", size)
    photographs = load_bundled("photographs") if images is None else images
    patches = cut_patches(
        photographs,
        size,
        stride=max(size // 2, 1),
        grayscale=grayscale,
        downscale=downscale,
        remove_mean=True,
        drop_flat=FLAT,
    )
    split = split_by_source(patches, fraction, key=jax.random.fold_in(key, 0))
    draws = generator(jax.random.fold_in(key, 1))
    sides = [
        _balanced(side, positive_integer(name, most), draws)
        for side, name, most in zip(split, ("train", "test"), (train, test), strict=True)
    ]
    scale = np.sqrt(np.mean(np.square(sides[0], dtype=np.float64)))
    first, second = (np.asarray(side / scale, np.float32) for side in sides)
    return first, second


def _balanced(side: PatchSet, most: int, draws: np.random.Generator) -> Array:
    sources, counts = np.unique(side.sources, return_counts=True)
    each = min(most // len(sources), int(counts.min()))
    if each < 1:
        raise reject(
            "train and test", f"leave a patch for each of {len(sources)} photographs", most
        )
    chosen = np.concatenate(
        [draws.choice(np.flatnonzero(side.sources == s), each, replace=False) for s in sources]
    )
    images = side.images[draws.permutation(chosen)]
    turned = draws.random(len(images)) < 0.5
    images[turned] = np.swapaxes(images[turned], 1, 2)
    return images


@dataclass(frozen=True, eq=False)
class Clones:
    """Gaussian images with some of the statistics of given ones.

    Attributes:
        mean: same mean and total variance, all directions alike; shape of the images.
        covariance: same mean and covariance.
        centre: mean of the given images as rows, float64, shape (d,).
        spectrum: eigenvalues of their covariance, float64, shape (d,), not increasing.
    """

    mean: Array
    covariance: Array
    centre: NDArray[np.float64]
    spectrum: NDArray[np.float64]

    __repr__ = short_text.represent


def clones(images: ArrayLike, *, count: int | None = None, exact: bool = True, key: Any) -> Clones:
    """Draw the mean clone and the covariance clone of images.

    N(mu, (tr Sigma / r) P) and N(mu, Sigma), P the projector on the r directions in which the
    images vary (a removed mean grey level stays removed).

    Args:
        images: shape (n, height, width[, channels]).
        count: images to draw of each clone, by default n.
        exact: shift and turn the draws so that their own mean and covariance are exactly these: a
            denoiser that is an affine function then has the same loss on images and clone.
        key: jax key or integer seed.

    Raises:
        ValueError: if images are not finite, or fewer are drawn than directions (when exact).
    """
    rows = finite_array("images", images)
    shape = rows.shape[1:]
    rows = rows.reshape(len(rows), -1)
    centre = rows.mean(axis=0)
    covariance = (rows - centre).T @ (rows - centre) / len(rows)
    spectrum, vectors = (a[..., ::-1] for a in np.linalg.eigh(covariance))
    rank = int(np.sum(spectrum > 1e-9 * spectrum[0]))
    draws = generator(key)
    n = len(rows) if count is None else positive_integer("count", count)
    if exact and n <= rank:
        raise reject("count", f"exceed the {rank} directions to be exact", n)
    drawn = []
    flat = np.full(rank, spectrum[:rank].sum() / rank)
    for power in (flat, spectrum[:rank]):
        white = draws.normal(size=(n, rank))
        if exact:
            white -= white.mean(axis=0)
            factor = np.linalg.cholesky(white.T @ white / n)
            white = np.linalg.solve(factor, white.T).T
        coloured = centre + (white * np.sqrt(power)) @ vectors[:, :rank].T
        drawn.append(np.asarray(coloured.reshape(n, *shape), np.float32))
    return Clones(drawn[0], drawn[1], centre, np.maximum(spectrum, 0))


def best_affine_loss(spectrum: ArrayLike, schedule: NoiseSchedule) -> NDArray[np.float64]:
    """Denoising loss of the best affine predictor of the noise at each step, shape (T,).

        L_t = (1/d) sum_i abar_t lambda_i / (abar_t lambda_i + 1 - abar_t)

    Reached by eps(x) = sqrt(1 - abar) (abar Sigma + (1 - abar) 1)^-1 (x - sqrt(abar) mu); no
    predictor does better on Gaussian data with covariance Sigma.

    Args:
        spectrum: eigenvalues lambda of the covariance, shape (d,).
        schedule: noise schedule, T steps.

    Source: linear regression of eps on x_t; derived here.
    """
    values = finite_array("spectrum", spectrum, ndim=1)
    signal = schedule.alpha_bar[:, None] * values[None]
    return np.asarray((signal / (signal + schedule.noise_power[:, None])).mean(axis=1))
