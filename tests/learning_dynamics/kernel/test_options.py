"""Every cell of `model.options`: it agrees with SGD on the weights, or is refused by name."""

from dataclasses import replace
from functools import lru_cache, partial
from itertools import combinations, pairwise, permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf

import learning_dynamics as ld
from learning_dynamics.model.combinations import COMBINATIONS, SEARCHES, Combination
from learning_dynamics.model.options import (
    LEVELS,
    OPTIONS,
    UNTRIED,
    UPDATES,
    go_together,
    need,
    refusal,
    table,
)
from tests.learning_dynamics.kernel import weights as witness
from tests.learning_dynamics.kernel.models import Bands, Committee, Denoiser, Spike, Teacher

SMALL, STEPS, REPLICAS = 10, 15, 6000  # against SGD on the weights
LARGE, MANY = 400, 10_000  # the limit and what surrounds it
FIRST, LATER = 1 / LARGE, 30 / LARGE  # a momentum is under way after 30 updates
ALLOWED = 5.0  # standard errors


@ld.configuration
class Normalised(Committee):
    """(sum_k v_k erf(2 w_k.x / sqrt(w_k' Sigma w_k)) - y)^2: normalised preactivations."""

    normaliser = "inputs"

    def loss(self, fields, norms, parameters, sample):
        units = erf(2 * fields[:, 0] / jnp.sqrt(jnp.diagonal(norms)))
        return (jnp.sum(parameters["v"] * units) - sample.label) ** 2


@ld.configuration
class Apart(Committee):
    """Correlation losses of two neurons, added up."""

    def loss(self, fields, norms, parameters, sample):
        return -jnp.sum(sample.label * parameters["v"] * jnp.tanh(fields[:, 0]))


@ld.configuration
class SeveralSpikes(Spike):
    """The spike in noise of two variances."""

    def blocks(self, dimension):
        return bands(dimension - 1)


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

    def signal_variances(self):
        return np.ones(1)


@ld.configuration
class Even(Committee):
    """Squared loss of the mean of tanh(F^2) and an offset v[0]."""

    def loss(self, fields, norms, parameters, sample):
        output = jnp.mean(jnp.tanh(fields[:, 0] ** 2)) - 0.9 + parameters["v"][0]
        return (output - sample.label) ** 2


@ld.configuration
class EvenApart(Committee):
    """Those of two neurons, added up."""

    def loss(self, fields, norms, parameters, sample):
        return jnp.sum((jnp.tanh(fields[:, 0] ** 2) + 0.1 - sample.label) ** 2)


@ld.configuration
class EvenNormalised(Committee):
    """Squared loss of tanh(F^2 / w' Sigma w)."""

    normaliser = "inputs"

    def loss(self, fields, norms, parameters, sample):
        return (jnp.tanh(fields[0, 0] ** 2 / norms[0, 0]) + 0.1 - sample.label) ** 2


def bands(size):
    first = round(0.6 * size)
    return ld.NoiseBlocks(first, np.array([0.5])), ld.NoiseBlocks(size - first, np.array([1.5]))


def numbers(combination):
    """Options of `Problem` that are numbers, and the update."""
    values = {"batch": 3, "weight_decay": 0.4, "label_noise": 0.5, "initial_norm": 0.6}
    names = dict(zip(values, ("batch", "decay", "noise", "norm"), strict=True))
    given = {k: v for k, v in values.items() if names[k] in combination.options}
    options = combination.options
    if {"repeated batch", "clipped batch"} & options:
        given["batch"] = 3
    if {"repeats", "repeated batch"} & options:
        given["repeats"] = 2
    if {"clip", "clipped batch"} & options:
        given["clip"] = 0.4
    if "normalise" in options:
        given["normalise"] = True
    limited = {"clip", "normalise", "clipped batch"} & options
    if limited and "neurons" in options and combination.update != "plain":
        given["gradient_norm"] = "whole"  # one factor for all neurons
    if "momentum" in options:
        given["momentum"] = 0.4
    if "heavy ball" in options:
        given["momentum"] = ld.HeavyBall(1.5)
    return {"update": combination.update, **given}


