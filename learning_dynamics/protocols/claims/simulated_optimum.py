"""Simulations under an optimal schedule and under the best constant rate, beside the limit."""

import jax
import numpy as np

import learning_dynamics as ld
from learning_dynamics.report.claims import Run


def size(run: Run) -> tuple[int, int]:
    """N and number of replicas."""
    return (500, 256) if run.quick else (2000, 1024)


def simulated(
    optimum: ld.Optimum, run: Run, number: int, *, constant: bool = False
) -> ld.Measurement:
    """Objective at the end of simulated replicas; `number` chooses the random key."""
    dimension, replicas = size(run)
    key = jax.random.fold_in(run.key, number)
    replicates = optimum.simulate(
        dimension=dimension, replicas=replicas, key=key, constant=constant
    )
    return replicates.measurement(["objective"])


def law(run: Run, value: float | None, label: str) -> ld.Prediction:
    """The objective for N -> infinity, with an allowed bias of 0.5/N."""
    values = np.array([[np.nan if value is None else value]])
    return ld.Prediction(values, 0.0, 0.5 / size(run)[0], "0.5/N", label)


def under_both(
    optimum: ld.Optimum, name: str, quantity: str, run: Run, number: int
) -> list[ld.Comparisons]:
    """Simulations of the schedule, with the best constant as a control, and of the constant."""
    constant = law(run, optimum.constant_value, "limit under the best constant rate")
    return [
        ld.compare_with_controls(
            simulated(optimum, run, number),
            law(run, optimum.value, "limit under the schedule"),
            constant.labelled(f"{name}: constant rate"),
            name=f"{name}: under the schedule", quantity=quantity,
        ),
        ld.compare_with_controls(
            simulated(optimum, run, number + 1, constant=True), constant,
            name=f"{name}: under the best constant", quantity=quantity,
        ),
    ]  # fmt: skip
