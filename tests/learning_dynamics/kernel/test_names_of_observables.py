"""Observables: names that would vanish in labelled results are refused, and any rank is kept."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.process.observables import RESERVED
from tests.learning_dynamics.kernel.models import Committee, Teacher

PROBLEM = ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), 0.5)


def first(overlaps):
    return overlaps.signal[0, 0]


def run(observe=None, problem=PROBLEM, **options):
    options = {"times": [0.5, 1.0], "key": jax.random.key(0)} | options
    return ld.simulate(
        problem, dimension=20, replicas=4, level="overlaps", observe=observe, **options
    )


@pytest.mark.parametrize("name", [*RESERVED, "signal", "v", "signal_error", "v_0", "", 3])
@pytest.mark.parametrize("level", ["simulation", "limit"])
def test_names_that_label_results_are_refused(name, level):
    start = ld.order_parameters(0.1 * np.eye(2), np.eye(2))
    limit = partial(ld.integrate, PROBLEM, times=[0.5], start=start)
    with pytest.raises(ValueError, match="`observe` must"):
        (limit if level == "limit" else run)(observe={name: first})


@ld.configuration
class Misnamed(Committee):
    name: str = ld.static(default="time")

    def parameters(self):
        return {self.name: np.ones(self.hidden), "v": np.ones(self.hidden)}


@pytest.mark.parametrize("name", ["time", "signal"])
def test_names_of_parameters_likewise(name):
    problem = ld.Problem(PROBLEM.inputs, Misnamed(2, name=name), 0.5)
    with pytest.raises(ValueError, match=r"`problem\.learner\.parameters` must use names other"):
        run(problem=problem)


RANKS = {
    "scalar": first,
    "vector": lambda o: o.signal[0],
    "cube": lambda o: o.signal[:, :, None] * jnp.ones((1, 1, 3)),
    "four": lambda o: jnp.ones((1, 2, 1, 2)) * o.signal[0, 0],
    "empty": lambda o: o.signal[:0],
    "with / in it": first,
}


@pytest.mark.slow
def test_observables_of_any_rank_and_continued_runs(tmp_path):
    seen = run(RANKS)
    shapes = {"scalar": (), "vector": (2,), "cube": (2, 2, 3), "four": (1, 2, 1, 2)}
    for name, shape in (shapes | {"empty": (0, 2), "with / in it": ()}).items():
        assert seen.values[name].shape == (4, 2, *shape)
    assert set(RANKS) <= set(seen.to_xarray())
    ld.save(tmp_path / "seen.nc", seen)
    loaded = ld.load(tmp_path / "seen.nc")
    options = {"times": [0.5], "key": jax.random.key(1)}
    later = run(start=seen, **options)
    np.testing.assert_allclose(later.start.signal, seen.last.signal, rtol=1e-6)
    assert np.ptp(later.start.signal[:, 0, 0]) > 0  # replica by replica
    np.testing.assert_array_equal(
        run(start=loaded, **options).values["signal"], later.values["signal"]
    )
    plain = run(start=seen.last, **options)
    np.testing.assert_array_equal(plain.values["signal"], later.values["signal"])
    with pytest.raises(ValueError, match="`start` must be one state, or one for each of 3"):
        ld.simulate(PROBLEM, dimension=20, replicas=3, start=seen, **options)
