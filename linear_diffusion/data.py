"""Data laws with a known mean and covariance, from which data sets are drawn.

A law draws in blocks of `BLOCK` rows, block b from `fold_in(key, b)`, so that a data set may be
stored or only its moments accumulated, with the same samples.
"""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import random, short_text
from learning_dynamics.compilation import compiled
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.images.patches import generator
from learning_dynamics.spectra import DataSpectrum, from_covariance, from_data
from learning_dynamics.validation import (
    finite_array,
    one_of,
    positive_integer,
    reject,
    spectrum_array,
)

__all__ = ["LATENTS", "DataLaw", "EmpiricalLaw", "LatentLaw", "draw", "draw_moments"]

BLOCK = 256
LATENTS = ("gaussian", "uniform", "rademacher", "laplace", "student")
KURTOSIS = {"gaussian": 3.0, "uniform": 1.8, "rademacher": 1.0, "laplace": 6.0, "student": 9.0}


class DataLaw(Protocol):
    """What a data law offers: its population moments and blocks of independent rows.

    Attributes:
        mean: population mean, (d,).
        spectrum: eigenvalues of the population covariance, largest first, (r,) with r <= d:
            directions without variance are left out.
        basis: eigenvectors as columns, (d, r).
    """

    @property
    def mean(self) -> NDArray[np.float64]: ...  # noqa: D102

    @property
    def spectrum(self) -> NDArray[np.float64]: ...  # noqa: D102

    @property
    def basis(self) -> NDArray[np.float64]: ...  # noqa: D102

    @property
    def fourth_moment(self) -> float:
        """E|y|^4 of the whitened data y = Sigma^(-1/2) (x - mean)."""

    def block(self, key: jax.Array, dtype: DTypeLike) -> jax.Array:
        """Return `BLOCK` centred rows, shape (BLOCK, d); the mean is added by `draw`."""


