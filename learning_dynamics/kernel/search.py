"""The search phase: the law of the time to weak recovery from a random start, without N."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from learning_dynamics.kernel.exponent import (
    Form,
    gauss_hermite_grid,
    information_exponent,
    latent_averages,
    noise_factor,
)
from learning_dynamics.kernel.limit import integrate
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Method, expectation_nodes
from learning_dynamics.kernel.state import Overlaps
from learning_dynamics.random import check_key
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["SearchLaw", "explosion_times", "search_law"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SearchLaw:
    """Law of the number of updates n* to weak recovery at large N.

    Attributes:
        order: information exponent k.
        draws: independent draws of n* / N^(k-1) for k >= 3, of n* / N - log N / (2 g) for k = 2;
            infinite where a path had not exploded by the end.
        growth: growth rate g of the overlap for k = 2, otherwise NaN.
        direction: steepest direction, shape (r,).
        gradient_covariance: S0 = E[A C C^T A] at zero overlap, per update, shape (r, r).
        gradient_norm: V = E[A Gamma A^T] at zero overlap, per update.
        form: the leading part L_k of the population loss.
        rate: delta (k = 2) or delta' (k >= 3).
    """

    order: int
    draws: Array
    growth: float
    direction: Array
    gradient_covariance: Array
    gradient_norm: float
    form: Form
    rate: float

    def learning_rate(self, dimension: int) -> float:
        """Learning rate to simulate with at N: rate * N^(-(k-2)/2)."""
        return float(self.rate * float(dimension) ** (-(self.order - 2) / 2))

    def updates(self, dimension: int) -> Array:
        """Draws of n* at N."""
        n = float(dimension)
        if self.order == 2:
            return n * (self.draws + np.log(n) / (2 * self.growth))
        return self.draws * n ** (self.order - 1)

    def median(self) -> float:
        """Median of the draws: the prefactor of the sample complexity."""
        return float(np.median(self.draws))

    def quantile(self, level: ArrayLike) -> Array:
        """Quantiles of the draws (infinite ones count)."""
        ranks = np.clip(np.ceil(np.asarray(level) * self.draws.size).astype(int) - 1, 0, None)
        return np.asarray(np.sort(self.draws)[ranks])


def search_law(
    problem: Problem,
    *,
    key: jax.Array,
    draws: int = 4096,
    threshold: float = 0.5,
    highest: int = 4,
    points: int = 2**14,
    method: Method = "auto",
    longest: float = 1e3,
    step: float = 0.02,
) -> SearchLaw:
    """Predicted distribution of the time to weak recovery from random starts.

    For one neuron on the sphere (spherical updates), a single noise block and a leading population
    loss L_k that is attractive somewhere; `problem.learning_rate` is delta for k = 2 and delta' for
    k >= 3, where N is simulated with delta = delta' N^(-(k-2)/2) (`SearchLaw.learning_rate`).

    k >= 3: explosion times of

        d mu = -delta' grad L_k(mu) ds - (delta'^2 V / 2) mu ds + delta' S0^(1/2) dB,

    mu(0) ~ N(0, 1_r), s = n / N^(k-1). k = 2, tau = n / N, G = -delta grad^2 L_2 - delta^2 V / 2
    with largest eigenvalue g:

        n* / N = log(N) / (2 g) - log|xi| / g + c,   xi ~ N(0, 1 + delta^2 S0 / (2 g)),

    c from the limit started close to zero overlap and followed up to `threshold`. Derived here.

    Args:
        problem: definition, as in `simulate`.
        key: typed random key.
        draws: number of draws.
        threshold: for k = 2, overlap with the growing direction that counts as recovery. For
            k >= 3 every threshold of order one is reached at the explosion.
        highest: highest order of the loss looked at.
        points: quadrature nodes.
        method: quadrature, see `expectation_nodes`.
        longest: for k >= 3, largest time looked at; later explosions count as infinite.
        step: for k >= 3, relative size of the time steps.

    Raises:
        ValueError: if the problem is not of this kind, or its loss repels, is flat or linear.
    """
    if problem.update != "spherical":
        raise reject("problem.update", "be 'spherical'", repr(problem.update))
    check_key(key)
    count = positive_integer("draws", draws)
    if not 0 < threshold < 1:
        raise reject("threshold", "lie strictly between 0 and 1", threshold)
    found = information_exponent(problem, highest=highest, points=points, method=method)
    if found.verdict != "attractive" or found.order is None:
        raise reject("problem", "have an attractive leading loss", f"a {found.verdict} one")
    if found.order == 1:
        raise reject("problem", "need a search: order 1 starts at once, see `integrate`", "order 1")
    form, rate = found.forms[found.order - 1], float(problem.learning_rate)
    covariance, norm = _gradient_moments(problem, points, method)
    common = (found.direction, covariance, norm, form, rate)
    if found.order >= 3:
        times = explosion_times(
            form, covariance, norm, rate, key=key, draws=count, longest=longest, step=step
        )
        return SearchLaw(found.order, times, np.nan, *common)
    r = problem.inputs.directions
    # the form is a quadratic polynomial: its gradient at the unit vectors is its matrix
    matrix = -rate * form.gradient(np.eye(r)) - rate**2 * norm / 2 * np.eye(r)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    g = float(values[-1])
    if g <= 0:
        raise reject("problem.learning_rate", "leave a growing overlap", f"rate {g:.3g}")
    top = vectors[:, values > g - 1e-6 * abs(g)]
    spread = np.eye(top.shape[1]) + rate**2 * top.T @ covariance @ top / (2 * g)
    normal = np.asarray(jax.random.normal(key, (count, top.shape[1])), np.float64)
    size = np.linalg.norm(normal @ np.linalg.cholesky(spread).T, axis=1)
    constant = _constant(problem, vectors[:, -1], g, threshold, points, method)
    times = -np.log(size) / g + constant
    return SearchLaw(2, times, g, vectors[:, -1], *common[1:])


def _gradient_moments(problem: Problem, points: int, method: Method) -> tuple[Array, float]:
    """S0 and V at zero overlap, per update (divided by the batch)."""
    rules, kind = expectation_nodes(problem, points=points, method=method, fields=False)
    mixing = noise_factor(problem)
    p = mixing.shape[0]
    grid, mass = gauss_hermite_grid(p, 120 if p == 1 else 60)
    covariances, norms = [], []
    for rule in rules[:1] if kind == "tensor" else rules:
        weights, signal, (square,) = latent_averages(
            problem, rule, mixing, [(grid, mass[None])], of="gradient"
        )
        square = square.reshape(-1, p, p)  # E[A A^T] given the latents
        covariances.append(np.einsum("n,npr,npq,nqs->rs", weights, signal, square, signal))
        norms.append(np.einsum("n,npq,pq->", weights, square, mixing @ mixing.T))
    batch = problem.batch
    return np.mean(covariances, axis=0) / batch, float(np.mean(norms)) / batch


def _constant(
    problem: Problem, direction: Array, growth: float, threshold: float, points: int, method: Method
) -> float:
    """Limit time from m0 to the threshold minus log(1 / m0) / g, for m0 -> 0."""
    first = 1e-4
    start = Overlaps(first * direction[None], np.full((1, 1, 1), 1 - first**2), {})
    span = np.log(threshold / first) / growth
    for stretch in (1.5, 4.0, 12.0):
        times = np.linspace(0, stretch * span, 400)
        limit = integrate(
            problem, times=times, start=start, points=points, method=method, finite_size=False
        )
        overlap = np.abs(limit.values["signal"][:, 0] @ direction)
        above = np.flatnonzero(overlap >= threshold)
        if above.size:
            break
    else:
        best = f"only {overlap.max():.3g} is reached"
        raise reject("threshold", "be reached in the limit", f"{threshold}, {best}")

    def excess(time: float) -> float:
        return abs(float(limit.at([time]).signal[0, 0, 0] @ direction)) - threshold

    crossing = optimize.brentq(excess, times[above[0] - 1], times[above[0]], xtol=1e-9)
    return float(crossing) - np.log(1 / first) / growth


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
        start: key -> mu(0), shape (r,); N(0, 1_r) if None.

    Raises:
        ValueError: for k < 3 or numbers that make no sense.
    """
    k = form.order
    if k < 3:
        raise reject("form.order", "be at least 3", k)
    for name, value in (("rate", rate), ("longest", longest), ("step", step)):
        if not (np.isfinite(value) and value > 0):
            raise reject(name, "be positive", value)
    values, vectors = np.linalg.eigh(finite_array("covariance", covariance, ndim=2))
    root = vectors * np.sqrt(np.maximum(values, 0)) * rate
    clear = form.clear
    strength = rate * k * float(np.abs(clear.coefficients).max())
    with jax.enable_x64(True):
        exploded, time = _paths(
            jnp.asarray(clear.coefficients), jnp.asarray(clear.powers),
            jnp.asarray(root), jnp.float64(rate), jnp.float64(norm), key, jnp.float64(longest),
            jnp.float64(step), jnp.float64(strength), order=k, draws=draws, start=start,
        )  # fmt: skip
        times = np.array(time)
        times[~np.asarray(exploded)] = np.inf
    return times


