"""Linear denoisers eps(x, t) = W_t (x - sqrt(alpha_bar_t) b), one matrix for every noise level.

Loss at noise level t, with the ridge gamma_t = alpha_bar_t c,

    L_t = E |W_t (x_t - sqrt(alpha_bar_t) b) - eps|^2 / d + alpha_bar_t c |W_t|^2 / d,

minimised by b = mu_hat and W_t = sqrt(1 - alpha_bar_t) M_t^-1 with
M_t = alpha_bar_t (Sigma_hat + c) + 1 - alpha_bar_t. The bias is held at its optimum throughout.
One step with learning rate eta advances the gradient-flow time tau by 2 eta / d.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from numpy.typing import ArrayLike

from learning_dynamics import random, short_text
from learning_dynamics.compilation import compiled
from learning_dynamics.loop import observation_gaps, observed_scan
from learning_dynamics.noise_schedule import NoiseLevels, noise_levels
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import (
    finite_array,
    non_negative,
    positive_integer,
    positive_number,
    reject,
)

__all__ = [
    "Denoiser",
    "denoiser_losses",
    "gradient_descent",
    "online_sgd",
    "optimum",
]

HIGHEST = lax.Precision.HIGHEST


class Denoiser(NamedTuple):
    """A linear denoiser for the noise levels `alpha_bar`."""

    weights: jax.Array  #: W_t, (levels, d, d)
    bias: jax.Array  #: b, (d,)
    levels: NoiseLevels

    def __repr__(self) -> str:
        return short_text.represent(self)


def _real(argument: str, value: Any, ndim: int) -> jax.Array:
    """A floating-point array in JAX's precision; values are not looked at inside `jax.jit`."""
    checked = value if is_traced(value) else finite_array(argument, value, ndim=ndim)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating):
        return value
    return jnp.asarray(checked)


@compiled
def _optimum(mean: jax.Array, covariance: jax.Array, levels: NoiseLevels, c: jax.Array) -> Denoiser:
    variance, vectors = jnp.linalg.eigh(covariance)
    a, noise = levels.signal_power[:, None], levels.noise_power[:, None]
    gains = jnp.sqrt(noise) / (a * (jnp.maximum(variance, 0)[None, :] + c) + noise)
    weights = jnp.einsum("ik,tk,jk->tij", vectors, gains, vectors, precision=HIGHEST)
    return Denoiser(weights, mean, levels)


def optimum(
    mean: jax.Array, covariance: jax.Array, alpha_bar: ArrayLike, *, ridge: float = 0.0
) -> Denoiser:
    """Exact minimum of the training loss at every noise level (module docstring).

    Args:
        mean: mu_hat, (d,).
        covariance: Sigma_hat, (d, d).
        alpha_bar: noise levels, (levels,), in (0, 1).
        ridge: c >= 0.

    Raises:
        ValueError: negative ridge or a level outside (0, 1).

    Equation: :eq:`eq:linear-optimum`.
    """
    mean, covariance = _real("mean", mean, 1), _real("covariance", covariance, 2)
    c = jnp.asarray(non_negative("ridge", ridge, ndim=0), covariance.dtype)
    return _optimum(mean, covariance, noise_levels(alpha_bar, covariance.dtype), c)


@compiled
def denoiser_losses(denoiser: Denoiser, mean: jax.Array, covariance: jax.Array) -> jax.Array:
    """Loss without penalty at every level on data with the given moments, exact in the noise.

        R_t = 1 + [ tr W (alpha_bar C + 1 - alpha_bar) W' - 2 sqrt(1 - alpha_bar) tr W ] / d,
        C = covariance + (mean - b)(mean - b)'.

    With the training data's moments it is the training loss, with the population's the test loss.

    Args:
        denoiser: one affine map for each noise level.
        mean: of the data, shape (d,).
        covariance: of the data, shape (d, d).

    Returns:
        Shape (levels,).

    Equation: :eq:`eq:linear-losses`.
    """
    W, bias, (a, b2) = denoiser
    d = bias.shape[0]
    offset = mean - bias
    C = covariance + offset[:, None] * offset[None, :]
    WC = jnp.einsum("tij,jk->tik", W, C, precision=HIGHEST)
    signal = jnp.sum(WC * W, axis=(1, 2))
    noise = jnp.sum(W * W, axis=(1, 2))
    trace = jnp.trace(W, axis1=1, axis2=2)
    return 1 + (a * signal + b2 * noise - 2 * jnp.sqrt(b2) * trace) / d


