"""Ambient, overlaps and limit of the kernel against each other and against the reduced flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from diffusion_theory import Coupling, MixedCumulant, ThreePoint, TiedDenoiser
from diffusion_theory.theory import (
    contrast,
    escape_law,
    gradient_covariance,
    gradient_norm,
    information_exponents,
    overlap_flow,
    overlap_velocity,
    population_loss,
)

ONE = {
    "rademacher": (MixedCumulant(), TiedDenoiser("tanh", sign=-1)),
    "three-point": (MixedCumulant(cumulant=4.0, pair=ThreePoint(0.1)), TiedDenoiser("erf")),
    "x0": (MixedCumulant(alpha_bar=float(np.exp(-1.2))), TiedDenoiser("tanh", target="x0")),
    "spike": (MixedCumulant(2.0, None), TiedDenoiser("tanh", sign=-1, skip=0.3)),
}
TWO = {
    "sign": (MixedCumulant(2.0, 3.0, None, "sign", alpha_bar=0.4), TiedDenoiser("tanh", sign=-1)),
    "independent": (MixedCumulant(2.0, 3.0), TiedDenoiser("erf", target="x0")),
    "cube": (MixedCumulant(2.0, np.inf, None, "cube"), TiedDenoiser("softplus", sign=-1)),
    "correlated": (MixedCumulant(1.0, 3.0, None, Coupling(-0.4)), TiedDenoiser("tanh")),
}

QUICK = ("rademacher", "x0", "sign")


def some_slow(names):
    """All names as parameters; all but those of `QUICK` are slow."""
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


def state(overlaps):
    return ld.order_parameters(np.atleast_2d(overlaps), [[1.0]])


@pytest.mark.parametrize("name", some_slow(ONE))
def test_the_limit_of_the_kernel_is_the_reduced_flow(name):
    inputs, learner = ONE[name]
    problem = ld.Problem(inputs, learner, 0.7, update="spherical")
    for alpha in (0.3, -0.8):
        rate, error = ld.right_hand_side(problem, state([alpha]), points=2**20, method="tensor")
        exact = overlap_velocity(inputs, learner, 0.7, [alpha])
        assert abs(rate.signal[0] - exact) < 3 * error.signal[0] + 1e-8
        assert error.signal[0] < 2e-4
        loss, error = ld.expected_loss(problem, state([alpha]), points=2**20, method="tensor")
        assert abs(loss - population_loss(inputs, learner, [alpha])) < 3 * error + 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("name", some_slow(TWO))
def test_the_limit_of_two_overlaps_is_the_reduced_flow(name):
    inputs, learner = TWO[name]
    problem = ld.Problem(inputs, learner, 0.7, update="spherical", batch=2)
    alpha = np.array([0.5, -0.4])
    rate, error = ld.right_hand_side(problem, state(alpha), points=2**17)
    exact = overlap_velocity(inputs, learner, 0.7, alpha, batch=2)
    assert np.all(np.abs(rate.signal[0] - exact) < 5 * error.signal[0])
    assert np.all(error.signal[0] < 3e-3)


@pytest.mark.parametrize("name", some_slow(["rademacher", "spike"]))
def test_information_exponent_of_the_kernel(name):
    inputs, learner = ONE[name]
    problem = ld.Problem(inputs, learner, 0.1, update="spherical")
    found = ld.information_exponent(problem, points=2**12)
    (own,) = information_exponents(inputs, learner).values()
    assert found.verdict == "attractive"
    assert found.order == own.order
    assert found.coefficient == pytest.approx(own.coefficient, abs=5 * found.error + 1e-8)
    assert own.verdict == "attractive"


@pytest.mark.slow
def test_search_law_has_the_gradient_norm_of_the_theory(key):
    inputs, learner = MixedCumulant(2.0, None), TiedDenoiser("tanh", sign=-1, kappa=0.5, skip=0.3)
    problem = ld.Problem(inputs, learner, 0.1, update="spherical")
    law = ld.search_law(problem, key=key, draws=64, threshold=0.3, points=2**12)
    assert law.gradient_norm == pytest.approx(gradient_norm(inputs, learner, [0.0]), rel=1e-4)
    c2 = contrast(inputs, learner).coefficients(2).values[2]
    a = float(inputs.noise_level.signal)
    growth = -0.1 * c2 * a**2 * 2.0 - 0.005 * law.gradient_norm
    assert law.growth == pytest.approx(growth, rel=1e-4)
    np.testing.assert_allclose(
        gradient_covariance(inputs, learner), law.gradient_covariance, rtol=1e-3
    )


@pytest.mark.slow
def test_gradient_covariance_of_two_spikes_and_a_target_x0():
    for inputs, learner in (
        (MixedCumulant(2.0, 3.0, None, "sign"), TiedDenoiser("erf", kappa=0.5, skip=0.2)),
        (MixedCumulant(2.0, 3.0), TiedDenoiser("erf", sign=-1, target="x0", kappa=0.5, skip=0.2)),
    ):
        problem = ld.Problem(inputs, learner, 0.1, update="spherical")
        origin = ld.order_parameters(np.zeros((1, 2)), [[1.0]])
        draws = ld.simulate(
            problem, dimension=400, times=[1 / 400], replicas=4000, key=jax.random.key(4),
            level="overlaps", start=origin,
        ).values["signal"][:, 0, 0]  # fmt: skip
        steps = draws * 400 / 0.1  # one update from zero overlap is minus the gradient
        products = steps[:, :, None] * steps[:, None, :]
        error = products.std(axis=0, ddof=1) / np.sqrt(4000)
        exact = gradient_covariance(inputs, learner)
        assert np.all(np.abs(products.mean(axis=0) - exact) < 4.5 * error)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["u", "uv"])
def test_escape_law_against_the_chain(case, key):
    """Quartiles of the escape time at d = 512 from random starts; another law fails."""
    inputs = MixedCumulant(4.0, None) if case == "u" else MixedCumulant(2.0, pair="sign")
    learner = TiedDenoiser("tanh", sign=-1)
    law, d, replicas = escape_law(inputs, learner, 0.4, 0.4), 512, 512
    direction = jnp.asarray(law.direction, jnp.float32)
    stop = ld.Stop(lambda o: jnp.abs(jnp.sum(o.signal[0] * direction)), 0.4, sustained=10)
    problem = ld.Problem(inputs, learner, 0.4, update="spherical")
    seen = ld.simulate(
        problem, dimension=d, times=[1.2 * float(law.quantile(0.9, d))], replicas=replicas,
        key=key, level="overlaps", stop=stop,
    )  # fmt: skip
    times = np.where(seen.stopped > 0, seen.stopped / d, np.inf)
    for level in (0.25, 0.5, 0.75):
        below = np.mean(times < law.quantile(level, d))
        spread = np.sqrt(level * (1 - level) / replicas)
        assert abs(below - level) < 4 * spread + 1 / np.sqrt(d)  # finite start
    moved = np.mean(times < law.quantile(0.5, 4 * d)) - 0.5
    assert moved > 8 * 0.5 / np.sqrt(replicas)  # the law of another dimension


@pytest.mark.slow
def test_escape_law_names_bad_input():
    learner = TiedDenoiser("tanh", sign=-1)
    for make, message in (
        (lambda: escape_law(MixedCumulant(), learner, 0.1, 0.4), "leave a growing overlap"),
        (lambda: escape_law(MixedCumulant(4.0, None), learner, 0.1, 1.0), "`threshold`"),
        (lambda: escape_law(MixedCumulant(4.0, None), learner, 0.4, 0.99), "be reached"),
        (lambda: escape_law(MixedCumulant(4.0, None), learner, 0.1, 0.4).quantile(1.0, 9), "level"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


RUNS = {
    "rademacher": (*ONE["rademacher"], [0.7]),
    "sign": (*TWO["sign"], [0.3, 0.1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rademacher", "sign"])
def test_three_levels_and_the_flow_agree_along_a_run(name, key):
    inputs, learner, first = RUNS[name]
    problem = ld.Problem(inputs, learner, 0.3, update="spherical")
    times, n, start = np.array([0.5, 2.0]), 1000, state(first)
    seen = ld.simulate(problem, dimension=n, times=times, replicas=60, key=key, start=start)
    exact = ld.simulate(
        problem, dimension=n, times=times, replicas=500, key=jax.random.key(1), start=start,
        level="overlaps",
    )  # fmt: skip
    options = {"tolerance": 1e-5, "points": 2**15, "finite_size": False}
    limit = ld.integrate(problem, times=times, start=seen, **options)
    flow = overlap_flow(inputs, learner, 0.3, first, times)
    chain = exact.measurement(["signal"])
    assert ld.compare(seen, exact, quantities=["signal"]).verdict == "pass"
    for prediction in (limit.prediction(["signal"]), flow):
        assert ld.compare(chain, prediction.with_bias(1 / n, "1/N")).verdict == "pass"
    error = limit.quadrature_error["signal"] + limit.integrator_error["signal"]
    difference = np.abs(flow.values - limit.values["signal"][:, 0])
    assert np.all(difference < 5 * error.reshape(difference.shape) + 1e-6)
    assert np.all(error < 2e-3)
    wrong = overlap_flow(
        inputs, TiedDenoiser("tanh", sign=1, target=learner.target), 0.3, first, times
    )
    assert ld.compare(chain, wrong).verdict == "fail"
