"""What a problem must satisfy for its search to have a law."""

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.limit.sample_step import follows_gradient
from learning_dynamics.model.heavy_ball import HeavyBall
from learning_dynamics.model.problem import Problem
from learning_dynamics.search.information_exponent import InformationExponent
from learning_dynamics.validation import reject

__all__ = ["check_elimination", "check_steps"]

Array = NDArray[np.float64]


def check_steps(problem: Problem) -> None:
    """Refuse steps whose drift at zero overlap is not that of one neuron by a potential.

    Raises:
        ValueError: on a heavy ball; on orthonormal rows of several neurons, or the norm of their
            whole gradient; on repeated, clipped or normalised steps with several vectors.
    """
    if isinstance(problem.momentum, HeavyBall):
        demand = "be a number or left out: the law is one without velocities"
        raise reject("problem.momentum", demand, problem.momentum)
    if problem.update == "orthogonal" and problem.learner.neurons > 1:
        demand = "leave the neurons alone: orthonormal rows push each other"
        raise reject("problem.update", demand, "'orthogonal'")
    if problem.gradient_norm == "whole" and problem.learner.neurons > 1:
        demand = "be 'neuron' for several neurons, which a common factor couples"
        raise reject("problem.gradient_norm", demand, "'whole'")
    if follows_gradient(problem) or problem.inputs.vectors == 1:
        return
    name = "repeats" if problem.repeats > 1 else "normalise" if problem.normalise else "clip"
    demand = "be left out with several vectors per sample: the drift may have no potential"
    raise reject(f"problem.{name}", demand, getattr(problem, name))


def check_elimination(exponent: InformationExponent, basis: Array, order: int) -> None:
    """Directions held at zero by lower orders must not feel the square of the searching ones.

    With L_2 = a u^2, a > 0, and a term c u q(v) of order j + 1 the held u follows -c q(v) / (2 a),
    which adds -c^2 q^2 / (4 a) of order 2 j to the loss of v: part of L_k if 2 j = k.
    """
    held = np.linalg.svd(basis)[2][len(basis) :]
    if not len(held) or order % 2:
        return
    form = exponent.forms[order // 2]
    points = np.random.default_rng(4).normal(size=(50, len(basis))) @ basis
    pull = form.clear.gradient(points) @ held.T
    if np.max(np.abs(pull), initial=0.0) > 1e-9:
        demand = "leave directions of lower order alone while it searches"
        raise reject("problem", demand, f"a term of order {order // 2 + 1} that couples them")
