"""Large numbers: batches and neurons compile like few; N, times and replicas beyond bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.process.draws import draw_samples
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.pace import pace_of
from learning_dynamics.process.reduced_noise import compress
from learning_dynamics.process.starts import random_start
from learning_dynamics.process.update import update
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher

KEY = jax.random.key(0)


def equations(problem, dimension=10_000, level="overlaps"):
    """Number of operations that are compiled for one update and its draws."""
    layout = layout_of(problem, dimension, level)
    cast = problem.cast(jnp.float32)

    def one(key):
        state = random_start(cast, layout, key, jnp.float32)
        chunk = pace_of(layout, "cpu", 1).chunk
        rows = draw_samples(cast, layout, key, jnp.float32, jnp.int32(0), chunk)
        return update(cast, layout, state, jax.tree.map(lambda leaf: leaf[0], rows))[0]

    def count(jaxpr):
        inner = [
            getattr(p, "jaxpr", p)
            for e in jaxpr.eqns
            for p in jax.tree.leaves(list(e.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
            if hasattr(getattr(p, "jaxpr", p), "eqns")
        ]
        return len(jaxpr.eqns) + sum(map(count, inner))

    return count(jax.make_jaxpr(one)(KEY).jaxpr)


@pytest.mark.parametrize("level", ["overlaps", "ambient"])
@pytest.mark.parametrize("model", ["committee", "denoiser"])
def test_compiled_operations_do_not_grow_with_the_batch(model, level):
    """The denoiser reads the gram, so that all noise vectors are kept."""
    parts = {"committee": (Teacher(np.ones(1)), Committee(2)), "denoiser": (Spike(), Denoiser(2))}
    # on one side of the number of variables from which the generator draws by a loop
    batches = {"overlaps": (700, 1400), "ambient": (2100, 4200)}[level]
    few, many = (equations(ld.Problem(*parts[model], 0.5, batch=b), level=level) for b in batches)
    assert many <= few + 2


def test_compiled_operations_do_not_grow_with_many_neurons():
    few, many = (equations(ld.Problem(Teacher(np.ones(1)), Committee(k), 0.5)) for k in (20, 50))
    assert many <= few + 2


@pytest.mark.parametrize("neurons", [6, 7, 20])
def test_factors_of_many_rows(neurons):
    rows = np.random.default_rng(0).normal(size=(2, neurons, neurons + 3)).astype(np.float32)
    rows[1, 4] = rows[1, 2]  # dependent rows
    factor = np.asarray(jax.jit(compress)(rows), np.float64)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(
        factor @ np.swapaxes(factor, 1, 2), wide @ np.swapaxes(wide, 1, 2), atol=2e-5
    )
    assert np.all(np.triu(factor, 1) == 0)


@pytest.mark.parametrize(("neurons", "directions"), [(7, 98), (50, 2), (20, 16)])
def test_norms_of_many_rows_in_compiled_code(neurons, directions):
    """Observed norms of every run: XLA on CPUs got the broadcast product of these sizes wrong."""
    signal = np.random.default_rng(0).normal(size=(1, neurons, directions)).astype(np.float32)
    blocks = np.zeros((1, 1, neurons, neurons), np.float32)
    found = jax.jit(jax.vmap(lambda m, r: ld.Overlaps(m, r, {}).norms))(signal, blocks)
    wide = signal.astype(np.float64)
    np.testing.assert_allclose(found, wide @ np.swapaxes(wide, 1, 2), atol=1e-4)
    np.testing.assert_allclose(ld.Overlaps(signal, blocks, {}).norms, found, atol=1e-4)


def simulate(**options):
    given = {"dimension": 100, "times": [1.0], "replicas": 2, "level": "overlaps", "key": KEY}
    problem = options.pop("problem", ld.Problem(Teacher(np.ones(1)), Committee(1), 0.5))
    return ld.simulate(problem, **(given | options))


TOO_LARGE = {
    "times": [
        {"times": [1e300]},
        {"times": [1e308]},
        {"times": [np.inf]},
        {"times": [np.nan]},
        {"times": [2.0**31 / 100]},
        {"times": [2**80]},
        {"times": [0.0, 1e300]},
    ],
    "dimension": [
        {"dimension": 2**40},
        {"dimension": 2**21, "level": "ambient"},
        {"dimension": 2**50, "precision": "float64"},
        {"dimension": 2**64},
        {"dimension": 1e300},
        {"dimension": np.inf},
    ],
    "replicas": [{"replicas": 2**31}, {"replicas": 2**70}, {"replicas": 1e300}],
    "problem.batch": [{"problem": ld.Problem(Teacher(np.ones(1)), Committee(1), 0.5, batch=2**40)}],
}


@pytest.mark.parametrize("argument", TOO_LARGE)
def test_numbers_beyond_the_bounds_are_refused(argument):
    for options in TOO_LARGE[argument]:
        with pytest.raises(ValueError, match=f"Argument `{argument}"):
            simulate(**options)


def test_other_numbers_beyond_the_bounds_are_refused():
    with pytest.raises(ValueError, match="Argument `sustained"):
        ld.Stop(lambda o: o.signal[0, 0], 0.5, sustained=2**31)
    with pytest.raises(ValueError, match="Argument `sustained"):
        jax.jit(lambda count: ld.Stop(lambda o: o.signal[0, 0], 0.5, count).sustained)(1.5)
    inputs, learner = Teacher(np.ones(1)), Committee(1)
    with pytest.raises(ValueError, match="Argument `parameter_orders"):
        ld.Problem(inputs, learner, 0.5, parameter_rates={"v": 1}, parameter_orders={"v": 3})
    with pytest.raises(ValueError, match="Argument `points"):
        ld.integrate(
            ld.Problem(inputs, learner, 0.5), times=[1.0], points=2**64,
            start=ld.order_parameters([[0.1]], [[1.0]]),
        )  # fmt: skip


@pytest.mark.slow
def test_a_large_dimension_moves_in_float64():
    """One update of N = 2^40 changes the overlap by 1/N."""
    start = ld.order_parameters([[0.2]], [[1.1]])
    problem = ld.Problem(Teacher(np.ones(1), "linear"), Committee(1, "linear"), 0.5)
    n = 2**40
    seen = simulate(
        problem=problem, dimension=n, times=[2**16 / n], replicas=16, precision="float64",
        start=start,
    )  # fmt: skip
    change = (seen.values["signal"][:, 0, 0, 0] - 0.2) * n / 2**16
    error = change.std() / 4
    assert abs(change.mean() - 0.5 * 0.8) < 5 * error < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "neurons"), [(12, 2), (4, 9)])
def test_law_of_large_batches_and_many_neurons(batch, neurons, key):
    """Overlaps level beside the ambient one: means and squares within five errors."""
    problem = ld.Problem(Teacher(np.array([1.0, -0.7])), Committee(neurons), 1.0, batch=batch)
    options = {"dimension": 30, "times": [0.5], "replicas": 4000, "problem": problem}
    w = np.random.default_rng(0).normal(size=(neurons, 30)) / 30**0.5
    options["start"] = ld.from_weights(w, np.eye(30)[:2])
    one, two = simulate(**options), simulate(level="ambient", key=key, **options)
    for name in one.values:
        for power in (1, 2):
            a, b = (seen.values[name][:, 0] ** power for seen in (one, two))
            error = np.hypot(a.std(0), b.std(0)) / 4000**0.5 + 1e-6
            assert np.max(np.abs(a.mean(0) - b.mean(0)) / error) < 5, name