def in_time(tau):
    """A factor of rates that depend on the time."""
    return 1.4 / (1 + tau)


def scheduled(one):
    """The problem with all its rates falling in time: by a schedule, a function and both.

    Numbers of the model change as well, where no fast parameter would have to follow.
    """
    falling = ld.schedules.power(1.4 * one.learning_rate, 1.0)
    changes = {"learning_rate": falling}
    if "v" in one.parameter_rates:
        changes["parameter_rates"] = {"v": ld.schedules.exponential(0.6, 0.7, 0.1)}
    if one.weight_decay is not None:
        changes["weight_decay"] = in_time
    protocol = {}
    if one.label_noise is not None:
        protocol["label_noise"] = ld.schedules.exponential(0.7, 0.8, 0.2)
    if one.clip is not None:
        protocol["clip"] = ld.schedules.piecewise_linear([0.0, 1.0], [0.6, 0.3])
    if isinstance(one.inputs, Spike) and not is_fast(one):
        protocol["inputs.strength"] = ld.schedules.power(1.2, 0.5)
    return replace(one, protocol=protocol, **changes)


def problem(combination):
    """The problem of a combination."""
    one = constant_problem(combination)
    return scheduled(one) if "schedule" in combination.options else one


def constant_problem(combination):
    """The problem of a combination with constant rates."""
    options, given = combination.options, numbers(combination)
    neurons = 2 if {"neurons", "sum"} & options else 1
    if {"vectors", "fast", "order 2"} & options:
        if {"fast", "order 2"} & options:
            given["parameter_rates"] = {"skip": 0.2}
        if "order 2" in options:
            given["parameter_orders"] = {"skip": 2}
        inputs = SeveralSpikes() if "blocks" in options else Spike()
        return ld.Problem(inputs, Denoiser(neurons), 0.4, **given)
    if "order 0" in options:
        given |= {"parameter_rates": {"v": 0.03}, "parameter_orders": {"v": 0}}
    if "order 1" in options:
        given["parameter_rates"] = {"v": 0.6}
    shares = {"shares": (0.6, 0.4), "variances": (0.5, 1.5)}
    inputs = Bands(np.ones(1), **shares) if "blocks" in options else Teacher(np.ones(1))
    kinds = {"normaliser": (Normalised, 0.7), "sum": (Apart, 0.7)}
    learner, rate = next((kinds[name] for name in kinds if name in options), (Committee, 0.9))
    return ld.Problem(inputs, learner(neurons), rate, **given)


def start_of(one, dimension):
    """Weights to start from, in the basis of the signal directions, shape (K, N)."""
    K = one.learner.neurons
    w = np.random.default_rng(1).normal(size=(K, dimension)) / np.sqrt(dimension)
    w[:, 0] = [0.5, -0.3][:K]
    if one.update == "orthogonal":
        left, _, right = np.linalg.svd(w, full_matrices=False)
        return left @ right
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


@lru_cache(maxsize=1)
def weights_after(combination):
    one, random = problem(combination), "norm" in combination.options
    first = None if random else start_of(one, SMALL)
    fixed = {} if random else overlaps(one, SMALL).parameters
    return witness.sgd(one, SMALL, first, fixed, REPLICAS, jax.random.key(7), STEPS)


@lru_cache(maxsize=1)
def process(combination):
    """The exact process at a large N: after one update, and at tau = 1.

    With a momentum before and after one update once it is under way, and at tau = 1.
    """
    one = problem(combination)
    times = [LATER, LATER + FIRST, 1.0] if "momentum" in combination.options else [FIRST, 1.0]
    options = {"start": overlaps(one, LARGE), "level": "overlaps", "observe": {"blocks": blocks}}
    return ld.simulate(
        one, dimension=LARGE, times=times, replicas=MANY, key=jax.random.key(3), **options
    )


