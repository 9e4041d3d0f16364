"""Optimal protocols against closed forms and independent solvers."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

import learning_dynamics as ld
from learning_dynamics import schedules
from tests.learning_dynamics.kernel.linear_regression import NOISE, RHO, START, problem, rho

END = 6.0
RULE = {"points": 64, "method": "tensor", "tracker": None}


def optimise(rate, **options):
    given = {"start": START, "until": END, "objective": rho, **RULE, **options}
    return ld.optimise(problem(rate), **given)


def constant(rate):
    """Error of linear regression at the end under a constant rate, in closed form."""
    decay = 2 * rate - rate**2
    rest = rate**2 * NOISE**2 / decay
    return rest + (RHO - rest) * np.exp(-decay * END)


BEST = minimize_scalar(constant, bounds=(0.01, 1.5), method="bounded", options={"xatol": 1e-10})


def best_at_all_times(times):
    """Error and rate under eta = rho / (rho + sigma^2), by which d rho / dtau is least."""
    found = solve_ivp(
        lambda _, y: -(y**2) / (y + NOISE**2), (0, END), [RHO], t_eval=times, rtol=1e-10, atol=1e-12
    ).y[0]
    return found, found / (found + NOISE**2)


@pytest.fixture(scope="module")
def number():
    return optimise(0.9)


@pytest.mark.slow
def test_the_best_constant_rate_is_that_of_the_closed_form(number):
    np.testing.assert_allclose(number.value, BEST.fun, rtol=1e-6)
    np.testing.assert_allclose(number.numbers["learning_rate"], BEST.x, rtol=1e-3)
    assert number.residual < 1e-5
    assert number.constant_value is None
    assert not number.constants
    assert np.all(np.diff(number.history) <= 0)
    assert "best constant" not in repr(number)
    assert len(repr(number).splitlines()) < 8


@pytest.mark.slow
def test_results_are_kept(number, tmp_path):
    again = pickle.loads(pickle.dumps(number))
    assert (again.value, again.problem.learning_rate) == (
        number.value,
        number.problem.learning_rate,
    )
    ld.save(tmp_path / "optimum.nc", number)
    loaded = ld.load(tmp_path / "optimum.nc")
    assert (loaded.value, loaded.residual) == (number.value, number.residual)
    np.testing.assert_array_equal(loaded.history, number.history)
    with pytest.raises(ValueError, match="hold its problem"):
        loaded.compare(dimension=100, replicas=2, key=jax.random.key(0))


@pytest.mark.slow
def test_a_bound_holds_and_other_beginnings_find_the_same():
    low = optimise(0.2, bounds={"learning_rate": (None, 0.3)})
    np.testing.assert_allclose(low.numbers["learning_rate"], 0.3)
    assert low.residual == 0.0
    assert low.at_bounds == {"learning_rate": 1}
    assert "1 of 1 in learning_rate" in repr(low)
    np.testing.assert_allclose(optimise(1.4, tries=3).value, BEST.fun, rtol=1e-6)


@pytest.mark.slow
def test_the_best_schedule_of_linear_regression():
    knots = np.linspace(0, END, 7)
    table = schedules.piecewise_linear(knots, np.full(7, 0.7))
    found = optimise(table)
    error, rate = best_at_all_times(knots)
    assert found.value >= error[-1] * (1 - 1e-5)
    np.testing.assert_allclose(found.value, error[-1], rtol=1e-4)
    np.testing.assert_allclose(found.numbers["learning_rate"], rate, atol=0.01)
    np.testing.assert_allclose(found.constant_value, BEST.fun, rtol=1e-5)
    np.testing.assert_allclose(found.constants["learning_rate"], BEST.x, rtol=1e-2)
    key = jax.random.key(2)
    assert found.compare(dimension=400, replicas=200, key=key).verdict == "pass"
    gain = found.gain(dimension=400, replicas=200, key=key)
    assert gain.verdict == "pass"
    np.testing.assert_allclose(gain.predicted.values, 1 - error[-1] / BEST.fun, atol=2e-4)
    alone = [
        found.simulate(dimension=400, replicas=200, key=key, constant=c).values["objective"][:, -1]
        for c in (False, True)
    ]
    apart = np.hypot(*(each.std(ddof=1) / each.mean() / 200**0.5 for each in alone))
    assert gain.measured.standard_error[0] < apart  # the same random numbers for both
    np.testing.assert_allclose(
        gain.measured.values[0], 1 - alone[0].mean() / alone[1].mean(), atol=apart
    )
    flat = optimise(table, smoothness=1e3)
    assert np.ptp(flat.numbers["learning_rate"]) < 0.05 * np.ptp(found.numbers["learning_rate"])
    assert flat.value > found.value
    whole = optimise(table, integrated=True)
    times = np.linspace(0, END, 65)
    mean = np.trapezoid(best_at_all_times(times)[0], times) / END  # greedy is best for this too
    np.testing.assert_allclose(whole.value, mean, rtol=1e-3)


@pytest.mark.slow
def test_numbers_of_a_formula():
    found = optimise(schedules.power(0.9, 0.5, 1.0), over=["learning_rate.start",
                                                           "learning_rate.exponent"])  # fmt: skip
    error, _ = best_at_all_times(np.array([END]))
    assert error[-1] < found.value < found.constant_value
    np.testing.assert_allclose(found.constant_value, BEST.fun, rtol=1e-5)
    assert found.problem.learning_rate.numbers["scale"] == 1.0


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"over": "rate"}, "over"),
        ({"over": "learner"}, "over"),
        ({"objective": lambda o: o.signal}, "objective"),
        ({"objective": lambda o: jnp.argmax(o.norms)}, "objective"),
        ({"objective": 0.5}, "objective"),
        ({"until": -1.0}, "until"),
        ({"smoothness": -1.0}, "smoothness"),
        ({"tries": 0}, "tries"),
        ({"moments": 1}, "moments"),
        ({"bounds": {"weight_decay": (0, 1)}}, "bounds"),
        ({"bounds": {"learning_rate": (1.0, 2.0)}}, "bounds"),
        ({"bounds": {"learning_rate": 3}}, "bounds"),
    ],
)
def test_what_makes_no_sense_is_refused(options, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}"):
        optimise(0.5, **options)
