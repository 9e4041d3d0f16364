"""Recovery of a tie: when a neuron knows it, the law of that time without N, and what it keeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, optimize

import learning_dynamics as ld
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import Activation
from fourier_simplicity.theory import leading_form, shortest_relations, slope_moments
from learning_dynamics.search.explosion_time import explosion_times
from learning_dynamics.validation import (
    between,
    finite_array,
    positive_integer,
    positive_number,
    reject,
)

__all__ = [
    "SamplesToShare",
    "TieOverlap",
    "largest_rate",
    "recovery_law",
    "recovery_shift",
    "resting_overlaps",
    "samples_to_share",
]

Array = NDArray[np.float64]


def recovery_law(
    inputs: FourierInputs,
    activation: Activation,
    rate: float,
    *,
    key: jax.Array,
    draws: int = 1024,
    longest: float = 1e3,
) -> NDArray[np.float64]:
    """Draws of n* / N^(k-1), k = k* >= 3, from random starts: the limit law of the search phase.

    Explosion times of d mu = -delta' grad L_k ds - (delta'^2 V / 2) mu ds + delta' S0^(1/2) dB with
    L_k = `leading_form`, S0 = V 1, V = E sigma'(g)^2; learning rate delta' N^(-(k-2)/2).

    Equation: :eq:`eq:phases-search`.

    Args:
        inputs: isotropic inputs with Rayleigh amplitudes.
        activation: see `activation_function`.
        rate: delta'.
        key: typed random key.
        draws: number of draws.
        longest: times beyond this come as infinite.

    Raises:
        ValueError: on other inputs, or an activation that is blind to the ties.
    """
    if inputs.spectrum is not None or inputs.amplitudes != "rayleigh":
        raise reject("inputs", "be isotropic with Rayleigh amplitudes", repr(inputs))
    norm = slope_moments(activation)[0]
    covariance = norm * np.eye(inputs.directions)
    form = leading_form(inputs, activation)
    return explosion_times(form, covariance, norm, rate, key=key, draws=draws, longest=longest)


def recovery_shift(
    inputs: FourierInputs, activation: Activation, rate: float, *, dimension: int, share: float
) -> float:
    """Shift of n* / N^(k-1) at N against `recovery_law`, along the steepest ray.

    On the sphere growth slows down by 1 - |m|^2, and recovery comes before the explosion:

        integral to sqrt(N) share^(1/k) of dm / (c m^(k-1) (1 - m^2 / N) - b m)
            - integral to infinity of dm / (c m^(k-1) - b m),

    c = k delta' f, b = delta'^2 V / 2, from 1.5 times the barrier (b / c)^(1/(k-2)) on, at least
    from one; f is the largest decrease of the leading form on the unit sphere, V = E sigma'(g)^2.
    The shift is of order log(N) / N.

    Args:
        inputs: as of `recovery_law`.
        activation: likewise.
        rate: delta'.
        dimension: N.
        share: of the largest tie overlap that counts as recovery, below one.

    Raises:
        ValueError: if k* < 3, or rate, dimension or share make no sense.
    """
    positive_number("rate", rate)
    positive_integer("dimension", dimension)
    between("share", share, 0, 1)
    form = _searched(inputs, activation)
    k = form.order
    c = -rate * k * form.lowest()[0]
    b = rate**2 * slope_moments(activation)[0] / 2
    start = max(1.0, 1.5 * (b / c) ** (1 / (k - 2)))
    end = max(start, np.sqrt(dimension) * share ** (1 / k))
    finite = integrate.quad(
        lambda m: 1 / (c * m ** (k - 1) * (1 - m * m / dimension) - b * m), start, end
    )
    whole = integrate.quad(lambda m: 1 / (c * m ** (k - 1) - b * m), start, np.inf)
    return float(finite[0] - whole[0])


class _Rest(NamedTuple):
    """Rates and overlaps at which a neuron rests on the steepest ray, see `largest_rate`."""

    order: int
    direction: Array  # of norm one
    largest: float


def _searched(inputs: FourierInputs, activation: Activation) -> Any:
    """The leading form of a tie that is searched for, k >= 3."""
    form = leading_form(inputs, activation)
    if form.order < 3:
        raise reject("inputs", "hold a tie of order k* >= 3", f"one of order {form.order}")
    return form


def _rest(inputs: FourierInputs, activation: Activation) -> _Rest:
    form = _searched(inputs, activation)
    k = form.order
    lowest, where = form.lowest()
    most = ((k - 2) / k) ** ((k - 2) / 2) * 2 / k
    largest = -2 * k * lowest * most / slope_moments(activation)[0]
    return _Rest(k, np.asarray(where / np.linalg.norm(where)), float(largest))


def largest_rate(inputs: FourierInputs, activation: Activation) -> float:
    """Largest learning rate delta at which a neuron keeps the tie, k = k* >= 3.

    Along the steepest ray the loss is -f |m|^k, and the mean of rho = |m| in the diffusion obeys

        d rho / d tau = delta k f rho^(k-1) (1 - rho^2) - delta^2 V rho / 2:

    noise of the gradient turns the neuron away. It rests where
    rho^(k-2) (1 - rho^2) = delta V / (2 k f), whose left side is largest at rho^2 = (k - 2) / k.
    `recovery_law` knows no such bound: its median falls with the rate beyond it.

    Equation: :eq:`eq:phases-rest`.

    Args:
        inputs: isotropic inputs with Rayleigh amplitudes.
        activation: see `activation_function`.

    Raises:
        ValueError: if k* < 3.
    """
    return _rest(inputs, activation).largest


def resting_overlaps(inputs: FourierInputs, activation: Activation, rate: float) -> Array:
    """Overlaps m, shape (r,), of a neuron that rests at the tie; see `largest_rate`.

    Equation: :eq:`eq:phases-rest`.

    Args:
        inputs: isotropic inputs with Rayleigh amplitudes.
        activation: see `activation_function`.
        rate: delta.

    Raises:
        ValueError: unless the rate is below `largest_rate`, or if k* < 3.
    """
    k, direction, largest = _rest(inputs, activation)
    if positive_number("rate", rate) >= largest:
        raise reject("rate", f"be positive and below {largest:.4g}", rate)
    peak = np.sqrt((k - 2) / k)
    height = rate / largest * peak ** (k - 2) * (1 - peak**2)
    rho = optimize.brentq(lambda x: x ** (k - 2) * (1 - x**2) - height, peak, 1.0, xtol=1e-15)
    return np.asarray(rho * direction)


class SamplesToShare(NamedTuple):
    """Number of samples after which a share of the neurons knows the tie.

    Attributes:
        value: n*, infinite if they do not come to it.
        error: of log n*, half the distance of the 16th and 84th percentiles of a bootstrap.
    """

    value: float
    error: float


def check_level(argument: str, level: float) -> None:
    """Refuse what is no share of neurons that can be reached.

    Raises:
        ValueError: unless it is above zero and at most one.
    """
    if not 0 < float(finite_array(argument, level, ndim=0)) <= 1:
        raise reject(argument, "be above zero and at most one", level)


def samples_to_share(
    samples: ArrayLike,
    known: NDArray[np.bool_],
    level: float,
    *,
    rng: np.random.Generator,
    resamples: int = 400,
) -> SamplesToShare:
    """Samples at which the share of neurons that know the tie first reaches a level.

    The largest share so far is interpolated in log n between observations.

    Args:
        samples: n of the observations, increasing, shape (times,).
        known: as of `TieOverlap.known`, shape (replicas, times).
        level: share of the neurons.
        rng: of the bootstrap over replicas.
        resamples: of the bootstrap, at least one.

    Raises:
        ValueError: unless samples are positive and increase, shapes fit and 0 < `level` <= 1.
    """
    n, known = finite_array("samples", samples, ndim=1), np.asarray(known)
    if not n.size or n[0] <= 0 or np.any(np.diff(n) <= 0):
        raise reject("samples", "be positive and increasing", n)
    if known.dtype != bool or known.ndim != 2 or known.shape[1] != n.size or not len(known):
        got = f"{known.dtype} of shape {known.shape}"
        raise reject("known", f"be truth values of shape (replicas, {n.size})", got)
    check_level("level", level)
    resamples, logs = positive_integer("resamples", resamples), np.log(n)

    def crossing(shares: Array) -> float:
        highest = np.maximum.accumulate(shares)
        if highest[-1] < level:
            return float("inf")
        at = int(np.argmax(highest >= level))
        if at == 0:
            return float(logs[0])
        part = (level - highest[at - 1]) / (highest[at] - highest[at - 1])
        return float(logs[at - 1] + part * (logs[at] - logs[at - 1]))

    count = len(known)
    again = [
        crossing(known[rng.integers(count, size=count)].mean(axis=0)) for _ in range(resamples)
    ]
    # by quantiles, since some resamples may not get there
    low, high = np.quantile(again, [0.16, 0.84], method="nearest")
    error = (high - low) / 2 if np.isfinite(high) else np.inf
    return SamplesToShare(float(np.exp(crossing(known.mean(axis=0)))), float(error))


class TieOverlap:
    """Re prod_j v_j^(n_j) of the shortest relation n, a quantity for `Stop`: what recovery means.

    v_j = sqrt(lambda_j / s) m_j is the share of mode j in the field, s = w' Sigma w; for isotropic
    inputs v = m. A threshold on |m| would be crossed by diffusion, since |m|^2 starts at r / N.

    Attributes:
        relation: n, on the tied modes; with several of that length the one that costs least.
        largest: its largest value, prod_j (|n_j| / |n|)^(|n_j| / 2).

    Raises:
        ValueError: if no relation holds, the amplitudes are deterministic, or on other inputs.
    """

    def __init__(self, inputs: FourierInputs) -> None:
        if not isinstance(inputs, FourierInputs):
            raise reject("inputs", "be Fourier inputs", repr(inputs))
        held = shortest_relations(inputs)
        if not held:
            raise reject("inputs.ties", "hold a relation", "none (or full jitter)")
        if inputs.amplitudes != "rayleigh":
            raise reject("inputs.amplitudes", "be 'rayleigh'", repr(inputs.amplitudes))
        signal = np.asarray(inputs.signal_variances(), np.float64)
        costs = [-float(np.abs(n) @ np.log(signal[::2])) for n, _ in held]
        self.relation = held[int(np.argmin(costs))][0]
        self.variances: tuple[tuple[float, ...], tuple[float, ...]] | None = None
        if inputs.spectrum is not None:
            blocks = [np.asarray(g.variances) for g in inputs.blocks(inputs.dimension)]
            noise = np.concatenate([np.zeros(0), *blocks])
            self.variances = tuple(signal.tolist()), tuple(noise.tolist())
        self.__qualname__ = f"TieOverlap{self.relation}"  # names it in checkpoints
        n = np.abs(self.relation)
        share = n[n > 0] / n.sum()
        self.largest = float(np.prod(share ** (n[n > 0] / 2)))

    def __call__(self, overlaps: ld.Overlaps) -> jax.Array:
        """Value for a single neuron."""
        v = overlaps.signal[0]
        if self.variances is not None:
            signal, blocks = (jnp.asarray(a, v.dtype) for a in self.variances)
            v = jnp.sqrt(signal) * v
            noise = jnp.sum(blocks * overlaps.blocks[: blocks.size, 0, 0])
            v = v / jnp.sqrt(jnp.sum(v * v) + noise)
        value: jax.Array = self.product(v)
        return value

    def along(self, signal: NDArray[np.float64], field_variance: ArrayLike = 1.0) -> Any:
        """Values along trajectories: overlaps m, shape (..., r), and s, shape (...)."""
        v = np.asarray(signal) / np.sqrt(np.asarray(field_variance))[..., None]
        if self.variances is not None:
            v = v * np.sqrt(np.asarray(self.variances[0]))
        return self.product(v)

    def known(self, trajectory: ld.Trajectory, share: float) -> NDArray[np.bool_]:
        """Which neurons know the tie: value above a share of the largest, (replicas, times).

        Args:
            trajectory: of one neuron; with a spectrum it must hold "field_variance", as paths of
                `neuron_diffusion` do, or the observable "blocks", the norms of the noise blocks.
            share: of `largest`.

        Raises:
            ValueError: if the field variance is not known.
        """
        values = trajectory.values
        signal = values["signal"][:, :, 0]
        if self.variances is None:
            return np.asarray(self.along(signal) >= share * self.largest)
        if "field_variance" in values:
            s = values["field_variance"]
        elif "blocks" in values:
            s = (signal**2) @ np.array(self.variances[0])
            s = s + values["blocks"] @ np.array(self.variances[1])
        else:
            demand = 'hold "field_variance" or "blocks" of inputs with a spectrum'
            raise reject("trajectory", demand, list(values))
        return np.asarray(self.along(signal, s) >= share * self.largest)

    def product(self, shares: Any) -> Any:
        """Re prod_j v_j^(n_j) of shares (Re v_1, Im v_1, ..), shape (..., r)."""
        real, imaginary = 1.0, 0.0
        for j, n in enumerate(self.relation):
            x, y = shares[..., 2 * j], shares[..., 2 * j + 1] * (1 if n > 0 else -1)
            for _ in range(abs(n)):
                real, imaginary = real * x - imaginary * y, real * y + imaginary * x
        return real

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TieOverlap) and (self.relation, self.variances) == (
            other.relation,
            other.variances,
        )

    def __hash__(self) -> int:
        return hash((self.relation, self.variances))