def assert_means_agree(one, two, what):
    """Means of two samples along axis 0, within their errors and float32 rounding."""
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    error = np.hypot(one.std(0) / len(one) ** 0.5, two.std(0) / len(two) ** 0.5) + 2e-6
    worst = np.max(np.abs(one.mean(0) - two.mean(0)) / error, initial=0.0)
    assert worst < ALLOWED, (what, worst)


def check_simulation(combination, level):
    """Means and squares of all order parameters after a few updates at small N."""
    one = problem(combination)
    first = None if "norm" in combination.options else overlaps(one, SMALL)
    seen = ld.simulate(
        one, dimension=SMALL, times=[STEPS / SMALL], replicas=REPLICAS, key=jax.random.key(5),
        level=level, start=first, observe={"blocks": blocks},
    )  # fmt: skip
    expected = weights_after(combination)
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


def rule(one):
    """Quadrature of theory: an exact rule, or points whose error is known.

    The latter where there is a kink, or where a rule would need nodes for many fields.
    """
    kinks = one.clip is not None or one.normalise
    many = one.repeats > 1 and one.batch * one.learner.neurons > 4
    return {"points": 2**15} if kinks or many else {"method": "tensor"}


def check_limit(combination):
    """The mean at tau = 1, less the predicted shift 1/N where there is one."""
    one, seen = problem(combination), process(combination)
    first = overlaps(one, LARGE)
    limit = ld.integrate(
        one, times=[1.0], start=first, dimension=dimension_of(one), observe={"blocks": blocks},
        **rule(one),
    )  # fmt: skip
    for name, draws in seen.values.items():
        error = limit.quadrature_error[name][0] + limit.integrator_error[name][0]
        bias = 4 / LARGE / (1 - (one.momentum if "momentum" in combination.options else 0.0))
        assert_theory_agrees(draws[:, -1], limit.values[name][0], error, bias, name)


def check_velocity(combination):
    """N times the mean change in one update."""
    one, seen = problem(combination), process(combination)
    held = {"skip"} if is_fast(one) else set()
    initial = {"signal": seen.start.signal, "blocks": seen.start.blocks, **seen.start.parameters}
    where, after = overlaps(one, LARGE), 0
    if one.momentum is not None:
        initial, after = {name: values[:, 0] for name, values in seen.values.items()}, 1
        mean = {name: initial[name].mean(axis=0) for name in initial}
        known = {name: mean[name] for name in seen.start.parameters}
        signal = initial["signal"]  # means of rows of norm one are shorter
        shorter = np.einsum("ikr,ilr->kl", signal, signal) / len(signal)
        shorter = shorter - mean["signal"] @ mean["signal"].T
        noise = mean["blocks"] + shorter / len(mean["blocks"])
        where = ld.Overlaps(mean["signal"], noise, known)
    rate, error = ld.right_hand_side(
        one, where, time=LATER if after else 0.0, dimension=dimension_of(one), **rule(one)
    )
    for name, expected in {"signal": rate.signal, "blocks": rate.blocks, **rate.parameters}.items():
        if name in held:
            continue
        change = LARGE * (seen.values[name][:, after] - initial[name])
        wrong = getattr(error, name, None)
        wrong = error.parameters[name] if wrong is None else wrong
        assert_theory_agrees(change, expected, wrong, 8 / LARGE, name)


def check_loss(combination):
    """The mean over fresh samples, without the part linear in the gram."""
    one = problem(combination)
    n, w = 50, jnp.asarray(start_of(one, 50), jnp.float32)
    given = overlaps(one, n)
    value, error = ld.expected_loss(
        one, given, dimension=n if dimension_of(one) else None, method="tensor"
    )
    cast = witness.at(one.cast(jnp.float32), jnp.float32(0))
    parameters = cast.initial_parameters(jnp.float32)
    parameters |= {name: jnp.float32(value) for name, value in given.parameters.items()}

    def loss(key):
        vectors, label = witness.draw_sample(cast, n, key)
        return witness.sample_loss(cast, n, w, parameters, vectors, label, gram=False)

    draws = jax.jit(partial(jax.lax.map, jax.vmap(loss)))(
        jax.random.split(jax.random.key(2), (200, 200))
    )
    assert_theory_agrees(np.ravel(draws), value, error, 0.0, "loss")


