"""Quadrature: the reported error is honest, declared nodes are used, the flow keeps norms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from learning_dynamics.hermite import (
    gauss_hermite,
    hermite_coefficients,
    normal_rule,
    trapezoid,
)
from learning_dynamics.limit.accuracy import combine, student
from learning_dynamics.limit.nodes import device_nodes
from learning_dynamics.limit.noise import limit_noise
from learning_dynamics.limit.population import velocity_at
from learning_dynamics.limit.quadrature import expectation_nodes
from tests.learning_dynamics.kernel.models import Absolute, Committee, Denoiser, Spike, Teacher

INTEGRANDS = {
    "kink": lambda x: np.abs(x - 0.37),
    "relu": lambda x: np.maximum(x, 0) * x**2,
    "jump": lambda x: np.sign(x - 0.6),
    "half": lambda x: (x > 0.2) * x,
    "two kinks": lambda x: np.abs(np.abs(x) - 1),
    "steep": lambda x: np.tanh(4 * x) ** 2,
    "tanh": lambda x: np.tanh(1.64 * x) ** 2,
    "pole": lambda x: 1 / (1 + 9 * x**2),
    "cosine": lambda x: np.cos(3 * x),
    "polynomial": lambda x: x**6 - x,
    "exponential": np.exp,
}
BREAKS = (-1.0, -0.6, 0.0, 0.2, 0.37, 0.6, 1.0)


def expectation(function, shift):
    def density(x):
        return function(x + shift) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)

    edges = [-12.0, *sorted(b - shift for b in BREAKS), 12.0]
    parts = [
        integrate.quad(density, a, b, epsabs=1e-14, epsrel=1e-13, limit=200)[0]
        for a, b in itertools.pairwise(edges)
    ]
    return sum(parts)


@pytest.mark.parametrize("name", INTEGRANDS)
def test_error_of_tensor_rules_is_honest(name):
    """True error <= reported error, whatever the phase of the kink and the number of nodes."""
    function, ratios = INTEGRANDS[name], []
    for shift in np.linspace(0, 0.5, 6):
        exact = expectation(function, shift)
        for nodes in (8, 10, 12, 15, 20, 25, 30, 40, 41, 50, 60, 90, 120, 250):
            found = []
            for count in (nodes, nodes - 1, int(0.7 * nodes)):
                points, weights = normal_rule(count)
                found.append(np.asarray(np.sum(weights * function(points + shift))))
            mean = combine(found, "tensor")
            ratios.append(abs(mean.value - exact) / (mean.error + 1e-11))
    assert max(ratios) < 1
    assert np.median(ratios) > 0.02 or name in ("cosine", "polynomial", "exponential", "tanh")


def test_error_of_sobol_sets_is_honest():
    """|mean - exact| over the reported error is like Student's t with 7 degrees of freedom."""
    problem = ld.Problem(Teacher(np.array([1.0]), "linear"), Absolute(), 1.0, label_noise=0.5)
    start = ld.order_parameters([[0.3]], [[1.0]])
    exact = np.sqrt(2 / np.pi * (1 - 0.6 + 1 + 0.25))
    ratios = []
    for seed in range(40):
        rules, kind = expectation_nodes(problem, points=2**10, method="sobol", seed=seed)
        found = []
        for rule in rules:
            field = 0.3 * rule.latents["x"][:, 0] + np.sqrt(0.91) * rule.zeta[:, 0, 0]
            label = rule.latents["x"][:, 0] + 0.5 * rule.latents["label noise"]
            found.append(np.asarray(np.sum(rule.weights * np.abs(field - label))))
        mean = combine(found, kind)
        ratios.append((mean.value - exact) / mean.error)
    # variance of Student's t with 7 degrees of freedom: 7 / 5; one in a thousand beyond the bound
    assert 0.6 < np.std(ratios) * student(8) < 1.9
    assert np.max(np.abs(ratios)) < 1
    loss, error = ld.expected_loss(problem, start, points=2**14)
    assert abs(loss - exact) < error


