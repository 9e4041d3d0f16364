"""Overlaps of one spherical neuron with the spikes along training, at two levels of description."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import jax
import numpy as np
from numpy.typing import ArrayLike

import learning_dynamics as ld
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.validation import finite_array, one_of, positive_integer, reject

__all__ = ["Level", "overlaps_along"]

Level = Literal["ambient", "overlaps"]
LEVELS: dict[Level, str] = {"ambient": "all weights", "overlaps": "overlap chain"}


def overlaps_along(
    inputs: MixedCumulant,
    learner: TiedDenoiser,
    learning_rate: float,
    start: ArrayLike,
    times: ArrayLike,
    *,
    dimension: int,
    replicas: int,
    level: Level = "overlaps",
    key: jax.Array,
) -> ld.Measurement:
    """Overlaps that `theory.overlap_flow` predicts, simulated by spherical online SGD.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        learning_rate: delta.
        start: overlaps at time zero, shape (r,).
        times: tau = n / d, increasing, taken at whole updates.
        dimension: d.
        replicas: independent runs.
        level: all weights ("ambient"), or the chain of the overlaps, exact in law.
        key: typed random key.

    Returns:
        Coordinates (time, direction), the directions named as those of the model.

    Raises:
        ValueError: as `simulate`, with fewer than two replicas, or on a start that is none of one
            neuron: an overlap for each direction, together of length one at most.
    """
    alpha = finite_array("start", start, ndim=1)
    if alpha.size != inputs.directions or alpha @ alpha > 1:
        demand = f"have {inputs.directions} overlap(s), together of length one at most"
        raise reject("start", demand, alpha)
    one_of("level", level, tuple(LEVELS))
    if positive_integer("replicas", replicas) < 2:
        raise reject("replicas", "be at least 2, to tell an error", replicas)
    trajectory = ld.simulate(
        ld.Problem(inputs, learner, learning_rate, update="spherical"), dimension=dimension,
        times=times, replicas=replicas, level=level, key=key,
        start=ld.order_parameters(alpha[None], [[1.0]]),
    )  # fmt: skip
    return replace(
        trajectory.measurement(["signal"]),
        coordinates={"time": trajectory.times, "direction": np.array(inputs.names)},
        label=f"{LEVELS[level]}, d = {dimension}",
    )
