"""`protocols/optimal-schedule`: the best learning rate as a function of time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

import learning_dynamics as ld
from learning_dynamics import schedules
from learning_dynamics.evidence.figures import figure_style, new_figure, series_style
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

Array = NDArray[np.float64]
OVERLAP = 0.2  # of a neuron with its teacher at the start
LINE = {"share": 0.0, "noise": 0.5, "end": 6.0, "rate": 0.8}
SQUARE = {"share": 1.0, "noise": 1.0, "end": 40.0, "rate": 0.25}
KNOTS = np.linspace(0, 1, 8) ** 1.5  # times of the table, over the last one
RULE: dict[str, Any] = {"points": 2**8, "method": "tensor", "tolerance": 1e-5, "accuracy": 1e-3}


@ld.configuration
class Direction(ld.InputModel):
    """One direction x, with the label (1 - share) x + share x^2."""

    directions = 1
    share: Any = 0.0

    def latents(self) -> dict[str, Any]:  # noqa: D102
        return {"x": ld.Normal((1,))}

    def signal(self, latents: Any) -> Any:  # noqa: D102
        return latents["x"][None], mixture(latents["x"][0], self.share)


@ld.configuration
class Neuron(ld.Learner):
    """Half the squared error of the same function of the field, over (1 + share)^2."""

    neurons = 1
    share: Any = 0.0

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: Any) -> Any:  # noqa: D102
        output = mixture(fields[0, 0], self.share)
        return (output - sample.label) ** 2 / (2 * (1 + self.share) ** 2)


@ld.configuration
class Teachers(ld.InputModel):
    """The sum of erf(x_m / 2^(1/2)) over two directions."""

    directions = 2

    def latents(self) -> dict[str, Any]:  # noqa: D102
        return {"x": ld.Normal((2,))}

    def signal(self, latents: Any) -> Any:  # noqa: D102
        return latents["x"][None], jnp.sum(erf(latents["x"] / 2**0.5))


@ld.configuration
class Committee(ld.Learner):
    """Half the squared error of the sum of erf(F_k / 2^(1/2)) of two neurons."""

    neurons = 2

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: Any) -> Any:  # noqa: D102
        return (jnp.sum(erf(fields[:, 0] / 2**0.5)) - sample.label) ** 2 / 2


def mixture(field: Any, share: Any) -> Any:
    """A line, a square, or a mixture of them."""
    return (1 - share) * field + share * field**2


def error(overlaps: ld.Overlaps) -> jax.Array:
    """The error 1 - m^2 of a unit vector."""
    return 1 - overlaps.signal[0, 0] ** 2


def neuron(task: dict[str, float], rates: Any) -> ld.Problem:
    """A neuron on the sphere under a table of rates."""
    rate = schedules.piecewise_linear(KNOTS * task["end"], np.broadcast_to(rates, KNOTS.shape))
    return ld.Problem(
        Direction(task["share"]), Neuron(task["share"]), rate, update="spherical",
        label_noise=task["noise"],
    )  # fmt: skip


def best(task: dict[str, float]) -> ld.Optimum:
    """The best table of a neuron, from a given overlap."""
    return ld.optimise(
        neuron(task, task["rate"]), objective=error, until=task["end"],
        start=ld.Overlaps(np.array([[OVERLAP]]), np.array([[[1 - OVERLAP**2]]]), {}), **RULE,
    )  # fmt: skip


def best_rate(overlap: Any) -> Any:
    """The rate that is best at every overlap in linear regression on the sphere.

    dm / dtau = eta (1 - m^2) - eta^2 m (2 (1 - m) + sigma^2) / 2.
    """
    return (1 - overlap**2) / (overlap * (2 * (1 - overlap) + LINE["noise"] ** 2))


def line_path(rate: Any, times: Array) -> Array:
    """Overlaps m of linear regression at the times, under eta(tau, m)."""

    def velocity(tau: float, m: Array) -> Array:
        eta = rate(tau, m)
        lost = eta**2 * m * (2 * (1 - m) + LINE["noise"] ** 2) / 2
        return np.asarray(eta * (1 - m**2) - lost)

    options = {"t_eval": times, "rtol": 1e-10, "atol": 1e-12}
    solution: Array = solve_ivp(velocity, (0, LINE["end"]), [OVERLAP], **options).y[0]
    return solution


@claim(
    "protocols/optimal-schedule",
    statement=(
        "The learning rate that is best as a function of time is found by descent through the "
        "limit: η = (1 - m²) / (m (2 (1 - m) + σ²)) in linear regression on the sphere, "
        "and for a learner on a plateau a rate that falls once it is left. Simulations at finite "
        "N gain what it says."
    ),
    source="Derived here; optimal schedules of committees: Mori, Mignacco and others, 2025.",
    seconds=14,
)
def optimal_schedule(run: Run) -> Evidence:
    """Optimal schedules, their gain over the best constant, and simulations of both."""
    line, square = best(LINE), best(SQUARE)
    last = np.array([LINE["end"]])
    least = 1 - line_path(lambda _, m: best_rate(m), last)[-1] ** 2
    steady = minimize_scalar(
        lambda rate: 1 - line_path(lambda *_: rate, last)[-1] ** 2,
        bounds=(0.05, 2.0), method="bounded",
    ).fun  # fmt: skip
    regression = ld.compare_with_controls(
        _simulated(line, False, run, 0),
        _prediction(run, least, "best rate at every overlap"),
        _prediction(run, steady, "regression: constant"),
        name="regression: error", quantity="1 - m²",
    )  # fmt: skip
    tests = [regression, *_tests(square, "phase retrieval", "1 - m²", run, 1)]
    optima = {"regression": line, "phase retrieval": square}
    if not run.quick:
        optima["soft committee"] = committee = _committee()
        tests += _tests(committee, "soft committee", "generalisation error", run, 3)
    panels = {
        "rates": Panel(
            _figure(line, square),
            "Optimal learning rates (markers: values of the table; dashed: best constant). Left: "
            "linear regression on the sphere with the rate that is best at every overlap (line). "
            "Right: a neuron in phase retrieval, which leaves its plateau at a large rate and "
            "then cools.",
        )
    }
    spared = ", ".join(
        f"{1 - each.value / (each.constant_value or np.nan):.0%} in {name} (optimality residual "
        f"{each.residual:.1g})"
        for name, each in optima.items()
    )
    notes = (*NOTES, f"Error that the schedule spares the best constant rate: {spared}.")
    return Evidence.of(tests, panels, notes)


NOTES = (
    "The closed form of regression is that of the greedy rate, which is the best one here: dm/dtau "
    "depends on m alone, and a larger m never hurts later. Both problems are one program: a number "
    "mixes line and square.",
    "The deviation of order 1/N that is allowed is 0.5/N.",
    "The soft committee (two teachers, two neurons, label noise 0.3; a power of the time) is run "
    "at full size: its limit has four fields.",
    "Controls: the value of the best constant rate against the simulation of the schedule.",
)


def _size(run: Run) -> tuple[int, int]:
    return (500, 256) if run.quick else (2000, 1024)


def _tests(
    optimum: ld.Optimum, name: str, quantity: str, run: Run, index: int
) -> list[ld.Comparisons]:
    """Simulations of the schedule, with the best constant as a control, and of the constant."""
    scheduled, fixed = (_simulated(optimum, c, run, index + c) for c in (False, True))
    law = _prediction(run, optimum.value, "limit under the schedule")
    constant = _prediction(run, optimum.constant_value, "limit under the best constant rate")
    return [
        ld.compare_with_controls(
            scheduled, law, constant.labelled(f"{name}: constant rate"),
            name=f"{name}: under the schedule", quantity=quantity,
        ),
        ld.compare_with_controls(
            fixed, constant, name=f"{name}: under the best constant", quantity=quantity
        ),
    ]  # fmt: skip


def _committee() -> ld.Optimum:
    """The best power of the time for a soft committee on its plateau."""
    rate = schedules.power(1.0, 0.5, 20.0)
    return ld.optimise(
        ld.Problem(Teachers(), Committee(), rate, label_noise=0.3),
        over=["learning_rate.start", "learning_rate.exponent"],
        bounds={"learning_rate.start": (0.05, 3.0), "learning_rate.exponent": (0.0, 3.0)},
        start=ld.order_parameters([[0.11, 0.09], [0.09, 0.11]], [[0.3, 0.05], [0.05, 0.3]]),
        until=200.0, objective=ld.loss(label_noise=False), **RULE | {"points": 5**4},
    )  # fmt: skip


def _simulated(optimum: ld.Optimum, constant: bool, run: Run, index: int) -> ld.Measurement:
    """Objective at the end of simulated replicas."""
    size, replicas = _size(run)
    key = jax.random.fold_in(run.key, index)
    replicates = optimum.simulate(dimension=size, replicas=replicas, key=key, constant=constant)
    return replicates.measurement(["objective"])


def _prediction(run: Run, value: float | None, label: str) -> ld.Prediction:
    values = np.array([[np.nan if value is None else value]])
    return ld.Prediction(values, 0.0, 0.5 / _size(run)[0], "0.5/N", label)


def _figure(line: ld.Optimum, square: ld.Optimum) -> Figure:
    with figure_style():
        figure, axes = new_figure(1, 2)
        style = series_style(0)
        for ax, optimum, task in zip(axes.ravel(), (line, square), (LINE, SQUARE), strict=True):
            times, rates = KNOTS * task["end"], optimum.numbers["learning_rate"]
            ax.plot(times, rates, style.marker, color=style.colour)
            ax.plot(times, rates, color=style.colour, lw=0.5)
            ax.axhline(optimum.constants["learning_rate"], ls="--", color="0.5")
            ax.set_xlabel(r"time $\tau$")
        times = np.linspace(0, LINE["end"], 200)
        axes.ravel()[0].plot(
            times, best_rate(line_path(lambda _, m: best_rate(m), times)), color="k"
        )
        axes.ravel()[0].set_ylabel(r"learning rate $\eta$")
    return figure