def test_combine_keeps_the_structure():
    mean = combine([{"a": np.ones(2)}, {"a": np.zeros(2)}, {"a": np.ones(2)}], "tensor")
    np.testing.assert_array_equal(mean.value["a"], 1)
    np.testing.assert_array_equal(mean.error["a"], 2)


def test_trapezoid_beats_gauss_hermite_for_steep_functions():
    """E tanh(4 g)^2 to rounding by 320 points; 120 Gauss-Hermite nodes leave 1e-5.

    Rules of latents are trapezoidal where that is better, and exact for polynomials all the same.
    """
    exact = expectation(INTEGRANDS["steep"], 0.0)
    points, weights = trapezoid(0.06)
    assert abs(np.sum(weights * INTEGRANDS["steep"](points[:, 0])) - exact) < 1e-13
    points, weights = gauss_hermite(120)
    assert abs(np.sum(weights * INTEGRANDS["steep"](points)) - exact) > 1e-7
    for rule, least, most in ((gauss_hermite, 1e-7, 1e-3), (normal_rule, 0.0, 1e-10)):
        points, weights = rule(240)
        assert least <= abs(np.sum(weights * INTEGRANDS["steep"](points)) - exact) < most
    for nodes in (40, 41):
        points, weights = normal_rule(nodes)
        powers = [np.sum(weights * points**k) for k in range(11)]
        np.testing.assert_allclose(powers, ld.Normal().moments(10), rtol=1e-11, atol=1e-11)
    grid, mass = trapezoid(0.5, 2)
    np.testing.assert_allclose((grid.T * mass) @ grid, np.eye(2), atol=1e-12)
    with pytest.raises(ValueError, match="step"):
        trapezoid(0.0)


def test_error_of_hermite_coefficients_is_honest():
    """E |g| He_2(g) = sqrt(2 / pi), a kink."""
    values, errors = hermite_coefficients(np.abs, 2)
    assert abs(values[2] - np.sqrt(2 / np.pi)) < errors[2] < 0.05


@ld.configuration
class Declared(Spike):
    """The same sample, the noise fields in triangular form: the second one drives z alone."""

    few: int = ld.static(default=0)

    def mixing(self):
        root = np.hypot(0.8, 0.6)
        return np.array([[root, 0.0], [0.6 / root, 0.8 / root]])

    def noise_nodes(self):
        return (None, self.few) if self.few else None


def rate_of(problem, start, points):
    """Right-hand side from a rule over all latents, at any norm of the rows, and its error."""
    rules, kind = expectation_nodes(problem, points=points)
    with jax.enable_x64(True):
        cast, noise = problem.cast(jnp.float64), limit_noise(problem, None)
        state = jax.tree.map(jnp.asarray, start)
        state = state._replace(parameters=cast.initial_parameters(jnp.float64))
        rates = [
            velocity_at(cast, noise, device_nodes(rule), state, held=frozenset()) for rule in rules
        ]
        mean = combine([jax.tree.map(np.asarray, rate) for rate in rates], kind)
        return mean.value, mean.error


@pytest.mark.slow
def test_nodes_declared_per_noise_vector():
    """The loss is linear in the second noise field: three nodes are exact, and leave more."""
    learner = Denoiser(1)
    state = ld.order_parameters([[0.4]], [[1.0]])
    free, few = (ld.Problem(Declared(few=n), learner, 1.0) for n in (0, 3))
    rules, kind = expectation_nodes(few, points=2**14)
    assert kind == "tensor"
    assert np.unique(rules[0].zeta[:, 0, 1]).size == 3
    assert np.unique(rules[0].zeta[:, 0, 0]).size > 12
    rules, _ = expectation_nodes(free, points=2**14)
    assert np.unique(rules[0].zeta[:, 0, 0]).size < 12
    one, error = rate_of(few, state, 2**17)
    two, sampling = rate_of(free, state, 2**17)
    assert abs(one.signal - two.signal) < 5 * sampling.signal + error.signal
    assert error.signal < 0.5 * sampling.signal

    @ld.configuration
    class Wrong(Declared):
        def noise_nodes(self):
            return (3,)

    with pytest.raises(ValueError, match="noise_nodes"):
        expectation_nodes(ld.Problem(Wrong(), learner, 1.0))


