"""`protocols/momentum-is-a-larger-rate`: in the limit a momentum only enlarges the rate."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld
from learning_dynamics.evidence.comparison import Measurement, Prediction, compare
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

MOMENTUM, RATE = 0.8, 0.2
DIMENSION = 1000
SMALL, NOISE, UPDATES = 20, 0.5, np.array([5, 10, 20, 40, 80])
BIAS = r"$2/N(1-\beta)$"


@ld.configuration
class Teachers(ld.InputModel):
    """Gaussian inputs; label sum_m erf(e_m.x / 2^(1/2)), or e.x for a linear teacher."""

    count: int = ld.static(default=2)
    linear: bool = ld.static(default=False)

    @property
    def directions(self) -> int:
        """The teachers."""
        return self.count

    def latents(self) -> dict[str, ld.Normal]:
        """X along the teachers."""
        return {"x": ld.Normal((self.count,))}

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """C and the label."""
        x = latents["x"]
        return x[None], jnp.sum(x if self.linear else erf(x / 2**0.5))


@ld.configuration
class Students(ld.Learner):
    """Squared loss of as many students."""

    count: int = ld.static(default=2)
    linear: bool = ld.static(default=False)

    @property
    def neurons(self) -> int:
        """The students."""
        return self.count

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: ld.Sample) -> jax.Array:
        """(sum_k g(w_k.x) - y)^2 / 2."""
        h = fields[:, 0]
        value: jax.Array = (jnp.sum(h if self.linear else erf(h / 2**0.5)) - sample.label) ** 2 / 2
        return value


@claim(
    "protocols/momentum-is-a-larger-rate",
    statement=(
        "In the limit of large N online SGD with a fixed momentum beta is SGD with the learning "
        "rate eta / (1 - beta), in its drift and in its noise."
    ),
    source="derived here",
    seconds=12,
)
def momentum_is_a_larger_rate(run: Run) -> Evidence:
    """Overlaps of a soft committee against the limit, and linear regression at a small N."""
    inputs, learner = Teachers(), Students()
    problem = ld.Problem(inputs, learner, RATE, label_noise=0.3, momentum=MOMENTUM)
    start = ld.order_parameters([[0.3, 0.0], [0.0, 0.2]], [[0.5, 0.0], [0.0, 0.4]])
    times = np.array([0.5, 1.0, 2.0, 4.0])
    trajectory = ld.simulate(
        problem, dimension=DIMENSION, times=times, replicas=40 if run.quick else 600,
        key=run.key, level="overlaps", start=start,
    )  # fmt: skip
    names = ["signal", "norms"]
    measured = trajectory.measurement(names)

    def limit(problem: ld.Problem, label: str) -> Prediction:
        predicted = ld.integrate(problem, times=times, start=start, points=2**11).prediction(names)
        return Prediction(predicted.values, predicted.numerical_error, label=label)

    larger_rate = limit(problem, "limit at rate eta / (1 - beta)")
    allowed = 2 / DIMENSION / (1 - MOMENTUM) * np.ones(larger_rate.values.shape)
    slow = ld.Problem(inputs, learner, RATE, label_noise=0.3, momentum=0.0)  # the same program
    quiet = ld.Problem(inputs, learner, RATE / (1 - MOMENTUM), label_noise=0.3, batch=5)
    overlaps = compare(
        measured,
        larger_rate.with_bias(allowed, BIAS),
        name="soft committee",
        quantity="order parameters",
    )
    controls = [
        compare(measured, limit(control, label), name=label, quantity="order parameters")
        for control, label in (
            (slow, "no larger rate"),
            (quiet, "a larger rate in the drift alone"),
        )
    ]
    exact, forgotten = _linear_regression(run)
    panels = {
        "overlaps": Panel(
            overlaps.plot(x="time", series="quantity", logx=True),
            f"Order parameters of a soft committee trained with momentum {MOMENTUM:g} at "
            f"N = {DIMENSION}; lines: the limit at the rate eta / (1 - beta).",
        ),
        "linear-regression": Panel(
            exact.plot(x="update", logx=True, logy=True),
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
    return Evidence([overlaps, exact], [*controls, forgotten], panels, notes)


def _linear_regression(run: Run) -> tuple[ld.Comparison, ld.Comparison]:
    """E |W - e|^2 at small N against the exact recursion, and against plain SGD's."""
    inputs, learner = Teachers(1, linear=True), Students(1, linear=True)
    problem = ld.Problem(inputs, learner, RATE, label_noise=NOISE, momentum=MOMENTUM)
    trajectory = ld.simulate(
        problem, dimension=SMALL, times=UPDATES / SMALL, replicas=4000 if run.quick else 40_000,
        key=run.key, level="overlaps", start=ld.order_parameters([[0.0]], [[1.0]]),
    )  # fmt: skip
    error = trajectory.values["norms"][..., 0, 0] - 2 * trajectory.values["signal"][..., 0, 0] + 1
    axes = {"update": UPDATES}
    measured = Measurement.from_replicas(error, axes, label=f"overlap chain, N = {SMALL}")

    def exact(rate: float, memory: float, label: str) -> Prediction:
        errors = [
            second_moment(rate, NOISE, memory, dimension=SMALL, start=2.0, updates=n)
            for n in UPDATES.tolist()
        ]
        return Prediction(errors, label=label)

    recursion = exact(RATE, MOMENTUM, "exact recursion")
    memoryless = exact(RATE / (1 - MOMENTUM), 0.0, "SGD at the larger rate")
    quantity = r"$E|w - e|^2$"
    return (
        compare(measured, recursion, name="linear regression at small N", quantity=quantity),
        compare(measured, memoryless, name="no memory at small N", quantity=quantity),
    )


def second_moment(
    rate: float, noise: float, memory: float, *, dimension: int, start: float, updates: int
) -> float:
    """E |W - e|^2 after some updates of linear regression, from |W - e|^2 = `start` and V = 0.

    With a = E |W - e|^2, b = E (W - e).V, c = E |V|^2 and the step s = eta / N,

        c' = beta^2 c - 2 beta s b + s^2 ((N + 2) a + N sigma^2),
        b' = beta b - s a + c',   a' = a + 2 (beta b - s a) + c'.
    """
    step, error, cross, speed = rate / dimension, start, 0.0, 0.0
    for _ in range(updates):
        kick = step**2 * ((dimension + 2) * error + dimension * noise**2)
        speed = memory**2 * speed - 2 * memory * step * cross + kick
        cross = memory * cross - step * error
        error, cross = error + 2 * cross + speed, cross + speed
    return error
