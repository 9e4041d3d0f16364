"""Patches of images, with the photograph and the place each one comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.images.grid import Grid
from learning_dynamics.images.image_set import ImageSet
from learning_dynamics.validation import finite_array, plain_array, positive_integer, reject

__all__ = ["PatchSet", "cut_patches", "generator", "sample_patches"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches as rows, and where they were cut.

    Attributes:
        patches: shape (n, size * size * channels), float32 or float64; row, column, channel.
        sources: index of the image that each patch was cut from, shape (n,).
        positions: row and column of each patch's upper left pixel, after the reduction by
            `downscale`, shape (n, 2).
        labels: label of the image that each patch was cut from, shape (n,), or None.
        size: side of a patch in pixels.
        channels: number of channels.
    """

    patches: NDArray[Any]
    sources: Integers
    positions: Integers
    labels: Integers | None
    size: int
    channels: int

    __repr__ = short_text.represent

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def images(self) -> NDArray[Any]:
        """The patches as images, shape (n, size, size), or (n, size, size, channels) in colour."""
        shape = (len(self), self.size, self.size)
        return self.patches.reshape(shape if self.channels == 1 else (*shape, self.channels))

    def select(self, indices: ArrayLike) -> PatchSet:
        """Keep the patches at `indices` (integers, or booleans of shape (n,))."""
        kept = plain_array("indices", indices)
        labels = None if self.labels is None else self.labels[kept]
        return PatchSet(
            self.patches[kept],
            self.sources[kept],
            self.positions[kept],
            labels,
            self.size,
            self.channels,
        )


def generator(key: Any) -> np.random.Generator:
    """Make a NumPy generator from a jax key (typed or raw) or a non-negative integer seed.

    Raises:
        ValueError: if `key` is neither.
    """
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and key >= 0:
        return np.random.default_rng(int(key))
    typed = isinstance(key, jax.Array) and jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = np.asarray(jax.random.key_data(key)) if typed else np.asarray(key)
    if words.ndim != 1 or words.dtype != np.uint32:
        raise reject("key", "be one jax key or a non-negative integer", repr(key))
    return np.random.default_rng([int(word) for word in words])


def cut_patches(
    images: ImageSet | NDArray[Any] | Sequence[NDArray[Any]],
    size: int,
    *,
    stride: int | None = None,
    grayscale: bool = True,
    downscale: int = 1,
    remove_mean: bool = False,
    unit_norm: bool = False,
    drop_flat: float = 0.0,
    limit: int | None = None,
    key: Any = None,
    dtype: DTypeLike = np.float32,
) -> PatchSet:
    """Cut the patches of a regular grid out of every image.

    Args:
        images: an `ImageSet`, a sequence of images of shape (height, width[, channels]), or an
            array of them of shape (n, height, width[, channels]).
        size: side of a patch in pixels.
        stride: distance of neighbouring patches; by default `size`, which makes them disjoint.
        grayscale: take the luminance first; without it all images need the same channels.
        downscale: first shrink every image by this whole factor, by means over blocks. A factor
            of two removes JPEG blocking.
        remove_mean: subtract the mean (the DC mode) of each channel of each patch.
        unit_norm: subtract the mean and scale each patch to norm 1. A constant patch has no
            contrast to scale, and is refused: drop it with `drop_flat`.
        drop_flat: drop patches whose standard deviation about the mean of each channel, on the
            scale where white is 1, does not exceed this (1e-6: constant patches; one of 256 gray
            levels is 0.004). Off (0) by default, since dropping flat patches (sky, say) changes
            the mix of photographs and unbalances classes.
        limit: keep this many patches, drawn uniformly without replacement and in the order of
            the grid; needs `key`.
        key: jax key or integer seed for `limit`.
        dtype: float32 or float64.

    Returns:
        Patches with values in [0, 1], or of zero mean if asked for, and their sources. They come
        image by image and row by row: shuffle them before training on them in turn.

    Raises:
        ValueError: if an argument is out of its range, an image is smaller than a patch, images
            differ in channels, `limit` exceeds the patches there are, `limit` and `key` do not
            come together, or `unit_norm` meets a constant patch.
    """
    if not isinstance(images, ImageSet):
        images = ImageSet(images if isinstance(images, np.ndarray) else tuple(images))
    size, downscale = positive_integer("size", size), positive_integer("downscale", downscale)
    stride = size if stride is None else positive_integer("stride", stride)
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise reject("dtype", "be float32 or float64", kind)
    threshold = float(finite_array("drop_flat", drop_flat, ndim=0))
    if not 0 <= threshold < 0.5:
        raise reject("drop_flat", "lie in [0, 0.5), the range of standard deviations", threshold)
    if (limit is None) != (key is None):
        raise reject("limit", "come together with `key`", f"limit={limit}, key={key}")
    grid = Grid(images, size, stride, grayscale, downscale)
    if threshold:
        kept = [np.flatnonzero(grid.contrast(i) > threshold) for i in range(len(images))]
        counts = np.array([len(each) for each in kept])
    else:
        counts = np.array([grid.count(i) for i in range(len(images))])
    total = int(counts.sum())
    if total == 0:
        raise reject("drop_flat", "leave a patch", f"{threshold}, which drops all of them")
    if limit is None:
        chosen = np.arange(total)
    else:
        limit = positive_integer("limit", limit)
        if limit > total:
            raise reject("limit", f"not exceed the number of patches, {total}", limit)
        chosen = np.sort(generator(key).choice(total, limit, replace=False, shuffle=False))
    sources = np.searchsorted(np.cumsum(counts), chosen, side="right")
    within = chosen - (np.cumsum(counts) - counts)[sources]
    patches = np.empty((len(chosen), size * size * grid.channels), kind)
    positions = np.empty((len(chosen), 2), np.int64)
    ends = np.searchsorted(sources, np.arange(len(images) + 1))
    for i, (start, stop) in enumerate(pairwise(ends)):
        if start == stop:
            continue
        cells = kept[i][within[start:stop]] if threshold else within[start:stop]
        positions[start:stop] = grid.positions(i, cells)
        grid.extract(i, cells, patches[start:stop], remove_mean, unit_norm)
    labels = None if images.labels is None else images.labels[sources]
    return PatchSet(patches, sources.astype(np.int64), positions, labels, size, grid.channels)


def sample_patches(
    images: ImageSet | NDArray[Any] | Sequence[NDArray[Any]],
    size: int,
    count: int,
    *,
    key: Any,
    **options: Any,
) -> PatchSet:
    """Cut `count` patches at positions drawn uniformly, without replacement, from all there are.

    Every position of every image is equally likely, so larger images give more patches; patches
    may overlap but no position comes twice.

    Args:
        images: as for `cut_patches`.
        size: side of a patch in pixels.
        count: number of patches.
        key: jax key or integer seed.
        **options: `grayscale`, `downscale`, `remove_mean`, `unit_norm`, `drop_flat` and `dtype`
            of `cut_patches`.

    Raises:
        ValueError: as `cut_patches`, and if there are fewer than `count` positions.
    """
    return cut_patches(images, size, stride=1, limit=count, key=key, **options)
