"""Ties between phases: what tells structured inputs from noise.

A tie draws the phases of a few modes jointly. In the structured class an integer relation holds up
to a jitter of half width a; in the noise class the same formulas run with a = pi, which makes all
phases independent and uniform. The modes of a tie, its amplitudes and its marginal phases are
therefore the same in both classes by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.modes import WaveVector, whole_vector
from learning_dynamics import configuration, static
from learning_dynamics.validation import finite_array, integers, one_of, positive_integer, reject

__all__ = ["PhaseTie", "Template", "Tie", "harmonic", "quartet", "triad"]

Mode = int | tuple[int, ...]


class PhaseTie(Protocol):
    """Joint law of the phases of a few modes.

    Attributes:
        modes: wave vectors.
        angles: number of independent uniform angles it consumes.
        offsets: number of variables, uniform on [-1, 1), behind the jitter.
        branches: number of equally likely solutions between which it chooses.
        jitter: half width a of the jitter in radians, 0 to pi.
    """

    @property
    def modes(self) -> tuple[WaveVector, ...]: ...  # noqa: D102
    @property
    def angles(self) -> int: ...  # noqa: D102
    @property
    def offsets(self) -> int: ...  # noqa: D102
    @property
    def branches(self) -> int: ...  # noqa: D102
    @property
    def jitter(self) -> Any: ...  # noqa: D102

    def phases(
        self, angles: jax.Array, offsets: jax.Array, branch: jax.Array, width: jax.Array
    ) -> jax.Array:
        """Phases, shape (..., modes), with jitter of half width `width`, shape (...)."""

    def character(self, powers: ArrayLike) -> float:
        """E exp(i powers . phi) in the structured class."""

    def relations(self, order: int) -> Iterator[tuple[int, ...]]:
        """All n with |n|_1 = order that can have a character other than zero."""

    def momentum(self) -> NDArray[np.int64]:
        """Wave vector of the relation, sum_j n_j k_j; zero modulo the sides if invariant."""


def _modes(modes: Sequence[Mode]) -> tuple[WaveVector, ...]:
    vectors = [tuple(whole_vector("modes", mode).tolist()) for mode in modes]
    if len({len(k) for k in vectors}) > 1:
        raise reject("modes", "all have the same number of components", vectors)
    return tuple(vectors)


def _check_jitter(value: Any) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    jitter = finite_array("jitter", value, ndim=0)
    if not 0 <= jitter <= np.pi:
        raise reject("jitter", "lie in [0, pi]", value)


@configuration
class Tie:
    """One integer relation sum_j n_j phi_(k_j) = epsilon (mod 2 pi), uniform on its solutions.

    epsilon is uniform on [-a, a]: it multiplies the relation's moments by sin(a) / a. All moments
    E exp(i q.phi) vanish except where q is a multiple of n.

    Attributes:
        modes: wave vectors k_j, whole numbers on a ring and pairs of them on a torus.
        coefficients: n_j, not zero.
        jitter: a, in radians; pi breaks the tie.

    Raises:
        ValueError: on fewer than two modes, zero coefficients, or a jitter outside [0, pi].
    """

    modes: Any = static()
    coefficients: Any = static()
    jitter: Any = 0.0

    def __post_init__(self) -> None:
        modes = _modes(self.modes)
        n = integers("coefficients", self.coefficients, least=-1000)
        if n.shape != (len(modes),) or len(modes) < 2:
            raise reject("coefficients", "match two or more modes", f"{n.tolist()} for {modes}")
        if np.any(n == 0):
            raise reject("coefficients", "not be zero", n.tolist())
        _check_jitter(self.jitter)
        object.__setattr__(self, "modes", modes)
        object.__setattr__(self, "coefficients", tuple(int(i) for i in n))

    @property
    def order(self) -> int:
        """Order of the tie, the sum of the |n_j|."""
        return sum(abs(n) for n in self.coefficients)

    @property
    def angles(self) -> int:
        """All phases but one are free."""
        return len(self.modes) - 1

    @property
    def offsets(self) -> int:
        """One jitter."""
        return 1

    @property
    def _last(self) -> int:
        sizes = [abs(n) for n in self.coefficients]
        return len(sizes) - 1 - int(np.argmin(sizes[::-1]))

    @property
    def branches(self) -> int:
        """Solutions for the last phase: its coefficient's size (one if any coefficient is +-1)."""
        return abs(self.coefficients[self._last])

    def phases(
        self, angles: jax.Array, offsets: jax.Array, branch: jax.Array, width: jax.Array
    ) -> jax.Array:
        """Solve the relation for one phase.

        Args:
            angles: uniform on [0, 2 pi), shape (..., modes - 1).
            offsets: uniform on [-1, 1), shape (..., 1).
            branch: 0 .. branches - 1, shape (...).
            width: half width of the jitter, shape (...).
        """
        at = self._last
        others = np.delete(np.asarray(self.coefficients), at)
        weights = jnp.asarray(others, angles.dtype)
        rest = jnp.tensordot(angles, weights, axes=1, precision=jax.lax.Precision.HIGHEST)
        n = self.coefficients[at]
        solved = (width * offsets[..., 0] - rest + 2 * float(np.pi) * branch) / n
        return jnp.insert(angles, at, solved, axis=-1)

    def character(self, powers: ArrayLike) -> float:
        """E exp(i powers . phi): sin(qa)/(qa) for powers = q n, else zero.

        Equation: :eq:`eq:phases-jitter`.
        """
        p, n = np.asarray(powers, np.int64), np.asarray(self.coefficients)
        q, remainder = divmod(int(p[0]), int(n[0]))
        if remainder or not np.array_equal(p, q * n):
            return 0.0
        return float(np.sinc(q * float(self.jitter) / np.pi))

    def relations(self, order: int) -> Iterator[tuple[int, ...]]:
        """Multiples of n."""
        q, remainder = divmod(order, self.order)
        for sign in (1, -1) if q and not remainder else (1,) if not order else ():
            yield tuple(sign * q * n for n in self.coefficients)

    def momentum(self) -> NDArray[np.int64]:
        """sum_j n_j k_j.

        Equation: :eq:`eq:phases-invariance`.
        """
        return np.asarray(self.coefficients) @ np.asarray(self.modes)


