"""What is trained: a single neuron on structured inputs and noise, on the shared kernel."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import Activation, SingleNeuron, TwoLayer
from fourier_simplicity.theory import (
    leading_form,
    shortest_relations,
    slope_moments,
    visible_order,
)
from learning_dynamics.pytrees import checked_if_concrete, is_traced
from learning_dynamics.search.explosion_time import explosion_times
from learning_dynamics.validation import reject

__all__ = ["TieOverlap", "even_start", "network_problem", "phase_problem", "recovery_law"]


def phase_problem(
    inputs: FourierInputs,
    activation: Activation = "he4",
    *,
    learning_rate: Any,
    normalised: bool = False,
) -> ld.Problem:
    """One neuron of norm one that learns the label by spherical online SGD, 1 - y sigma(w.x).

    A step is learning_rate / N; time is tau = n / N, N = `inputs.dimension` (any N for isotropic
    inputs with Rayleigh amplitudes).

    Args:
        inputs: structured inputs and noise.
        activation: see `activation_function`.
        learning_rate: delta; of order 1 / N for quartets, N^(-1/2) for triads.
        normalised: whether the preactivation is divided by its standard deviation.

    Warns:
        UserWarning: if the activation is blind to every tie; it names the Hermite coefficients.

    Raises:
        ValueError: on an unknown activation or a rate that is not positive.
    """
    _warn_if_blind(inputs, activation)
    learner = SingleNeuron(activation, normalised)
    return ld.Problem(inputs, learner, learning_rate, update="spherical")


def network_problem(
    inputs: FourierInputs,
    neurons: int,
    activation: Activation = "relu",
    *,
    learning_rate: Any,
    readout_rate: Any = 0.0,
    readout: Any = None,
    normalised: bool = False,
) -> ld.Problem:
    """A two-layer network with logistic loss, trained by online SGD; rows of W keep norm one.

    Args:
        inputs: structured inputs and noise.
        neurons: K.
        activation: see `activation_function`.
        learning_rate: eta of the first layer; a step is eta / N.
        readout_rate: the same for readout and bias; 0 keeps them.
        readout: initial second layer, shape (K,); see `TwoLayer`.
        normalised: whether preactivations are divided by their standard deviations.

    Warns:
        UserWarning: if the activation is blind to every tie; it names the Hermite coefficients.

    Raises:
        ValueError: on values outside their range.
    """
    _warn_if_blind(inputs, activation)
    learner = TwoLayer(neurons, activation, normalised, readout)
    moves = is_traced(readout_rate) or np.any(readout_rate)
    rates = {"readout": readout_rate, "bias": readout_rate} if moves else None
    return ld.Problem(inputs, learner, learning_rate, update="spherical", parameter_rates=rates)


def _warn_if_blind(inputs: FourierInputs, activation: Activation) -> None:
    if is_traced(inputs):
        return
    visible = visible_order(inputs, activation)
    if visible.order is None:
        warnings.warn(visible.message, UserWarning, stacklevel=3)


def even_start(inputs: FourierInputs, overlap: ArrayLike, dimension: int) -> ld.Overlaps:
    """Start with the same overlap with Re z of every tied mode, the rest even over the noise.

    Args:
        inputs: input model.
        overlap: |m|, norm of the overlaps with all signal directions, 0 to 1; it may be traced.
        dimension: N.

    Raises:
        ValueError: on another overlap, or inputs without ties.
    """
    size = checked_if_concrete("overlap", overlap, ndim=0)
    if not is_traced(size) and not 0 <= size <= 1:
        raise reject("overlap", "lie in [0, 1]", overlap)
    tied = 2 * len(inputs.tied()[0])
    if not tied:
        raise reject("inputs.ties", "tie some modes", "none")
    row: Any = np.zeros(inputs.directions)
    row[:tied:2] = 1 / np.sqrt(tied / 2)
    groups = inputs.blocks(dimension)
    sizes = [np.full(np.shape(g.variances), float(g.size)) for g in groups]
    share: Any = np.concatenate(sizes) if sizes else np.ones(1)
    share = share / share.sum()
    if is_traced(size):
        row, share = (jnp.asarray(array, size.dtype) for array in (row, share))
    return ld.Overlaps(size * row[None], (1 - size**2) * share[:, None, None], {})


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


class TieOverlap:
    """Re prod_j v_j^(n_j) of the shortest relation n, a quantity for `Stop`: what recovery means.

    v_j = sqrt(lambda_j / s) m_j is the share of mode j in the field, s = w' Sigma w; for isotropic
    inputs v = m. A threshold on |m| would be crossed by diffusion, since |m|^2 starts at r / N.

    Attributes:
        relation: n, on the tied modes; with several of that length the one that costs least.
        largest: its largest value, prod_j (|n_j| / |n|)^(|n_j| / 2).

    Raises:
        ValueError: if no relation holds, or the amplitudes are deterministic.
    """

    def __init__(self, inputs: FourierInputs) -> None:
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
            found = (signal, np.concatenate([np.zeros(0), *blocks]))
            self.variances = tuple(tuple(v.tolist()) for v in found)  # type: ignore[assignment]
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
