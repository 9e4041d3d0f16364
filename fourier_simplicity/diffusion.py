"""A neuron that learns phases in small steps: a diffusion on the sphere, for any spectrum and any N.

With steps h = learning_rate / N, Sigma the covariance of the inputs, s = w' Sigma w and n samples seen,

    dw = -h (1 - w w') grad L dn + h G^(1/2) dB - (h^2 / 2) tr(G) w dn,                     |w| = 1,
    L = c_k(s) / c_k(1) L_k(m)  (plain),    L = s^(-k/2) L_k(m)  (normalised preactivation),
    G = V1 (Sigma - Sigma w w' Sigma / s) + V2 (Sigma w / s - w)(Sigma w / s - w)',
    V1 = E sigma'(sqrt(s) g)^2, V2 = s E g^2 sigma'(sqrt(s) g)^2  (plain),
    V1 = E sigma'(g)^2 / s, V2 = 0  (normalised),

L_k the leading form of the population loss (`leading_form`; for He_k the whole loss), G the covariance of the
gradient at zero overlap. A noise block of N_b directions of equal variance enters through its norm rho_b alone.
With overlaps of size N^(-1/2) this is the law of the search phase with one variance per direction,

    d mu = -delta' grad L_k ds - (delta'^2 / 2)(V1 tr Sigma / N) mu ds + delta' (V1 Lambda)^(1/2) dB,   n = N^(k-1) s,

with V1 following s, which relaxes to tr Sigma^2 / tr Sigma. Derived here.
"""  # noqa: E501

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import SingleNeuron
from fourier_simplicity.theory import (
    activation_coefficients,
    leading_form,
    slope_moments,
    visible_order,
)
from learning_dynamics.compilation import compiled
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.model.problem import noise_blocks
from learning_dynamics.process.stopping import check_stop
from learning_dynamics.random import threefry_key
from learning_dynamics.search.forms import Form
from learning_dynamics.validation import between, finite_array, positive_integer, reject

__all__ = ["neuron_diffusion"]

Array = NDArray[np.float64]


