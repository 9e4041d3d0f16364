"""Every cell of `kernel.options`: it agrees with SGD on the weights, or is refused by name."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf

import learning_dynamics as ld
from learning_dynamics.model.options import LEVELS, OPTIONS, UNTRIED, UPDATES, refusal, table
from tests.learning_dynamics.kernel import weights as witness
from tests.learning_dynamics.kernel.models import Bands, Committee, Denoiser, Spike, Teacher

SMALL, STEPS, REPLICAS = 10, 15, 6000  # against SGD on the weights
LARGE, MANY = 400, 10_000  # the limit and what surrounds it
TIMES = np.array([1 / LARGE, 1.0])
ALLOWED = 5.0  # standard errors


@ld.configuration
class Normalised(ld.Learner):
    """(erf(2 w.x / sqrt(w' Sigma w)) - y)^2: the loss of a normalised preactivation."""

    normaliser = "inputs"
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return (erf(2 * fields[0, 0] / jnp.sqrt(norms[0, 0])) - sample.label) ** 2


@ld.configuration
class Apart(ld.Learner):
    """Correlation losses of two neurons, added up."""

    neurons = 2

    def loss(self, fields, norms, parameters, sample):
        return -jnp.sum(sample.label * jnp.tanh(fields[:, 0] ** 2))


@ld.configuration
class Square(ld.InputModel):
    """A label even in the direction, so that the information exponent is two."""

    directions = 1
    several: bool = ld.static(default=False)

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return latents["x"][None], jnp.tanh(latents["x"][0] ** 2)

    def blocks(self, dimension):
        return bands(dimension - 1) if self.several else super().blocks(dimension)


@ld.configuration
class Even(ld.Learner):
    """Squared loss of tanh(F^2), with an offset v to learn."""

    hidden: int = ld.static(default=1)

    @property
    def neurons(self):
        return self.hidden

    def parameters(self):
        return {"v": 0.1}

    def loss(self, fields, norms, parameters, sample):
        mean = jnp.mean(jnp.tanh(fields[:, 0] ** 2)) + parameters["v"]
        return (mean - sample.label) ** 2


def bands(size):
    first = round(0.6 * size)
    return ld.NoiseBlocks(first, np.array([0.5])), ld.NoiseBlocks(size - first, np.array([1.5]))


def numbers(option):
    """Options of `Problem` of a row."""
    parts, found = set(option.replace("weight decay", "decay").split(", ")), {}
    if "batch" in parts:
        found["batch"] = 3
    if "decay" in parts:
        found["weight_decay"] = 0.4
    if {"label noise", "noise"} & parts:
        found["label_noise"] = 0.5
    if "initial norm" in parts:
        found["initial_norm"] = 0.6
    return found, parts


def problem(option, update):
    """The problem of a row."""
    found, parts = numbers(option)
    found["update"] = update
    shares = {"shares": (0.6, 0.4), "variances": (0.5, 1.5)}
    inputs = Bands(np.ones(1), **shares) if "blocks" in parts else Teacher(np.ones(1))
    if {"vectors", "fast", "order 2"} & parts:
        if "vectors" not in parts:
            found["parameter_rates"] = {"skip": 0.2}
        if "order 2" in parts:
            found["parameter_orders"] = {"skip": 2}
        return ld.Problem(Spike(), Denoiser(1), 0.4, **found)
    if "normaliser" in parts:
        return ld.Problem(inputs, Normalised(), 0.7, **found)
    if "sum of neurons" in parts:
        return ld.Problem(inputs, Apart(), 0.7, **found)
    if "order 0" in parts:
        found |= {"parameter_rates": {"v": 0.03}, "parameter_orders": {"v": 0}}
    if "order 1" in parts:
        found["parameter_rates"] = {"v": 0.6}
    return ld.Problem(inputs, Committee(1 + ("neurons" in parts)), 0.9, **found)


def start_of(one, dimension):
    """Weights to start from, in the basis of the signal directions, shape (K, N)."""
    K = one.learner.neurons
    w = np.random.default_rng(1).normal(size=(K, dimension)) / np.sqrt(dimension)
    w[:, 0] = [0.5, -0.3][:K]
    size = 1.0 if one.update != "plain" else 0.9
    return size * w / np.linalg.norm(w, axis=1, keepdims=True)


def overlaps(one, dimension):
    found = witness.order_parameters(one, start_of(one, dimension), dimension)
    return ld.Overlaps(found["signal"], found["blocks"], {"skip": 0.6} if is_fast(one) else {})


def is_fast(one):
    """Whether the skip is held at its fixed point in the limit."""
    return "skip" in one.parameter_rates and one.order("skip") == 1


def blocks(o):
    return o.blocks


@lru_cache(maxsize=4)
def weights_after(option, update):
    one = problem(option, update)
    first = None if option == "initial norm" else start_of(one, SMALL)
    fixed = overlaps(one, SMALL).parameters
    return witness.sgd(one, SMALL, first, fixed, REPLICAS, jax.random.key(7), STEPS)


@lru_cache(maxsize=4)
def process(option, update):
    """The exact process at a large N: after one update, and at tau = 1."""
    one = problem(option, update)
    options = {"start": overlaps(one, LARGE), "level": "overlaps", "observe": {"blocks": blocks}}
    return ld.simulate(
        one, dimension=LARGE, times=TIMES, replicas=MANY, key=jax.random.key(3), **options
    )


def assert_means_agree(one, two, what):
    """Means of two samples along axis 0, within their errors and float32 rounding."""
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    error = np.hypot(one.std(0) / len(one) ** 0.5, two.std(0) / len(two) ** 0.5) + 2e-6
    worst = np.max(np.abs(one.mean(0) - two.mean(0)) / error, initial=0.0)
    assert worst < ALLOWED, (what, worst)


def check_simulation(option, update, level):
    """Means and squares of all order parameters after a few updates at small N."""
    one = problem(option, update)
    first = None if option == "initial norm" else overlaps(one, SMALL)
    seen = ld.simulate(
        one, dimension=SMALL, times=[STEPS / SMALL], replicas=REPLICAS, key=jax.random.key(5),
        level=level, start=first, observe={"blocks": blocks},
    )  # fmt: skip
    expected = weights_after(option, update)
    assert sorted(seen.values) == sorted(expected)
    moved = 0.0
    for name, values in seen.values.items():
        assert_means_agree(values[:, 0], expected[name], name)
        assert_means_agree(values[:, 0] ** 2, expected[name] ** 2, f"{name} squared")
        first = getattr(seen.start, name, np.zeros(1))
        moved = max(moved, np.max(np.abs(values[:, 0] - first), initial=0.0))
    assert moved > 0.05


def assert_theory_agrees(draws, value, error, bias, what):
    draws = np.asarray(draws, np.float64)
    scale = np.hypot(draws.std(0) / len(draws) ** 0.5, error) + 2e-6
    worst = np.max((np.abs(draws.mean(0) - value) - bias) / scale, initial=0.0)
    assert worst < ALLOWED, (what, worst)


def dimension_of(one):
    return LARGE if len(one.inputs.blocks(LARGE)) > 1 else None


def check_limit(option, update):
    """The mean at tau = 1, less the predicted shift 1/N where there is one."""
    one, seen = problem(option, update), process(option, update)
    first = overlaps(one, LARGE)
    limit = ld.integrate(
        one, times=[1.0], start=first, dimension=dimension_of(one), observe={"blocks": blocks},
        method="tensor",
    )  # fmt: skip
    for name, draws in seen.values.items():
        error = limit.quadrature_error[name][0] + limit.integrator_error[name][0]
        assert_theory_agrees(draws[:, 1], limit.values[name][0], error, 4 / LARGE, name)


def check_velocity(option, update):
    """N times the mean change in one update."""
    one, seen = problem(option, update), process(option, update)
    rate, error = ld.right_hand_side(
        one, overlaps(one, LARGE), dimension=dimension_of(one), method="tensor"
    )
    held = {"skip"} if is_fast(one) else set()
    initial = {"signal": seen.start.signal, "blocks": seen.start.blocks, **seen.start.parameters}
    for name, expected in {"signal": rate.signal, "blocks": rate.blocks, **rate.parameters}.items():
        if name in held:
            continue
        change = LARGE * (seen.values[name][:, 0] - initial[name])
        wrong = getattr(error, name, None)
        wrong = error.parameters[name] if wrong is None else wrong
        assert_theory_agrees(change, expected, wrong, 8 / LARGE, name)


def check_loss(option, update):
    """The mean over fresh samples, without the part linear in the gram."""
    one = problem(option, update)
    n, w = 50, jnp.asarray(start_of(one, 50), jnp.float32)
    given = overlaps(one, n)
    value, error = ld.expected_loss(
        one, given, dimension=n if dimension_of(one) else None, method="tensor"
    )
    cast = one.cast(jnp.float32)
    parameters = cast.initial_parameters(jnp.float32)
    parameters |= {name: jnp.float32(value) for name, value in given.parameters.items()}

    def loss(key):
        vectors, label = witness.draw_sample(cast, n, key)
        return witness.sample_loss(cast, n, w, parameters, vectors, label, gram=False)

    draws = jax.jit(partial(jax.lax.map, jax.vmap(loss)))(
        jax.random.split(jax.random.key(2), (200, 200))
    )
    assert_theory_agrees(np.ravel(draws), value, error, 0.0, "loss")


def check_fluctuations(option, update):
    """Spread and shift at tau = 1."""
    one, seen = problem(option, update), process(option, update)
    options = {"start": overlaps(one, LARGE), "observe": {"blocks": blocks}, "times": [1.0]}
    options["dimension"] = dimension_of(one)
    theory = ld.fluctuations(one, **options)
    limit = ld.integrate(one, method="tensor", **options)
    for name, draws in seen.values.items():
        draws = draws[:, 1]
        spread = draws.std(0) * LARGE**0.5
        allowed = 0.05 * theory.spread[name][0] + 4e-3 + theory.spread_error[name][0]
        if name == "skip":  # only the gram's own spread, of relative order N^-1/2, moves it:
            allowed = allowed + 0.2 / LARGE**0.5  # 0.17 / N^(1/2), from Wishart draws alone
        assert np.all(np.abs(spread - theory.spread[name][0]) < allowed), name
        value = limit.values[name][0] + theory.shift[name][0] / LARGE
        error = limit.quadrature_error[name][0] + theory.shift_error[name][0] / LARGE
        assert_theory_agrees(draws, value, error, 20 / LARGE**2, name)


def check_exponent(option, update):
    """The forms add up to the population loss along a ray, at fixed norms of the rows."""
    one = problem(option, update)
    found = ld.information_exponent(one, dimension=dimension_of(one))
    K = one.learner.neurons
    fractions = [g.size / LARGE for g in one.inputs.blocks(LARGE)] if dimension_of(one) else [1.0]
    fractions = np.array(fractions) / np.sum(fractions)
    norm = 1.0 if one.initial_norm is None else float(one.initial_norm)
    parameters = {"skip": 0.6} if is_fast(one) else {}
    values = []
    for t in (0.0, 0.2):
        m = t * norm * np.array([[1.0], [-0.5]])[:K]
        noise = np.diag(norm**2 - m[:, 0] ** 2)
        state = ld.Overlaps(m, fractions[:, None, None] * noise, parameters)
        values.append(
            float(ld.expected_loss(one, state, dimension=dimension_of(one), method="tensor")[0])
        )
    part = [float(form(m.reshape(1, -1))[0]) for form in found.forms]
    assert abs(values[1] - values[0] - sum(part)) < 0.05 * np.max(np.abs(part)) + 1e-4


def search_problem(option, update):
    found, parts = numbers(option)
    found["update"] = update
    inputs = Square("blocks" in parts)
    if {"order 0", "order 1"} & parts:
        found["parameter_rates"] = {"v": 0.3}
        found["parameter_orders"] = {"v": 0} if "order 0" in parts else {}
        return ld.Problem(inputs, Even(), 0.5, **found)
    if "order 2" in parts:
        return problem(option, update)
    return ld.Problem(inputs, Even(1 + ("neurons" in parts)), 0.5, **found)


def overlap(o):
    return jnp.abs(o.signal[0, 0]) / jnp.sqrt(o.norms[0, 0])


def check_search(option, update):
    """Median time to weak recovery from random starts, to 8 % of it and five errors."""
    one, n, replicas = search_problem(option, update), LARGE, 2000
    law = ld.search_law(one, key=jax.random.key(1), dimension=dimension_of(one))
    assert law.order == 2
    expected = np.sort(law.updates(n))
    longest = 4 * float(np.median(expected)) / n
    seen = ld.simulate(
        one, dimension=n, times=[longest], replicas=replicas, key=jax.random.key(9),
        level="overlaps", stop=ld.Stop(overlap, 0.5),
    )  # fmt: skip
    times = np.where(seen.stopped > 0, seen.stopped, np.inf)
    middle = [np.quantile(draws, 0.5) for draws in (times, expected)]
    spread = np.quantile(expected, 0.55) - np.quantile(expected, 0.45)  # 0.1 / density
    error = 10 * spread * 0.5 * np.hypot(1 / replicas**0.5, 1 / len(expected) ** 0.5)
    assert abs(middle[0] - middle[1]) < 5 * error + 0.08 * middle[1], middle


def call(option, update, level):
    """The level as a user calls it, for refusals."""
    one = (search_problem if level == "search" else problem)(option, update)
    first, several = overlaps(one, LARGE), dimension_of(one)
    options = {"start": first, "dimension": several}
    if level == "limit":
        ld.integrate(one, times=[1.0], **options)
    elif level == "velocity":
        ld.right_hand_side(one, first, dimension=several)
    elif level == "fluctuations":
        ld.fluctuations(one, times=[1.0], **options)
    elif level == "search":
        ld.search_law(one, key=jax.random.key(0), dimension=several)


CHECKS = {
    "ambient": partial(check_simulation, level="ambient"),
    "overlaps": partial(check_simulation, level="overlaps"),
    "limit": check_limit,
    "velocity": check_velocity,
    "loss": check_loss,
    "fluctuations": check_fluctuations,
    "exponent": check_exponent,
    "search": check_search,
}
CELLS = [
    (option, update, level)
    for option in OPTIONS
    for update in UPDATES
    for level in LEVELS
    if (option, level) not in UNTRIED
]
REFUSED = [cell for cell in CELLS if refusal(*cell) is not None]
# without compilation, or with little
CHEAP = {("order 0", "plain", "limit"), ("order 0", "plain", "velocity")}
CHEAP |= {("order 0", "plain", "fluctuations")}


def quick(cell):
    return cell[1] != "plain" and refusal(*cell).argument in ("weight_decay", "initial_norm")


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(c, marks=() if quick(c) or c in CHEAP else pytest.mark.slow, id="-".join(c))
        for c in REFUSED
    ],
)
def test_refused_by_name(cell):
    with pytest.raises(ValueError, match=f"Argument `{refusal(*cell).argument}"):
        call(*cell)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [pytest.param(c, id="-".join(c)) for c in CELLS if refusal(*c) is None],
)
def test_agrees_with_the_simulation(cell):
    option, update, level = cell
    CHECKS[level](option, update)


def test_the_table_has_every_row_and_reason():
    text = table()
    assert all(heading in text for heading in OPTIONS.values())
    assert all(refusal(*cell).reason in text for cell in REFUSED)
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if "|" in line}
    assert widths == {len(LEVELS) + 2}
