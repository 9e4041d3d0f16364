"""`protocols/momentum-is-a-larger-rate`: in the limit a momentum only enlarges the rate."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

import learning_dynamics as ld
from learning_dynamics.protocols.claims.models import Students, Teachers
from learning_dynamics.protocols.regression import regression_with_momentum
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

MOMENTUM, RATE = 0.8, 0.2
DIMENSION = 1000
SMALL, NOISE, UPDATES = 20, 0.5, np.array([5, 10, 20, 40, 80])
REPLICAS = 400, 800  # of a run, quick and full; linear regression has several: one program
BIAS = r"$2/N(1-\beta)$"


def soft_committee(share: float, rate: float, noise: float) -> ld.Problem:
    """Two teachers and two students, of erf or, with a share of 1, linear: one program."""
    functions = ("erf", "line")
    return ld.Problem(
        Teachers(functions, 2, share), Students(functions, 2, share), rate, label_noise=noise,
        momentum=MOMENTUM,
    )  # fmt: skip


@claim(
    "protocols/momentum-is-a-larger-rate",
    statement=(
        "In the limit of large N online SGD with a fixed momentum β is SGD with the learning "
        "rate η / (1 - β), in its drift and in its noise."
    ),
    source="derived here",
    seconds=7,
)
def momentum_is_a_larger_rate(run: Run) -> Evidence:
    """Overlaps of a soft committee against the limit, and linear regression at a small N."""
    problem = soft_committee(0.0, RATE, 0.3)
    start = ld.order_parameters([[0.3, 0.0], [0.0, 0.2]], [[0.5, 0.0], [0.0, 0.4]])
    times = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
    trajectory = ld.simulate(
        problem, dimension=DIMENSION, times=times, replicas=REPLICAS[not run.quick], key=run.key,
        level="overlaps", start=start,
    )  # fmt: skip
    names = ["signal", "norms"]
    measured = trajectory.measurement(names)

    def limit(problem: ld.Problem, label: str) -> ld.Prediction:
        predicted = ld.integrate(problem, times=times, start=start, points=2**11).prediction(names)
        return ld.Prediction(predicted.values, predicted.numerical_error, label=label)

    larger_rate = limit(problem, "limit at rate eta / (1 - beta)")
    allowed = 2 / DIMENSION / (1 - MOMENTUM) * np.ones(larger_rate.values.shape)
    slow = replace(problem, momentum=0.0)  # numbers, so that all three limits are one program
    quiet = replace(problem, momentum=0.0, learning_rate=RATE / (1 - MOMENTUM), batch=5)
    overlaps = ld.compare_with_controls(
        measured, larger_rate.with_bias(allowed, BIAS),
        limit(slow, "no larger rate"), limit(quiet, "a larger rate in the drift alone"),
        name="soft committee", quantity="order parameters",
    )  # fmt: skip
    exact = _linear_regression(run)
    panels = {
        "overlaps": Panel(
            overlaps[0].plot(x="time", series="quantity", logx=True),
            f"Order parameters of a soft committee trained with momentum {MOMENTUM:g} at "
            f"N = {DIMENSION}; lines: the limit at the rate eta / (1 - beta).",
        ),
        "linear-regression": Panel(
            exact[0].plot(x="update", logx=True, logy=True),
            f"Error of linear regression at N = {SMALL} with momentum {MOMENTUM:g}; line: the "
            "exact recursion of the second moments of weights and velocity.",
        ),
    }
    notes = (
        "The noise of a step adds up as its drift does: the impulse response of one sample lies "
        "along its own direction, and later samples are independent of it.",
        f"Allowed bias of the limit: {BIAS}. The recursion at N = {SMALL} has none.",
        "Controls: the rate eta; the rate eta / (1 - beta) with the noise of a batch of "
        "1 / (1 - beta); for linear regression, plain SGD at the larger rate and the same N.",
    )
    return Evidence.of([overlaps, exact], panels, notes)


def _linear_regression(run: Run) -> ld.Comparisons:
    """E |u - e|^2 at small N against the exact recursion, and against plain SGD's.

    The sum u of two linear students at half the rate is one at the whole rate, whose teacher e is
    the sum of the two.
    """
    problem = soft_committee(1.0, RATE / 2, NOISE)
    start = ld.order_parameters(np.zeros((2, 2)), 0.5 * np.eye(2))
    errors: list[Any] = []
    for i in range(12 if run.quick else 60):
        values = ld.simulate(
            problem, dimension=SMALL, times=UPDATES / SMALL, replicas=REPLICAS[not run.quick],
            key=jax.random.fold_in(run.key, i), level="overlaps", start=start,
        ).values  # fmt: skip
        errors.append(np.sum(values["norms"] - 2 * values["signal"], axis=(-2, -1)) + 2)
    label = f"overlap chain, N = {SMALL}"
    measured = ld.Measurement.from_replicas(
        np.concatenate(errors), {"update": UPDATES}, label=label
    )

    def exact(rate: float, momentum: float, label: str) -> ld.Prediction:
        errors = regression_with_momentum(
            UPDATES, rate=rate, momentum=momentum, dimension=SMALL, label_noise=NOISE, distance=3.0
        )
        return ld.Prediction(errors, label=label)

    return ld.compare_with_controls(
        measured,
        exact(RATE, MOMENTUM, "exact recursion"),
        exact(RATE / (1 - MOMENTUM), 0.0, "no memory at small N"),
        name="linear regression at small N",
        quantity=r"$E|u - e|^2$",
    )