def gram_spread(one):
    """N^(1/2) times the standard deviation of the skip s at tau = 1, over N^(-1/2).

    ds = -(rate / N) (2 lambda (s - 0.6) + gram noise): with x of variance lambda and t - 0.6 x, of
    variance 0.64 lambda, independent the slope 2 x (s x - t) has the variance
    4 lambda^2 (0.64 + 2 (s - 0.6)^2) per dimension and sample. Repeated steps add up: they share
    their gram noise.
    """
    groups = one.inputs.blocks(LARGE)
    sizes, variances = (np.array([getattr(g, n) for g in groups]).ravel().astype(float)
                        for n in ("size", "variances"))  # fmt: skip
    mean, square = (np.average(variances**power, weights=sizes) for power in (1, 2))
    rate, time = one.repeats * float(one.parameter_rates["skip"]), np.linspace(0, 1, 1001)
    fade = np.exp(-2 * rate * mean * time)
    noise = 4 * square * (0.64 + 2 * (0.3 * fade) ** 2) / one.batch
    return rate * np.trapezoid(np.exp(-4 * rate * mean * (1 - time)) * noise, time) ** 0.5


def check_fluctuations(combination):
    """Spread and shift at tau = 1."""
    one, seen = problem(combination), process(combination)
    options = {"start": overlaps(one, LARGE), "observe": {"blocks": blocks}, "times": [1.0]}
    options["dimension"] = dimension_of(one)
    theory = ld.fluctuations(one, **options, points=2**11, tolerance=1e-5)
    limit = ld.integrate(one, **rule(one), **options)
    for name, draws in seen.values.items():
        draws = draws[:, 1]
        spread = draws.std(0) * LARGE**0.5
        allowed = 0.05 * theory.spread[name][0] + 4e-3 + theory.spread_error[name][0]
        predicted = theory.spread[name][0]
        if name in one.parameter_rates and one.order(name) == 2:  # its spread is of the next order
            predicted = gram_spread(one) / LARGE**0.5
        assert np.all(np.abs(spread - predicted) < allowed), name
        value = limit.values[name][0] + theory.shift[name][0] / LARGE
        error = limit.quadrature_error[name][0] + theory.shift_error[name][0] / LARGE
        assert_theory_agrees(draws, value, error, 20 / LARGE**2, name)


def check_exponent(combination):
    """The forms add up to the population loss along a ray, at fixed norms of the rows.

    Where a step does not follow the gradient, their slope to what drives the weights along it.
    """
    one = problem(combination)
    # many fields, or steep ones: the default of 1e-3 is refused, and says so
    many = "neurons" in combination.options and {"vectors", "normaliser"} & combination.options
    accuracy = 0.02 if many else None
    follows = one.repeats == 1 and one.clip is None and not one.normalise
    options = {"accuracy": accuracy} if follows else {"points": 2**13}
    found = ld.information_exponent(one, dimension=dimension_of(one), **options)
    if not follows:
        check_drive(one, found)
        return
    K = one.learner.neurons
    fractions = [g.size / LARGE for g in one.inputs.blocks(LARGE)] if dimension_of(one) else [1.0]
    fractions = np.array(fractions) / np.sum(fractions)
    norm = 1.0 if one.initial_norm is None else float(one.initial_norm)
    parameters = {"skip": 0.6} if is_fast(one) else {}
    values = []
    for t in (0.0, 0.2):
        m = t * norm * np.array([[1.0], [-0.5]])[:K]
        noise = np.diag(norm**2 - m[:, 0] ** 2)
        if one.update == "orthogonal":
            noise = np.eye(K) - m @ m.T
        state = ld.Overlaps(m, fractions[:, None, None] * noise, parameters)
        values.append(
            float(ld.expected_loss(one, state, dimension=dimension_of(one), method="tensor")[0])
        )
    part = [float(form(m.reshape(1, -1))[0]) for form in found.forms]
    assert abs(values[1] - values[0] - sum(part)) < 0.05 * np.max(np.abs(part)) + 1e-4


