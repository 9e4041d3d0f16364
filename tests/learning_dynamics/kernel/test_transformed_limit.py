"""Theory under `jit`, `vmap`, `grad` and `jacfwd`: against difference quotients and loops."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from fourier_simplicity import FourierInputs, SingleNeuron, harmonic
from tests.learning_dynamics.kernel.models import Absolute, Committee, Denoiser, Spike, Teacher


@ld.configuration
class Spectrum(Teacher):
    """A teacher in noise of two variances that are numbers."""

    variances: object = None

    def blocks(self, dimension):
        rest = dimension - self.directions
        first = rest // 2
        return (
            ld.NoiseBlocks(first, self.variances[:1]),
            ld.NoiseBlocks(rest - first, self.variances[1:]),
        )


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def committee(x, **options):
    """Two neurons and one teacher, whose amplitude and rate depend on x."""
    return ld.Problem(Teacher(jnp.stack([1.0 + x])), Committee(2), 0.3 + x, **options)


def blocks(x):
    inputs = Spectrum((1.0,), "erf", jnp.stack([0.5 + x, 1.5 + 0 * x]))
    return ld.Problem(inputs, Committee(2), 0.3 + x)


def several_vectors(x):
    rates = {"skip": 0.1 + x}
    return ld.Problem(Spike(1.0 + x), Denoiser(1), 0.2, update="spherical", parameter_rates=rates)


def mixed_cumulants(x):
    inputs = MixedCumulant(covariance=4.0 + x, alpha_bar=0.4 + x)
    return ld.Problem(inputs, TiedDenoiser(sign=-1), 0.2 + x, update="spherical")


def phases(x):
    inputs = FourierInputs((16,), ties=harmonic(1))
    return ld.Problem(inputs, SingleNeuron("he3"), 0.1 + x, update="spherical")


def perceptron(x):
    """A label that jumps with the field of the teacher: integrated, so that nothing jumps."""
    return ld.Problem(Teacher(jnp.stack([1.0 + x]), "linear"), Absolute(), 0.2 + x)


MODELS = {
    "second layer": (partial(committee, parameter_rates={"v": 0.2}), None),
    "weight decay": (lambda x: committee(x, weight_decay=0.1 + x), None),
    "label noise": (lambda x: committee(x, label_noise=0.3 + x, batch=3), None),
    "blocks": (blocks, 200),
    "several vectors": (several_vectors, None),
    "mixed cumulants": (mixed_cumulants, None),
    "phases": (phases, None),
}


def start_of(problem, x, count):
    """Overlaps that depend on x; rows of norm one where updates keep it."""
    neurons, r = problem.learner.neurons, problem.inputs.directions
    signal = 0.1 + x + 0.05 * jnp.arange(neurons * r, dtype=float).reshape(neurons, r)
    gram = 0.8 * jnp.eye(neurons) + 0.1
    if problem.update != "plain":
        gram = jnp.diag(1 - jnp.sum(signal**2, axis=1))
    return ld.Overlaps(signal, jnp.stack([gram / count] * count), {})


def limit_of(name, x, **options):
    make, dimension = MODELS[name]
    problem = make(x)
    options = {
        "points": 2**7,
        "method": "tensor",
        "tolerance": 1e-10,
        "times": [0.5, 1.5],
    } | options
    start = start_of(problem, x, 1 if dimension is None else 2)
    return ld.integrate(problem, start=start, dimension=dimension, **options)


def value_of(name, x, **options):
    return limit_of(name, x, **options).values["signal"][-1].sum()


def quotient(value):
    """Derivative at zero by two central differences and Richardson's extrapolation."""
    wide, narrow = (
        (value(jnp.float64(h)) - value(jnp.float64(-h))) / (2 * h) for h in (2e-3, 1e-3)
    )
    return float((4 * narrow - wide) / 3)


