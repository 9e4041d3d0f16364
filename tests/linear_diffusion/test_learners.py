import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learning_dynamics.noise_schedule import forward_process, noise_levels
from learning_dynamics.testing import assert_agrees
from linear_diffusion import (
    Denoiser,
    denoiser_losses,
    gradient_descent,
    online_sgd,
    optimum,
)

D, N = 4, 7
LEVELS = np.array([0.9999, 0.9, 0.5, 0.05])
STARTS = np.random.default_rng(5).standard_normal((LEVELS.size, D, D))


def training_set():
    rng = np.random.default_rng(2)
    return rng.standard_normal((N, D)) @ rng.standard_normal((D, D)) + [1.0, -2.0, 0.0, 0.5]


def moments(rows):
    return rows.mean(axis=0), np.cov(rows.T, bias=True)


def double(array):
    return jnp.asarray(array, jnp.float64)


def objective(weights, bias, rows, a, ridge):
    """Training loss with penalty at one level, from its definition as a mean over the data.

    |W (sqrt(a) (x - b) + sqrt(1-a) eps) - eps|^2 averaged over eps, plus a c |W|^2, over d.
    """
    d = bias.shape[0]
    signal = jnp.sqrt(a) * (rows - bias[None, :]) @ weights.T
    noise = jnp.sqrt(1 - a) * weights - jnp.eye(d)
    squares = jnp.mean(jnp.sum(signal**2, axis=1)) + jnp.sum(noise**2)
    return (squares + a * ridge * jnp.sum(weights**2)) / d


def objective_gradient(weights, rows, a, ridge):
    weights, bias, rows = double(weights), double(rows.mean(axis=0)), double(rows)
    return np.asarray(jax.grad(objective)(weights, bias, rows, a, ridge))


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_optimum_is_the_minimum(ridge):
    rows = training_set()
    with jax.enable_x64(True):
        found = optimum(*map(double, moments(rows)), LEVELS, ridge=ridge)
        assert found.weights.shape == (LEVELS.size, D, D)
        for W, a in zip(found.weights, LEVELS, strict=True):
            gradient = jax.grad(objective, argnums=(0, 1))(W, found.bias, double(rows), a, ridge)
            for part in gradient:
                np.testing.assert_allclose(part, 0, atol=1e-11)
            # the loss is convex in W: a vanishing gradient is the minimum
            away = objective(W + 1e-2, found.bias, double(rows), a, ridge)
            assert away > objective(W, found.bias, double(rows), a, ridge)


def test_the_minimum_depends_on_the_ridge():
    """Control: with another ridge the gradient does not vanish."""
    rows = training_set()
    with jax.enable_x64(True):
        found = optimum(*map(double, moments(rows)), LEVELS, ridge=0.15)
        sizes = [
            np.abs(objective_gradient(W, rows, a, 0.3)).max()
            for W, a in zip(found.weights, LEVELS, strict=True)
        ]
    assert min(sizes) > 1e-4


def test_optimum_of_few_samples_is_finite_in_single_precision():
    """Null directions leave rounding in the spectrum, which must not become negative variance."""
    rows = training_set()[:2].astype(np.float32)
    mean, covariance = moments(rows)
    with jax.enable_x64(True):
        exact = np.asarray(optimum(double(mean), double(covariance), LEVELS).weights)
    found = optimum(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32), LEVELS)
    assert found.weights.dtype == jnp.float32
    scale = np.abs(exact).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found.weights / scale, exact / scale, atol=2e-2)
    np.testing.assert_allclose(found.weights[1:] / scale[1:], exact[1:] / scale[1:], atol=1e-5)


