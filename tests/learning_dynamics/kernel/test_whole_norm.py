"""Clipping and normalising by the norm of the whole gradient."""

import jax
import numpy as np
import optax
import pytest

import learning_dynamics as ld
from learning_dynamics.process.steps import gradient_factor
from tests.learning_dynamics.kernel import weights as witness
from tests.learning_dynamics.kernel.models import Committee, Teacher

LIMITS = [{"clip": 0.4}, {"normalise": True}]


def committee(**options):
    options = {"gradient_norm": "whole", "label_noise": 0.5} | options
    return ld.Problem(Teacher(np.array([1.0, -0.5])), Committee(2), 0.9, **options)


def test_one_factor_for_all_rows():
    square = np.array([3.0, 1.0])
    np.testing.assert_allclose(gradient_factor(committee(normalise=True), square), [0.5, 0.5])
    np.testing.assert_allclose(gradient_factor(committee(clip=1.0), square), [0.5, 0.5])
    np.testing.assert_allclose(gradient_factor(committee(clip=2.5), square), [1.0, 1.0])


@pytest.mark.slow
def test_it_is_clipping_of_optax(key):
    """Path by path, at all N weights."""
    options = {"dimension": 12, "times": [1.0], "replicas": 3, "key": key, "precision": "float64"}
    plain = ld.Problem(Teacher(np.array([1.0, -0.5])), Committee(2), 0.9, label_noise=0.5)
    clip = optax.chain(optax.clip_by_global_norm(0.4 * 12**0.5), optax.sgd(1.0))
    one = ld.simulate(committee(clip=0.4), **options)
    two = ld.simulate(plain, optimiser=clip, **options)
    for name in one.values:
        np.testing.assert_allclose(one.values[name], two.values[name], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS, ids=str)
@pytest.mark.parametrize("dimension", [200, 2000])
def test_limit_against_weights(limit, dimension):
    problem = committee(update="projected", **limit)
    w = np.random.default_rng(1).normal(size=(2, dimension)) / dimension**0.5
    w[:, :2] = [[0.4, 0.1], [-0.2, 0.3]]
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    first = witness.order_parameters(problem, w, dimension)
    start, replicas = ld.Overlaps(first["signal"], first["blocks"], {}), 80_000 // dimension
    draws = witness.sgd(problem, dimension, w, {}, replicas, jax.random.key(3), dimension)
    theory = ld.integrate(problem, times=[1.0], start=start, points=2**12)
    by_row = ld.Problem(problem.inputs, problem.learner, 0.9, update="projected", **limit)
    other = ld.integrate(by_row, times=[1.0], start=start, points=2**10)
    far = 0.0
    for name, values in theory.values.items():
        error = theory.quadrature_error[name][0] + theory.integrator_error[name][0]
        scale = np.hypot(draws[name].std(0) / replicas**0.5, error) + 1e-6
        off = np.abs(draws[name].mean(0) - values[0]) - 4 / dimension
        assert np.all(off < 5 * scale), (name, np.max(off / scale))
        far = max(far, np.max((np.abs(values - other.values[name])[0] - 4 / dimension) / scale))
    if dimension == 2000:  # a factor for each neuron is another limit; 4/N hides it at 200
        assert far > 5


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS, ids=str)
@pytest.mark.parametrize("level", ["ambient", "overlaps"])
def test_levels_against_weights(limit, level):
    n, steps, replicas = 10, 15, 4000
    problem = committee(update="plain", **limit)
    w = np.random.default_rng(1).normal(size=(2, n)) / n**0.5
    first = witness.order_parameters(problem, w, n)
    start = ld.Overlaps(first["signal"], first["blocks"], {})
    seen = ld.simulate(
        problem, dimension=n, times=[steps / n], replicas=replicas, key=jax.random.key(5),
        level=level, start=start,
    )  # fmt: skip
    draws = witness.sgd(problem, n, w, {}, replicas, jax.random.key(7), steps)
    for name, values in seen.values.items():
        one, two = values[:, 0], draws[name]
        error = np.hypot(one.std(0), two.std(0)) / replicas**0.5 + 2e-6
        assert np.all(np.abs(one.mean(0) - two.mean(0)) < 5 * error), name


def test_bad_norms_are_named():
    with pytest.raises(ValueError, match="Argument `gradient_norm` must be left out without"):
        committee()
    with pytest.raises(ValueError, match="Argument `gradient_norm`"):
        committee(clip=1.0, gradient_norm="global")
    with pytest.raises(ValueError, match=r"Argument `problem.gradient_norm`"):
        ld.search_law(committee(clip=1.0, update="projected"), key=jax.random.key(0))