@pytest.mark.slow
def test_derivatives_of_a_limit_agree_with_difference_quotients():
    """In reverse, in a batch; a call is traced once for all numbers of one shape.

    Forward mode is checked below, in all models.
    """
    value = jax.jit(chex.assert_max_traces(lambda x: value_of("second layer", x), n=1))
    batch = jax.jit(jax.vmap(jax.value_and_grad(partial(value_of, "second layer"))))
    rates = jnp.array([0.0, 0.1])
    values, slopes = batch(rates)
    np.testing.assert_allclose(values, [value(x) for x in rates], rtol=1e-10)
    assert slopes[0] == pytest.approx(quotient(value), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_derivatives_in_all_numbers_of_all_models(name):
    """Rates, strengths, spectra, options and starts at once."""
    value = jax.jit(partial(value_of, name))
    expected = quotient(value)
    assert jax.jacfwd(value)(0.0) == pytest.approx(expected, rel=1e-6)
    assert jax.grad(value)(0.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_limit_inside_is_the_limit_outside():
    """Same values and errors from the same rule, in one trace."""
    options = {"allow_inaccurate": True}
    outside = limit_of("second layer", 0.01, **options)
    inside = jax.jit(partial(limit_of, "second layer"))(0.01)
    for name, array in outside.values.items():
        np.testing.assert_allclose(inside.values[name], array, rtol=1e-9)
        np.testing.assert_allclose(
            inside.quadrature_error[name], outside.quadrature_error[name], atol=1e-9
        )
    assert inside.attributes == {}
    inside.prediction()
    with pytest.raises(ValueError, match="ask `integrate`"):
        inside.at([0.1])


@pytest.mark.slow
def test_a_batch_of_gradients():
    rates = jnp.linspace(0.0, 0.1, 4)
    value = partial(value_of, "second layer")
    batch = jax.jit(jax.vmap(jax.grad(value)))(rates)
    one = jax.jit(jax.jacfwd(value))
    np.testing.assert_allclose(batch, [one(rate) for rate in rates], rtol=1e-8)


@pytest.mark.slow
def test_population_loss_and_velocity_are_functions_of_numbers_and_overlaps():
    """The loss descends along minus its gradient; errors come with the values."""

    def loss(x, signal):
        overlaps = ld.Overlaps(signal, 0.5 * jnp.eye(2)[None], {})
        return ld.expected_loss(committee(x), overlaps, points=2**8, method="tensor")

    signal = jnp.array([[0.3], [0.1]])
    value, slope = jax.value_and_grad(lambda m: loss(0.0, m)[0])(signal)
    outside = ld.expected_loss(
        committee(0.0),
        ld.Overlaps(signal, 0.5 * jnp.eye(2)[None], {}),
        points=2**8,
        method="tensor",
    )
    assert value == pytest.approx(float(outside[0]), rel=1e-12)
    assert jax.jit(loss)(0.0, signal)[1] == pytest.approx(float(outside[1]), abs=1e-14)
    h = 1e-4
    for k in range(2):
        e = h * jnp.eye(2)[:, k : k + 1]
        quotient = (loss(0.0, signal + e)[0] - loss(0.0, signal - e)[0]) / (2 * h)
        assert slope[k, 0] == pytest.approx(float(quotient), rel=1e-6)
    lower = loss(0.0, signal - 0.1 * slope)[0]
    assert lower < value

    def speed(x):
        overlaps = ld.Overlaps(signal, 0.5 * jnp.eye(2)[None], {})
        return ld.right_hand_side(committee(x), overlaps, points=2**8, method="tensor")[0].signal

    inside, moved = jax.jvp(jax.jit(speed), (0.1,), (1.0,))
    np.testing.assert_allclose(inside, speed(0.1), rtol=1e-12)
    np.testing.assert_allclose(moved, (speed(0.1 + h) - speed(0.1 - h)) / (2 * h), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["second layer", "blocks"])
def test_fluctuations_inside_transformations(name):
    make, dimension = MODELS[name]
    x0 = 0.02

    def spread(x, **options):
        problem = make(x)
        start = start_of(problem, x, 1 if dimension is None else 2)
        found = ld.fluctuations(
            problem, times=[0.5], start=start, dimension=dimension, points=2**7, method="tensor",
            tolerance=1e-9, derivatives="fields", **options,
        )  # fmt: skip
        return found.spread["signal"][0], found.shift["signal"][0]

    inside = jax.jit(spread)
    for a, b in zip(inside(x0), spread(x0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)
    derivatives = jax.jit(jax.jacfwd(spread))(x0)
    # the shift is a difference of order 1/N and known to fewer digits: wide steps, extrapolated
    wide, narrow = (
        [(up - down) / (2 * h) for up, down in zip(inside(x0 + h), inside(x0 - h), strict=True)]
        for h in (2e-2, 1e-2)
    )
    for derivative, far, near in zip(derivatives, wide, narrow, strict=True):
        np.testing.assert_allclose(derivative, (4 * near - far) / 3, rtol=1e-4, atol=1e-6)


def exact_overlap(m):
    """Overlap at tau = 0.4 for absolute error and a linear teacher, by its two exact equations."""

    def velocity(_, y):
        s = ((1 - y[0]) ** 2 + y[1]) ** 0.5
        pull = 0.2 * (2 / np.pi) ** 0.5 / s
        return pull * (1 - y[0]), -2 * pull * y[1] + 0.2**2

    solved = solve_ivp(velocity, (0, 0.4), (m, 1 - m**2), rtol=1e-11, atol=1e-12)
    return solved.y[0, -1]


@pytest.mark.slow
def test_derivatives_across_kinks_are_those_of_the_mean():
    """The slope of |F - y| jumps, its mean over the fields does not."""

    def overlap(m):
        start = ld.order_parameters(jnp.reshape(m, (1, 1)), jnp.ones((1, 1)))
        limit = ld.integrate(
            perceptron(0.0), times=[0.4], start=start, points=2**14, method="sobol"
        )
        return limit.values["signal"][0, 0, 0]

    value, slope = jax.value_and_grad(overlap)(0.2)
    exact = (exact_overlap(0.21) - exact_overlap(0.19)) / 0.02
    assert value == pytest.approx(exact_overlap(0.2), abs=2e-3)
    assert slope == pytest.approx(exact, abs=4e-3)
    assert abs(exact - 1) > 0.02  # what the derivative of the loss itself would say


@pytest.mark.slow
def test_known_numbers_inside_somebodys_jit_are_computed_at_once():
    @jax.jit
    def scaled(x):
        return (
            x
            * limit_of("second layer", 0.0, times=[0.2], allow_inaccurate=True).values["signal"][
                0, 0, 0
            ]
        )

    assert scaled(2.0) == pytest.approx(2 * float(value_at_once()), rel=1e-12)


def value_at_once():
    options = {"times": [0.2], "allow_inaccurate": True}
    return limit_of("second layer", 0.0, **options).values["signal"][0, 0, 0]


@pytest.mark.slow
def test_what_a_transformation_cannot_do_is_refused_by_name():
    start = ld.order_parameters([[0.1], [0.0]], np.eye(2))

    def ask(x, **options):
        return ld.integrate(committee(x), times=[0.5], start=start, **options).values["signal"]

    with pytest.raises(ValueError, match="`accuracy` must be left out inside jit"):
        jax.jit(partial(ask, accuracy=1e-3))(0.1)
    with pytest.raises(ValueError, match="`max_points` must be left out"):
        jax.jit(partial(ask, max_points=2**10))(0.1)
    with pytest.raises(ValueError, match="`finite_size` must be left out"):
        jax.jit(partial(ask, finite_size=True))(0.1)
    with pytest.raises(ValueError, match="`dimension` must be known when"):
        jax.jit(lambda n: ld.integrate(committee(0.1), times=[0.5], start=start, dimension=n))(100)
    with pytest.raises(ValueError, match="taken out of"):
        jax.jit(
            lambda x: ld.integrate(committee(x), times=[0.5], start=start, points=2**6).prediction()
        )(0.1)
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        jax.grad(lambda x: ask(x).sum())(0.1)
    law = ld.StudentT(jnp.float64(5.0))
    with pytest.raises(ValueError, match="`freedom` must be known when"):
        jax.jit(lambda x: ld.StudentT(5.0 + x).quantile(np.array([0.5])))(0.0)
    assert law.quantile(np.array([0.5]))[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.slow
def test_traced_times_that_do_not_increase_give_no_number():
    """They cannot be refused; before the start the polynomial of the first step would go on."""
    traced = jax.jit(lambda tau: limit_of("second layer", 0.0, times=tau).values["signal"])
    assert np.all(np.isfinite(traced(jnp.array([0.2, 0.5]))))
    for times in ([-1.0, 0.5], [0.5, 0.2], [0.2, np.nan]):
        assert not np.any(np.isfinite(traced(jnp.array(times)))), times