def check_drive(one, found):
    """The slope of the forms along a ray against steps of SGD on the weights."""
    n, t, K = LARGE, 0.1, one.learner.neurons
    norm = 1.0 if one.initial_norm is None else float(one.initial_norm)
    rows = np.random.default_rng(2).normal(size=(K, n - 1))
    groups = one.inputs.blocks(n)
    edges = np.cumsum([0, *(g.size for g in groups)])
    for a, b in pairwise(edges):  # orthonormal in every block
        rows[:, a:b] = np.linalg.svd(rows[:, a:b], full_matrices=False)[2] * ((b - a) / n) ** 0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ray = np.array([[1.0], [-0.5]])[:K]

    def weights(t):
        m = t * norm * ray
        if one.update == "orthogonal":
            values, vectors = np.linalg.eigh(np.eye(K) - m @ m.T)
            noise = (vectors * np.sqrt(values)) @ vectors.T
        else:
            noise = np.diag(np.sqrt(norm**2 - m[:, 0] ** 2))
        return np.concatenate([m, noise @ rows], axis=1)

    way = (weights(t + 1e-4) - weights(t - 1e-4)) / 2e-4
    parameters = {"skip": 0.6} if is_fast(one) else {}
    key, samples = jax.random.key(8), 40_000
    draws = witness.drive(one, n, weights(t), parameters, way, samples, key)
    each = [f.order * float(f(norm * ray.reshape(1, -1))[0]) * t ** (f.order - 1)
            for f in found.forms]  # fmt: skip
    lost = [f.order * float(f.error(norm * ray.reshape(1, -1))[0]) * t ** (f.order - 1)
            for f in found.forms]  # fmt: skip
    bias = 0.05 * np.max(np.abs(each)) + 4 / n
    assert_theory_agrees(draws, sum(each), sum(lost), bias, "drift")


def search_problem(combination):
    """A problem of information exponent two, or one that is refused for its options."""
    options, given = combination.options, numbers(combination)
    if "order 2" in options:
        return problem(combination)
    if {"order 0", "order 1"} & options:
        given["parameter_rates"] = {"v": 0.3}
        given["parameter_orders"] = {"v": 0} if "order 0" in options else {}
    kinds = {"sum": (EvenApart, 2), "normaliser": (EvenNormalised, 1), "neurons": (Even, 2)}
    learner, neurons = next((kinds[name] for name in kinds if name in options), (Even, 1))
    one = ld.Problem(Square("blocks" in options), learner(neurons), 0.5, **given)
    return scheduled(one) if "schedule" in options else one


def overlap(o):
    return jnp.abs(o.signal[0, 0]) / jnp.sqrt(o.norms[0, 0])


def check_search(combination):
    """Median time to weak recovery from random starts, to 8 % of it and five errors."""
    one, n, replicas = search_problem(combination), LARGE, 2000
    # the default of 1e-3 is refused where the gradient bends, or steps are repeated, and says so
    accuracy = 0.05 if one.clip is not None else 0.02 if one.repeats > 1 else None
    law = ld.search_law(one, key=jax.random.key(1), dimension=dimension_of(one), accuracy=accuracy)
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


