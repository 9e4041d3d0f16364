"""A neuron that looks for He_3 with some steps per sample, and the law of its recovery."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import learning_dynamics as ld
from learning_dynamics.protocols.claims.models import SineStudent, Teachers
from learning_dynamics.search.overlap_diffusion import overlap_law
from learning_dynamics.search.recovery_diffusion import RecoveryLaw

THRESHOLD = 0.5  # of the overlap with the teacher


def overlap(state: ld.Overlaps) -> jax.Array:
    """Size of the overlap with the teacher."""
    return jnp.abs(state.signal[0, 0])


def stop(_: int) -> ld.Stop:
    """What counts as recovery, the same at every N."""
    return ld.Stop(overlap, THRESHOLD)


@dataclass(frozen=True)
class Protocol:
    """Steps with each sample, at the rate eta = rate / N^decay, over a grid of N.

    Attributes:
        exponent: of n* in N.
        followed: n / N^exponent after which runs are given up.
        points: quadrature nodes.
    """

    steps: int
    rate: float
    decay: float
    exponent: int
    followed: float
    sizes: tuple[int, ...]
    points: int

    def problem(self, dimension: int) -> ld.Problem:
        """One neuron that learns He_3(e.x) / 6^(1/2) at N."""
        rate = self.rate / dimension**self.decay
        teacher, student = Teachers(("He3",)), SineStudent()
        return ld.Problem(teacher, student, rate, update="spherical", repeats=self.steps)

    def longest(self, dimension: int) -> float:
        """Samples after which runs are given up."""
        return self.followed * dimension**self.exponent

    def law(self, dimension: int) -> RecoveryLaw:
        """Law of n* at N."""
        end = self.longest(dimension) / dimension
        problem = self.problem(dimension)
        law = overlap_law(problem, dimension, THRESHOLD, end, points=self.points)
        return law.rescaled(dimension)
