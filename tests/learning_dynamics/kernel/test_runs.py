"""Identity of replicas, resuming, stopping, divergence, results."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.process.checkpoint import fingerprint
from learning_dynamics.process.observables import whole_updates
from tests.learning_dynamics.kernel.models import Committee, Teacher


def problem(**options):
    return ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), 0.8, **options)


def run(level="overlaps", replicas=8, dimension=40, times=(0.5, 1.0, 3.0), **options):
    return ld.simulate(
        options.pop("problem", problem()), dimension=dimension, times=times, replicas=replicas,
        key=options.pop("key", jax.random.key(3)), level=level, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "dimension"),
    [
        ("overlaps", 40),
        ("ambient", 700),
        ("overlaps", 700),
        ("ambient", 40),
    ],
)
def test_a_replica_is_the_same_in_any_batch_on_any_number_of_devices(level, dimension):
    options = {"level": level, "dimension": dimension, "times": (0.2, 0.5)}
    whole = run(replicas=64, **options)
    assert whole.attributes["devices"] == 2
    for replicas, devices in ((1, 1), (8, 2)):
        part = run(replicas=replicas, devices=jax.devices()[:devices], **options)
        for name, values in part.values.items():
            np.testing.assert_array_equal(values, whole.values[name][:replicas])


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop",
    [None, ld.Stop(lambda o: o.signal[0, 0], 0.5)],
)
def test_a_single_group_computes_what_several_do(stop):
    """A linear neuron, whose norms were fused otherwise where a loop had a single turn."""
    linear = ld.Problem(Teacher(np.array([1.0]), "linear"), Committee(1, "linear"), 0.5)
    options = {"problem": linear, "dimension": 20, "times": (0.5, 2.0), "stop": stop}
    whole = run(replicas=70, devices=jax.devices()[:1], **options)
    for replicas, devices in ((7, 1), (33, 2)):
        part = run(replicas=replicas, devices=jax.devices()[:devices], **options)
        for name, values in part.values.items():
            np.testing.assert_array_equal(values, whole.values[name][:replicas])


@pytest.mark.parametrize("level", ["overlaps", pytest.param("ambient", marks=pytest.mark.slow)])
def test_observation_times_do_not_change_the_run(level):
    dense = run(level, times=np.arange(1, 13) / 4)
    sparse = run(level, times=[3.0])
    np.testing.assert_array_equal(dense.values["norms"][:, -1], sparse.values["norms"][:, -1])


@pytest.mark.slow
def test_levels_start_from_the_given_order_parameters():
    start = ld.order_parameters([[0.4, 0.1], [0.0, -0.3]], [[1.0, 0.3], [0.3, 0.5]], {"v": [1, 2]})
    for level in ("ambient", "overlaps"):
        seen = run(level, start=start)
        np.testing.assert_allclose(seen.start.norms[5], start.norms, atol=1e-6)
        np.testing.assert_allclose(seen.start.signal[5], start.signal, atol=1e-6)
        np.testing.assert_allclose(seen.start.parameters["v"][5], [1, 2])


def test_one_start_per_replica():
    m = np.linspace(0, 0.5, 8)[:, None, None] * np.ones((1, 2, 2))
    seen = run(start=ld.order_parameters(m, np.broadcast_to(np.eye(2), (8, 2, 2)) + 0.01))
    np.testing.assert_allclose(seen.start.signal, m, atol=1e-6)


@pytest.mark.slow
def test_double_precision():
    seen = run(precision="float64", problem=problem(update="spherical"))
    norms = seen.values["norms"][..., 0, 0]
    assert np.max(np.abs(norms - 1)) < 1e-14
    assert not jax.config.jax_enable_x64


@pytest.mark.slow
def test_custom_observables_at_every_level():
    own = {"alignment": lambda o: o.signal[..., 0, 0] / jnp.sqrt(o.norms[..., 0, 0])}
    seen = run(observe=own)
    expected = seen.values["signal"][..., 0, 0] / np.sqrt(seen.values["norms"][..., 0, 0])
    np.testing.assert_allclose(seen.values["alignment"], expected, rtol=1e-5)
    limit = ld.integrate(problem(), times=[1.0], start=seen.start, observe=own, points=2**10)
    assert limit.values["alignment"].shape == (1,)


@pytest.mark.slow
def test_ten_lines(tmp_path):
    problem = ld.Problem(Teacher(np.array([1.0])), Committee(1), 0.8)
    start = ld.order_parameters([[0.4]], [[1.0]])
    times = ld.log_times(2.0, points=6, start=0.05)
    options = {"dimension": 200, "times": times, "start": start}
    seen = ld.simulate(problem, replicas=16, key=jax.random.key(0), **options)
    exact = ld.simulate(problem, replicas=256, level="overlaps", key=jax.random.key(1), **options)
    limit = ld.integrate(problem, times=times, start=seen, points=2**10)
    together = ld.compare_each(seen, exact, limit)
    assert together.verdict == "pass"
    assert "/N" in limit.prediction().bias_order
    together.plot(tmp_path / "levels.png")
    assert (tmp_path / "levels.png").stat().st_size > 10_000
    table = together.to_xarray()
    assert table.sizes["theory"] == 2
    assert seen.to_xarray().sizes["replica"] == 16
    assert limit.to_xarray().signal.shape == (6, 1, 1)
    assert [item.predicted.label for item in together][1] == "limit"
    other = ld.Problem(Teacher(np.array([-0.5])), Committee(1), 0.8)
    wrong = ld.integrate(other, times=times, start=seen, points=2**10)
    assert ld.compare(seen, wrong).verdict == "fail"


def test_provenance_is_recorded():
    attributes = run().attributes
    assert {"configuration", "generator", "key", "jax", "wall_seconds", "compile_seconds"} <= set(
        attributes
    )
    assert attributes["generator"] == "threefry2x32"


def test_divergence_is_counted_and_fails_a_comparison():
    wild = ld.Problem(Teacher(np.array([1.0]), "linear"), Committee(1, "linear"), 60.0)
    options = {"problem": wild, "dimension": 50, "times": [1.0, 40.0]}
    seen = run(**options)
    assert seen.lost.all()
    assert ld.compare(seen, seen).verdict == "fail"
    assert seen.measurement("norms").lost[-1, 0] == 8


@pytest.mark.slow
@pytest.mark.parametrize("level", ["overlaps", "ambient"])
def test_stop_at_a_sustained_crossing(level):
    """Against the crossing found in a run observed at every update."""
    times = np.arange(1, 121) / 40
    start = ld.order_parameters(0.3 * np.eye(2), np.eye(2))
    every = run(level, times=times, start=start)
    overlap = every.values["signal"][..., 0, 0]
    for sustained in (5,) if level == "overlaps" else (1, 5):
        stop = ld.Stop(lambda o: o.signal[0, 0], 0.55, sustained=sustained)
        seen = run(level, times=times, start=start, stop=stop)
        for replica in range(8):
            above = overlap[replica] >= np.float32(0.55)
            windows = [above[i : i + sustained].all() for i in range(120 - sustained + 1)]
            first = int(np.argmax(windows)) + 1 if any(windows) else -1
            assert seen.stopped[replica] == first
            if first > 0:  # frozen from the last update of the window on
                frozen = seen.values["signal"][replica, first + sustained - 2 :, 0, 0]
                np.testing.assert_array_equal(frozen, overlap[replica, first + sustained - 2])


@pytest.mark.slow
@pytest.mark.parametrize("level", ["overlaps", "ambient"])
def test_stopped_replicas_make_room_without_changing_the_others(level):
    """Replicas that stop at different times, in several groups: bit for bit those without a stop.

    Running replicas are gathered into other groups than the ones they began in; 70 replicas on two
    devices, 40 of the same on one.
    """
    times = np.arange(1, 9) / 2
    start = ld.order_parameters(0.3 * np.eye(2), np.eye(2))
    stop = ld.Stop(lambda o: o.signal[0, 0], 0.6)
    free = run(level, times=times, start=start, replicas=70)
    stopped = run(level, times=times, start=start, replicas=70, stop=stop)
    ends = np.where(stopped.stopped < 0, np.inf, stopped.stopped)
    assert np.sum(ends < 128) > 20
    assert np.sum(np.isinf(ends)) > 5
    for name, values in free.values.items():
        for replica, end in enumerate(ends):
            before = times * 40 < end
            np.testing.assert_array_equal(
                stopped.values[name][replica, before], values[replica, before]
            )
    fewer = run(level, times=times, start=start, replicas=40, stop=stop, devices=jax.devices()[:1])
    np.testing.assert_array_equal(fewer.stopped, stopped.stopped[:40])
    for name, values in fewer.values.items():
        np.testing.assert_array_equal(values, stopped.values[name][:40])


def test_interrupted_run_continues_bit_for_bit(tmp_path):
    path, times = tmp_path / "run.npz", np.arange(1, 26) / 4
    whole = run(times=times)

    class InterruptError(Exception):
        pass

    def tracker(items, _):
        for index, item in enumerate(items):
            if index == 4:
                raise InterruptError
            yield item

    with pytest.raises(InterruptError):
        run(times=times, checkpoint=path, tracker=tracker)
    visited = []

    def count(items, _):
        for item in items:
            visited.append(item)
            yield item

    resumed = run(times=times, checkpoint=path, tracker=count)
    assert min(visited) == 4
    for name, values in whole.values.items():
        np.testing.assert_array_equal(resumed.values[name], values)
    np.testing.assert_array_equal(resumed.last.blocks, whole.last.blocks)
    with pytest.raises(ValueError, match="checkpoint"):
        run(times=times, checkpoint=path, key=jax.random.key(4))
    path.write_bytes(b"broken")
    with pytest.raises(ValueError, match="checkpoint"):
        run(times=times, checkpoint=path)


@dataclass(frozen=True)
class Reaches:
    """A quantity for `Stop` that is an object, without a `__qualname__` of its own."""

    direction: int

    def __call__(self, overlaps):
        return overlaps.signal[0, self.direction]


@pytest.mark.slow
def test_callable_objects_name_a_run(tmp_path):
    """Objects and partial functions as quantities: told apart by what they hold."""
    prints = [
        fingerprint("run.npz", None, stop=ld.Stop(quantity, 0.5)).digest
        for quantity in (
            Reaches(0), Reaches(0), Reaches(1), partial(_along, 0), partial(_along, 0),
            partial(_along, 1), _along,
        )
    ]  # fmt: skip
    assert prints[0] == prints[1]
    assert prints[3] == prints[4]
    assert len(set(prints)) == 5
    path = tmp_path / "run.npz"
    one = run(times=[0.5], stop=ld.Stop(Reaches(0), 0.9), checkpoint=path)
    two = run(times=[0.5], stop=ld.Stop(Reaches(0), 0.9), checkpoint=path)
    np.testing.assert_array_equal(one.stopped, two.stopped)
    with pytest.raises(ValueError, match="checkpoint"):
        run(times=[0.5], stop=ld.Stop(Reaches(0), 0.8), checkpoint=path)


def _first(overlaps):
    return overlaps.signal[0, 0]


def test_stop_conditions_of_any_type_of_number_are_one():
    """Types of numbers change neither program nor checkpoint; whole ones may be large."""
    plain = ld.Stop(_first, 1.0, 2)
    for threshold in (1, np.int64(1), np.float64(1.0), jnp.float32(1.0), np.array(1.0)):
        other = ld.Stop(_first, threshold, sustained=np.int64(2))
        assert [type(n) for n in jax.tree.leaves(other)] == [float, int]
        digests = {fingerprint("run.npz", None, stop=stop).digest for stop in (plain, other)}
        assert len(digests) == 1
    edited = np.array(1.0)
    stop = ld.Stop(_first, edited)
    edited[...] = 0.0
    assert stop.threshold == 1.0
    assert np.all(run(times=[0.1], stop=ld.Stop(_first, 2**40)).stopped == -1)


def test_a_batch_of_stop_conditions_is_refused_outside_vmap():
    batch = jax.tree.map(lambda number: np.array([number, number]), ld.Stop(_first, 0.5))
    with pytest.raises(ValueError, match=r"`stop.threshold` must be a single number"):
        run(times=[0.1], stop=batch)


@pytest.mark.slow
def test_a_batch_of_stop_conditions_is_the_loop():
    thresholds, counts = jnp.array([0.3, 0.5]), jnp.array([1, 3])
    together = jax.vmap(lambda *numbers: run(stop=ld.Stop(_first, *numbers)).stopped)
    single = [
        run(stop=ld.Stop(_first, threshold, count)).stopped
        for threshold, count in zip(thresholds, counts, strict=True)
    ]
    np.testing.assert_array_equal(together(thresholds, counts), single)


def _along(direction, overlaps):
    return overlaps.signal[0, direction]


BAD_RUNS = {
    "dimension": {"dimension": 1},
    "replicas": {"replicas": 0},
    "times": {"times": [1.0, 0.5]},
    "times ": {"times": [1.0, 1.001]},
    "times  ": {"times": [-1.0]},
    "key": {"key": jax.random.PRNGKey(0)},
    "key ": {"key": jax.random.split(jax.random.key(0))},
    "level": {"level": "exact"},
    "precision": {"precision": "float16"},
    "observe": {"observe": {"a": lambda o: (o.signal, o.signal)}},
    "observe ": {"observe": {"a": lambda o: o.signal > 0}},
    "observe  ": {"observe": {"signal": lambda o: o.signal}},
    "stop": {"stop": ld.Stop(lambda o: o.signal, 0.5)},
    "start.signal": {"start": ld.order_parameters(np.zeros((2, 3)), np.eye(2))},
    "start.parameters": {"start": ld.order_parameters(np.zeros((2, 2)), np.eye(2), {"u": 1.0})},
    "start": {
        "start": ld.order_parameters(np.zeros((2, 2)), 2 * np.eye(2)),
        "problem": problem(update="spherical"),
    },
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_runs_are_refused(case):
    with pytest.raises(ValueError, match=f"Argument `{case.strip()}"):
        run(**BAD_RUNS[case])


BAD_PROBLEMS = {
    "learning_rate": {"learning_rate": -1.0},
    "learning_rate ": {"learning_rate": np.nan},
    "update": {"update": "adam"},
    "batch": {"batch": 0},
    "parameter_rates": {"parameter_rates": {"u": 1.0}},
    "parameter_orders": {"parameter_orders": {"v": 2}},
    "weight_decay": {"weight_decay": 0.1, "update": "spherical"},
    "initial_norm": {"initial_norm": 2.0, "update": "projected"},
    "label_noise": {"label_noise": -0.1},
    "inputs": {"inputs": 3},
    "learner": {"learner": "erf"},
}


@pytest.mark.parametrize("case", BAD_PROBLEMS)
def test_bad_problems_are_refused(case):
    options = {
        "inputs": Teacher(np.ones(1)), "learner": Committee(1), "learning_rate": 1.0,
        **BAD_PROBLEMS[case],
    }  # fmt: skip
    with pytest.raises(ValueError, match=f"Argument `{case.strip()}"):
        ld.Problem(**options)


def test_bad_directions_and_overlaps_are_refused():
    with pytest.raises(ValueError, match="orthonormal"):
        ld.from_weights(np.ones((2, 4)), [[1.0, 1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="norms"):
        ld.order_parameters([[1.0]], [[0.5]])
    with pytest.raises(ValueError, match="norms"):
        ld.order_parameters([[1.0]], np.eye(2))
    with pytest.raises(ValueError, match="start"):
        ld.log_times(1.0, start=2.0)
    with pytest.raises(ValueError, match="quantities"):
        run().measurement("loss")
    seen = run()
    start = ld.order_parameters(np.zeros((2, 2)), np.eye(2))
    other = ld.integrate(problem(), times=[0.5, 1.0], start=start, points=2**10)
    with pytest.raises(ValueError, match="times"):
        ld.compare(seen, other)


def test_times_are_rounded_to_updates():
    np.testing.assert_array_equal(whole_updates([0.0, 0.0101, 2.0], 100), [0, 1, 200])