@configuration
class Template:
    """A randomly shifted pattern: phi_(j k) = j theta + epsilon_j, j = 1..m, theta uniform.

    All modes peak at the same random place, as in an edge or a line. Every relation with
    sum_j j n_j = 0 holds; the jitters epsilon_j are independent and uniform on [-a, a].

    Attributes:
        harmonics: m >= 2.
        fundamental: wave vector k.
        jitter: a, in radians; pi breaks the tie.

    Raises:
        ValueError: on fewer than two harmonics or a jitter outside [0, pi].
    """

    harmonics: int = static()
    fundamental: Any = static(default=1)
    jitter: Any = 0.0

    def __post_init__(self) -> None:
        if positive_integer("harmonics", self.harmonics) < 2:
            raise reject("harmonics", "be at least 2", self.harmonics)
        object.__setattr__(self, "fundamental", _modes([self.fundamental])[0])
        _check_jitter(self.jitter)

    @property
    def modes(self) -> tuple[WaveVector, ...]:
        """Multiples 1..m of the fundamental."""
        return tuple(tuple(j * k for k in self.fundamental) for j in range(1, self.harmonics + 1))

    @property
    def angles(self) -> int:
        """The place of the pattern."""
        return 1

    @property
    def offsets(self) -> int:
        """One jitter per mode."""
        return self.harmonics

    @property
    def branches(self) -> int:
        """One solution."""
        return 1

    def phases(
        self, angles: jax.Array, offsets: jax.Array, branch: jax.Array, width: jax.Array
    ) -> jax.Array:
        """J theta + width offset_j; shapes (..., 1), (..., m), (...), (...)."""
        j = jnp.asarray(np.arange(1, self.harmonics + 1), angles.dtype)
        return angles * jnp.broadcast_to(j, offsets.shape) + width[..., None] * offsets

    def character(self, powers: ArrayLike) -> float:
        """prod_j sin(n_j a)/(n_j a) where sum_j j n_j = 0, else zero."""
        p = np.asarray(powers, np.int64)
        if int(p @ np.arange(1, p.size + 1)):
            return 0.0
        return float(np.prod(np.sinc(p * float(self.jitter) / np.pi)))

    def relations(self, order: int) -> Iterator[tuple[int, ...]]:
        """All n with sum_j j n_j = 0; their number grows like m^(order - 1)."""
        if not order or float(self.jitter) < np.pi:
            yield from _balanced(self.harmonics, order, 0)

    def momentum(self) -> NDArray[np.int64]:
        """Zero: the shift theta moves along with a translation."""
        return np.zeros(len(self.fundamental), np.int64)


def _balanced(length: int, size: int, total: int) -> Iterator[tuple[int, ...]]:
    """Integer vectors of a length with |n|_1 = size and sum_j j n_j = total."""
    if not size or not length:
        if not size and not total:
            yield (0,) * length
        return
    if abs(total) > size * length:
        return
    for last in range(-size, size + 1):
        for earlier in _balanced(length - 1, size - abs(last), total - length * last):
            yield (*earlier, last)


def _total(signs: Sequence[int], modes: Sequence[Mode]) -> WaveVector:
    total = np.asarray(signs) @ np.asarray(_modes(modes))
    return tuple(int(i) for i in total)


def triad(first: Mode, second: Mode, *, jitter: float = 0.0) -> Tie:
    """phi_3 = phi_1 + phi_2 with k_3 = k_1 + k_2: visible at order 3."""
    return Tie((first, second, _total((1, 1), (first, second))), (1, 1, -1), jitter)


def quartet(
    first: Mode, second: Mode, third: Mode, *, form: str = "difference", jitter: float = 0.0
) -> Tie:
    """phi_4 = phi_1 + phi_2 -+ phi_3 with the same relation between the k: visible at order 4.

    Args:
        first: k_1.
        second: k_2.
        third: k_3.
        form: "difference" (k_4 = k_1 + k_2 - k_3) or "sum" (k_4 = k_1 + k_2 + k_3); the third
            quartet form is `harmonic`.
        jitter: half width of the jitter in radians.

    Raises:
        ValueError: on another form.
    """
    one_of("form", form, ("difference", "sum"))
    sign = -1 if form == "difference" else 1
    fourth = _total((1, 1, sign), (first, second, third))
    return Tie((first, second, third, fourth), (1, 1, sign, -1), jitter)


def harmonic(mode: Mode, *, order: int = 3, jitter: float = 0.0) -> Tie:
    """phi_(qk) = q phi_k: visible at order q + 1 with r = 4 signal coordinates only.

    Args:
        mode: k.
        order: q, at least 2; 3 is the third form of a quartet.
        jitter: half width of the jitter in radians.
    """
    count = positive_integer("order", order)
    return Tie((mode, _total((count,), (mode,))), (count, -1), jitter)
