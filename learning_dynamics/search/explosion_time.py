"""Explosion times of the diffusion of the search phase, by bounded work."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.random import threefry_key
from learning_dynamics.search.forms import Form
from learning_dynamics.validation import finite_array, positive_integer, positive_number, reject

__all__ = ["explosion_times"]

Array = NDArray[np.float64]


def explosion_times(
    form: Form,
    covariance: Array,
    norm: float,
    rate: float,
    *,
    key: jax.Array,
    draws: int = 4096,
    longest: float = 1e3,
    step: float = 0.02,
    most_steps: int = 20_000,
    start: Callable[[jax.Array], jax.Array] | None = None,
) -> Array:
    """Explosion times of d mu = -rate grad L_k ds - (rate^2 V / 2) mu ds + rate S0^(1/2) dB.

    Stochastic Heun steps in a clock that slows down as |mu|^(k-2) grows, up to |mu| = 10^4; the
    rest is the time that a radial flow d|mu|/ds = c |mu|^(k-1) takes to infinity.

    Args:
        form: L_k, k >= 3.
        covariance: S0, shape (r, r).
        norm: V.
        rate: delta'.
        key: typed random key.
        draws: number of paths.
        longest: paths that take longer get an infinite time.
        step: relative size of the time steps.
        most_steps: paths that need more steps get an infinite time too.
        start: key -> mu(0), shape (r,); N(0, 1_r) if None.

    Raises:
        ValueError: for k < 3 or numbers that make no sense.
    """
    matrix = finite_array("covariance", covariance, ndim=2)
    return moving_explosion_times(
        [form], [matrix], [norm], 0.0, rate, key=key, draws=draws, longest=longest, step=step,
        most_steps=most_steps, start=start,
    )  # fmt: skip


def moving_explosion_times(
    forms: list[Form],
    covariances: list[Array],
    norms: list[float],
    relaxation: float,
    rate: float,
    *,
    key: jax.Array,
    draws: int,
    longest: float,
    step: float,
    most_steps: int,
    start: Callable[[jax.Array], jax.Array] | None = None,
) -> Array:
    """The same with L_k, S0 and V that depend on a state x from 0 to 1, given at Chebyshev points.

    d x / d s = rate^2 relaxation V(x) (1 - x), the share of the way that the noise blocks have come
    (`search_law`); every quantity is the polynomial through its values. One form: no dependence.
    """
    k = forms[0].order
    if k < 3:
        raise reject("form.order", "be at least 3", k)
    for name, value in (("rate", rate), ("longest", longest), ("step", step)):
        positive_number(name, value)
    positive_integer("most_steps", most_steps)
    keep = np.any([np.abs(f.coefficients) > 5 * f.errors for f in forms], axis=0)
    table = np.stack([form.coefficients[keep] for form in forms])
    roots = np.stack([_root(matrix) * rate for matrix in covariances])
    points = (chebyshev_points(len(forms)) + 1) / 2
    convert = np.linalg.inv(np.vander(points, increasing=True))
    strength = rate * k * float(np.abs(table).max())
    noise = rate**2 * max(float(np.trace(matrix)) for matrix in covariances)
    with jax.enable_x64(True):
        exploded, time = _paths(
            jnp.asarray(convert @ table), jnp.asarray(forms[0].powers[keep]),
            jnp.asarray(np.tensordot(convert, roots, 1)), jnp.asarray(convert @ np.asarray(norms)),
            jnp.float64(relaxation), jnp.float64(rate), threefry_key(key), jnp.float64(longest),
            jnp.float64(step), jnp.float64(strength), jnp.float64(noise), jnp.int32(most_steps),
            order=k, draws=draws, start=start,
        )  # fmt: skip
        times = np.array(time)
        times[~np.asarray(exploded)] = np.inf
    return times


def chebyshev_points(count: int) -> Array:
    """Chebyshev points on [-1, 1], both ends among them; 0 if there is one."""
    return np.zeros(1) if count == 1 else -np.cos(np.pi * np.arange(count) / (count - 1))


def _root(matrix: Array) -> Array:
    """Symmetric square root (smooth in its argument)."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


@partial(compiled, static_argnames=("order", "draws", "start"))
def _paths(
    coefficients: jax.Array,
    powers: jax.Array,
    roots: jax.Array,
    norms: jax.Array,
    relaxation: jax.Array,
    rate: jax.Array,
    key: jax.Array,
    longest: jax.Array,
    step: jax.Array,
    strength: jax.Array,
    noise: jax.Array,
    most_steps: jax.Array,
    *,
    order: int,
    draws: int,
    start: Callable[[jax.Array], jax.Array] | None,
) -> tuple[jax.Array, jax.Array]:
    far = jnp.float64(1e4)
    r, degree = roots.shape[1], roots.shape[0]

    def at(x: jax.Array, table: jax.Array) -> jax.Array:
        value = table[degree - 1]
        for i in range(degree - 2, -1, -1):
            value = value * x + table[i]
        return value

    def loss(mu: jax.Array, x: jax.Array) -> jax.Array:
        factors = jnp.ones((powers.shape[0], r))
        for i in range(1, order + 1):
            factors = factors * jnp.where(powers >= i, mu[None], 1.0)
        return jnp.sum(at(x, coefficients) * jnp.prod(factors, axis=1))

    def drift(mu: jax.Array, x: jax.Array) -> jax.Array:
        return -rate * jax.grad(loss)(mu, x) - rate**2 * at(x, norms) / 2 * mu

    def advance(key: jax.Array, mu: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
        norm = at(x, norms)
        speed = rate**2 * norm * (0.5 + relaxation)
        speed = speed + strength * jnp.linalg.norm(mu) ** (order - 2)
        speed = speed + noise / (jnp.sum(mu**2) + 1)
        dt = step / speed
        shock = jnp.sqrt(dt) * (at(x, roots) @ jax.random.normal(key, (r,), jnp.float64))
        slope, after = drift(mu, x), 1 - (1 - x) * jnp.exp(-(rate**2) * relaxation * norm * dt)
        guess = mu + dt * slope + shock
        return mu + dt / 2 * (slope + drift(guess, after)) + shock, after, dt

    def one(path: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jax.random.fold_in(path, 2**31)
        if start is None:
            mu = jax.random.normal(first, (r,), jnp.float64)
        else:
            mu = jnp.asarray(start(first), jnp.float64)

        def going(carry: Any) -> jax.Array:
            mu, _, time, count = carry
            return (jnp.linalg.norm(mu) < far) & (time < longest) & (count < most_steps)

        def move(carry: Any) -> Any:
            mu, x, time, count = carry
            mu, x, dt = advance(jax.random.fold_in(path, count), mu, x)
            return mu, x, time + dt, count + 1

        begin = (mu, jnp.float64(0), jnp.float64(0), jnp.int32(0))
        mu, x, time, _ = jax.lax.while_loop(going, move, begin)
        size = jnp.linalg.norm(mu)
        outward = jnp.sum(drift(mu, x) * mu) / size
        rest = size / jnp.maximum((order - 2) * outward, 1e-300)  # d|mu|/ds = c |mu|^(k-1)
        return size >= far, time + rest

    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(draws))
    return jax.lax.map(one, keys, batch_size=256)
