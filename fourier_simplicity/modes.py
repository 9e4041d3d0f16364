"""Fourier modes of a real field on a ring or a torus: one wave vector of each pair (k, -k).

Sites number S = prod(shape), all sides even. A mode is a pair k, -k with k != -k; the uniform mode
and those at the Nyquist frequency that are their own mirror image carry no phase and are left
empty, so that the inputs fill D = 2 x modes dimensions: N - 2 on a ring, L^2 - 4 on a torus.

Coordinates: z_k = sqrt(2 / S) sum_t x(t) exp(-2 pi i k.t / side), and Re z_k, Im z_k are the
coordinates of x along the orthonormal vectors sqrt(2/S) cos(2 pi k.t / side) and
-sqrt(2/S) sin(2 pi k.t / side).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.validation import finite_array, integers, non_negative, reject

__all__ = [
    "WaveVector",
    "canonical",
    "check_shape",
    "fft_places",
    "power_law_spectrum",
    "spectrum_from_fields",
    "to_modes",
    "to_sites",
    "wave_number",
    "wave_vectors",
    "whole_vector",
    "whole_vectors",
    "wrap",
]

WaveVector = tuple[int, ...]


def check_shape(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the sides of the grid as a tuple.

    Raises:
        ValueError: unless there are one or two sides, all even and at least 4.
    """
    sides = tuple(int(n) for n in np.atleast_1d(integers("shape", shape, least=1)))
    if len(sides) not in (1, 2):
        raise reject("shape", "have one or two sides", sides)
    if any(side % 2 or side < 4 for side in sides):
        raise reject("shape", "have even sides of at least 4", sides)
    return sides


