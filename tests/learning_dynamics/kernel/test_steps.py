"""Repeated batches, clipped and normalised gradients, orthogonal updates, momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learning_dynamics as ld
from learning_dynamics.limit.sample_step import sample_step
from learning_dynamics.process.steps import gradient_factor, inverse_root
from learning_dynamics.protocols.regression import regression_with_momentum
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher
from tests.learning_dynamics.kernel.searching import Correlator, Monomial

KEY = jax.random.key(4)


def committee(neurons=2, rate=0.8, **options):
    return ld.Problem(Teacher(np.ones(1)), Committee(neurons), rate, **options)


def linear(rate, noise, **options):
    """Linear regression: label e.x + noise."""
    inputs = Teacher(np.ones(1), activation="linear")
    return ld.Problem(inputs, Committee(1, "linear"), rate, label_noise=noise, **options)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"repeats": 0}, "repeats"),
        ({"repeats": 1.5}, "repeats"),
        ({"clip": 0.0}, "clip"),
        ({"clip": -1.0}, "clip"),
        ({"clip": 1.0, "normalise": True}, "clip"),
        ({"normalise": 1}, "normalise"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
        ({"momentum": np.nan}, "momentum"),
        ({"update": "orthogonal", "weight_decay": 0.1}, "weight_decay"),
        ({"update": "orthogonal", "initial_norm": 0.5}, "initial_norm"),
        ({"update": "orthonormal"}, "update"),
    ],
)
def test_bad_options_are_named(options, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}`"):
        committee(**options)


def test_orthonormal_rows_need_as_many_dimensions_and_such_a_start():
    options = {"times": [1.0], "replicas": 1, "key": KEY}
    problem = committee(4, update="orthogonal")
    with pytest.raises(ValueError, match="Argument `dimension` must be at least K = 4"):
        ld.simulate(problem, dimension=3, **options)
    tilted = ld.order_parameters([[0.1], [0.2]], [[1.0, 0.5], [0.5, 1.0]])
    two = committee(update="orthogonal")
    for call in (
        lambda: ld.simulate(two, dimension=9, start=tilted, **options),
        lambda: ld.integrate(two, times=[1.0], start=tilted),
    ):
        with pytest.raises(ValueError, match="Argument `start` must have orthonormal rows"):
            call()


@pytest.mark.parametrize("option", [{"clip": 0.5}, {"normalise": True}, {"momentum": 0.5}])
def test_an_optimiser_brings_its_own_steps(option):
    with pytest.raises(ValueError, match="Argument `problem"):
        ld.simulate(
            committee(**option), dimension=8, times=[1.0], replicas=1, key=KEY,
            optimiser=optax.sgd(1.0),
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "optimiser"),
    [({"repeats": 2, "update": "orthogonal"}, optax.sgd(1.0)),
     ({"repeats": 2, "batch": 2, "momentum": 0.7}, optax.sgd(1.0, momentum=0.7))],
)  # fmt: skip
def test_steps_are_those_of_optax(options, optimiser):
    """Equal paths: the optimiser holds the same weights and draws the same samples."""
    run = {"dimension": 12, "times": [0.5, 2.0], "replicas": 3, "key": KEY}
    rates = {"parameter_rates": {"v": 0.3}}
    plain = {name: value for name, value in options.items() if name != "momentum"}
    one = ld.simulate(committee(**options, **rates), **run)
    two = ld.simulate(committee(**plain, **rates), optimiser=optimiser, **run)
    for name in one.values:
        assert np.allclose(one.values[name], two.values[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("level", ["ambient", "overlaps"])
def test_linear_regression_with_momentum(level):
    """At once, and in two halves: the second remembers the samples of the first."""
    n, memory, updates = 10, 0.8, 12
    problem = linear(0.15, 0.5, momentum=memory)
    start = ld.order_parameters([[0.0]], [[0.01]])
    options = {"dimension": n, "replicas": 4000, "level": level}

    def error_after(start, updates):
        return regression_with_momentum(
            [updates], rate=0.15, momentum=memory, dimension=n, label_noise=0.5, distance=start
        )[0]

    first = ld.simulate(problem, times=[updates / n], key=KEY, start=start, **options)
    second = ld.simulate(
        problem, times=[updates / n], key=jax.random.key(5), start=first, **options
    )
    for run, count in ((first, updates), (second, 2 * updates)):
        error = (run.values["norms"][:, 0, 0, 0] - 2 * run.values["signal"][:, 0, 0, 0]) + 1
        exact = error_after(1.01, count)
        assert abs(error.mean() - exact) < 5 * error.std() / len(error) ** 0.5 + 1e-5
    # without the memory the second half would begin slowly
    forgotten = error_after(error_after(1.01, updates), updates)
    assert abs(exact - forgotten) > 5 * error.std() / len(error) ** 0.5


@pytest.mark.slow
def test_momentum_is_a_larger_rate_in_the_limit():
    start = ld.order_parameters([[0.1], [0.3]], [[0.5, 0.1], [0.1, 0.8]])
    options = {"parameter_rates": {"v": 0.3}, "weight_decay": 0.2}
    one, _ = ld.right_hand_side(committee(momentum=0.75, **options), start, points=2**8)
    larger = {**options, "parameter_rates": {"v": 1.2}}
    two, _ = ld.right_hand_side(committee(rate=3.2, **larger), start, points=2**8)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.allclose(a, b, rtol=1e-12)


@pytest.mark.slow
def test_repeated_steps_in_the_limit_follow_all_weights():
    """A and D of three steps with a batch of two, at N = 40 000, with momentum and clipping."""
    n, rng, eta, beta = 40_000, np.random.default_rng(3), 0.7, 0.6
    vectors = rng.normal(size=(2, 2, n)) * np.array([[[1.0], [0.7]]])  # (batch, p, N)
    weights = rng.normal(size=(2, n)) / n**0.5
    learner = Denoiser(2)

    def loss(w, x, q):
        sample = ld.Sample(None, jnp.zeros((2, 2), w.dtype))
        return learner.loss(w @ x.T, q, known, sample)

    with jax.enable_x64(True):
        known = {"skip": jnp.float64(0.3)}
        slope = jax.grad(loss, argnums=(0, 2))
        w, v, pull = jnp.asarray(weights), 0.0, 0.0
        along = [0.0, 0.0]
        for _ in range(3):
            parts = [slope(w, jnp.asarray(x), w @ w.T) for x in vectors]
            pull = pull + parts[0][1] + parts[0][1].T
            along = [a + p[0] for a, p in zip(along, parts, strict=True)]
            mean = sum(p[0] + (p[1] + p[1].T) @ w for p in parts) / 2
            v = beta * v - eta / n * mean
            w = w + v
        problem = ld.Problem(Spike(), learner, eta, batch=2, repeats=3, momentum=beta)
        fields, norms = jnp.asarray(weights @ vectors[0].T), jnp.asarray(weights @ weights.T)
        step = sample_step(
            problem.cast(jnp.float64), fields, norms, known, None,
            jnp.asarray(np.diag([1.0, 0.49])),
        )  # fmt: skip
        given = jnp.linalg.lstsq(jnp.asarray(vectors[0]).T, along[0].T)[0].T
        assert np.allclose(step.fields, given, atol=0.03)
        assert np.allclose(step.pull, pull, atol=0.03)


def test_gradient_factor():
    square = jnp.array([0.0, 0.25, 4.0])
    unit = gradient_factor(committee(normalise=True), square)
    assert np.allclose(unit, [0.0, 2.0, 0.5])
    clipped = committee(clip=1.0)
    assert np.allclose(gradient_factor(clipped, square), [1.0, 1.0, 0.5])
    slopes = jax.grad(lambda s: jnp.sum(gradient_factor(clipped, s)))(square)
    assert np.allclose(slopes, [0.0, 0.0, -0.0625])


@pytest.mark.slow
def test_inverse_root():
    rows = np.random.default_rng(0).normal(size=(5, 9))
    gram = rows @ rows.T
    with jax.enable_x64(True):
        root = np.asarray(inverse_root(jnp.asarray(gram)))
        assert np.allclose(root @ gram @ root, np.eye(5), atol=1e-10)
        slope = jax.jacfwd(inverse_root)(jnp.eye(3))  # equal eigenvalues do no harm
    change = np.random.default_rng(1).normal(size=(3, 3))
    change = change + change.T
    assert np.allclose(np.einsum("ijkl,kl->ij", slope, change), -change / 2, atol=1e-10)


@pytest.mark.slow
def test_random_orthonormal_rows_are_uniform():
    """Of K = N = 3 rows too: E M^2 = 1 / N and E M_1^2 M_2^2 = 1 / (N (N + 2)) along a row."""
    problem = ld.Problem(Teacher(np.ones(2)), Committee(3), 0.5, update="orthogonal")
    for n in (3, 12):
        start = ld.random_starts(problem, dimension=n, replicas=4000, key=KEY)
        assert np.allclose(start.norms, np.eye(3), atol=2e-5)
        square = start.signal**2
        for draws, mean in (
            (square[:, 1, 0], 1 / n),
            (square[:, 2, 0] * square[:, 2, 1], 1 / (n * (n + 2))),
            (square[:, 0, 0] * square[:, 1, 0], 1 / (n * (n + 2))),
        ):
            assert abs(draws.mean() - mean) < 5 * draws.std() / len(draws) ** 0.5


@pytest.mark.slow
def test_reuse_lowers_the_exponent_of_a_cubic_teacher():
    """E A_2 x = -(eta^2 / 8) E[y^3 x] E[He_2^2] = -(eta^2 / 4) E[He_3^3 x] = -81 eta^2."""
    twice = ld.Problem(Monomial(3), Correlator(3), 0.3, update="spherical", repeats=2)
    found = ld.information_exponent(twice, highest=1, points=2**9)
    assert found.order == 1
    assert abs(found.coefficient + 81 * 0.3**2) < 1e-6