def _latents(kind: str, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Independent latents of zero mean and unit variance."""
    if kind == "gaussian":
        return random.normal(key, shape, dtype)
    if kind == "uniform":
        return np.sqrt(3).astype(dtype) * (2 * random.uniform(key, shape, dtype) - 1)
    if kind == "rademacher":
        return random.rademacher(key, shape, dtype)
    if kind == "laplace":
        return jax.random.laplace(key, shape, dtype) / np.sqrt(2).astype(dtype)
    # t_5 = normal / sqrt(chi2_5 / 5), variance 5/3; chi2_5 from five normals is fast and exact.
    normals = random.normal(key, (6, *shape), dtype)
    scale = np.sqrt(3).astype(dtype)
    return scale * normals[0] / jnp.sqrt(jnp.sum(normals[1:] ** 2, axis=0))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["spectrum", "mean", "basis"],
    meta_fields=["latents"],
)
@dataclass(frozen=True, eq=False)
class LatentLaw:
    """Data x = mean + basis sqrt(spectrum) y with independent unit-variance latents y.

    Attributes:
        spectrum: eigenvalues of the covariance, (d,), largest first.
        mean: (d,), zero if not given.
        basis: orthogonal (d, d), the identity if not given.
        latents: "gaussian", "uniform", "rademacher", "laplace" or "student" (t_5).

    Raises:
        ValueError: on a bad spectrum, shapes that differ, a basis that is not orthogonal or an
            unknown latent.
    """

    spectrum: NDArray[np.float64]
    mean: NDArray[np.float64] = None  # type: ignore[assignment]  # filled in when made
    basis: NDArray[np.float64] = None  # type: ignore[assignment]
    latents: str = "gaussian"

    __repr__ = short_text.represent

    def __post_init__(self) -> None:
        leaf: object = self.spectrum
        if isinstance(leaf, jax.Array | jax.core.Tracer):
            return  # rebuilt inside a transformation from a law that was checked
        one_of("latents", self.latents, LATENTS)
        s = spectrum_array("spectrum", self.spectrum)
        d = s.size
        mean = np.zeros(d) if self.mean is None else finite_array("mean", self.mean, ndim=1)
        basis = np.eye(d) if self.basis is None else finite_array("basis", self.basis, ndim=2)
        if mean.shape != (d,):
            raise reject("mean", f"have shape ({d},)", f"shape {mean.shape}")
        if basis.shape != (d, d) or not np.allclose(basis.T @ basis, np.eye(d), atol=1e-8):
            raise reject("basis", f"be an orthogonal ({d}, {d}) matrix", f"shape {basis.shape}")
        for name, value in (("spectrum", s), ("mean", mean), ("basis", basis)):
            object.__setattr__(self, name, value)

    @property
    def fourth_moment(self) -> float:
        """E|y|^4 = d^2 + (kurtosis - 1) d."""
        d = self.spectrum.size
        return d**2 + (KURTOSIS[self.latents] - 1) * d

    def block(self, key: jax.Array, dtype: DTypeLike) -> jax.Array:
        """Return `BLOCK` centred rows, shape (BLOCK, d)."""
        y = _latents(self.latents, key, (BLOCK, self.spectrum.size), dtype)
        scaled = y * jnp.sqrt(jnp.asarray(self.spectrum, dtype))[None, :]
        basis = jnp.asarray(self.basis, dtype)
        return jnp.matmul(scaled, basis.T, precision=lax.Precision.HIGHEST)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["rows", "spectrum", "mean", "basis", "fourth"],
    meta_fields=[],
)
@dataclass(frozen=True, eq=False)
class EmpiricalLaw:
    """The empirical law of a pool of data such as image patches; make it with `of`.

    Samples are drawn with replacement: the pool *is* the population, and its mean and covariance
    are exact. Keep data sets small against the pool, or repeated rows look like memorisation.

    Directions without variance, as in a pool of fewer rows than dimensions, are left out of
    `spectrum` and `basis`; rows keep their d components. Theory and `draw_modes` then speak of the
    r directions that vary, and losses per dimension are averages over these.

    Attributes:
        rows: centred, (pool, d).
        spectrum: eigenvalues of the covariance, (r,), largest first.
        mean: (d,).
        basis: eigenvectors as columns, (d, r).
        fourth: E|y|^4 of the whitened pool.
    """

    rows: NDArray
    spectrum: NDArray[np.float64]
    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    fourth: float

    __repr__ = short_text.represent

    @classmethod
    def of(cls, data: ArrayLike) -> "EmpiricalLaw":
        """Take the rows of an array of shape (pool, d) as the population.

        Raises:
            ValueError: if there are fewer than two rows, one is not finite, or nothing varies.
        """
        known = from_data(data)
        return cls._from_parts(finite_array("data", data) - known.mean, known)

    @classmethod
    def from_covariance(
        cls, covariance: ArrayLike, mean: ArrayLike | None = None, *, pool: int, key: jax.Array
    ) -> "EmpiricalLaw":
        """Make a pool of Gaussian rows that has exactly this mean and covariance.

        It stands for data of which only these are known, and serves as the Gaussian clone of a
        pool. `LatentLaw` draws Gaussian data without a pool.

        Args:
            covariance: shape (d, d), symmetric; eigenvalues may be zero.
            mean: shape (d,), zero if not given.
            pool: number of rows, more than the rank r of the covariance.
            key: typed random key or integer seed.

        Raises:
            ValueError: on a matrix that is no covariance, a mean that does not fit, or a pool that
                is too small.
        """
        known = from_covariance(covariance, mean)
        count, r = positive_integer("pool", pool), known.spectrum.size
        if count <= r:
            raise reject("pool", f"exceed the rank {r} of the covariance", count)
        normals = generator(key).standard_normal((count, r))
        normals -= normals.mean(axis=0)
        root = np.linalg.cholesky(normals.T @ normals / count)
        white = np.linalg.solve(root, normals.T).T
        return cls._from_parts(white * np.sqrt(known.spectrum) @ known.basis.T, known)

    @classmethod
    def _from_parts(cls, centred: NDArray[np.float64], known: DataSpectrum) -> "EmpiricalLaw":
        whitened = centred @ (known.basis / np.sqrt(known.spectrum))
        fourth = float(((whitened**2).sum(axis=1) ** 2).mean())
        return cls(centred, known.spectrum, known.mean, known.basis, fourth)

    @property
    def fourth_moment(self) -> float:
        """E|y|^4 of the whitened pool."""
        return float(self.fourth)

    def block(self, key: jax.Array, dtype: DTypeLike) -> jax.Array:
        """Return `BLOCK` centred rows drawn with replacement, shape (BLOCK, d)."""
        chosen = jax.random.randint(key, (BLOCK,), 0, self.rows.shape[0], jnp.int32)
        return jnp.asarray(self.rows, dtype)[chosen]


def _check_dtype(dtype: DTypeLike) -> None:
    if np.dtype(dtype) != jax.dtypes.canonicalize_dtype(dtype):
        raise reject("dtype", "be float32 outside `with jax.enable_x64(True)`", "float64")


def _check_samples(samples: int) -> tuple[int, int]:
    count = positive_integer("samples", samples, least=2)
    return count, -(-count // BLOCK)


@sees_edits("law")
@partial(compiled, static_argnames=("samples", "dtype"))
def draw(law: DataLaw, samples: int, *, key: jax.Array, dtype: DTypeLike = np.float32) -> jax.Array:
    """Independent samples, shape (samples, d).

    Args:
        law: data law.
        samples: N >= 2.
        key: typed random key.
        dtype: float32, or float64 inside `jax.enable_x64(True)`.

    Raises:
        ValueError: samples < 2, or float64 without double precision switched on.
    """
    random.check_key(key)
    _check_dtype(dtype)
    count, blocks = _check_samples(samples)
    rows = lax.map(
        lambda b: law.block(random.fold_in(key, b), dtype), jnp.arange(blocks, dtype=jnp.int32)
    )
    return rows.reshape(-1, rows.shape[-1])[:count] + jnp.asarray(law.mean, dtype)[None, :]


@sees_edits("law")
@partial(compiled, static_argnames=("dtype",))
def draw_moments(
    law: DataLaw, samples: jax.Array | int, *, key: jax.Array, dtype: DTypeLike = np.float64
) -> tuple[jax.Array, jax.Array]:
    """Mean and maximum-likelihood covariance of the data set `draw` would return.

    The rows are never stored, and `samples` is a number, so that one compilation serves all
    sample sizes.

    Args:
        law: data law.
        samples: N >= 2, a number or a traced scalar.
        key: typed random key.
        dtype: float32, or float64 inside `jax.enable_x64(True)`.

    Returns:
        mu_hat - mean, shape (d,), and Sigma_hat = (1/N) sum (x - mu_hat)(x - mu_hat)', (d, d).

    Raises:
        ValueError: float64 without double precision switched on.
    """
    random.check_key(key)
    _check_dtype(dtype)
    d = law.mean.shape[0]
    count = jnp.asarray(samples, jnp.int32)

    def add(b: jax.Array, sums: jax.Array) -> jax.Array:
        inside = b * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32) < count
        rows = law.block(random.fold_in(key, b), dtype)
        rows = jnp.where(inside[:, None], rows, 0)
        padded = jnp.concatenate([rows, jnp.ones((BLOCK, 1), dtype)], axis=1)
        return sums + jnp.matmul(padded.T, rows, precision=lax.Precision.HIGHEST)

    blocks = (count + BLOCK - 1) // BLOCK
    sums = lax.fori_loop(0, blocks, add, jnp.zeros((d + 1, d), dtype)) / count.astype(dtype)
    mean = sums[-1]
    return mean, sums[:-1] - mean[:, None] * mean[None, :]
