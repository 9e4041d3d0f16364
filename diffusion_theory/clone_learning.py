"""Networks trained on a mixed cumulant model, with their losses on its clones along training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from diffusion_theory.clones import clone_losses
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics import short_text
from learning_dynamics.evidence import drawing
from learning_dynamics.validation import (
    finite_array,
    increasing_integers,
    one_of,
    positive_number,
    reject,
)

__all__ = ["CloneLearning", "Parting", "learn_with_clones"]

Array = NDArray[np.float64]
WARM_UP = 50  # updates of a growing rate


class Parting(NamedTuple):
    """Observation from which on each replica's losses on data and clone differ.

    Attributes:
        place: index of the observation, -1 if the losses do not part, shape (replicas,).
        samples: seen by then, infinite if they do not, shape (replicas,).
    """

    place: NDArray[np.int64]
    samples: Array

    def at(self, curves: Array) -> Array:
        """Values of the replicas' curves at their own parting, NaN without one.

        Args:
            curves: shape (replicas, times).
        """
        return np.where(self.place >= 0, curves[np.arange(self.place.size), self.place], np.nan)

    def __str__(self) -> str:
        if not np.all(np.isfinite(self.samples)):
            return "no"
        logs = np.log(self.samples)
        if logs.size < 2:
            return f"{np.exp(logs.mean()):.3g}"
        factor = np.exp(logs.std(ddof=1) / logs.size**0.5)
        return f"{np.exp(logs.mean()):.3g} (factor {factor:.2f})"


class CloneLearning(NamedTuple):
    """Losses of replicas along training, less that of the best skip alone.

    Attributes:
        samples: seen so far, shape (times,).
        losses: name as in `CloneLosses` -> shape (replicas, times).
        errors: of the quadrature, likewise.
    """

    samples: Array
    losses: dict[str, Array]
    errors: dict[str, Array]

    def __repr__(self) -> str:
        return short_text.represent(self)

    def gap(self, clone: str) -> Array:
        """Loss on a clone less that on the data, shape (replicas, times).

        Raises:
            ValueError: on an unknown clone.
        """
        return self.losses[one_of("clone", clone, tuple(self.losses))] - self.losses["data"]

    def parting(self, clone: str, least: float) -> Parting:
        """First observation from which on the gap of a clone stays above `least`.

        Raises:
            ValueError: on an unknown clone, or a gap that is no finite number.
        """
        far = self.gap(clone) > float(finite_array("least", least, ndim=0))
        stays = np.logical_and.accumulate(far[:, ::-1], axis=1)[:, ::-1]
        place = np.where(stays.any(axis=1), stays.argmax(axis=1), -1)
        return Parting(place, np.where(place >= 0, self.samples[place], np.inf))

    def plot(self, gain: float, best: float, partings: Sequence[Parting] = ()) -> Figure:
        """Losses on data and clones against samples, in units of a gain.

        Args:
            gain: what the best linear denoiser gains over the best skip alone.
            best: loss of the best denoiser, less that of the best skip.
            partings: a dotted line at the geometric mean of each that all replicas reach.

        Raises:
            ValueError: with fewer than two replicas, on a gain that is not positive, or a best loss
                that is not finite.
        """
        unit, best = positive_number("gain", gain), float(finite_array("best", best, ndim=0))
        losses = ld.Measurement.from_replicas(
            np.stack(list(self.losses.values()), axis=1) / unit,
            {"law": list(self.losses), "samples": self.samples},
        )
        figure, ((axes,),) = drawing.new_figure(1, 1, width=6.6, height=5.0)
        drawing.draw_measurement(axes, losses, joined=True)
        ends, colour = self.samples[[0, -1]], drawing.series_style(4).colour
        with drawing.figure_style():
            axes.plot(ends, [-1, -1], "--", color=colour, label="best linear denoiser (exact)")
            axes.plot(ends, [best / unit] * 2, "-", color=colour, label="best denoiser")
            for parting in partings:
                if np.all(np.isfinite(parting.samples)):
                    mean = np.exp(np.log(parting.samples).mean())
                    axes.axvline(mean, linestyle=":", color=drawing.GREY)
            axes.set(
                xscale="log", xlabel="samples n", ylim=(best / unit - 0.1, 2.0),
                ylabel="(loss - best skip) / gain of the best linear",
            )  # fmt: skip
        drawing.legend_below(figure, columns=3)
        return figure


def learn_with_clones(
    inputs: MixedCumulant,
    *,
    neurons: int,
    dimension: int,
    updates: ArrayLike,
    replicas: int,
    key: jax.Array,
    batch: int = 64,
    rate: float = 0.006,
) -> CloneLearning:
    """Train tied denoisers of both signs by Adam, with a learned skip and a cosine schedule.

    Losses are population losses from the order parameters, by quadrature.

    Args:
        inputs: the model.
        neurons: K, half of them with either sign.
        dimension: d.
        updates: observations, increasing, shape (times,); the schedule ends with the last one.
        replicas: independent networks.
        key: typed random key.
        batch: samples per update.
        rate: largest change of a weight per update, after 50 updates of a growing one.

    Raises:
        ValueError: if training ends with the updates of a growing rate.
    """
    at = increasing_integers("updates", updates)
    if at[-1] <= WARM_UP:
        raise reject("updates", f"end after {WARM_UP}", at.tolist())
    learner = TiedDenoiser(
        "tanh", sign=np.where(np.arange(neurons) < neurons // 2, -1.0, 1.0), neurons=neurons,
        learn_skip=True, skip=float(inputs.noise_level.noise),
    )  # fmt: skip
    unit = float(dimension)  # the optimiser's rate is then the change of a weight per update
    problem = ld.Problem(
        inputs, learner, unit, parameter_rates={"skip": unit}, batch=batch, initial_norm=0.5
    )
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, WARM_UP, int(at[-1]))
    trajectory = ld.simulate(
        problem, dimension=dimension, times=at / dimension, replicas=replicas, key=key,
        optimiser=optax.adam(schedule),
    )  # fmt: skip
    values = trajectory.values
    overlaps = ld.order_parameters(values["signal"], values["norms"], {"skip": values["skip"]})
    losses = clone_losses(problem, overlaps, dimension=dimension, points=2**14)
    samples = (trajectory.updates * batch).astype(np.float64)
    return CloneLearning(samples, losses.values, losses.errors)
