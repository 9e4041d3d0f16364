"""Optimal learning rates of a line, a square and a soft committee."""

from typing import Any

import jax
import numpy as np

import learning_dynamics as ld
from learning_dynamics import schedules
from learning_dynamics.protocols.claims.models import Students, Teachers

OVERLAP = 0.2  # of a neuron with its teacher at the start
LINE = {"share": 0.0, "scale": 1.0, "noise": 0.5, "end": 6.0, "rate": 0.8}
SQUARE = {"share": 1.0, "scale": 4.0, "noise": 1.0, "end": 40.0, "rate": 0.25}
KNOTS = np.linspace(0, 1, 8) ** 1.5  # times of the table, over the last one
RULE: dict[str, Any] = {"points": 2**8, "method": "tensor", "tolerance": 1e-5, "accuracy": 1e-3}


def error(overlaps: ld.Overlaps) -> jax.Array:
    """The error 1 - m^2 of a unit vector."""
    return 1 - overlaps.signal[0, 0] ** 2


def best_table(task: dict[str, float]) -> ld.Optimum:
    """The best table of rates of one neuron on the sphere, a mixture of line and square."""
    functions, share, times = ("line", "square"), task["share"], KNOTS * task["end"]
    problem = ld.Problem(
        Teachers(functions, share=share), Students(functions, share=share, scale=task["scale"]),
        schedules.piecewise_linear(times, np.broadcast_to(task["rate"], times.shape)),
        update="spherical", label_noise=task["noise"],
    )  # fmt: skip
    start = ld.Overlaps(np.array([[OVERLAP]]), np.array([[[1 - OVERLAP**2]]]), {})
    return ld.optimise(problem, objective=error, until=task["end"], start=start, **RULE)


def best_power() -> ld.Optimum:
    """The best power of the time for a soft committee on its plateau."""
    return ld.optimise(
        ld.Problem(
            Teachers(("erf",), 2), Students(("erf",), 2), schedules.power(1.0, 0.5, 20.0),
            label_noise=0.3,
        ),
        over=["learning_rate.start", "learning_rate.exponent"],
        bounds={"learning_rate.start": (0.05, 3.0), "learning_rate.exponent": (0.0, 3.0)},
        start=ld.order_parameters([[0.11, 0.09], [0.09, 0.11]], [[0.3, 0.05], [0.05, 0.3]]),
        until=200.0, objective=ld.loss(label_noise=False), **RULE | {"points": 5**4},
    )  # fmt: skip
