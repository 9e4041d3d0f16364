"""One program of the overlaps level serves every N, and gives what a program of its own gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.process.layout import layout_of, of_any_dimension
from learning_dynamics.process.reduced_noise import chi
from tests.learning_dynamics.kernel.models import Bands, Committee, Teacher

KEY = jax.random.key(4)
MODELS = {
    "plain": ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), 0.4),
    "blocks": ld.Problem(Bands(np.array([1.0, 0.5]), variances=(1.0, 0.3)), Committee(2), 0.4),
    "momentum": ld.Problem(Teacher(np.array([1.0])), Committee(1), 0.4, momentum=0.5),
    "clip": ld.Problem(Teacher(np.array([1.0])), Committee(1), 0.4, batch=2, clip=0.7),
}


def alone(problem):
    """The same with a rate that is a function of the time: each N has a program of its own."""
    return dataclasses.replace(problem, learning_rate=ld.schedules.constant(problem.learning_rate))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_equals_a_program_of_its_own(name):
    problem = MODELS[name]
    run = {"times": [0.5, 2.0], "replicas": 5, "key": KEY, "level": "overlaps"}
    for n in (41, 301):
        layout = layout_of(problem, n, "overlaps")
        assert of_any_dimension(problem, layout)[1] is not None
        assert of_any_dimension(alone(problem), layout)[1] is None
        together = ld.simulate(problem, dimension=n, **run)
        apart = ld.simulate(alone(problem), dimension=n, **run)
        for part in ("signal", "norms"):
            np.testing.assert_allclose(
                together.values[part], apart.values[part], rtol=2e-4, atol=2e-5
            )


@pytest.mark.parametrize(
    ("dimension", "options"),
    [(8, {}), (8, {"level": "ambient"}), (60, {"level": "ambient"}), (60, {"rate": "scheduled"})],
)
def test_small_and_ambient_and_scheduled_runs_keep_their_own(dimension, options):
    rate = ld.schedules.power(0.4, 0.5) if options.get("rate") else 0.4
    problem = ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(3), rate)
    layout = layout_of(problem, dimension, options.get("level", "overlaps"))
    assert of_any_dimension(problem, layout) == (layout, None)


@pytest.mark.slow
def test_chi_variables_of_traced_freedoms(key):
    freedoms = [3, 40, 1000]
    normals = jax.random.normal(key, (2000, 9))
    traced = jax.jit(lambda counts: chi(KEY, counts, normals))(jnp.asarray(freedoms, jnp.float32))
    np.testing.assert_allclose(traced, chi(KEY, freedoms, normals), rtol=1e-5)