@lru_cache(maxsize=64)
def _vectors(shape: tuple[int, ...]) -> NDArray[np.int64]:
    axes = [np.arange(-side // 2 + 1, side // 2 + 1) for side in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(shape))
    half = np.asarray(shape) // 2
    mirror = np.where(grid == half, half, -grid)  # -k, back in the range of the axes
    rank, other = (_rank(k, shape) for k in (grid, mirror))
    kept = grid[rank > other]
    order = np.lexsort((*kept.T[::-1], (kept**2).sum(axis=1)))
    vectors: NDArray[np.int64] = kept[order]
    vectors.setflags(write=False)
    return vectors


def _rank(k: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Lexicographic rank: of k and -k the mode takes the one with the larger rank."""
    strides = np.cumprod([1, *(2 * side for side in shape[:0:-1])])[::-1]
    return np.asarray(k @ strides)


def wave_vectors(shape: int | tuple[int, ...]) -> NDArray[np.int64]:
    """Wave vectors of the modes, shape (modes, axes), by increasing |k|: 1 .. N/2 - 1 on a ring.

    Raises:
        ValueError: on a shape that is not one or two even sides.
    """
    return _vectors(check_shape(shape))


def wave_number(shape: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Wave number |k| of the modes, shape (modes,)."""
    return np.sqrt((wave_vectors(shape).astype(np.float64) ** 2).sum(axis=1))


@lru_cache(maxsize=64)
def _places(shape: tuple[int, ...]) -> dict[WaveVector, int]:
    return {tuple(int(i) for i in k): at for at, k in enumerate(_vectors(shape))}


def whole_vector(argument: str, value: ArrayLike) -> NDArray[np.int64]:
    """A wave vector, shape (axes,), from whole numbers; on a ring one number will do.

    Raises:
        ValueError: on anything else, naming `argument`.
    """
    k = np.atleast_1d(integers(argument, value, least=-(10**9)))
    if k.ndim != 1:
        raise reject(argument, "be whole numbers or tuples of them", repr(value))
    return k


def whole_vectors(argument: str, values: Any, axes: int) -> list[WaveVector]:
    """Several wave vectors or lags of a grid with so many axes.

    Raises:
        ValueError: if they are no list of whole vectors of the grid.
    """
    if not np.iterable(values):
        raise reject(argument, "be a list of vectors", repr(values))
    vectors = [tuple(whole_vector(argument, value).tolist()) for value in values]
    if any(len(vector) != axes for vector in vectors):
        raise reject(argument, f"be vectors of {axes} whole numbers", list(values))
    return vectors


def canonical(
    shape: tuple[int, ...], wave_vector: ArrayLike, *, argument: str = "modes"
) -> tuple[int, int]:
    """Index of the mode of a wave vector, and +1, or -1 if the mode goes by its mirror image.

    Args:
        shape: sides of the grid.
        wave_vector: whole numbers, one per side.
        argument: name for error messages.

    Raises:
        ValueError: if the wave vector has the wrong length, lies beyond the Nyquist frequency, or
            is its own mirror image (uniform mode and Nyquist).
    """
    k = whole_vector(argument, wave_vector)
    half = np.asarray(shape) // 2
    if k.shape != half.shape:
        raise reject(argument, f"have {half.size} component(s) each", wave_vector)
    if np.any(np.abs(k) > half):
        raise reject(argument, f"not lie beyond the Nyquist frequency {half.tolist()}", wave_vector)
    known = _places(shape)
    for sign in (1, -1):
        image = tuple(int(i) for i in np.where(np.abs(k) == half, half, sign * k))
        if image in known:
            return known[image], sign
    raise reject(argument, "carry a phase (neither uniform nor all Nyquist)", wave_vector)


def wrap(shape: tuple[int, ...], wave_vector: ArrayLike) -> WaveVector:
    """The wave vector modulo the sides, components in (-side / 2, side / 2]."""
    half = np.asarray(shape) // 2
    k = half - (half - np.asarray(wave_vector)) % np.asarray(shape)
    return tuple(int(i) for i in k)


@lru_cache(maxsize=64)
def fft_places(shape: tuple[int, ...]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where the modes are in a flattened FFT, shape (modes,), and what is at each place of it.

    The latter, shape (S,), is 1 + i for mode i, 1 + modes + i for its mirror image, 0 for none.
    """
    k = _vectors(shape)
    sides = np.asarray(shape)
    at, mirror = (np.ravel_multi_index(tuple(((s * k) % sides).T), shape) for s in (1, -1))
    table = np.zeros(int(np.prod(shape)), np.int32)  # the same index type in any precision
    table[at] = 1 + np.arange(len(k))
    table[mirror] = 1 + len(k) + np.arange(len(k))
    return at.astype(np.int32), table


def to_sites(shape: int | tuple[int, ...], coordinates: jax.Array) -> jax.Array:
    """Real fields, shape (..., *shape), from coordinates (Re z_1, Im z_1, Re z_2, ..), (..., D).

    Raises:
        ValueError: on a bad shape, or another number of coordinates.
    """
    shape = check_shape(shape)
    _, table = fft_places(shape)
    if np.ndim(coordinates) < 1 or coordinates.shape[-1] != 2 * len(_vectors(shape)):
        demand = f"have shape (..., {2 * len(_vectors(shape))})"
        raise reject("coordinates", demand, f"shape {np.shape(coordinates)}")
    pairs = coordinates.reshape(*coordinates.shape[:-1], -1, 2)
    z = jax.lax.complex(pairs[..., 0], pairs[..., 1])
    zero = jnp.zeros_like(z[..., :1])
    spectrum = jnp.concatenate([zero, z, jnp.conj(z)], axis=-1)[..., table]
    spectrum = spectrum.reshape(*z.shape[:-1], *shape)
    axes = tuple(range(-len(shape), 0))
    scale = jnp.asarray(np.sqrt(np.prod(shape) / 2), coordinates.dtype)
    field: jax.Array = jnp.fft.ifftn(spectrum, axes=axes).real * scale
    return field


def to_modes(shape: int | tuple[int, ...], fields: jax.Array) -> jax.Array:
    """Coordinates (Re z_1, Im z_1, ..), shape (..., D), of fields of shape (..., *shape).

    Raises:
        ValueError: on a bad shape, or fields of another one.
    """
    shape = check_shape(shape)
    at, _ = fft_places(shape)
    if np.shape(fields)[-len(shape) :] != shape:
        raise reject("fields", f"have shape (..., {str(shape)[1:]}", f"shape {np.shape(fields)}")
    axes = tuple(range(-len(shape), 0))
    spectrum = jnp.fft.fftn(fields, axes=axes)
    z = spectrum.reshape(*spectrum.shape[: -len(shape)], -1)[..., at]
    pairs = jnp.stack([z.real, z.imag], axis=-1) * np.sqrt(2 / np.prod(shape)).astype(fields.dtype)
    return pairs.reshape(*z.shape[:-1], -1)


def power_law_spectrum(shape: int | tuple[int, ...], exponent: ArrayLike) -> NDArray[np.float64]:
    """Variances lambda_k proportional to |k|^-gamma with mean one, shape (modes,).

    Raises:
        ValueError: on a bad shape or a negative exponent.
    """
    gamma = float(finite_array("exponent", non_negative("exponent", exponent), ndim=0))
    power = wave_number(shape) ** -gamma
    return np.asarray(power / power.mean())


def spectrum_from_fields(fields: ArrayLike) -> NDArray[np.float64]:
    """Variances lambda_k measured on data, with mean one, shape (modes,): E |Z(k)|^2 of each mode.

    Args:
        fields: signals, shape (n, N), or gray images, shape (n, height, width); the mean of each
            does not matter. Take the `periodic_component` of images first: jumps across the borders
            would appear as power |k|^-2 along the axes.

    Raises:
        ValueError: on other shapes, odd sides or constant fields.
    """
    array = finite_array("fields", fields)
    if array.ndim not in (2, 3) or not len(array):
        raise reject("fields", "have shape (n, N) or (n, height, width)", f"shape {array.shape}")
    shape = check_shape(array.shape[1:])
    at, _ = fft_places(shape)
    spectrum = np.fft.fftn(array, axes=tuple(range(1, array.ndim))).reshape(len(array), -1)
    power = (np.abs(spectrum[:, at]) ** 2).mean(axis=0)
    if not power.max() > 0:
        raise reject("fields", "vary", "constant fields")
    return np.asarray(power / power.mean())