def test_losses_against_sampled_noise(key):
    rows = training_set()
    mean, covariance = moments(rows)
    weights = jnp.asarray(STARTS, jnp.float32)
    bias = jnp.asarray(mean + 0.3, jnp.float32)
    denoiser = Denoiser(weights, bias, noise_levels(LEVELS))
    exact = denoiser_losses(
        denoiser, jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32)
    )
    assert exact.shape == LEVELS.shape
    repeats = 20_000
    eps = np.asarray(jax.random.normal(key, (repeats, N, D)))
    clean = np.broadcast_to(rows, eps.shape)
    for W, a, loss in zip(STARTS, LEVELS, exact, strict=True):
        noisy = np.asarray(forward_process(jnp.asarray(clean), jnp.asarray(eps), a))
        predicted = (noisy - np.sqrt(a) * np.asarray(bias)) @ W.T
        draws = ((predicted - eps) ** 2).sum(axis=-1).mean(axis=1) / D
        assert_agrees(draws, float(loss), bias=1e-5 * float(loss))


def test_losses_on_training_moments_are_the_objective():
    rows = training_set()
    with jax.enable_x64(True):
        mean, covariance = map(double, moments(rows))
        found = Denoiser(double(STARTS), mean, noise_levels(LEVELS, np.float64))
        values = denoiser_losses(found, mean, covariance)
        expected = [
            objective(W, mean, double(rows), a, 0.0)
            for W, a in zip(found.weights, LEVELS, strict=True)
        ]
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def dense_descent(rows, a, rate, ridge, start, steps):
    """W <- W - eta dL/dW with the gradient of the independently written loss."""
    gradient = jax.jit(jax.grad(objective))
    bias, data = double(rows.mean(axis=0)), double(rows)
    W, seen = double(start), {0: start}
    for j in range(max(steps)):
        W = W - rate * gradient(W, bias, data, a, ridge)
        seen[j + 1] = np.asarray(W)
    return np.array([seen[j] for j in steps])


@pytest.mark.parametrize("ridge", [0.0, 0.4])
@pytest.mark.parametrize("start", ["zero", "one for all", "one each"])
def test_gradient_descent_is_the_dense_loop(ridge, start):
    rows, steps = training_set(), [0, 1, 2, 30]
    begin = {"zero": None, "one for all": STARTS[0], "one each": STARTS}[start]
    full = np.broadcast_to(0.0 if begin is None else begin, STARTS.shape)
    with jax.enable_x64(True):
        found = gradient_descent(
            double(moments(rows)[1]),
            LEVELS,
            learning_rate=0.3,
            steps=steps,
            ridge=ridge,
            initial_weights=begin,
        )
        assert found.shape == (4, LEVELS.size, D, D)
        for level, a in enumerate(LEVELS):
            expected = dense_descent(rows, a, 0.3, ridge, full[level], steps)
            np.testing.assert_allclose(found[:, level], expected, rtol=1e-10, atol=1e-12)


def test_gradient_descent_converges_to_the_optimum():
    rows = training_set()
    mean, covariance = moments(rows)
    with jax.enable_x64(True):
        found = gradient_descent(
            double(covariance),
            LEVELS[1:],
            learning_rate=0.3,
            steps=[2000],
            ridge=0.5,
            initial_weights=STARTS[1:],
        )
        target = optimum(double(mean), double(covariance), LEVELS[1:], ridge=0.5)
        np.testing.assert_allclose(found[0], target.weights, rtol=1e-9, atol=1e-10)


def test_gradient_descent_in_single_precision_starts_from_double_weights():
    covariance = jnp.asarray(moments(training_set())[1], jnp.float32)
    found = gradient_descent(
        covariance, LEVELS, learning_rate=0.3, steps=[0, 3], initial_weights=STARTS
    )
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[0], STARTS, atol=1e-5)