@partial(jax.jit, static_argnames=("order", "draws", "start"))
def _paths(
    coefficients: jax.Array,
    powers: jax.Array,
    root: jax.Array,
    rate: jax.Array,
    norm: jax.Array,
    key: jax.Array,
    longest: jax.Array,
    step: jax.Array,
    strength: jax.Array,
    *,
    order: int,
    draws: int,
    start: Callable[[jax.Array], jax.Array] | None,
) -> tuple[jax.Array, jax.Array]:
    far = jnp.float64(1e4)
    r = root.shape[0]

    def loss(mu: jax.Array) -> jax.Array:
        factors = jnp.ones((coefficients.size, r))
        for i in range(1, order + 1):
            factors = factors * jnp.where(powers >= i, mu[None], 1.0)
        return jnp.sum(coefficients * jnp.prod(factors, axis=1))

    def drift(mu: jax.Array) -> jax.Array:
        return -rate * jax.grad(loss)(mu) - rate**2 * norm / 2 * mu

    def advance(key: jax.Array, mu: jax.Array) -> tuple[jax.Array, jax.Array]:
        speed = rate**2 * norm / 2 + strength * jnp.linalg.norm(mu) ** (order - 2)
        speed = speed + jnp.sum(root**2) / (jnp.sum(mu**2) + 1)
        dt = step / speed
        shock = jnp.sqrt(dt) * (root @ jax.random.normal(key, (r,), jnp.float64))
        slope = drift(mu)
        guess = mu + dt * slope + shock
        return mu + dt / 2 * (slope + drift(guess)) + shock, dt

    def one(path: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jax.random.fold_in(path, 2**31)
        if start is None:
            mu = jax.random.normal(first, (r,), jnp.float64)
        else:
            mu = jnp.asarray(start(first), jnp.float64)

        def going(carry: tuple[jax.Array, ...]) -> jax.Array:
            mu, time, _ = carry
            return (jnp.linalg.norm(mu) < far) & (time < longest)

        def move(carry: Any) -> Any:
            mu, time, count = carry
            mu, dt = advance(jax.random.fold_in(path, count), mu)
            return mu, time + dt, count + 1

        mu, time, _ = jax.lax.while_loop(going, move, (mu, jnp.float64(0), jnp.int32(0)))
        size = jnp.linalg.norm(mu)
        outward = jnp.sum(drift(mu) * mu) / size
        rest = size / jnp.maximum((order - 2) * outward, 1e-300)  # d|mu|/ds = c |mu|^(k-1)
        return size >= far, time + rest

    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(draws))
    return jax.lax.map(one, keys, batch_size=256)
