"""Training by optax against the kernel; losses on clones against Monte Carlo in d dimensions."""

import jax
import numpy as np
import optax
import pytest

import learning_dynamics as ld
from diffusion_theory import (
    Coupling,
    Gaussian,
    MeanClone,
    MixedCumulant,
    ThreePoint,
    TiedDenoiser,
    best_loss,
    clone_losses,
    linear_optimum,
    mean_clone,
)
from diffusion_theory.clone_learning import CloneLearning, Parting, learn_with_clones
from diffusion_theory.latents import latent_pair
from learning_dynamics.model.overlaps import State, overlaps_of
from tests.diffusion_theory.witness import draw_pair, noisy_samples

SIGNS = np.array([1.0, -1.0, 1.0])
LEARNER = TiedDenoiser("tanh", sign=SIGNS, neurons=3)


@pytest.mark.slow
def test_a_learned_skip_comes_to_rest_where_the_loss_is_least(key):
    inputs = MixedCumulant(2.0)
    learner = TiedDenoiser("tanh", sign=-1, learn_skip=True, skip=0.1)
    problem = ld.Problem(inputs, learner, 50.0, parameter_rates={"skip": 50.0}, batch=16,
                         initial_norm=0.01)  # fmt: skip
    seen = ld.simulate(problem, optimiser=optax.adam(0.01), dimension=50, times=[1 / 50, 6.0],
                       replicas=2, key=key)  # fmt: skip
    a, b = inputs.noise_level.signal, inputs.noise_level.noise
    assert np.all(np.abs(seen.values["skip"][:, 0] - 0.1) < 0.011)
    best = b * 50 / (a**2 * 52 + b**2 * 50)
    assert np.all(np.abs(seen.values["skip"][:, 1] - best) < 0.02)


