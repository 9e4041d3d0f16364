"""Tied denoisers: the span loss is the squared error; exact in law against SGD on the weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from diffusion_theory.learners import denoiser_numbers
from learning_dynamics.noise_schedule import NoiseLevels

ACTIVATIONS = {
    "tanh": np.tanh,
    "erf": lambda x: 2 * stats.norm.cdf(x) - 1,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(0, x),
    "linear": lambda x: x,
}


@pytest.mark.parametrize(
    ("activation", "sign", "target", "options"),
    [
        ("tanh", -1, "eps", {}),
        ("tanh", 1, "x0", {}),
        ("erf", 1, "eps", {"kappa": 1.0}),
        ("relu", -1, "x0", {"skip": 0.2}),
        ("softplus", 1, "eps", {"skip": 0.7, "learn_skip": True}),
        ("linear", -1, "x0", {"learn_skip": True}),
    ],
)
def test_span_loss_is_the_squared_error(activation, sign, target, options):
    rng = np.random.default_rng(0)
    w, x, z = rng.normal(size=(3, 7)) / 2, rng.normal(size=7), rng.normal(size=7)
    a, b = 0.8, 0.6
    learner = TiedDenoiser(activation, sign=sign, target=target, neurons=3, **options)
    vectors = np.stack([x, z])
    with jax.enable_x64(True):
        sample = ld.Sample(NoiseLevels(jnp.float64(a**2), jnp.float64(b**2)), vectors @ vectors.T)
        parameters = {k: jnp.float64(v) for k, v in learner.parameters().items()}
        fields, norms = jnp.asarray(w @ vectors.T), jnp.asarray(w @ w.T)
        loss = float(learner.loss(fields, norms, parameters, sample))
    kappa = options.get("kappa", a / b**2)
    learned = options.get("learn_skip")
    fast = b if target == "eps" else a
    s = options.get("skip", 0.0 if learned else fast)
    answer = s * x + sign * w.T @ ACTIVATIONS[activation](kappa * w @ x)
    wanted = z if target == "eps" else (x - b * z) / a
    assert loss == pytest.approx(np.sum((wanted - answer) ** 2), rel=1e-12)


def test_numbers_of_a_denoiser():
    inputs = MixedCumulant(alpha_bar=float(np.exp(-1.0)))
    a, b = np.exp(-0.5), np.sqrt(1 - np.exp(-1.0))
    assert denoiser_numbers(inputs, TiedDenoiser()) == pytest.approx((a, b, a / b**2, b))
    learner = TiedDenoiser(target="x0", learn_skip=True, skip=0.1, kappa=2.0)
    assert denoiser_numbers(inputs, learner) == pytest.approx((a, b, 2.0, a))
    assert denoiser_numbers(inputs, TiedDenoiser(skip=0.1)) == pytest.approx((a, b, a / b**2, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["eps", "x0"])
def test_a_learned_skip_is_held_at_its_fast_value_in_the_limit(target):
    start = ld.order_parameters([[0.2]], [[1.0]])
    learner = TiedDenoiser(target=target, learn_skip=True)
    inputs = MixedCumulant()
    problem = ld.Problem(inputs, learner, 0.2, parameter_rates={"skip": 0.3})
    limit = ld.integrate(problem, times=[0.5], start=start, points=2**11, tolerance=1e-4)
    a, b = inputs.noise_level.signal, inputs.noise_level.noise
    assert limit.values["skip"][0] == pytest.approx(b if target == "eps" else a, abs=1e-9)


CASES = {
    "plain, two neurons, learned skip": (
        {"sign": -1, "learn_skip": True, "skip": 0.3, "neurons": 2},
        {"parameter_rates": {"skip": 0.2}},
        2,
    ),
    "spherical": ({"target": "x0"}, {"update": "spherical"}, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "level"), [(c, e) for c in CASES for e in ("overlaps", "ambient")]
)
def test_levels_against_sgd_on_the_weights(case, level, key):
    """x0, noise and network in d = 7 dimensions with dense vectors and autodiff on W."""
    options, rates, neurons = CASES[case]
    dimension, steps, replicas, eta = 7, 15, 2000, 0.3
    inputs = MixedCumulant(2.0, 3.0, None, "sign", alpha_bar=0.4)
    learner = TiedDenoiser("tanh", **options)
    problem = ld.Problem(inputs, learner, eta, **rates)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(neurons, dimension)) / np.sqrt(dimension)
    if problem.update != "plain":
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    directions = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0][:2]
    seen = ld.simulate(
        problem, dimension=dimension, times=[steps / dimension], replicas=replicas, key=key,
        level=level, start=ld.from_weights(weights, directions),
    )  # fmt: skip
    u, v = jnp.asarray(directions, jnp.float32)
    a, b = np.sqrt(0.4), np.sqrt(0.6)
    kappa, sign = a / b**2, options.get("sign", 1)
    x0_target = options.get("target") == "x0"

    def sample(key):
        lam_key, clean_key, noise_key = jax.random.split(key, 3)
        lam = jax.random.normal(lam_key)
        x0 = jax.random.normal(clean_key, (dimension,)) + 3.0**0.5 * jnp.sign(lam) * v
        x0 = x0 - (1 - 0.5) * jnp.dot(x0, v) * v + 2.0**0.5 * lam * u  # (1 + 3)^-1/2 = 1/2
        z = jax.random.normal(noise_key, (dimension,))
        return a * x0 + b * z, x0 if x0_target else z

    def loss(w, s, x, target):
        return jnp.sum((target - s * x - sign * w.T @ jnp.tanh(kappa * (w @ x))) ** 2)

    def step(carry, key):
        w, s = carry
        x, target = sample(key)
        gradient, slope = jax.grad(loss, argnums=(0, 1))(w, s, x, target)
        if problem.update == "spherical":
            gradient = gradient - jnp.sum(gradient * w, axis=1, keepdims=True) * w
        w = w - eta / dimension * gradient
        if problem.update == "spherical":
            w = w / jnp.linalg.norm(w, axis=1, keepdims=True)
        if options.get("learn_skip"):
            s = s - 0.2 / dimension * slope
        return (w, s), None

    first = options.get("skip", a if x0_target else b)

    def run(key):
        start = (jnp.asarray(weights, jnp.float32), jnp.float32(first))
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0]

    w, s = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(5), replicas))
    w = np.asarray(w)
    wanted = [w @ directions.T, np.einsum("aki,ali->akl", w, w)]
    got = [seen.values["signal"][:, 0], seen.values["norms"][:, 0]]
    if options.get("learn_skip"):
        wanted.append(np.asarray(s)[:, None])
        got.append(seen.values["skip"])
    one, two = (np.concatenate([x.reshape(replicas, -1) for x in y], axis=1) for y in (got, wanted))
    one, two = np.round(one, 5), np.round(two, 5)
    columns = [(one[:, i], two[:, i]) for i in range(one.shape[1])]
    for i, j in itertools.combinations(range(one.shape[1]), 2):
        columns.append((one[:, i] * one[:, j], two[:, i] * two[:, j]))
    p = [stats.ks_2samp(*c).pvalue for c in columns]
    assert min(p) > 1e-5 / len(p)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TiedDenoiser("cube"), "`activation`"),
        (lambda: TiedDenoiser(3.0), "a name or a function"),
        (lambda: TiedDenoiser(jnp.sign), "have a derivative"),
        (lambda: TiedDenoiser(lambda x: jnp.sum(x)), "vectorised"),
        (lambda: TiedDenoiser(lambda x: float(x)), "vectorised"),
        (lambda: TiedDenoiser(lambda x: np.tanh(np.asarray(x))), "differentiable"),
        (lambda: TiedDenoiser(lambda x: x / jnp.sum(jnp.abs(x))), "elementwise"),
        (lambda: TiedDenoiser(lambda x: jnp.log(x)), "finite"),
        (lambda: TiedDenoiser(sign=2), "`sign` must be 1 or -1"),
        (lambda: TiedDenoiser(target="z"), "`target`"),
        (lambda: TiedDenoiser(kappa=0.0), "`kappa` must be positive"),
        (lambda: TiedDenoiser(skip=np.nan), "`skip`"),
        (lambda: TiedDenoiser(neurons=0), "`neurons`"),
        (lambda: TiedDenoiser(learn_skip=1), "`learn_skip`"),
        (
            lambda: ld.Problem(MixedCumulant(), TiedDenoiser(), 0.1, parameter_rates={"skip": 1.0}),
            "`parameter_rates`",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_function_of_ones_own_is_an_activation():
    learner = TiedDenoiser(lambda x: x / jnp.sqrt(1 + x * x))
    assert ld.Problem(MixedCumulant(), learner, 0.1).learner is learner
