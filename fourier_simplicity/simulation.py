"""What is trained: a single neuron on structured inputs and noise, on the shared kernel."""

import warnings
from typing import Any

import numpy as np

import learning_dynamics as ld
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import Activation, SingleNeuron
from fourier_simplicity.theory import visible_order

__all__ = ["even_start", "phase_problem"]


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
    found = visible_order(inputs, activation)
    if found.order is None:
        warnings.warn(found.message, UserWarning, stacklevel=2)
    learner = SingleNeuron(activation, normalised)
    return ld.Problem(inputs, learner, learning_rate, update="spherical")


def even_start(inputs: FourierInputs, overlap: float, dimension: int) -> ld.Overlaps:
    """Start with the same overlap with Re z of every tied mode, the rest even over the noise.

    Args:
        inputs: input model.
        overlap: |m|, norm of the overlaps with all signal directions, 0 to 1.
        dimension: N.
    """
    signal = np.zeros((1, inputs.directions))
    tied = 2 * len(inputs.tied()[0])
    signal[0, :tied:2] = overlap / np.sqrt(tied / 2)
    groups = inputs.blocks(dimension)
    sizes = [np.full(np.shape(g.variances), float(g.size)) for g in groups]
    share = np.concatenate(sizes) if sizes else np.ones(1)
    rest = (1 - float(np.sum(signal**2))) * share / share.sum()
    return ld.Overlaps(signal, rest[:, None, None], {})
