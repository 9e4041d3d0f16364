"""The population loss as an observable of every level."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.limit.integrate import expected_loss
from learning_dynamics.limit.moments import moments
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem, changed
from learning_dynamics.pytrees import is_traced

__all__ = ["PopulationLoss", "loss"]


@dataclass(frozen=True)
class PopulationLoss:
    """Observable E l at the order parameters of a run: `observe={"loss": ld.loss}`.

    In the limit it is an average over the nodes that are there anyway. In a simulation it is worked
    out from the recorded order parameters, see `expected_loss`.

    Attributes:
        label_noise: whether the label is noisy; without noise it is the generalisation error.
    """

    label_noise: bool = True

    def __call__(self, *, label_noise: bool) -> "PopulationLoss":
        """The loss with or without label noise: `ld.loss(label_noise=False)`."""
        return PopulationLoss(label_noise)

    def of(self, problem: Problem) -> Problem:
        """The problem whose loss is meant."""
        return problem if self.label_noise else changed(problem, label_noise=None)

    def under(self, problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps) -> Any:
        """Average under one quadrature rule, at one set of order parameters."""
        return moments(self.of(problem), noise, nodes, overlaps).loss

    def after(self, problem: Problem, overlaps: Overlaps, dimension: int) -> NDArray[np.float64]:
        """Average at recorded order parameters, leading axes kept; NaN where they are not finite.

        Raises:
            InaccurateError: if it is not known to a thousandth.
        """
        if is_traced((problem, overlaps)):
            traced: Any = expected_loss(self.of(problem), overlaps, dimension=dimension)[0]
            return traced
        lead = np.shape(overlaps.signal)[:-2]
        flat = jax.tree.map(lambda a: np.reshape(a, (-1, *np.shape(a)[len(lead) :])), overlaps)
        finite = np.all(
            [np.isfinite(a.reshape(len(a), -1)).all(axis=1) for a in jax.tree.leaves(flat)], axis=0
        )
        values = np.full(finite.shape, np.nan)
        if np.any(finite):
            known = jax.tree.map(lambda a: a[finite], flat)
            values[finite], _ = expected_loss(self.of(problem), known, dimension=dimension)
        return values.reshape(lead)


loss = PopulationLoss()
