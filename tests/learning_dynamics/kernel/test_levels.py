"""Levels against each other and against SGD on the weights, in law and at small N."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf
from scipy import stats

import learning_dynamics as ld
from tests.learning_dynamics.kernel.models import ROOT2, Blocks, Committee, Denoiser, Spike, Teacher
from tests.learning_dynamics.kernel.witness import weight_space_sgd

REPLICAS = 3000


def columns(trajectory, index=-1):
    """All observed components of all replicas at one time, shape (replicas, components)."""
    return np.concatenate(
        [v[:, index].reshape(trajectory.replicas, -1) for v in trajectory.values.values()], axis=1
    )


def assert_same_law(one, two, false_alarm=1e-5):
    """Kolmogorov-Smirnov on every component and on products of pairs (joint law).

    Rounded to five digits, so that norms fixed to one compare equal.
    """
    one, two = np.round(one, 5), np.round(two, 5)
    assert one.shape[1] == two.shape[1]
    pairs = [(i, j) for i in range(one.shape[1]) for j in range(i)]
    one = np.concatenate([one, *[one[:, i : i + 1] * one[:, j : j + 1] for i, j in pairs]], axis=1)
    two = np.concatenate([two, *[two[:, i : i + 1] * two[:, j : j + 1] for i, j in pairs]], axis=1)
    p = [stats.ks_2samp(a, b).pvalue for a, b in zip(one.T, two.T, strict=True)]
    assert min(p) > false_alarm / len(p), (int(np.argmin(p)), min(p))


def committee_network(w, parameters, vectors, label):
    return (jnp.sum(parameters["v"] * erf(w @ vectors[0] / ROOT2)) - label) ** 2 / 2


def committee_sample(problem, directions, deviations):
    """x in an arbitrary basis: orthonormal rows of `directions`, variance per direction."""
    r = problem.inputs.directions

    def sample(key):
        x_key, noise_key = jax.random.split(key)
        local = jax.random.normal(x_key, (directions.shape[0],)) * deviations
        hidden = erf(local[:r] / ROOT2)
        label = jnp.sum(jnp.asarray(problem.inputs.amplitudes, jnp.float32) * hidden)
        noise = 0.0 if problem.label_noise is None else problem.label_noise
        label = label + noise * jax.random.normal(noise_key)
        return (local @ directions)[None], label

    return sample


def rotation(dimension, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))[0]


CASES = {
    "plain": ({"parameter_rates": {"v": 0.6}, "label_noise": 0.3, "weight_decay": 0.2}, 8),
    "batch": ({"parameter_rates": {"v": 0.6}, "batch": 3}, 9),
    "spherical": ({"update": "spherical"}, 7),
    "projected": ({"update": "projected", "batch": 2}, 8),
    "minimum": ({}, 6),
    "below the Wishart minimum": ({}, 4),
    "one noise dimension": ({"update": "spherical"}, 3),
    "no noise": ({}, 2),
}


QUICK = {("plain", "overlaps")}


@pytest.mark.parametrize(
    ("case", "level"),
    [
        pytest.param(case, level, marks=() if (case, level) in QUICK else pytest.mark.slow)
        for case in CASES
        for level in ("ambient", "overlaps")
    ],
)
def test_committee_against_sgd_on_the_weights(case, level, key):
    """Any rotation of the signal directions; includes N = r + K + 2 and much smaller N."""
    options, dimension = CASES[case]
    problem = ld.Problem(Teacher(np.array([1.0, -0.7])), Committee(2), 1.5, **options)
    directions = jnp.asarray(rotation(dimension), jnp.float32)
    weights = np.random.default_rng(1).normal(size=(2, dimension)) / np.sqrt(dimension)
    if problem.update != "plain":
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    start = ld.from_weights(weights, directions[:2])
    steps = 25
    seen = ld.simulate(
        problem, dimension=dimension, times=[steps / dimension], replicas=REPLICAS, key=key,
        level=level, start=start,
    )  # fmt: skip
    rates = {name: rate / dimension for name, rate in problem.parameter_rates.items()}
    run = weight_space_sgd(
        committee_network,
        committee_sample(problem, directions, jnp.ones(dimension)),
        problem.update,
        (1.5, rates),
        problem.batch,
        problem.weight_decay or 0.0,
    )
    keys = jax.random.split(jax.random.key(5), REPLICAS)
    parameters = {"v": jnp.ones(2)}
    w, theta = jax.jit(
        jax.vmap(lambda k: run(jnp.asarray(weights, jnp.float32), parameters, k, steps))
    )(keys)
    gram = jnp.einsum("aki,ali->akl", w, w)
    expected = {"norms": gram, "signal": jnp.einsum("aki,ri->akr", w, directions[:2]), **theta}
    assert sorted(expected) == sorted(seen.values)
    flat = [np.asarray(expected[name]).reshape(REPLICAS, -1) for name in seen.values]
    assert_same_law(columns(seen), np.concatenate(flat, axis=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "batch"), [("overlaps", 2), ("overlaps", 1), ("ambient", 1), ("ambient", 2)]
)
def test_tied_denoiser_with_skip_against_sgd_on_the_weights(level, batch, key):
    """Two vectors per sample, norms and gram in the loss, a parameter with a large drift."""
    dimension, steps, eta, eta_skip = 7, 20, 0.3, 0.2
    problem = ld.Problem(Spike(), Denoiser(2), eta, parameter_rates={"skip": eta_skip}, batch=batch)
    weights = np.random.default_rng(1).normal(size=(2, dimension)) / np.sqrt(dimension)
    directions = rotation(dimension)
    start = ld.from_weights(weights, directions[:1])
    seen = ld.simulate(
        problem, dimension=dimension, times=[steps / dimension], replicas=REPLICAS, key=key,
        level=level, start=start,
    )  # fmt: skip
    e = jnp.asarray(directions[0], jnp.float32)

    def sample(key):
        sign, clean, added = jax.random.split(key, 3)
        clean = jax.random.normal(clean, (dimension,))
        clean = clean - 0.5 * jnp.dot(clean, e) * e  # half the spread along e
        clean = clean + jax.random.rademacher(sign, (), jnp.float32) * e
        z = jax.random.normal(added, (dimension,))
        return jnp.stack([0.8 * clean + 0.6 * z, z]), jnp.zeros(())

    def network(w, parameters, vectors, label):
        x, z = vectors
        return jnp.sum((z - parameters["skip"] * x + w.T @ jnp.tanh(w @ x)) ** 2)

    rates = (eta, {"skip": eta_skip / dimension})
    run = weight_space_sgd(network, sample, "plain", rates, batch)
    keys = jax.random.split(jax.random.key(5), REPLICAS)
    first = jnp.asarray(weights, jnp.float32)
    w, theta = jax.jit(jax.vmap(lambda k: run(first, {"skip": jnp.float32(0.3)}, k, steps)))(keys)
    expected = {
        "norms": jnp.einsum("aki,ali->akl", w, w),
        "signal": jnp.einsum("aki,i->ak", w, e),
        **theta,
    }
    flat = [np.asarray(expected[name]).reshape(REPLICAS, -1) for name in seen.values]
    assert_same_law(columns(seen), np.concatenate(flat, axis=1))


@pytest.mark.slow
def test_random_starts_have_the_same_law(key):
    problem = ld.Problem(Teacher(np.ones(1)), Committee(2), 1.0, initial_norm=1.3)
    found = [
        columns(
            ld.simulate(problem, dimension=n, times=[0], replicas=REPLICAS, key=key, level=name)
        )
        for n, name in ((6, "ambient"), (6, "overlaps"))
    ]
    assert_same_law(*found)
    norms = found[0][:, 0]  # Q_00 N / 1.69 is chi-square with N degrees of freedom
    assert stats.kstest(norms * 6 / 1.69, "chi2", (6,)).pvalue > 1e-5


@pytest.mark.slow
def test_limit_is_badly_wrong_where_overlaps_are_exact(key):
    problem = ld.Problem(Teacher(np.array([1.0, -0.7])), Committee(2), 1.5)
    start = ld.order_parameters([[0.5, 0.1], [0.0, -0.4]], np.eye(2) + 0.1)
    times = np.array([1.0, 3.0])
    options = {"dimension": 6, "times": times, "start": start}
    seen = ld.simulate(problem, replicas=4 * REPLICAS, key=key, **options)
    exact = ld.simulate(
        problem, replicas=4 * REPLICAS, key=jax.random.key(9), level="overlaps", **options
    )
    limit = ld.integrate(problem, times=times, start=start, points=2**13)
    assert ld.compare(seen, exact).verdict == "pass"
    wrong = ld.compare(seen, limit)
    assert np.max(np.abs(wrong.residual)) > 2 * wrong.critical


@pytest.mark.slow
def test_blocks_against_sgd_on_the_weights(key):
    dimension, steps = 12, 25
    problem = ld.Problem(Blocks(np.array([1.0])), Committee(2), 1.5, update="spherical")
    directions = rotation(dimension)
    weights = np.random.default_rng(1).normal(size=(2, dimension)) / np.sqrt(dimension)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    local = weights @ directions.T
    edges = [1, 3, 5, 8, 12]
    parts = [local[:, a:b] for a, b in itertools.pairwise(edges)]
    start = ld.Overlaps(local[:, :1], np.stack([p @ p.T for p in parts]), {})
    variances = np.repeat([1.0, 2.0, 0.5, 1.5, 0.7], [1, 2, 2, 3, 4])
    sample = committee_sample(
        problem, jnp.asarray(directions, jnp.float32), jnp.asarray(np.sqrt(variances), jnp.float32)
    )
    run = weight_space_sgd(committee_network, sample, "spherical", (1.5, {}))
    keys = jax.random.split(jax.random.key(5), REPLICAS)
    first = jnp.asarray(weights, jnp.float32)
    w, _ = jax.jit(jax.vmap(lambda k: run(first, {"v": jnp.ones(2)}, k, steps)))(keys)
    w = np.asarray(w) @ directions.T
    for level in ("ambient", "overlaps"):
        seen = ld.simulate(
            problem, dimension=dimension, times=[steps / dimension], replicas=REPLICAS, key=key,
            level=level, start=start, observe={"blocks": lambda o: o.blocks},
        )  # fmt: skip
        grams = [np.einsum("aki,ali->akl", p, p) for p in np.split(w, edges, axis=2)[1:-1]]
        expected = np.concatenate([w[:, :, 0], *[g.reshape(REPLICAS, -1) for g in grams]], axis=1)
        got = [seen.values["signal"][:, 0, :, 0], seen.values["blocks"][:, 0].reshape(REPLICAS, -1)]
        assert_same_law(np.concatenate(got, axis=1), expected)
