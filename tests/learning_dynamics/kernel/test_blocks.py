"""Noise blocks: the limit against the exact process, equal blocks, norms measured by variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf

import learning_dynamics as ld
from tests.learning_dynamics.kernel.models import Bands, Committee, Teacher


@ld.configuration
class Normalised(ld.Learner):
    """-y erf(2 w.x / sqrt(w' Sigma w)): the loss of a normalised preactivation."""

    normaliser = "inputs"

    @property
    def neurons(self):
        return 1

    def loss(self, fields, norms, parameters, sample):
        return -sample.label * erf(2 * fields[0, 0] / jnp.sqrt(norms[0, 0]))


@pytest.mark.slow
def test_equal_blocks_are_one_block():
    """Splitting isotropic noise changes nothing: R = R_1 + R_2 moves as in one block."""
    m = np.array([[0.4], [0.1]])
    r = np.array([[0.7, 0.2], [0.2, 0.6]])
    one = ld.Problem(Teacher(np.array([1.0])), Committee(2), 1.0)
    two = ld.Problem(Bands(np.array([1.0])), Committee(2), 1.0)
    options = {"points": 2**14, "method": "tensor"}
    single, _ = ld.right_hand_side(one, ld.Overlaps(m, r[None], {}), **options)
    split = np.stack([0.3 * r, 0.7 * r])
    both, _ = ld.right_hand_side(two, ld.Overlaps(m, split, {}), dimension=10**6, **options)
    np.testing.assert_allclose(both.signal, single.signal, rtol=1e-9)
    np.testing.assert_allclose(both.blocks.sum(axis=0), single.blocks[0], rtol=1e-5, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "update"), [(Normalised(), "spherical"), (Committee(2), "plain")]
)
def test_limit_with_blocks_follows_the_exact_process(learner, update, key):
    """Bands of variance 2, 1, 0.2; every block's norm, within errors and 1/N."""
    inputs = Bands(np.array([1.0]), shares=(0.2, 0.3, 0.5), variances=(2.0, 1.0, 0.2))
    problem = ld.Problem(inputs, learner, 1.0, update=update)
    k, n = learner.neurons, 1500
    shares = np.array([0.2, 0.3, 0.5])[:, None, None]
    signal = np.array([[0.4], [-0.2]])[:k]
    start = ld.Overlaps(signal, shares * np.eye(k) * (1 - signal[0, 0] ** 2), {})
    times = np.array([0.5, 1.5])
    options = {"times": times, "start": start, "observe": {"blocks": lambda o: o.blocks}}
    limit = ld.integrate(problem, dimension=n, points=2**12, **options)
    seen = ld.simulate(problem, dimension=n, replicas=200, key=key, level="overlaps", **options)
    wanted = ["signal", "norms", "blocks"]
    mean, theory = seen.measurement(wanted), limit.prediction(wanted)
    scale = np.hypot(mean.standard_error, theory.numerical_error)
    assert np.all(np.abs(mean.values - theory.values) < 5 * scale + 3 / n)
    assert np.max(np.abs(theory.values[-1] - theory.values[0])) > 0.05
    if update == "spherical":  # the control below compiles another limit
        return
    wrong = ld.Problem(
        Bands(np.array([1.0]), shares=(0.2, 0.3, 0.5), variances=(0.2, 1.0, 2.0)),
        learner, 1.0, update=update,
    )  # fmt: skip
    other = ld.integrate(wrong, dimension=n, **options).prediction(wanted)
    assert np.max(np.abs(mean.values - other.values) / scale) > 20


@pytest.mark.slow
def test_normalised_preactivation_against_sgd_on_the_weights(key):
    """The gradient of w' Sigma w pulls each band by its variance."""
    inputs = Bands(np.array([1.0]), shares=(0.5, 0.5), variances=(2.0, 0.3))
    problem = ld.Problem(inputs, Normalised(), 1.0)
    n, steps, replicas = 9, 15, 3000
    variances = jnp.asarray([1.0] + [2.0] * 4 + [0.3] * 4)
    weights = jnp.asarray([0.4, *np.linspace(-0.5, 0.5, 8)], jnp.float32)

    def loss(w, x, y):
        return -y * erf(2 * jnp.sum(w * x) / jnp.sqrt(jnp.sum(variances * w * w)))

    def step(w, key):
        x = jax.random.normal(key, (n,)) * jnp.sqrt(variances)
        y = erf(x[0] / jnp.sqrt(2.0))
        return w - jax.grad(loss)(w, x, y) / n, None

    keys = jax.random.split(jax.random.key(3), (replicas, steps))
    w = jax.jit(jax.vmap(lambda k: jax.lax.scan(step, weights, k)[0]))(keys)
    host = np.asarray(weights, np.float64)
    bands = np.array([[[host[1:5] @ host[1:5]]], [[host[5:] @ host[5:]]]])
    seen = ld.simulate(
        problem, dimension=n, times=[steps / n], replicas=replicas, key=key,
        start=ld.Overlaps(host[:1, None], bands, {}), observe={"blocks": lambda o: o.blocks},
    )  # fmt: skip
    w = np.asarray(w, np.float64)
    expected = np.stack([w[:, 0], (w[:, 1:5] ** 2).sum(1), (w[:, 5:] ** 2).sum(1)], axis=1)
    found = np.concatenate(
        [seen.values["signal"].reshape(replicas, 1), seen.values["blocks"].reshape(replicas, 2)], 1
    )
    error = np.hypot(expected.std(0), found.std(0)) / np.sqrt(replicas)
    assert np.all(np.abs(expected.mean(0) - found.mean(0)) < 5 * error)
    np.testing.assert_allclose(expected.std(0), found.std(0), rtol=0.08)


def test_blocks_must_fill_the_space():
    @ld.configuration
    class Short(Teacher):
        def blocks(self, dimension):
            return (ld.NoiseBlocks(2, np.ones(1)),)

    problem = ld.Problem(Short(np.array([1.0])), Committee(1), 1.0)
    options = {"times": [1.0], "replicas": 2, "key": jax.random.key(0)}
    with pytest.raises(ValueError, match="blocks"):
        ld.simulate(problem, dimension=10, **options)
    bands = ld.Problem(Bands(np.array([1.0])), Committee(1), 1.0)
    start = ld.Overlaps(np.zeros((1, 1)), np.full((2, 1, 1), 0.5), {})
    with pytest.raises(ValueError, match="dimension"):
        ld.integrate(bands, times=[1.0], start=start)