class _Law(NamedTuple):
    """Numbers behind the equation.

    Attributes:
        coefficients, powers: the form L_k at field variance one.
        signal, blocks: variances of the signal directions and of the noise blocks.
        sizes: dimensions N_b of the blocks.
        grid: evenly spaced log s at which the table is given.
        table: factor of the form, V1 and V2, shape (3, points).
        rate: h.
    """

    coefficients: Any
    powers: Any
    signal: Any
    blocks: Any
    sizes: Any
    grid: Any
    table: Any
    rate: Any

    def at(self, s: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Factor of the form, V1 and V2 at a field variance."""
        x = (jnp.log(s) - self.grid[0]) / (self.grid[1] - self.grid[0])
        low = jax.lax.stop_gradient(jnp.clip(jnp.floor(x), 0, self.grid.size - 2))
        below, above = (self.table[:, low.astype(jnp.int32) + i] for i in (0, 1))
        values = below + (x - low) * (above - below)
        return values[0], values[1], values[2]


@sees_edits("problem", "stop")
def neuron_diffusion(
    problem: ld.Problem,
    *,
    dimension: int,
    times: ArrayLike,
    paths: int,
    key: jax.Array,
    stop: ld.Stop | None = None,
    step: float = 0.03,
) -> ld.Trajectory:
    """Draw paths of the small-step diffusion of a single neuron, from random starts.

    A neuron that is blind to the ties diffuses without drift. Adaptive Euler steps with the norm
    restored after each; the clock follows the fastest of contraction and drift, so that the cost
    does not grow with the number of samples.

    Equation: :eq:`eq:phases-diffusion`.

    Args:
        problem: as made by `phase_problem`, Rayleigh amplitudes.
        dimension: N.
        times: tau = n / N, increasing.
        paths: number of independent paths.
        key: typed random key.
        stop: condition at which a path is frozen, `sustained` for one update.
        step: relative size of the time steps.

    Returns:
        A trajectory of level "diffusion": overlaps "signal", "norms" (1) and "field_variance" (s).

    Raises:
        ValueError: on another problem.
    """
    inputs, learner = (getattr(problem, name, None) for name in ("inputs", "learner"))
    if not (isinstance(inputs, FourierInputs) and isinstance(learner, SingleNeuron)):
        raise reject("problem", "be that of a single neuron on Fourier inputs", repr(problem))
    if inputs.amplitudes != "rayleigh":
        raise reject("problem.inputs.amplitudes", "be 'rayleigh'", repr(inputs.amplitudes))
    if problem.update != "spherical" or problem.batch != 1:
        raise reject("problem", "make spherical updates, one sample each", repr(problem))
    array = finite_array("times", times, ndim=1)
    if not array.size or array[0] < 0 or np.any(np.diff(array) <= 0):
        raise reject("times", "be non-negative and increase strictly", array.tolist())
    between("step", step, 0, 1)
    key = threefry_key(key)
    size, count = positive_integer("dimension", dimension), positive_integer("paths", paths)
    clock = time.perf_counter()
    law, order = _law(problem, size)
    if stop is not None:
        shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((1, law.signal.size),)]
        blocks = jax.ShapeDtypeStruct((max(law.blocks.size, 1), 1, 1), np.float32)
        check_stop(stop, ld.Overlaps(shapes[0], blocks, {}))
        if stop.sustained != 1:
            raise reject("stop.sustained", "be 1: the paths make no updates", stop.sustained)
    begin = _random_weights(law, key, count)
    with jax.enable_x64(True):
        numbers = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), law)
        simulated = _paths(
            numbers, key, jnp.asarray(begin), jnp.asarray(array * size), jnp.float64(step),
            stop, order=order,
        )  # fmt: skip
        last, (signal, variance), stopped = jax.tree.map(np.asarray, simulated)
    values = {
        "signal": signal[:, :, None, :],
        "norms": np.ones((*variance.shape, 1, 1)),
        "field_variance": variance,
    }
    updates = np.rint(array * size).astype(np.int64)
    attributes = {"step": step, "wall_seconds": time.perf_counter() - clock}
    ended = None if stop is None else np.where(stopped < 0, -1, np.ceil(stopped)).astype(np.int64)
    return ld.Trajectory(
        "diffusion", size, array, updates, values, _overlaps(begin, law), last, ended, attributes
    )


def _law(problem: ld.Problem, dimension: int) -> tuple[_Law, int]:
    inputs, learner = problem.inputs, problem.learner
    r = inputs.directions
    form = Form(3, np.zeros((1, r), np.int64), np.zeros(1), np.zeros(1))  # blind: noise alone
    if visible_order(inputs, learner.activation).order is not None:
        form = leading_form(inputs, learner.activation)
    k = form.order
    groups = noise_blocks(problem, dimension)
    blocks = [np.asarray(g.variances, np.float64) for g in groups]
    sizes = [np.full(b.size, float(g.size)) for b, g in zip(blocks, groups, strict=True)]
    signal = np.asarray(inputs.signal_variances(), np.float64)
    known = np.concatenate([signal, *blocks])
    s = np.geomspace(max(known.min(), 1e-3), known.max() * 1.001, 200)
    if np.ptp(known) == 0:
        s = known[0] * np.geomspace(0.99, 1.01, 3)
    if learner.normalised:
        moments = slope_moments(learner.activation)[0] / s, np.zeros(s.size)
        scale = s ** (-k / 2)
    else:
        each = np.array([slope_moments(learner.activation, variance=v) for v in s])
        moments = each[:, 0], each[:, 1]
        c = [activation_coefficients(learner.activation, k, variance=v)[0][k] for v in (1.0, *s)]
        scale = np.array(c[1:]) / (c[0] if form.significant else 1.0)
    law = _Law(
        form.coefficients, form.powers, signal,
        np.concatenate([np.zeros(0), *blocks]), np.concatenate([np.zeros(0), *sizes]),
        np.log(s), np.stack([scale, *moments]), float(problem.learning_rate) / dimension,
    )  # fmt: skip
    return law, k


def _random_weights(law: _Law, key: jax.Array, count: int) -> Array:
    """Directions uniform on the sphere: signal coordinates and norms in the blocks."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    signal = rng.normal(size=(count, law.signal.size))
    lengths = np.sqrt(rng.chisquare(np.asarray(law.sizes), size=(count, law.blocks.size)))
    w = np.concatenate([signal, lengths], axis=1)
    return np.asarray(w / np.linalg.norm(w, axis=1, keepdims=True))


def _overlaps(w: Any, law: _Law) -> ld.Overlaps:
    """Order parameters of signal coordinates and norms, shape (..., r + blocks)."""
    r = law.signal.size
    squares = w[..., r:] ** 2 if law.blocks.size else 0 * w[..., :1]
    return ld.Overlaps(w[..., None, :r], squares[..., None, None], {})


@partial(compiled, static_argnames="order")
def _paths(
    law: _Law, key: jax.Array, begin: jax.Array, targets: jax.Array, step: jax.Array,
    stop: ld.Stop | None, *, order: int,
) -> Any:  # fmt: skip
    r, groups = law.signal.size, law.blocks.size
    variances = jnp.concatenate([law.signal, law.blocks])
    total = jnp.sum(law.signal) + jnp.sum(law.blocks * law.sizes)
    strength = order * jnp.max(jnp.abs(law.coefficients)) * law.rate
    across = law.sizes - 1  # directions of a block at right angles to its part of w

    def loss(w: jax.Array) -> jax.Array:
        factors = jnp.ones(law.powers.shape)
        for i in range(1, order + 1):
            factors = factors * jnp.where(law.powers >= i, w[None, :r], 1.0)
        scale, _, _ = law.at(jnp.sum(variances * w * w))
        return scale * jnp.sum(law.coefficients * jnp.prod(factors, axis=1))

    def advance(key: jax.Array, w: jax.Array, left: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = jnp.sum(variances * w * w)
        scale, first, second = law.at(s)
        image = variances * w  # Sigma w
        turn = image / s - w
        spread = first * (total - jnp.sum(image * image) / s) + second * jnp.sum(turn * turn)
        speed = law.rate**2 * spread
        speed = speed + strength * scale * jnp.linalg.norm(w[:r]) ** (order - 2)
        dt = jnp.minimum(step / speed, left)
        g = jax.random.normal(key, (r + 2 * groups + 1,), jnp.float32).astype(jnp.float64)
        kick = jnp.sqrt(variances) * g[: r + groups]
        kick = jnp.sqrt(first) * (kick - image * jnp.sum(w * kick) / s)
        kick = kick + jnp.sqrt(second) * turn * g[-1]
        # a chi-square variable, exact for blocks of dimension 2, else by mean and variance
        normal = g[r + groups : -1]
        chi = jnp.maximum(across + jnp.sqrt(2 * across) * normal, 0)
        chi = jnp.where(across == 1, normal**2, chi)
        aside = law.rate**2 * dt * first * law.blocks * chi
        slope = jax.grad(loss)(w)
        slope = slope - w * jnp.sum(w * slope)
        moved = w - law.rate * dt * slope + law.rate * jnp.sqrt(dt) * kick
        norms = jnp.sqrt(moved[r:] ** 2 + aside)
        moved = jnp.concatenate([moved[:r], norms])
        return moved / jnp.linalg.norm(moved), dt

    def one(item: tuple[jax.Array, jax.Array]) -> Any:
        path, first = item

        def until(carry: Any, target: jax.Array) -> Any:
            def going(carry: Any) -> jax.Array:
                _, now, _, ended = carry
                return (now < target) & (ended < 0)

            def move(carry: Any) -> Any:
                w, now, count, ended = carry
                w, dt = advance(jax.random.fold_in(path, count), w, target - now)
                now = jnp.where(dt >= target - now, target, now + dt)
                if stop is not None:
                    met = stop.quantity(_overlaps(w, law)) >= stop.threshold
                    ended = jnp.where(met, now, ended)
                return w, now, count + 1, ended

            carry = jax.lax.while_loop(going, move, carry)
            w = carry[0]
            return carry, (w[:r], jnp.sum(variances * w * w))

        start = (first, jnp.float64(0), jnp.int32(0), jnp.float64(-1))
        (w, _, _, ended), observed = jax.lax.scan(until, start, targets)
        return _overlaps(w, law), observed, ended

    count = begin.shape[0]
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
    return jax.lax.map(one, (keys, begin), batch_size=min(count, 256))
