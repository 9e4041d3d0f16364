"""Integrands that grow fast, label noise in any loss, and rules of few standard lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import learning_dynamics as ld
from learning_dynamics.limit.degrees import degrees_of
from learning_dynamics.limit.moments import moments
from learning_dynamics.limit.nodes import device_nodes, standard_length
from learning_dynamics.limit.noise import limit_noise
from learning_dynamics.limit.quadrature import expectation_nodes
from tests.learning_dynamics.kernel.models import Committee, Teacher
from tests.learning_dynamics.kernel.test_compilations import COMPILED

STATE = ld.order_parameters([[0.3]], [[1.0]])


@ld.configuration
class Loss(ld.Learner):
    """Any function of one field and the label."""

    function: object = ld.static()
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return self.function(fields[0, 0], sample.label)


def problem(function, noise=None, rate=0.5):
    return ld.Problem(Teacher(np.ones(1), "linear"), Loss(function), rate, label_noise=noise)


# F standard normal, E F y = 0.3; label noise of standard deviation s adds s^2 to the variance
GROWING = {
    "square": (lambda f, y: jnp.exp(0.45 * f**2), None, 10**0.5),
    "exponential": (lambda f, y: jnp.exp(5 * f), None, np.exp(12.5)),
    "difference": (lambda f, y: jnp.exp(4 * (y - f)), None, np.exp(16 * 1.4 / 2)),
    "noisy difference": (lambda f, y: jnp.exp(2 * (y - f)), 0.5, np.exp(2 * 1.65)),
    "noisy label": (lambda f, y: jnp.exp(y) + 0 * f, 1.0, np.exp(1.0)),
    "noisy kink": (lambda f, y: jnp.abs(y - f), 1.0, (2.4 * 2 / np.pi) ** 0.5),
    "noisy quartic": (lambda f, y: (y - f) ** 4, 1.0, 3 * 2.4**2),
    "noisy sextic": (lambda f, y: (y - f) ** 6, 1.0, 15 * 2.4**3),
}


@pytest.mark.parametrize("points", [2**12, None])
@pytest.mark.parametrize("name", GROWING)
def test_errors_of_growing_integrands_are_bounds(name, points):
    function, noise, exact = GROWING[name]
    try:
        value, error = ld.expected_loss(problem(function, noise), STATE, points=points)
    except ld.InaccurateError as refused:
        assert name == "square"
        value, error = refused.result.value, refused.result.error
    assert abs(value - exact) < error + 1e-10 * exact
    if points is None:
        assert error < (0.01 if name == "square" else 1.001e-3) * max(1, exact)


def test_label_noise_takes_three_nodes_where_they_are_exact():
    """The squared loss: yes; a loss whose slopes are not linear in the label: no."""

    def nodes(function, learner=None):
        one = ld.Problem(Teacher(np.ones(1)), learner or Loss(function), 0.5, label_noise=0.3)
        rules, kind = expectation_nodes(one, points=2**14, method="tensor")
        assert kind == "tensor"
        return np.unique(rules[0].latents["label noise"]).size

    assert nodes(None, Committee(1)) == 3
    assert nodes(lambda f, y: (y - jnp.tanh(f)) ** 2) == 3
    assert nodes(lambda f, y: -y * jnp.exp(f)) == 3
    assert nodes(lambda f, y: jnp.logaddexp(0.0, -y * f)) > 12
    assert nodes(lambda f, y: (y - f) ** 4) > 12
    assert nodes(lambda f, y: jnp.abs(y - f)) > 12


@pytest.mark.slow
def test_limit_with_an_exponential_right_hand_side():
    """A = 0.1 exp(2.2 F) - y in closed form, shortly before the solution diverges (0.0784)."""
    eta, a = 0.1, 2.2

    def rate(_, state):
        m, q = state
        e = np.exp(a * a * q / 2)
        square = 0.01 * np.exp(2 * a * a * q) - 0.2 * a * m * e + 1
        return [-eta * (0.1 * a * m * e - 1), -2 * eta * (0.1 * a * q * e - m) + eta**2 * square]

    one = problem(lambda f, y: 0.1 / a * jnp.exp(a * f) - y * f, rate=eta)
    times = [0.03, 0.075]
    limit = ld.integrate(one, times=times, start=STATE, points=2**10)
    right = solve_ivp(rate, (0, 0.075), [0.3, 1.0], t_eval=times, rtol=1e-11, atol=1e-12).y
    for name, exact in zip(("signal", "norms"), right, strict=True):
        error = limit.quadrature_error[name] + limit.integrator_error[name]
        assert np.all(np.abs(limit.values[name].ravel() - exact) < error.ravel())


def test_degrees_are_found_by_tracing():
    def function(x, other):
        a, b = x["a"], x["b"]
        stacked = jnp.stack([2.0 * a[0] + b, a[1] * other])
        return stacked, a * b, jnp.sin(b) + a[0] ** 3, jnp.where(a[0] > 0, b, 0.0), other / a[0]

    shapes = {"a": jax.ShapeDtypeStruct((2,), jnp.float32), "b": jnp.float32(0)}
    one, two, three, four, five = degrees_of(function, shapes, jnp.float32(1))
    assert one.of == {"a": 1, "b": 1}
    assert one.linear("a")
    assert one.linear("b")
    assert two.of == {"a": 1, "b": 1}
    assert not two.linear("a")
    assert three.of == {"a": 3, "b": np.inf}
    assert four.of == {"a": np.inf, "b": np.inf}
    assert five.of == {"a": np.inf}


def test_degrees_pass_indices_and_branches_that_are_fixed():
    def function(x, which):
        a, b = x["a"], x["b"]
        diagonal = jax.grad(lambda q: jnp.sum(b * jnp.sin(jnp.diagonal(q))))(jnp.eye(2) * which)
        branches = [lambda a: 2.0 * a, lambda a: a * a, lambda a: jnp.ones_like(a)]
        chosen = jax.lax.switch(jnp.int32(which), branches, a)
        moving = jax.lax.switch(jnp.int32(b), branches, a)
        pushed = jax.lax.dynamic_update_slice(jnp.zeros(3), a, (jnp.int32(which),))
        shifted = jax.lax.dynamic_update_slice(jnp.zeros(3), a, (jnp.int32(b),))
        return diagonal, a.at[0].set(b), a.at[1].add(b * a[0]), chosen, moving, pushed, shifted

    shapes = {"a": jax.ShapeDtypeStruct((2,), jnp.float32), "b": jnp.float32(0)}
    degrees = [found.of for found in degrees_of(function, shapes, jnp.float32(1))]
    assert degrees[:4] == [{"b": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 1}, {"a": 2}]
    assert degrees[4] == {"a": np.inf, "b": np.inf}
    assert degrees[5:] == [{"a": 1}, {"a": np.inf, "b": np.inf}]


@pytest.mark.slow
def test_moments_of_a_filled_rule_are_the_same():
    """Chunk by chunk, with nodes of weight zero left out; derivatives too."""
    one = problem(lambda f, y: (jnp.tanh(f) - y) ** 2)
    rules, _ = expectation_nodes(one, points=2**13, method="tensor")
    filled = standard_length(rules[0])
    assert rules[0].weights.size > 2**11
    assert filled.weights.size == 2**15
    with jax.enable_x64(True):
        cast, noise = one.cast(jnp.float64), limit_noise(one, None)
        state = jax.tree.map(jnp.asarray, STATE)
        state = state._replace(parameters=cast.initial_parameters(jnp.float64))

        @jax.jit
        def both(nodes):
            def loss(signal):
                return moments(cast, noise, nodes, state._replace(signal=signal)).loss

            forward, backward = jax.jacfwd(loss)(state.signal), jax.jacrev(loss)(state.signal)
            return moments(cast, noise, nodes, state), forward, backward

        whole, parts = (both(device_nodes(rule)) for rule in (rules[0], filled))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), whole, parts
    )
    np.testing.assert_allclose(parts[1], parts[2], rtol=1e-12)


@pytest.mark.slow
def test_a_limit_is_compiled_once_whatever_the_points():
    """Two methods at the start, and two numbers of points, share one right-hand side."""
    one = problem(lambda f, y: jnp.abs(jnp.tanh(f) - y))
    ld.integrate(one, times=[0.1], start=STATE, points=2**14)
    known = len(COMPILED)
    assert known
    ld.integrate(one, times=[0.1], start=STATE, points=2**16)
    assert len(COMPILED) == known