@compiled
def _descend(
    covariance: jax.Array,
    levels: NoiseLevels,
    c: jax.Array,
    rate: jax.Array,
    start: jax.Array,
    gaps: jax.Array,
) -> jax.Array:
    d = covariance.shape[0]
    variance, vectors = jnp.linalg.eigh(covariance)
    a, noise = (level[:, None, None] for level in levels)
    h = 2 * rate / d
    decay = 1 - h * (a * (jnp.maximum(variance, 0)[None, None, :] + c) + noise)
    drive = h * jnp.sqrt(noise) * vectors[None]
    V = jnp.einsum("tij,jk->tik", start, vectors, precision=HIGHEST)

    def update(V: jax.Array, key: jax.Array, step: jax.Array) -> jax.Array:
        return V * decay + drive

    def observe(V: jax.Array) -> jax.Array:
        return jnp.einsum("tik,jk->tij", V, vectors, precision=HIGHEST)

    _, observed = observed_scan(update, observe, V, jax.random.key(0), gaps, jnp.int32(0))
    return observed


def gradient_descent(
    covariance: jax.Array,
    alpha_bar: ArrayLike,
    *,
    learning_rate: float,
    steps: ArrayLike,
    ridge: float = 0.0,
    initial_weights: ArrayLike | None = None,
) -> jax.Array:
    """Full-batch gradient descent with the noise averaged exactly, all noise levels at once.

        W <- W - (2 eta/d) [ W M_t - sqrt(1 - alpha_bar_t) ]

    The update is made on W V with V the eigenvectors of Sigma_hat, where it is elementwise: a
    step costs levels * d^2 instead of levels * d^3.

    Args:
        covariance: Sigma_hat, (d, d).
        alpha_bar: noise levels, (levels,).
        learning_rate: eta; it must keep 2 eta max(M) / d below 2.
        steps: step numbers at which the weights are recorded, increasing, shape (observations,).
        ridge: c >= 0.
        initial_weights: (levels, d, d) or (d, d), zero if not given.

    Returns:
        Weights, shape (observations, levels, d, d).

    Raises:
        ValueError: on bad levels, steps, ridge, or a learning rate that diverges.

    Equation: :eq:`eq:linear-loss`.
    """
    covariance = _real("covariance", covariance, 2)
    levels = noise_levels(alpha_bar, covariance.dtype)
    d = covariance.shape[0]
    c = float(non_negative("ridge", ridge, ndim=0))
    largest = float(jnp.linalg.norm(covariance, 2))
    fastest = float(jnp.max(levels.signal_power * (largest + c) + levels.noise_power))
    rate = float(finite_array("learning_rate", learning_rate, ndim=0))
    if not 0 < 2 * rate * fastest / d < 2:
        raise reject(
            "learning_rate", f"be positive and below d/max(M) = {d / fastest:.4g}", learning_rate
        )
    start = _starting_weights(initial_weights, levels, d, covariance.dtype)
    gaps = jnp.asarray(observation_gaps(steps))
    number = partial(jnp.asarray, dtype=covariance.dtype)
    return _descend(covariance, levels, number(c), number(rate), start, gaps)


