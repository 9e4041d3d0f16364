"""Numbers of a model that change in time, against closed equations, SGD and constant numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import learning_dynamics as ld
from learning_dynamics import schedules
from tests.learning_dynamics.kernel.models import Denoiser, Spike

START = ld.Overlaps(np.array([[0.2]]), np.array([[[0.5]]]), {})
RATE, TIMES = 0.5, np.linspace(0.0, 3.0, 4)


@ld.configuration
class Line(ld.InputModel):
    """Label g x along one direction; noise of some variance."""

    gain: Any = 1.0
    spread: Any = 1.0

    directions = 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return latents["x"][None], self.gain * latents["x"][0]

    def blocks(self, dimension):
        return (ld.NoiseBlocks(dimension - 1, jnp.reshape(jnp.asarray(self.spread), (1,))),)


@ld.configuration
class Slope(ld.Learner):
    """Half the squared error of s F."""

    scale: Any = 1.0
    neurons = 1

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError("Argument `scale` must be positive.")

    def loss(self, fields, norms, parameters, sample):
        return (self.scale * fields[0, 0] - sample.label) ** 2 / 2


PROTOCOL = {
    "inputs.gain": schedules.piecewise_linear([0.0, 2.0, 4.0], [0.2, 1.5, 0.7]),
    "label_noise": schedules.exponential(0.8, 1.0),
    "learner.scale": schedules.power(1.0, 0.3),
}


def problem(protocol=None, **options):
    options = {"label_noise": 0.3} | options
    return ld.Problem(Line(), Slope(), RATE, protocol=protocol, **options)


def numbers(tau):
    """Gain, noise and scale at a time."""
    return np.interp(tau, [0, 2, 4], [0.2, 1.5, 0.7]), 0.8 * np.exp(-tau), (1 + tau) ** -0.3


def closed_path(times):
    """Signal m and norm Q of the regression: d(m, Q)/dtau in closed form, and the mean loss."""

    def velocity(tau, y):
        (m, square), (g, sigma, s) = y, numbers(tau)
        error = s * s * square - 2 * s * g * m + g * g + sigma**2
        return [
            -RATE * (s * s * m - s * g),
            -2 * RATE * (s * s * square - s * g * m) + RATE**2 * s * s * error,
        ]

    first = [0.2, 0.2**2 + 0.5]
    options = {"t_eval": times, "rtol": 1e-10, "atol": 1e-12, "max_step": 0.1}
    m, square = solve_ivp(velocity, (0, times[-1]), first, **options).y
    g, sigma, s = numbers(times)
    return m, square, (s * s * square - 2 * s * g * m + g * g + sigma**2) / 2


@pytest.mark.slow
def test_the_limit_follows_the_closed_equations_and_its_loss_is_that_of_each_time():
    limit = ld.integrate(
        problem(PROTOCOL), times=TIMES, start=START, observe={"loss": ld.loss},
        points=16, method="tensor", tolerance=1e-8,
    )  # fmt: skip
    m, square, loss = closed_path(TIMES)
    np.testing.assert_allclose(limit.values["signal"][:, 0, 0], m, atol=1e-6)
    np.testing.assert_allclose(limit.values["norms"][:, 0, 0], square, atol=1e-6)
    np.testing.assert_allclose(limit.values["loss"], loss, atol=1e-6)
    now = ld.Overlaps(np.array([[m[-1]]]), np.array([[[square[-1] - m[-1] ** 2]]]), {})
    value, _ = ld.expected_loss(problem(PROTOCOL), now, time=TIMES[-1])
    np.testing.assert_allclose(value, loss[-1], rtol=1e-6)


@pytest.mark.parametrize("level", ["ambient", pytest.param("overlaps", marks=pytest.mark.slow)])
def test_simulations_follow_them_too(level):
    size, replicas = (100, 200) if level == "ambient" else (300, 400)
    watched = {"loss": ld.loss} if level == "overlaps" else {}
    seen = ld.simulate(
        problem(PROTOCOL), dimension=size, times=TIMES, replicas=replicas, key=jax.random.key(1),
        level=level, start=START, observe=watched,
    )  # fmt: skip
    m, square, loss = closed_path(TIMES)
    known = {"signal": m, "norms": square, "loss": loss}
    for name, values in seen.values.items():
        expected = known[name]
        draws = values.reshape(replicas, -1)[:, 1:]
        error = draws.std(0) / replicas**0.5
        bias = 1.0 / size  # the shift of order 1/N is at most 0.4 / N
        assert np.all(np.abs(draws.mean(0) - expected[1:]) < 4 * error + bias), name


def constant_pair(**options):
    """The same problem with numbers of the model, and with a protocol that never changes."""
    inside = ld.Problem(Line(0.7), Slope(1.3), RATE, label_noise=0.4, **options)
    values = {"inputs.gain": 0.7, "learner.scale": 1.3, "label_noise": 0.4}
    protocol = {name: schedules.constant(value) for name, value in values.items()}
    return inside, problem(protocol, **options)


@pytest.mark.parametrize(
    ("level", "options", "run"),
    [
        pytest.param("ambient", {"batch": 2}, {"samples": 5}, marks=pytest.mark.slow),
        pytest.param("ambient", {"repeats": 2}, {}, marks=pytest.mark.slow),
        pytest.param("overlaps", {"momentum": 0.5}, {}, marks=pytest.mark.slow),
    ],
)
def test_a_protocol_that_never_changes_is_the_number_itself(level, options, run):
    given = {"dimension": 30, "times": [1.0], "replicas": 3, "level": level, "start": START}
    one, other = (
        ld.simulate(p, key=jax.random.key(2), **given, **run) for p in constant_pair(**options)
    )
    np.testing.assert_allclose(other.values["norms"], one.values["norms"], rtol=2e-5)
    assert np.ptp(one.values["norms"]) > 0.01


@pytest.mark.slow
def test_a_continued_run_reads_the_clock_of_the_whole():
    options = {"dimension": 30, "replicas": 4, "key": jax.random.key(3), "level": "overlaps"}
    whole = ld.simulate(problem(PROTOCOL), times=[1.0, 2.0], start=START, **options)
    half = ld.simulate(problem(PROTOCOL), times=[1.0], start=START, **options)
    rest = ld.simulate(problem(PROTOCOL), times=[1.0], start=half, **options)
    spread = whole.values["signal"][:, 1].std()
    assert (
        abs(rest.values["signal"][:, 0].mean() - whole.values["signal"][:, 1].mean()) < 5 * spread
    )
    limit = ld.integrate(problem(PROTOCOL), times=[1.0], start=half)
    wrong = ld.integrate(problem(), times=[1.0], start=half)
    assert abs(limit.values["signal"] - wrong.values["signal"]).max() > 0.05


@pytest.mark.slow
def test_fluctuations_are_those_of_the_simulation():
    size, replicas = 200, 4000
    observe = {"square": lambda o: o.norms[0, 0]}
    theory = ld.fluctuations(problem(PROTOCOL), times=TIMES[1:], start=START, observe=observe)
    seen = ld.simulate(
        problem(PROTOCOL), dimension=size, times=TIMES[1:], replicas=replicas,
        key=jax.random.key(4), level="overlaps", start=START, observe=observe,
    ).values["square"]  # fmt: skip
    np.testing.assert_allclose(seen.std(0) * size**0.5, theory.spread["square"], rtol=0.08)
    mean = closed_path(TIMES)[1][1:] + theory.shift["square"] / size
    error = seen.std(0) / replicas**0.5 + 20 / size**2
    assert np.all(np.abs(seen.mean(0) - mean) < 4 * error)


@pytest.mark.slow
def test_derivatives_pass_the_protocol():
    with jax.enable_x64(True):

        def last(value):
            table = schedules.piecewise_linear([0.0, 2.0], jnp.stack([jnp.float64(0.5), value]))
            limit = ld.integrate(
                problem({"inputs.gain": table}), times=[2.0], start=START, points=16,
                method="tensor", tolerance=1e-9,
            )  # fmt: skip
            return limit.values["signal"][0, 0, 0]

        slope = jax.grad(last)(jnp.float64(1.2))
        quotient = (last(jnp.float64(1.201)) - last(jnp.float64(1.199))) / 0.002
        np.testing.assert_allclose(slope, quotient, rtol=1e-6)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"inputs.foo": schedules.constant(1.0)}, "`protocol` must name a number.*inputs.gain"),
        ({"learning_rate": schedules.constant(1.0)}, "`protocol` must name a number"),
        ({"inputs.gain": 1.0}, "must be a schedule"),
        ({"inputs.gain": lambda tau: jnp.ones(3)}, r"shape \(3,\)"),
        ({"inputs.spread": schedules.constant(1.0)}, "leave alone.*the noise blocks"),
    ],
)
def test_protocols_that_make_no_sense_are_refused(protocol, message):
    with pytest.raises(ValueError, match=message):
        problem(protocol)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda tau: 1.0 / (tau - 1.0), "be finite at all times"),
        (lambda tau: 1.0 - tau, "values that the model allows.*-1: Argument `scale`"),
    ],
)
def test_values_that_the_model_refuses_are_found_before_a_run(schedule, message):
    with pytest.raises(ValueError, match=f"(?s)problem.protocol.*{message}"):
        ld.integrate(problem({"learner.scale": schedule}), times=[2.0], start=START)


@pytest.mark.slow
def test_a_fast_parameter_would_have_to_follow():
    changing = {"inputs.noise_part": schedules.power(0.6, 0.5)}
    one = ld.Problem(Spike(), Denoiser(), 0.4, parameter_rates={"skip": 0.2}, protocol=changing)
    with pytest.raises(ValueError, match=r"problem.protocol.*fixed point"):
        ld.integrate(one, times=[1.0], start=ld.Overlaps(
            np.array([[0.5]]), np.array([[[0.5]]]), {"skip": 0.3}))  # fmt: skip