@pytest.mark.parametrize("neurons", [3, 20])
def test_order_parameters_of_compiled_code(neurons):
    """Norms of many rows, compiled without a replica axis."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(1, neurons, 98)).astype(np.float32)
    state = State(np.zeros((neurons, 2), np.float32), (weights,), {})
    found = np.asarray(jax.jit(overlaps_of)(state).blocks, np.float64)[0]
    wide = weights[0].astype(np.float64)
    np.testing.assert_allclose(found, wide @ wide.T, atol=1e-4)


CASES = {
    "sign, eps": (MixedCumulant(4.0, np.inf, None, "sign"), "eps"),
    "mean, x0": (MixedCumulant(2.0, 3.0, 1.5, Coupling(-0.4), alpha_bar=np.exp(-1)), "x0"),
    "v alone": (MixedCumulant(pair=ThreePoint(0.1)), "eps"),
}


def clone_samples(name, inputs, directions, count, rng):
    """x, z and x0 of data or a clone, written down from the moments of x0."""
    d = directions.shape[1]
    pair = draw_pair(latent_pair(inputs.pair), count, 3)
    strengths = (inputs.covariance, inputs.cumulant, inputs.mean)
    if name == "data":
        return noisy_samples(strengths, pair, directions, inputs.alpha_bar, rng)
    u, v, m = inputs.strengths()
    frame = dict(zip(inputs.names, directions, strict=True))
    mean = m * frame["m"] if "m" in frame else np.zeros(d)
    covariance = np.eye(d)
    if "u" in frame:
        covariance += u**2 * np.outer(frame["u"], frame["u"])
    if {"u", "v"} <= set(frame):
        cross = inputs.pair.rho * u * v * np.outer(frame["u"], frame["v"])
        covariance += cross + cross.T
    if name == "mean clone":
        covariance = np.trace(covariance) / d * np.eye(d)
    x0 = mean + rng.normal(size=(count, d)) @ np.linalg.cholesky(covariance).T
    z = rng.normal(size=(count, d))
    a, b = inputs.noise_level.signal, inputs.noise_level.noise
    return a * x0 + b * z, z, x0


@pytest.mark.parametrize(
    "case",
    [name if name == "sign, eps" else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_losses_on_clones_against_monte_carlo(case):
    inputs, target = CASES[case]
    d, count, skip = 7, 100_000, 0.4
    rng = np.random.default_rng(5)
    directions = np.linalg.qr(rng.normal(size=(d, d)))[0][: inputs.directions]
    weights = rng.normal(size=(3, d)) * 0.5
    learner = TiedDenoiser("tanh", sign=SIGNS, neurons=3, target=target, learn_skip=True, skip=skip)
    start = ld.from_weights(weights, directions)
    found = clone_losses(ld.Problem(inputs, learner, 1.0), start, dimension=d, points=2**15)
    assert max(found.errors.values()) < 0.02
    kappa = inputs.noise_level.signal / inputs.noise_level.noise**2
    for name, value in found.values.items():
        x, z, x0 = clone_samples(name, inputs, directions, count, rng)
        wanted = z if target == "eps" else x0
        best = np.sum(wanted * x, axis=1).mean() / np.sum(x * x, axis=1).mean()
        residual = wanted - skip * x - (SIGNS * np.tanh(kappa * x @ weights.T)) @ weights
        loss = np.sum(residual**2, axis=1) - np.sum((wanted - best * x) ** 2, axis=1)
        assert abs(loss.mean() - value) < 4 * loss.std() / np.sqrt(count) + 3 * found.errors[name]


@pytest.mark.parametrize("case", CASES)
def test_linear_optimum_against_least_squares(case):
    inputs, target = CASES[case]
    d, count = 6, 200_000
    rng = np.random.default_rng(1)
    directions = np.linalg.qr(rng.normal(size=(d, d)))[0][: inputs.directions]
    x, z, x0 = clone_samples("covariance clone", inputs, directions, count, rng)
    wanted = z if target == "eps" else x0
    answer = x @ np.linalg.lstsq(x, wanted, rcond=None)[0]
    best = np.sum(wanted * x) / np.sum(x * x)
    gain = np.sum((wanted - answer) ** 2 - (wanted - best * x) ** 2, axis=1)
    exact = linear_optimum(inputs, target, d)
    assert abs(gain.mean() - exact) < 4 * gain.std() / np.sqrt(count) + 2e-4
    assert exact <= 0


@pytest.mark.parametrize("case", CASES)
def test_best_loss_lies_below_every_denoiser(case, key):
    """Posterior mean by regression on a fine grid of one coordinate; below the linear optimum."""
    inputs, target = CASES[case]
    best, error = best_loss(inputs, target, 50, key=key, draws=10_000)
    linear = linear_optimum(inputs, target, 50)
    assert best < linear - 5 * error
    if inputs.names != ("v",):
        return
    a, b = inputs.noise_level.signal, inputs.noise_level.noise
    rng = np.random.default_rng(0)
    (_, nu), z = draw_pair(latent_pair(inputs.pair), 400_000, 5), rng.normal(size=400_000)
    x = a * nu + b * z
    cell = np.digitize(x, np.linspace(-4, 4, 400))
    count, total = np.bincount(cell), np.bincount(cell, z)
    guess = (total / np.maximum(count, 1))[cell]
    left = np.mean((z - guess) ** 2)
    assert best == pytest.approx(left - a * a, abs=5 * error + 5e-3)


def test_mean_clone_has_mean_and_average_variance():
    inputs = MixedCumulant(4.0, np.inf, 2.0, "sign", alpha_bar=0.4)
    clone = mean_clone(inputs, 10)
    assert float(clone.variance) == pytest.approx(1.4)
    assert clone.directions == 3
    a, b = np.sqrt(0.4), np.sqrt(0.6)
    covariance = clone.mixing() @ clone.mixing().T
    np.testing.assert_allclose(covariance, [[a * a * 1.4 + b * b, b], [b, 1]], rtol=1e-12)
    latents = {"inner": np.zeros(3, np.float32), "added": np.zeros(3, np.float32)}
    signal, level = clone.signal(jax.tree.map(jax.numpy.asarray, latents))
    np.testing.assert_allclose(signal[0], [0, 0, a * 2**0.5], rtol=1e-6)
    assert float(level.noise) == pytest.approx(b)
    traced = jax.jit(lambda clone: clone.mixing())(clone)
    np.testing.assert_allclose(traced, clone.mixing(), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeanClone(np.zeros(2), 0.0), "`variance` must be positive"),
        (lambda: MeanClone(np.zeros(2), 1.0, alpha_bar=-1.0), "`alpha_bar`"),
        (lambda: linear_optimum(MixedCumulant(), "z", 10), "`target`"),
        (
            lambda: best_loss(
                MixedCumulant(1.0, pair=Gaussian(0.3)), "eps", 10, key=jax.random.key(0)
            ),
            "`inputs.pair` must not be Gaussian",
        ),
        (lambda: linear_optimum(MixedCumulant(), "eps", 0), "`dimension`"),
        (
            lambda: clone_losses(
                ld.Problem(mean_clone(MixedCumulant(), 10), TiedDenoiser(), 1.0),
                ld.order_parameters([[0.1]], [[1.0]]), dimension=10,
            ),
            "pair a MixedCumulant",
        ),
        (lambda: TiedDenoiser(sign=np.array([1, -1]), neurons=3), "one of these per neuron"),
        (lambda: TiedDenoiser(sign=np.array([1, 2]), neurons=2), "`sign`"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_losses_part_where_their_gap_stays_wide():
    gap = np.array([[0.0, 1.0, 0.0, 1.0, 1.0], [1.0] * 5, [1.0, 1.0, 1.0, 1.0, 0.0]])
    losses = {"data": np.ones((3, 5)), "mean clone": 1 + gap}
    learning = CloneLearning(np.array([1.0, 10.0, 100.0, 1000.0, 1e4]), losses, losses)
    parting = learning.parting("mean clone", 0.5)
    np.testing.assert_array_equal(parting.place, [3, 0, -1])
    np.testing.assert_array_equal(parting.samples, [1000.0, 1.0, np.inf])
    np.testing.assert_array_equal(parting.at(gap * [1, 2, 3, 4, 5]), [4.0, 1.0, np.nan])
    assert str(parting) == "no"
    both = Parting(parting.place[:2], np.array([100.0, 100.0]))
    assert str(both) == "100 (factor 1.00)"
    axes = learning.plot(2.0, -3.0, [parting, both]).axes[0]  # one is not reached by all
    dotted = [line.get_xdata() for line in axes.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted, [[100.0, 100.0]])
    with pytest.raises(ValueError, match="`gain`"):
        learning.plot(-2.0, -3.0)


@pytest.mark.slow
def test_training_ends_with_the_losses_of_its_last_observation():
    def learn(updates):
        return learn_with_clones(
            MixedCumulant(4.0, pair="sign"), neurons=2, dimension=16, updates=updates, replicas=2,
            batch=4, key=jax.random.key(0),
        )  # fmt: skip

    with pytest.raises(ValueError, match="updates"):
        learn([10, 50])
    learning = learn([10, 60])
    np.testing.assert_array_equal(learning.samples, [40.0, 240.0])
    assert {loss.shape for loss in learning.losses.values()} == {(2, 2)}
    assert all(np.all(np.isfinite(loss)) for loss in learning.losses.values())


def test_clones_by_name_one_replica_and_losses_that_are_numbers():
    losses = {"data": np.zeros((1, 2)), "gaussian": np.ones((1, 2))}
    learned = CloneLearning(np.array([1.0, 2.0]), losses, losses)
    assert str(learned.parting("gaussian", 0.5)) == "1"
    with pytest.raises(ValueError, match="`clone`"):
        learned.gap("other")
    with pytest.raises(ValueError, match="`least`"):
        learned.parting("gaussian", np.nan)
    with pytest.raises(ValueError, match="`best`"):
        learned.plot(1.0, np.nan)