def _starting_weights(
    weights: ArrayLike | None, levels: NoiseLevels, d: int, dtype: DTypeLike
) -> jax.Array:
    """One matrix for each level, from one for all, from none (zero), or as given."""
    shape = (levels.signal_power.size, d, d)
    given = np.zeros((d, d)) if weights is None else finite_array("initial_weights", weights)
    if given.shape not in (shape, shape[1:]):
        demand = f"have shape {shape} or {shape[1:]}"
        raise reject("initial_weights", demand, f"shape {given.shape}")
    return jnp.broadcast_to(jnp.asarray(given, dtype), shape)


@partial(compiled, static_argnames=("batch",))
def _sgd(
    data: jax.Array,
    levels: NoiseLevels,
    c: jax.Array,
    rate: jax.Array,
    start: jax.Array,
    key: jax.Array,
    gaps: jax.Array,
    batch: int,
) -> jax.Array:
    count, d = data.shape
    centred = data - jnp.mean(data, axis=0, keepdims=True)
    a, noise = (level[:, None, None] for level in levels)
    root, noise_root = jnp.sqrt(a), jnp.sqrt(noise)
    h = 2 * rate / d

    # The state is V = W', which keeps samples as rows in both products and saves a third of a step.
    def update(V: jax.Array, key: jax.Array, step: jax.Array) -> jax.Array:
        rows_key, noise_key = random.fold_in(key, 0), random.fold_in(key, 1)
        chosen = jax.random.randint(rows_key, (batch,), 0, count, jnp.int32)
        eps = random.normal(noise_key, (a.shape[0], batch, d), data.dtype)
        eps = lax.optimization_barrier(eps)  # or every use would be fused with its own draw
        x = root * centred[chosen][None] + noise_root * eps
        residual = jnp.matmul(x, V, precision=HIGHEST) - eps
        gradient = jnp.einsum("tbj,tbi->tji", x, residual, precision=HIGHEST) / batch
        return V - h * (gradient + a * c * V)

    def observe(V: jax.Array) -> jax.Array:
        return jnp.swapaxes(V, 1, 2)

    _, observed = observed_scan(update, observe, jnp.swapaxes(start, 1, 2), key, gaps, jnp.int32(0))
    return observed


def online_sgd(
    data: jax.Array,
    alpha_bar: ArrayLike,
    *,
    learning_rate: float,
    batch: int,
    steps: ArrayLike,
    key: jax.Array,
    ridge: float = 0.0,
    initial_weights: ArrayLike | None = None,
) -> jax.Array:
    """Online SGD with sampled noise and minibatches, all noise levels at once.

    Every step draws `batch` rows of the data with replacement and fresh noise for each level.
    The update is linear in W with independent coefficients, so that the mean of W over runs is
    the trajectory of `gradient_descent`, exactly and at any learning rate.

    Args:
        data: training set, (samples, d).
        alpha_bar: noise levels, (levels,).
        learning_rate: eta; tau = 2 eta steps / d.
        batch: rows per step.
        steps: step numbers at which the weights are recorded, shape (observations,).
        key: typed random key.
        ridge: c >= 0.
        initial_weights: (levels, d, d) or (d, d), zero if not given.

    Returns:
        Weights, shape (observations, levels, d, d). A run that diverges shows as inf or NaN.

    Raises:
        ValueError: on bad levels, steps, ridge, batch or learning rate.

    Equation: :eq:`eq:linear-loss`.
    """
    random.check_key(key)
    data = _real("data", data, 2)
    levels = noise_levels(alpha_bar, data.dtype)
    d = data.shape[1]
    rate = positive_number("learning_rate", learning_rate)
    start = _starting_weights(initial_weights, levels, d, data.dtype)
    number = partial(jnp.asarray, dtype=data.dtype)
    return _sgd(
        data,
        levels,
        number(float(non_negative("ridge", ridge, ndim=0))),
        number(rate),
        start,
        key,
        jnp.asarray(observation_gaps(steps)),
        positive_integer("batch", batch),
    )