def call(combination, level):
    """The level as a user calls it, for refusals."""
    one = (search_problem if level == "search" else problem)(combination)
    first, several = overlaps(one, LARGE), dimension_of(one)
    options = {"start": first, "dimension": several}
    if level == "limit":
        ld.integrate(one, times=[1.0], **options)
    elif level == "velocity":
        ld.right_hand_side(one, first, dimension=several)
    elif level == "fluctuations":
        ld.fluctuations(one, times=[1.0], **options)
    elif level == "exponent":
        ld.information_exponent(one, dimension=several)
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
NAMED = [option for option in OPTIONS if option != "bare"]


def allowed(combination, level):
    return not any(refusal(option, combination.update, level) for option in combination.options)


TRIED = [(c, level) for c in COMBINATIONS for level in LEVELS if level != "search"]
TRIED += [(c, "search") for c in SEARCHES]
TRIED = [cell for cell in TRIED if allowed(*cell)]
REFUSED = [
    (option, update, level)
    for option in NAMED
    for update in UPDATES
    for level in LEVELS
    if refusal(option, update, level)
]


def _is_long(cell):
    """Whether a level sees what it refuses late: nodes are tried in vain."""
    option, _, level = cell
    return (option, level) == ("normalise", "search")


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id="-".join(cell), marks=pytest.mark.slow if _is_long(cell) else ())
        for cell in REFUSED
    ],
)
def test_refused_by_name(cell):
    option, update, level = cell
    with pytest.raises(ValueError, match=f"Argument `{refusal(*cell).argument}"):
        call(Combination.of(update, option), level)


NEEDS = [
    (option, update, level)
    for option in NAMED
    for update in UPDATES
    for level in LEVELS
    if need(option, update, level)
]


@pytest.mark.slow
@pytest.mark.parametrize("cell", [pytest.param(c, id="-".join(c)) for c in NEEDS])
def test_refused_without_what_it_needs(cell):
    option, update, level = cell
    other, refused = need(*cell)
    with pytest.raises(ValueError, match=f"Argument `{refused.argument}"):
        call(Combination.of(update, option), level)
    tried = [c for c, at in TRIED if at == level and c.update == update and option in c.options]
    assert tried
    assert all(other in c.options for c in tried)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [pytest.param(c, id=f"{c[0]}-{c[1]}") for c in TRIED])
def test_agrees_with_the_simulation(cell):
    combination, level = cell
    CHECKS[level](combination)


@pytest.mark.parametrize("level", LEVELS)
def test_every_cell_that_agrees_is_tried(level):
    """With every update, alone and with every other option, and without every other one."""
    here = [c for c, other in TRIED if other == level]
    agreeing = [
        (option, update)
        for option in NAMED
        for update in UPDATES
        if refusal(option, update, level) is None and (option, level) not in UNTRIED
    ]
    for update in UPDATES:
        assert Combination.of(update) in here
    untried = [
        (o, u) for o, u in agreeing if not any(c.update == u and o in c.options for c in here)
    ]
    assert not untried
    options = sorted({option for option, _ in agreeing})
    for pair in combinations(options, 2):
        if go_together(pair) and any(
            {(pair[0], u), (pair[1], u)} <= set(agreeing) for u in UPDATES
        ):
            assert any(set(pair) <= c.options for c in here), pair
    always = {("fast", "vectors"), ("order 2", "vectors")}  # a loss with a gram has several vectors
    for option, other in permutations(options, 2):
        if (option, other) not in always:
            assert any(option in c.options and other not in c.options for c in here), (
                option,
                other,
            )


def test_combinations_hold_what_goes_together():
    for combination in (*COMBINATIONS, *SEARCHES):
        assert combination.update in UPDATES
        assert combination.options <= set(NAMED)
        assert go_together(combination.options)


def test_the_table_has_every_row_and_reason():
    text = table()
    assert all(heading in text for heading in OPTIONS.values())
    assert all(refusal(*cell).reason in text for cell in REFUSED)
    assert all(need(*cell)[1].reason in text for cell in NEEDS)
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if "|" in line}
    assert widths == {len(LEVELS) + 2}
