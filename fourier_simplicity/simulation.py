"""What is trained: a single neuron on structured inputs and noise, on the shared kernel."""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

import learning_dynamics as ld
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import Activation, SingleNeuron, TwoLayer
from fourier_simplicity.theory import visible_order
from learning_dynamics.pytrees import checked_if_concrete, is_traced
from learning_dynamics.validation import reject

__all__ = ["even_start", "network_problem", "phase_problem"]


def phase_problem(
    inputs: FourierInputs,
    activation: Activation = "he4",
    *,
    learning_rate: Any,
    normalised: bool = False,
    may_be_blind: bool = False,
) -> ld.Problem:
    """One neuron of norm one that learns the label by spherical online SGD, 1 - y sigma(w.x).

    A step is learning_rate / N; time is tau = n / N, N = `inputs.dimension` (any N for isotropic
    inputs with Rayleigh amplitudes).

    Args:
        inputs: structured inputs and noise.
        activation: see `activation_function`.
        learning_rate: delta; of order 1 / N for quartets, N^(-1/2) for triads.
        normalised: whether the preactivation is divided by its standard deviation.
        may_be_blind: whether an activation that sees no tie is meant, and needs no warning.

    Warns:
        UserWarning: if the activation is blind to every tie; it names the Hermite coefficients.

    Raises:
        ValueError: on an unknown activation or a rate that is not positive.
    """
    if not may_be_blind:
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