def sgd_draws(rows, *, rate, ridge, replicas=4000, seed=3):
    keys = jax.vmap(lambda r: jax.random.fold_in(jax.random.key(seed), r))(jnp.arange(replicas))
    data = jnp.asarray(rows, jnp.float32)

    def one(key):
        return online_sgd(
            data,
            LEVELS,
            learning_rate=rate,
            batch=2,
            steps=[1, 6],
            key=key,
            ridge=ridge,
            initial_weights=STARTS,
        )

    return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def test_mean_of_online_sgd_is_gradient_descent():
    """At a learning rate where a single run is nowhere near the mean; controls must fail."""
    rows = training_set()
    rows = rows / np.sqrt(moments(rows)[1].trace() / D)  # unit variance per dimension
    rate, ridge = 0.5, 0.4
    draws = sgd_draws(rows, rate=rate, ridge=ridge)
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    covariance = jnp.asarray(moments(rows)[1], jnp.float32)

    def residual(rate, ridge):
        mean = gradient_descent(
            covariance,
            LEVELS,
            learning_rate=rate,
            steps=[1, 6],
            ridge=ridge,
            initial_weights=STARTS,
        )
        return np.abs(draws.mean(axis=0) - np.asarray(mean)) / error

    spread = draws[:, 1].std(axis=0) / np.abs(draws[:, 1].mean(axis=0))
    assert np.median(spread) > 0.5  # the fluctuations are large
    assert residual(rate, ridge).max() < 5
    assert residual(rate, ridge / 2).max() > 8
    assert residual(0.9 * rate, ridge).max() > 8


def test_observing_more_often_changes_nothing_and_keys_differ(key):
    rows = jnp.asarray(training_set(), jnp.float32)

    def run(key, steps):
        return online_sgd(rows, LEVELS, learning_rate=0.1, batch=5, steps=steps, key=key)

    found, again = run(key, [1, 3]), run(key, [0, 3])
    np.testing.assert_array_equal(found[1], again[1])
    assert not np.allclose(found, run(jax.random.fold_in(key, 1), [1, 3]))


def test_diverging_gradient_descent_is_refused():
    covariance = jnp.eye(D)
    # max(M) = 1 for white data: the bound is eta < d / max(M) = 4
    for rate in (4.001, 100.0, 0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"`learning_rate` must (.*below|be finite)"):
            gradient_descent(covariance, [0.5], learning_rate=rate, steps=[1])
    found = gradient_descent(covariance, [0.5], learning_rate=3.9, steps=[2000])
    assert np.all(np.isfinite(found))


def test_diverging_sgd_shows(key):
    rows = jnp.asarray(training_set(), jnp.float32)
    found = online_sgd(rows, [0.5], learning_rate=50.0, batch=2, steps=[1, 500], key=key)
    assert np.all(np.isfinite(found[0]))
    assert not np.any(np.isfinite(found[1]))


GOOD = {"learning_rate": 0.1, "steps": [1]}


@pytest.mark.parametrize(
    ("levels", "options", "name"),
    [
        ([0.0], {}, "alpha_bar"),
        ([1.0], {}, "alpha_bar"),
        (0.5, {}, "alpha_bar"),
        ([0.5], {"ridge": -1.0}, "ridge"),
        ([0.5], {"steps": []}, "steps"),
        ([0.5], {"steps": [2, 1]}, "steps"),
        ([0.5], {"learning_rate": -1.0}, "learning_rate"),
        ([0.5], {"learning_rate": np.nan}, "learning_rate"),
    ],
)
def test_bad_arguments(levels, options, name, key):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        gradient_descent(jnp.eye(3), levels, **GOOD | options)
    with pytest.raises(ValueError, match=f"`{name}` must"):
        online_sgd(jnp.eye(3), levels, batch=2, key=key, **GOOD | options)
    if name in ("alpha_bar", "ridge"):
        with pytest.raises(ValueError, match=f"`{name}` must"):
            optimum(jnp.zeros(3), jnp.eye(3), levels, ridge=options.get("ridge", 0.0))


def test_bad_batch(key):
    with pytest.raises(ValueError, match="`batch` must"):
        online_sgd(jnp.eye(3), [0.5], batch=0, key=key, **GOOD)
