"""A linear and a convolutional denoiser of patches, trained side by side on finite data.

Both are given x_t = sqrt(alpha_bar) x + sqrt(1 - alpha_bar) eps at one noise level and predict eps.
They see the same minibatches with the same noise, and the sum of their losses is minimised. They
share no parameter, and Adam acts on each parameter alone: each is trained as without the other.
Gains are derivatives in eps, sqrt(1 - alpha_bar) times those in x_t: one where all is noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from numpy.typing import ArrayLike, NDArray
from scipy import special

from learning_dynamics import random, short_text
from learning_dynamics.noise_schedule import NoiseLevels, noise_levels
from learning_dynamics.pytrees import configuration, static
from learning_dynamics.training import Convolution, train
from learning_dynamics.validation import (
    between,
    finite_array,
    positive_integer,
    positive_number,
    reject,
    spectrum_array,
)
from linear_diffusion.patches import from_coordinates, side_of

__all__ = [
    "NETWORKS",
    "ConvDenoiser",
    "Learned",
    "LinearDenoiser",
    "TrainingSet",
    "affine_loss",
    "learn_denoisers",
    "minibatch_excess",
]

Array = NDArray[np.float64]
HIGHEST = jax.lax.Precision.HIGHEST
JACOBIANS = 32  # rows over which a Jacobian is averaged
RATE = 4.0  # of the linear denoiser over that of the convolutional one
NETWORKS = ("linear", "convolutional")


class LinearDenoiser(nnx.Module):
    """W y + b of y = x_t / sqrt(1 - alpha_bar), from W = 1 and b = 0: before training all is noise.

    Adam moves W / RATE: unlike convolutions, W has to go from one to zero in leading directions.

    Args:
        directions: d, components of y.
        rngs: random streams, of which it needs none.
    """

    def __init__(self, directions: int, *, rngs: nnx.Rngs) -> None:
        del rngs  # nothing is drawn
        d = positive_integer("directions", directions)
        self.kernel = nnx.Param(jnp.eye(d, dtype=jnp.float32) / RATE)
        self.bias = nnx.Param(jnp.zeros((d,), jnp.float32))

    def __call__(self, rows: jax.Array) -> jax.Array:
        """Predicted noise, shape (n, d)."""
        scaled = jnp.matmul(rows, self.kernel[...], precision=HIGHEST) + self.bias[...][None]
        return RATE * scaled


class ConvDenoiser(nnx.Module):
    """Convolutions of 3 x 3 blocks of 2 x 2 pixels with ReLU; the last one is linear, from zero.

    With three layers on 8 x 8 pixels every output sees the whole patch, and with 16 features there
    are 3492 parameters, fewer than the d (d + 1) = 4032 of the linear denoiser.

    Args:
        size: pixels along one side of the patch, even.
        features: of each hidden layer.
        layers: number of convolutions.
        rngs: random streams.

    Raises:
        ValueError: if `size` is odd, or there are fewer than two layers.
    """

    def __init__(self, size: int, *, features: int = 16, layers: int = 3, rngs: nnx.Rngs) -> None:
        self.size = positive_integer("size", size)
        if size % 2:
            raise reject("size", "be even", size)
        positive_integer("layers", layers, least=2)
        he, zero = jax.nn.initializers.he_normal(), jax.nn.initializers.zeros
        widths = (4, *[positive_integer("features", features)] * (layers - 1))
        self.hidden = nnx.List(
            [Convolution(a, b, initial=he, rngs=rngs) for a, b in pairwise(widths)]
        )
        self.last = Convolution(widths[-1], 4, initial=zero, rngs=rngs)

    def __call__(self, rows: jax.Array) -> jax.Array:
        """Predicted noise in cosine coordinates, shape (n, size^2 - 1), of `to_coordinates`."""
        pixels = jnp.asarray(_pixels(self.size), rows.dtype)
        half = self.size // 2
        images = jnp.matmul(rows, pixels, precision=HIGHEST).reshape(-1, half, 2, half, 2)
        features = images.swapaxes(2, 3).reshape(-1, half, half, 4)
        for layer in self.hidden:
            features = jax.nn.relu(layer(features))
        noise = self.last(features).reshape(-1, half, half, 2, 2).swapaxes(2, 3)
        return jnp.matmul(noise.reshape(-1, self.size**2), pixels.T, precision=HIGHEST)


@lru_cache(maxsize=8)
def _pixels(size: int) -> Array:
    """Pixels of each cosine coordinate, shape (size^2 - 1, size^2)."""
    return from_coordinates(np.eye(size**2 - 1)).reshape(-1, size**2)


class _Both(nnx.Module):
    def __init__(self, size: int, features: int, layers: int, *, rngs: nnx.Rngs) -> None:
        self.linear = LinearDenoiser(size**2 - 1, rngs=rngs)
        self.convolutional = ConvDenoiser(size, features=features, layers=layers, rngs=rngs)

    def __call__(self, rows: jax.Array, level: NoiseLevels) -> jax.Array:
        """Predictions of both, shape (2, n, d)."""
        return jnp.stack([self.linear(rows / level.noise), self.convolutional(rows)])


class TrainingSet(NamedTuple):
    """Rows to train on at one noise level, and others to test on."""

    rows: ArrayLike  #: (N, d)
    fresh: ArrayLike  #: (tests, d)
    alpha_bar: float


class Learned(NamedTuple):
    """Denoisers at the end of training.

    Losses are averages over the same rows and noise for both denoisers. Those of the linear one
    follow from its parameters without that noise (`affine_loss`).
    """

    train: Array  #: loss per direction on the training rows, (sets, NETWORKS)
    test: Array  #: on fresh ones
    #: mean derivative in eps of the convolutional one along each direction, (sets, shown)
    gain: Array
    weights: Array  #: W of the linear denoiser, (sets, d, d)
    bias: Array  #: b, (sets, d)

    def __repr__(self) -> str:
        return short_text.represent(self)


@configuration
class _Minibatches:
    """Training rows, filled up to one shape for all sizes, with their number and noise level."""

    rows: jax.Array
    count: jax.Array
    level: NoiseLevels
    size: int = static(default=16)

    def __call__(self, key: jax.Array) -> tuple[jax.Array, NoiseLevels]:
        chosen = jnp.floor(random.uniform(key, (self.size,)) * self.count).astype(jnp.int32)
        return self.rows[chosen], self.level


@configuration
class _Tests:
    sets: jax.Array  # training and fresh rows, equally many, (2, tests, d)
    directions: jax.Array  # (d, shown)
    level: NoiseLevels


def _loss(network: _Both, batch: tuple[jax.Array, NoiseLevels], key: jax.Array) -> jax.Array:
    rows, level = batch
    noise = random.normal(key, rows.shape, rows.dtype)
    predicted = network(level.mix(rows, noise), level)
    return jnp.mean((predicted - noise[None]) ** 2, axis=(1, 2)).sum()


def _observe(network: _Both, tests: _Tests, key: jax.Array) -> dict[str, jax.Array]:
    noise = random.normal(key, tests.sets.shape[1:], tests.sets.dtype)

    def one(rows: jax.Array) -> jax.Array:
        predicted = network(tests.level.mix(rows, noise), tests.level)
        return jnp.mean((predicted - noise[None]) ** 2, axis=(1, 2))

    losses = jax.lax.map(one, tests.sets)
    directions = tests.directions.T
    rows = tests.level.mix(tests.sets[1], noise)[:JACOBIANS]
    inputs, along = jnp.repeat(rows, len(directions), axis=0), jnp.tile(directions, (len(rows), 1))
    gradient = jax.vjp(network.convolutional, inputs)[1](along)[0]
    gains = tests.level.noise * jnp.sum(gradient * along, axis=1)
    linear = network.linear
    return {
        "train": losses[0],
        "test": losses[1],
        "gain": gains.reshape(-1, len(directions)).mean(axis=0),
        "weights": RATE * linear.kernel[...].T,
        "bias": RATE * linear.bias[...],
    }


@lru_cache(maxsize=4)
def _recipe(size: int, features: int, layers: int, steps: int, rate: float) -> tuple[Any, Any]:
    """Network and optimiser, one object for equal arguments, so that runs share compilations."""
    decay = optax.polynomial_schedule(rate, 0.0, 2, steps)
    return partial(_both, size, features, layers), optax.adam(decay)


def _both(size: int, features: int, layers: int, rngs: nnx.Rngs) -> _Both:
    return _Both(size, features, layers, rngs=rngs)


def learn_denoisers(
    sets: Sequence[TrainingSet],
    directions: ArrayLike,
    *,
    features: int = 16,
    layers: int = 3,
    steps: int,
    batch: int = 16,
    learning_rate: float = 0.012,
    key: jax.Array,
    **options: Any,
) -> Learned:
    """Train a linear and a convolutional denoiser on each training set.

    Adam with a learning rate that falls to zero as the square of the time left. The noise of
    minibatches is drawn anew at every update, and the loss has no penalty.

    The gain along e_k is E e_k' (d eps(x_t) / d eps) e_k, a mean Jacobian.

    Args:
        sets: training sets; sizes and noise levels may differ, the number of fresh rows may not.
        directions: unit vectors e_k along which gains are measured, shape (d, shown).
        features: of the convolutional denoiser.
        layers: likewise.
        steps: updates.
        batch: rows per update.
        learning_rate: at the first update.
        key: typed random key.
        **options: `checkpoint` and `tracker` of `learning_dynamics.training.train`.

    Raises:
        ValueError: if rows are not those of square patches without their mean, training sets have
            other shapes than one another, or an argument is out of range.
    """
    if not sets:
        raise reject("sets", "hold at least one training set", "none")
    along = finite_array("directions", directions, ndim=2)
    d = along.shape[0]
    size = side_of("directions", d)
    rows = [finite_array(f"sets[{i}].rows", each.rows, ndim=2) for i, each in enumerate(sets)]
    fresh = [finite_array(f"sets[{i}].fresh", each.fresh, ndim=2) for i, each in enumerate(sets)]
    if {x.shape for x in fresh} != {fresh[0].shape} or {x.shape[1] for x in rows + fresh} != {d}:
        raise reject("sets", f"have rows of {d}, equally many fresh ones", [x.shape for x in fresh])
    most, tests = max(len(x) for x in rows), len(fresh[0])
    batches, tested = [], []
    for each, training, test in zip(sets, rows, fresh, strict=True):
        level = noise_levels([each.alpha_bar]).at(0)
        filled = np.zeros((most, d), np.float32)
        filled[: len(training)] = training
        count = jnp.asarray(len(training), jnp.float32)
        batches.append(_Minibatches(jnp.asarray(filled), count, level, batch))
        pair = np.stack([training[np.arange(tests) % len(training)], test])
        tested.append(
            _Tests(jnp.asarray(pair, jnp.float32), jnp.asarray(along, jnp.float32), level)
        )
    build, adam = _recipe(size, features, layers, steps, learning_rate)
    run = train(
        build, _loss, batches, optimiser=adam, steps=[steps], observe=_observe, tests=tested,
        key=key, replicas=len(sets), together=1, **options,
    )  # fmt: skip
    ends = {name: np.asarray(values[:, 0], np.float64) for name, values in run.values.items()}
    return Learned(**ends)


def minibatch_excess(
    spectrum: ArrayLike,
    loss: ArrayLike,
    alpha_bar: float,
    *,
    steps: int,
    batch: int = 16,
    learning_rate: float = 0.012,
) -> NDArray[np.float64]:
    """Relative excess loss that the noise of minibatches leaves in a trained linear denoiser.

    Adam divides the gradient of W_ij by its noise, (4 R c / batch)^(1/2), with R the loss per
    output and c the variance per input. With the rate eta (s / steps)^2, s updates before the end,
    the weights along an eigenvector of the inputs relax at the rate kappa_k (s / steps)^2,
    kappa_k = eta c_k (batch / R c)^(1/2), and their noise is that of the last
    (steps^2 / kappa_k)^(1/3) updates:

        excess / R = (I / 2) (eta / steps^2)^(1/3) batch^(-5/6) (R c)^(-1/6) sum_k c_k^(1/3),
        I = (2 / 3) (3 / 2)^(5/3) Gamma(5/3),   c_k = alpha_bar lambda_k / (1 - alpha_bar) + 1

    for updates so small that Adam's averages do not matter, and inputs of equal variance. Derived
    here.

    Args:
        spectrum: lambda_k of the data, shape (d,).
        loss: R, the loss per direction at which the training ends, any shape.
        alpha_bar: noise level in (0, 1).
        steps: as in `learn_denoisers`.
        batch: likewise.
        learning_rate: likewise; that of W is RATE times as large.

    Returns:
        Excess over R, shape of `loss`.

    Raises:
        ValueError: if an argument is out of range.
    """
    level = between("alpha_bar", alpha_bar, 0, 1)
    c = level / (1 - level) * spectrum_array("spectrum", spectrum) + 1
    R = finite_array("loss", loss)
    if np.any(R <= 0):
        raise reject("loss", "be positive", R.tolist())
    rate = RATE * positive_number("learning_rate", learning_rate)
    integral = 2 / 3 * 1.5 ** (5 / 3) * special.gamma(5 / 3)
    scale = (rate / positive_integer("steps", steps) ** 2) ** (1 / 3)
    scale *= positive_integer("batch", batch) ** (-5 / 6)
    return np.asarray(integral / 2 * scale * (R * c.mean()) ** (-1 / 6) * np.sum(np.cbrt(c)))


def affine_loss(
    weights: ArrayLike, bias: ArrayLike, alpha_bar: float, mean: ArrayLike, covariance: ArrayLike
) -> float:
    """Loss of W x_t / sqrt(1 - alpha_bar) + b on data with the given moments, exact in the noise.

        1 + [ tr W C W' - 2 tr W + |b + q W mean|^2 ] / d,
        C = q^2 covariance + 1,   q^2 = alpha_bar / (1 - alpha_bar)

    Args:
        weights: W, shape (d, d).
        bias: b, shape (d,).
        alpha_bar: noise level in (0, 1).
        mean: of the data, shape (d,).
        covariance: of the data, shape (d, d).
    """
    W, b = finite_array("weights", weights, ndim=2), finite_array("bias", bias, ndim=1)
    level = between("alpha_bar", alpha_bar, 0, 1)
    ratio = level / (1 - level)
    noisy = ratio * finite_array("covariance", covariance, ndim=2) + np.eye(b.size)
    offset = b + np.sqrt(ratio) * W @ finite_array("mean", mean, ndim=1)
    return float(1 + (np.sum(W @ noisy * W) - 2 * np.trace(W) + offset @ offset) / b.size)