@pytest.mark.parametrize("update", ["spherical", "projected"])
@pytest.mark.parametrize("norm", [1.0, 0.9])
def test_flow_keeps_the_norm_of_rows_even_off_one(update, norm):
    """d|w|^2 / dtau = 0: the radial velocity is over |row|^2, so that rounding does not grow."""
    problem = ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), 1.5, update=update)
    m = np.array([[0.4, -0.2], [0.1, 0.3]])
    start = ld.order_parameters(m, np.array([[1.0, 0.2], [0.2, 1.0]]) * norm)
    moved, _ = rate_of(problem, start, 2**10)
    change = 2 * np.sum(m * moved.signal, axis=1) + np.einsum("bkk->k", moved.blocks)
    np.testing.assert_allclose(change, 0, atol=1e-14)
    assert np.abs(moved.signal).max() > 0.01


@pytest.mark.slow
def test_order_zero_and_unstable_fast_parameters_have_no_limit():
    start = ld.order_parameters([[0.5]], [[1.0]], {"skip": 0.3})
    options = {"times": [0.5], "start": start, "points": 2**10}
    base = {"inputs": Spike(), "learner": Denoiser(1), "learning_rate": 0.4}
    with pytest.raises(ValueError, match="parameter_orders"):
        ld.integrate(
            ld.Problem(**base, parameter_rates={"skip": 0.2}, parameter_orders={"skip": 0}),
            **options,
        )
    committee = ld.Problem(
        Teacher(np.ones(1)), Committee(1), 1.0, parameter_rates={"v": 0.1},
        parameter_orders={"v": 0},
    )  # fmt: skip
    with pytest.raises(ValueError, match="parameter_orders"):
        ld.integrate(committee, times=[1.0], start=ld.order_parameters([[0.5]], [[1.0]]))
    # one update multiplies the distance of the skip by 1 - 2 rate
    with pytest.raises(ValueError, match="parameter_rates"):
        ld.integrate(ld.Problem(**base, parameter_rates={"skip": 1.1}), **options)
    assert ld.integrate(ld.Problem(**base, parameter_rates={"skip": 0.9}), **options)


def test_declared_nodes_beyond_the_points_leave_sobol_points():
    """The twelve neurons of a denoiser declare more than 2^12 nodes: fewer points are spread."""
    problem = ld.Problem(MixedCumulant(covariance=4.0), TiedDenoiser(neurons=12), 0.2)
    rules, kind = expectation_nodes(problem, points=2**13)
    assert kind == "sobol"
    assert sum(rule.weights.size for rule in rules) <= 2**14
    with pytest.raises(ValueError, match="declared nodes"):
        expectation_nodes(problem, points=2**13, method="tensor")


@ld.configuration
class FewNodes(ld.InputModel):
    """One direction, whose latent has three declared nodes, as has the field of the noise."""

    directions = 1

    def latents(self):
        return {"x": ld.Normal((1,), nodes=3), "s": ld.Discrete((-1.0, 1.0))}

    def signal(self, latents):
        return latents["x"][None], latents["s"] * latents["x"][0]

    def noise_nodes(self):
        return (3,)


@pytest.mark.parametrize(("squared", "nodes"), [(False, 3), (True, 5)])
def test_products_of_four_slopes_take_more_than_the_declared_nodes(squared, nodes):
    problem = ld.Problem(FewNodes(), Committee(1, "linear"), 0.1, label_noise=0.3)
    rules, kind = expectation_nodes(problem, points=2**10, method="tensor", squared=squared)
    assert kind == "tensor"
    assert rules[0].weights.size == nodes**2 * 2 * 3  # signs are exact, so is the label noise
    x = np.asarray(rules[0].latents["x"])[:, 0]
    eighth = np.sum(rules[0].weights * x**8)
    assert np.isclose(eighth, 105) == squared
