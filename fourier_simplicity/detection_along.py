"""Detection of structure along training: neurons beside the small-step diffusion."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from fourier_simplicity.detection import detection_auc, held_out_auc
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import Activation
from fourier_simplicity.recovery import TieOverlap
from fourier_simplicity.simulation import phase_problem
from learning_dynamics import short_text
from learning_dynamics.validation import between, positive_integer, reject

__all__ = ["DetectionAlong", "detect_along"]

Array = NDArray[np.float64]


class DetectionAlong(NamedTuple):
    """Neurons along training, and paths of the diffusion from the same starts.

    Attributes:
        auc: measured on held-out inputs, shape (replicas, times).
        theory: mean over paths of the exact AUC at their overlaps, shape (times,).
        error: its standard error.
        known: share of the neurons that know the tie.
        expected: the same of the paths.
    """

    auc: Array
    theory: Array
    error: Array
    known: Array
    expected: Array

    def __repr__(self) -> str:
        return short_text.represent(self)


def detect_along(
    inputs: FourierInputs,
    activation: Activation,
    learning_rate: float,
    times: ArrayLike,
    *,
    dimension: int,
    replicas: int,
    paths: int,
    scored: int = 48,
    held_out: int = 600,
    share: float = 0.25,
    step: float = 0.1,
    key: jax.Array,
) -> DetectionAlong:
    """Train single neurons, and test on fresh inputs of both classes along the way.

    Args:
        inputs: isotropic inputs with Rayleigh amplitudes.
        activation: see `activation_function`.
        learning_rate: delta, see `phase_problem`.
        times: tau = n / N, increasing.
        dimension: N.
        replicas: neurons, on the overlap chain.
        paths: of the diffusion, as many as replicas at least.
        scored: paths whose AUC is evaluated, two at least.
        held_out: inputs of each class, for each neuron.
        share: of the largest tie overlap from which on a neuron knows the tie.
        step: of the diffusion, see `neuron_diffusion`.
        key: typed random key.

    Raises:
        ValueError: if there are fewer paths than neurons or scored ones, or as `neuron_diffusion`,
            `simulate` and `held_out_auc`.

    Source: derived here.
    """
    count, runs = positive_integer("paths", paths), positive_integer("replicas", replicas)
    scored = positive_integer("scored", scored, least=2)
    if count < max(runs, scored):
        raise reject("paths", f"be as many as replicas and scored ones, {max(runs, scored)}", count)
    between("share", share, 0, 1)
    watched = TieOverlap(inputs)
    problem = phase_problem(inputs, activation, learning_rate=learning_rate)
    diffusion = neuron_diffusion(
        problem, dimension=dimension, times=times, paths=count, key=key, step=step
    )
    simulated = ld.simulate(
        problem, dimension=dimension, times=times, replicas=runs, level="overlaps",
        key=jax.random.fold_in(key, 1),
        start=jax.tree.map(lambda a: a[:runs], diffusion.start),
    )  # fmt: skip
    signal, of_paths = (each.values["signal"][:, :, 0] for each in (simulated, diffusion))
    exact = detection_auc(inputs, activation, of_paths[:scored])
    fold = jax.random.fold_in(key, 2)
    return DetectionAlong(
        held_out_auc(inputs, activation, signal, held_out=held_out, key=fold),
        exact.mean(axis=0),
        exact.std(axis=0, ddof=1) / np.sqrt(scored),
        watched.known(simulated, share).mean(axis=0),
        watched.known(diffusion, share).mean(axis=0),
    )
