"""Several spikes of each kind, and many noise levels, against single ones and direct samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from diffusion_theory import (
    Coupling,
    ManyLevels,
    MixedCumulant,
    SeveralSpikes,
    ThreePoint,
    TiedDenoiser,
)
from diffusion_theory.inputs import UnmixedLevel

ONE = MixedCumulant(2.0, 3.0, None, Coupling(0.4), alpha_bar=0.4)
OTHER = MixedCumulant(None, np.inf, 1.5, ThreePoint(0.1), alpha_bar=0.4)
COUPLED = MixedCumulant(2.0, 3.0, None, "sign", alpha_bar=0.4)
BOTH = SeveralSpikes((ONE, OTHER))


def draw(inputs, count, seed=0):
    variables = inputs.latents()
    keys = jax.random.split(jax.random.key(seed), len(variables))
    latents = {
        name: latent.draw(key, (count,), jnp.float32)
        for (name, latent), key in zip(variables.items(), keys, strict=True)
    }
    return jax.vmap(inputs.signal)(latents)


def close(samples, exact):
    error = samples.std(axis=0, ddof=1) / np.sqrt(samples.shape[0])
    assert np.all(np.abs(samples.mean(axis=0) - exact) <= 5 * error + 1e-6)


@pytest.mark.slow
def test_parts_keep_their_laws_and_are_independent():
    assert BOTH.names == ("u1", "v1", "v2", "m2")
    found, level = draw(BOTH, 30_000)
    x = np.asarray(found[:, 0], np.float64)
    a = float(level.signal[0])
    close(x[:, 0] * x[:, 1], a * a * 0.75**0.5 * 2**0.5 * 0.4)
    close(x[:, 2] ** 4 - 3, a**4 * OTHER.cumulants()[0, 4])
    close(x[:, 3], a * 1.5**0.5)
    for i in (0, 1):
        for j in (2, 3):
            close(x[:, i] * x[:, j], 0.0)
            close((x[:, i] ** 2 - np.mean(x[:, i] ** 2)) * x[:, j] ** 2, 0.0)
    assert BOTH.gaussian().parts[0].pair.rho == pytest.approx(0.4)


def rates(inputs, learner, overlaps):
    problem = ld.Problem(inputs, learner, 0.5)
    start = ld.order_parameters(overlaps, np.eye(learner.neurons))
    rate, error = ld.right_hand_side(problem, start, points=2**13)
    return rate, error


@pytest.mark.slow
def test_a_single_part_has_the_flow_of_the_model():
    learner = TiedDenoiser("tanh", sign=-1)
    overlaps = np.array([[0.4, 0.3]])
    one = rates(ONE, learner, overlaps)
    same = rates(SeveralSpikes((ONE,)), learner, overlaps)
    scale = 4 * (one[1].signal + same[1].signal) + 1e-9
    assert np.all(np.abs(one[0].signal - same[0].signal) < scale)


@pytest.mark.slow
def test_a_neuron_that_sees_one_part_moves_as_if_it_were_alone():
    learner = TiedDenoiser("tanh", sign=-1)
    alone = rates(ONE, learner, np.array([[0.5, 0.3]]))
    among = rates(BOTH, learner, np.array([[0.5, 0.3, 0.0, 0.0]]))
    scale = 4 * (alone[1].signal + among[1].signal[:, :2]) + 1e-9
    assert np.all(np.abs(alone[0].signal - among[0].signal[:, :2]) < scale)


@pytest.mark.slow
def test_one_level_among_many_is_the_model_itself():
    learner, overlaps = TiedDenoiser("tanh", sign=-1), np.array([[0.2, 0.7]])
    alone = rates(COUPLED, learner, overlaps)
    level = rates(ManyLevels(COUPLED, alpha_bar=[0.4]), learner, overlaps)
    scale = 4 * (alone[1].signal + level[1].signal) + 1e-9
    assert np.all(np.abs(alone[0].signal - level[0].signal) < scale)
    assert np.max(np.abs(alone[0].signal)) > 3 * np.max(scale)


@pytest.mark.slow
def test_many_levels_average_the_flows():
    learner, overlaps = TiedDenoiser("tanh", sign=-1, kappa=1.0), np.array([[0.5, 0.4]])
    levels, shares = [0.7, 0.4, 0.15], [0.5, 0.25, 0.25]
    whole = rates(ManyLevels(COUPLED, alpha_bar=levels, probabilities=shares), learner, overlaps)
    single = [
        rates(MixedCumulant(2.0, 3.0, None, "sign", alpha_bar=level), learner, overlaps)
        for level in levels
    ]
    mean = sum(p * s[0].signal for p, s in zip(shares, single, strict=True))
    error = whole[1].signal + sum(p * s[1].signal for p, s in zip(shares, single, strict=True))
    assert np.all(np.abs(whole[0].signal - mean) < 4 * error + 1e-9)


def test_loss_of_unmixed_vectors_is_the_squared_error():
    rng = np.random.default_rng(0)
    w, x0, z = rng.normal(size=(3, 7)) / 2, rng.normal(size=7), rng.normal(size=7)
    a, b = 0.8, 0.6
    x = a * x0 + b * z
    for target, wanted in (("eps", z), ("x0", x0)):
        signs = np.array([1, -1, 1])
        learner = TiedDenoiser("tanh", sign=signs, target=target, neurons=3, kappa=1.2, skip=0.3)
        vectors = np.stack([x0, z])
        with jax.enable_x64(True):
            level = UnmixedLevel(jnp.float64(a**2), jnp.float64(b**2))
            sample = ld.Sample(level, jnp.asarray(vectors @ vectors.T))
            fields, norms = jnp.asarray(w @ vectors.T), jnp.asarray(w @ w.T)
            loss = float(learner.loss(fields, norms, {}, sample))
        answer = 0.3 * x + w.T @ (signs * np.tanh(1.2 * w @ x))
        assert loss == pytest.approx(np.sum((wanted - answer) ** 2), rel=1e-12)


@pytest.mark.slow
def test_the_chain_runs_with_many_levels(key):
    """Drift of the overlap after a short time, beside the right-hand side of the limit."""
    inputs, learner = (
        ManyLevels(MixedCumulant(4.0, None), alpha_bar=[0.2, 0.6]),
        TiedDenoiser("tanh", sign=-1),
    )
    problem = ld.Problem(inputs, learner, 0.1, update="spherical")
    start = ld.order_parameters([[0.3]], [[1.0]])
    seen = ld.simulate(
        problem, dimension=1000, times=[0.1], replicas=800, level="overlaps", key=key, start=start
    )
    drift = (seen.values["signal"][:, 0, 0, 0] - 0.3) / 0.1
    rate, wrong = ld.right_hand_side(problem, start, points=2**13)
    error = drift.std(ddof=1) / 800**0.5 + wrong.signal[0, 0]
    assert abs(drift.mean() - rate.signal[0, 0]) < 4 * error + 0.1 * abs(rate.signal[0, 0])
    assert rate.signal[0, 0] > 4 * error


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SeveralSpikes(()), "one or more MixedCumulant"),
        (lambda: SeveralSpikes((ONE, "v")), "one or more MixedCumulant"),
        (lambda: SeveralSpikes((ONE, MixedCumulant())), "share one alpha_bar"),
        (lambda: ManyLevels("mcm", alpha_bar=[0.1]), "`inputs` must be a MixedCumulant"),
        (
            lambda: ManyLevels(ONE, alpha_bar=[0.1, 0.0]),
            "`alpha_bar` must lie strictly between 0 and 1",
        ),
        (lambda: ManyLevels(ONE, alpha_bar=[]), "`alpha_bar`"),
        (
            lambda: ManyLevels(ONE, alpha_bar=[0.1, 0.2], probabilities=[0.5, 0.6]),
            "`probabilities`",
        ),
        (lambda: ManyLevels(ONE, alpha_bar=[0.1, 0.2], probabilities=[1.0]), "`probabilities`"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
