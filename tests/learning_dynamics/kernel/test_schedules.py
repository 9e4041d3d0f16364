"""Rates that depend on the time: schedules, and what every level makes of them."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learning_dynamics as ld
from learning_dynamics import schedules
from learning_dynamics.identity.key import fingerprint
from learning_dynamics.limit.paths import solve_path
from learning_dynamics.process.replicas import advance
from tests.learning_dynamics.kernel.linear_regression import (
    START,
    limit_of_error,
    mean_error,
    problem,
    rho,
)

N, TIMES = 50, np.array([0.5, 1.0, 1.5])
OBSERVE = {"rho": rho}


def falling(tau):
    return 0.9 / (1 + tau) ** 0.5


@ld.configuration
class Falling:
    start: float

    def __call__(self, tau):
        return self.start / (1 + tau) ** 0.5


# schedule, and the same in NumPy
EXAMPLES = {
    "constant": (schedules.constant(0.7), lambda t: 0.7 + 0 * t),
    "power": (schedules.power(0.9, 0.5, 2.0), lambda t: 0.9 / np.sqrt(1 + t / 2)),
    "exponential": (
        schedules.exponential(0.9, 2.0, 0.1),
        lambda t: 0.1 + 0.8 * np.exp(-t / 2),
    ),
    "cosine": (
        schedules.cosine(0.9, 1.2, 0.1),
        lambda t: 0.1 + 0.4 * (1 + np.cos(np.pi * np.minimum(t / 1.2, 1))),
    ),
    "warm_up": (
        schedules.warm_up(schedules.power(0.9, 0.5), 0.4),
        lambda t: np.minimum(t / 0.4, 1) * 0.9 / np.sqrt(1 + t),
    ),
    "piecewise_linear": (
        schedules.piecewise_linear([0.2, 0.6, 1.2], [0.9, 0.1, 0.5]),
        lambda t: np.interp(t, [0.2, 0.6, 1.2], [0.9, 0.1, 0.5]),
    ),
    "piecewise_constant": (
        schedules.piecewise_constant([0.5, 1.2], [0.9, 0.2, 0.6]),
        lambda t: np.where(t < 0.5, 0.9, np.where(t < 1.2, 0.2, 0.6)),
    ),
    "per_update": (
        schedules.per_update(optax.exponential_decay(0.9, 25, 0.5), dimension=N),
        lambda t: 0.9 * 0.5 ** (t * N / 25),
    ),
    "per_time": (
        schedules.per_time(optax.cosine_decay_schedule(0.9, 2)),
        lambda t: 0.45 * (1 + np.cos(np.pi * np.minimum(t / 2, 1))),
    ),
    "later": (
        schedules.later(schedules.later(schedules.power(0.9, 0.5), 0.4), 0.6),
        lambda t: 0.9 / np.sqrt(2 + t),
    ),
    "function": (falling, lambda t: 0.9 / np.sqrt(1 + t)),
    "configuration": (Falling(0.9), lambda t: 0.9 / np.sqrt(1 + t)),
    "partial": (
        jax.tree_util.Partial(lambda a, tau: a / (1 + tau) ** 0.5, 0.9),
        lambda t: 0.9 / np.sqrt(1 + t),
    ),
}


def run(rate, times=TIMES, replicas=4, key=1, level="overlaps", **options):
    return ld.simulate(
        problem(rate), dimension=N, times=times, replicas=replicas, key=jax.random.key(key),
        level=level, observe=OBSERVE, tracker=None, **{"start": START, **options},
    )  # fmt: skip


def limit(rate, **options):
    return ld.integrate(
        problem(rate), observe=OBSERVE, tracker=None,
        **{"times": TIMES, "start": START, "points": 64, "method": "tensor", **options},
    )  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_values_are_those_of_the_formula(name):
    schedule, formula = EXAMPLES[name]
    rate = problem(schedule).learning_rate
    times = np.array([0.0, 0.1, 0.5, 0.7, 1.3, 3.0])
    values = [float(rate(jnp.float32(t))) for t in times]
    np.testing.assert_allclose(values, formula(times), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_mean_error_is_exact_at_finite_size(name):
    """Simulation against the recursion of the exact mean; limit against an independent solver."""
    schedule, formula = EXAMPLES[name]
    mean = mean_error(formula(np.arange(75) / N), N)[(N * TIMES).astype(int)]
    draws = run(schedule, replicas=4000).values["rho"]
    error = draws.std(0) / len(draws) ** 0.5
    assert np.max(np.abs(draws.mean(0) - mean) / error) < 5
    expected = limit_of_error(formula, TIMES)
    np.testing.assert_allclose(limit(schedule).values["rho"], expected, rtol=1e-6)


@pytest.mark.slow
def test_the_limit_of_a_rate_with_corners_is_that_of_an_independent_solver():
    schedule, formula = EXAMPLES["piecewise_linear"]
    found = limit(schedule)
    np.testing.assert_allclose(found.values["rho"], limit_of_error(formula, TIMES), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["power", "piecewise_constant", "warm_up"])
def test_the_shift_of_order_one_over_n_counts_the_change_of_the_rate(name):
    """N (exact mean - limit) of linear regression, to order 1/N; without d eta / dtau it fails."""
    schedule, formula = EXAMPLES[name]
    theory = ld.fluctuations(
        problem(schedule), times=TIMES, start=START, observe=OBSERVE, points=64, method="tensor"
    )
    size = 20_000
    rates = formula((np.arange(int(size * TIMES[-1])) + 1e-9) / size)
    mean = mean_error(rates, size)[(size * TIMES).astype(int)]
    shift = size * (mean - limit_of_error(formula, TIMES))
    np.testing.assert_allclose(theory.shift["rho"], shift, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_a_rate_of_pieces_runs_as_constant_rates_one_after_the_other():
    pieces = schedules.piecewise_constant([0.6], [0.8, 0.3])
    whole, first = run(pieces, [0.6, 1.2]), run(0.8, [0.6])
    np.testing.assert_array_equal(whole.values["rho"][:, 0], first.values["rho"][:, 0])
    assert np.all(whole.values["rho"][:, 1] != run(0.8, [0.6, 1.2]).values["rho"][:, 1])
    # the clock goes on where a run does
    again = run(pieces, [0.6], start=first, key=2)
    assert again.begins == 0.6
    constant = run(0.3, [0.6], start=first.last, key=2)
    np.testing.assert_array_equal(again.values["rho"], constant.values["rho"])
    third = run(pieces, [0.6], start=again, key=3)
    assert third.begins == 1.2
    np.testing.assert_allclose(
        ld.integrate(problem(pieces), start=again, observe=OBSERVE, points=64).values["rho"],
        ld.integrate(problem(0.3), start=constant, observe=OBSERVE, points=64).values["rho"],
        rtol=1e-6,
    )


@pytest.mark.slow
def test_schedules_of_optax_count_whole_updates():
    drops = optax.piecewise_constant_schedule(0.8, {30: 0.25})  # from update 30 on
    counted = run(schedules.per_update(drops, dimension=N))
    pieces = run(schedules.piecewise_constant([30 / N], [0.8, 0.2]))
    np.testing.assert_array_equal(counted.values["rho"], pieces.values["rho"])
    on = run(schedules.per_update(drops, dimension=N), [0.4], start=run(0.8, [0.4]), key=5)
    other = run(schedules.piecewise_constant([10 / N], [0.8, 0.2]), [0.4], key=5,
                start=run(0.8, [0.4]).last)  # fmt: skip
    np.testing.assert_array_equal(on.values["rho"], other.values["rho"])


@pytest.mark.slow
@pytest.mark.parametrize("level", ["ambient", "overlaps"])
def test_groups_stops_and_checkpoints_change_nothing(level, tmp_path):
    rate, many = schedules.power(0.9, 0.5), 40
    whole = run(rate, replicas=many, level=level)
    few = run(rate, replicas=3, level=level)
    np.testing.assert_array_equal(whole.values["rho"][:3], few.values["rho"])
    stop = ld.Stop(lambda o: -rho(o), -0.5)
    stopped = run(rate, replicas=many, level=level, stop=stop)
    free = stopped.stopped < 0
    assert 0 < free.sum() < many
    np.testing.assert_array_equal(stopped.values["rho"][free], whole.values["rho"][free])
    saved = run(rate, replicas=many, level=level, checkpoint=tmp_path / "run")
    again = run(rate, replicas=many, level=level, checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(saved.values["rho"], whole.values["rho"])
    np.testing.assert_array_equal(again.values["rho"], whole.values["rho"])
    with pytest.raises(ValueError, match="another run"):
        run(schedules.power(0.9, 0.6), replicas=many, level=level, checkpoint=tmp_path / "run")


@pytest.mark.slow
def test_new_numbers_need_no_new_program():
    for start in (0.9, 0.8):
        limit(schedules.power(start, 0.5))
        run(schedules.power(start, 0.5))
    sizes = solve_path._cache_size(), advance.cache_info().misses
    limit(schedules.power(0.7, 0.3, 2.0))
    run(schedules.power(0.7, 0.3, 2.0))
    assert (solve_path._cache_size(), advance.cache_info().misses) == sizes


@pytest.mark.slow
def test_derivative_in_a_number_of_a_schedule():
    with jax.enable_x64(True):

        def final(start):
            found = limit(schedules.power(start, 0.5), tolerance=1e-9)
            return found.values["rho"][-1]

        slope = jax.jit(jax.jacfwd(final))(0.9)
        quotient = (final(0.9 + 1e-4) - final(0.9 - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope, quotient, rtol=1e-4)


def test_functions_are_part_of_the_identity_of_a_run():
    def key(rate):
        return fingerprint("checkpoint", {"problem": problem(rate)}, None).digest

    def other(tau):
        return 0.45 / (1 + tau) ** 0.5

    assert key(falling) == key(falling)
    assert len({key(falling), key(other), key(schedules.power(0.9, 0.5))}) == 3
    pickled = pickle.loads(pickle.dumps(problem(falling)))
    assert key(pickled.learning_rate) == key(falling)


def test_velocity_reads_the_time():
    rate = schedules.power(0.9, 0.5)
    options = {"points": 64, "method": "tensor"}
    late, _ = ld.right_hand_side(problem(rate), START, time=3.0, **options)
    constant, _ = ld.right_hand_side(problem(0.45), START, **options)
    np.testing.assert_allclose(late.signal, constant.signal, rtol=1e-12)
    np.testing.assert_allclose(late.blocks, constant.blocks, rtol=1e-12)


BAD = {
    "no number": (lambda tau: "fast", "learning_rate"),
    "two numbers": (lambda tau: jnp.stack([tau, tau]), "learning_rate"),
    "two arguments": (lambda tau, more: tau, "learning_rate"),
    "numpy": (lambda tau: np.float64(tau), "learning_rate"),
    "optax without unit": (optax.exponential_decay(0.9, 25, 0.5), "per_update"),
    "bare class": (type("Bare", (), {"__call__": lambda self, tau: tau})(), "configuration"),
}


@pytest.mark.parametrize("name", BAD)
def test_no_function_of_one_number_is_refused_at_once(name):
    rate, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        problem(rate)
    with pytest.raises(ValueError, match=r"weight_decay|per_update|configuration"):
        problem(0.5, weight_decay=rate)


@pytest.mark.parametrize(
    "rate",
    [
        lambda tau: 0.9 - tau,
        lambda tau: 1 / (tau - 0.5),
        lambda tau: 0 * tau,
        schedules.later(lambda tau: jnp.where(tau > 2.4, jnp.nan, 1.0), 1.0),
    ],
)
def test_values_on_the_times_of_a_run_are_checked(rate):
    for call in (run, limit):
        with pytest.raises(ValueError, match=r"Argument `problem\.learning_rate` must be"):
            call(rate)
    with pytest.raises(ValueError, match=r"problem\.learning_rate"):
        ld.fluctuations(problem(rate), times=TIMES, start=START)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: schedules.power(-1.0, 0.5), "start"),
        (lambda: schedules.power(1.0, np.nan), "exponent"),
        (lambda: schedules.exponential(1.0, 0.0), "scale"),
        (lambda: schedules.cosine(1.0, -1.0), "time"),
        (lambda: schedules.warm_up("fast", 1.0), "then"),
        (lambda: schedules.piecewise_linear([1.0, 0.5], [1.0, 1.0]), "times"),
        (lambda: schedules.piecewise_linear([0.0, 0.5], [1.0, -1.0]), "values"),
        (lambda: schedules.piecewise_constant([0.5], [1.0]), "values"),
        (lambda: schedules.per_update(falling, dimension=0), "dimension"),
        (lambda: schedules.per_update(0.5, dimension=10), "function"),
        (lambda: schedules.later(falling, -1.0), "time"),
    ],
)
def test_numbers_of_schedules_are_checked(make, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}`"):
        make()


def test_a_search_law_refuses_a_clock():
    with pytest.raises(ValueError, match=r"problem\.learning_rate.*without N"):
        ld.search_law(problem(falling), key=jax.random.key(0))
