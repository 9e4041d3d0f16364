import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.sweeps import engine
from learning_dynamics.sweeps.plan import make_plan
from learning_dynamics.sweeps.store import Store
from tests.learning_dynamics.sweeps import measures


def processes():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def pool():
    with processes() as made:
        yield made


@pytest.fixture
def new_pool():
    """Processes that keep compiled programs for no other store yet."""
    with processes() as made:
        yield made


def test_worker_processes_compute_the_same_on_a_core_each(new_pool, tmp_path):
    grid = {"dimension": [5, 8], "gamma": [0.5, 1.0], "seed": range(4)}
    options = {"together": ("gamma", "seed"), "batch_size": 4}
    here = ld.sweep(measures.traceable, grid, **options)
    there = ld.sweep(
        measures.traceable, grid, store=tmp_path / "s", executor=new_pool, cores=1, **options
    )
    for name in here.data_vars:
        np.testing.assert_array_equal(here[name], there[name])
    where = ld.sweep(measures.process, {"x": range(8)}, store=tmp_path / "s", executor=new_pool)
    assert set(where["cores"].values.tolist()) == {1}
    assert os.getpid() not in where["process"]
    assert list((tmp_path / "s" / "compiled").glob("*/*"))  # compiled programs are shared
    assert not list((tmp_path / "s" / "failed").iterdir())


@pytest.mark.slow
def test_tasks_of_many_cells(pool, tmp_path):
    found = ld.sweep(measures.process, {"x": range(10)}, store=tmp_path, executor=pool, tasks=3)
    assert len(found["process"]) == 10
    assert len(np.unique(found["process"])) <= 2


def test_a_failing_cell_is_tried_again_and_then_reported(pool, tmp_path):
    given = {"over": {"x": [1, 2, 3]}, "executor": pool}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    found = ld.sweep(
        measures.failing, fixed={"folder": str(tmp_path / "a"), "times": 2},
        store=tmp_path / "s", **given,
    )  # fmt: skip
    np.testing.assert_array_equal(found["value"], [1.5, 3.0, 4.5])
    with pytest.warns(ld.MissingCells, match=r"bad luck at 2(.|\n)*Traceback(.|\n)*measures\.py"):
        found = ld.sweep(
            measures.failing, fixed={"folder": str(tmp_path / "b"), "times": 9},
            store=tmp_path / "s", **given,
        )  # fmt: skip
    np.testing.assert_array_equal(found["value"], [1.5, np.nan, 4.5])
    assert [measures.counted(tmp_path / "b", x) for x in "123"] == [1, 3, 1]


def spawning():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing_but_time(tmp_path):
    with spawning() as own:
        found = ld.sweep(
            measures.killed, {"x": range(6)}, fixed={"folder": str(tmp_path), "times": 1},
            store=tmp_path / "s", executor=own, cores=1,
        )  # fmt: skip
    np.testing.assert_array_equal(found["value"], 1.5 * np.arange(6))
    assert measures.counted(tmp_path, "2") == 2


@pytest.mark.slow
def test_a_cell_that_kills_its_workers_is_given_up_and_the_others_go_on(tmp_path):
    with spawning() as own, pytest.warns(ld.MissingCells, match="its worker vanished 3 times"):
        found = ld.sweep(
            measures.killed, {"x": range(6)}, fixed={"folder": str(tmp_path), "times": 99},
            store=tmp_path / "s", executor=own,
        )  # fmt: skip
    np.testing.assert_array_equal(found["value"], [0.0, 1.5, np.nan, 4.5, 6.0, 7.5])
    assert not list((tmp_path / "s" / "failed").glob("*.started"))


def test_threads_are_an_executor_too(tmp_path):
    with ThreadPoolExecutor(2) as threads:
        found = ld.sweep(
            measures.traceable, {"seed": range(4)}, fixed={"dimension": 5, "gamma": 1.0},
            together="seed", batch_size=2, store=tmp_path, executor=threads,
        )  # fmt: skip
    here = ld.sweep(
        measures.traceable, {"seed": range(4)}, fixed={"dimension": 5, "gamma": 1.0},
        together="seed", batch_size=2,
    )  # fmt: skip
    np.testing.assert_array_equal(found["mean"], here["mean"])


def test_a_full_disk_in_a_worker_stops_the_sweep(tmp_path, monkeypatch):
    def full(*_):
        raise ld.StoreError(28, "No space left on device")

    with ThreadPoolExecutor(1) as threads:
        ld.sweep(measures.process, {"x": [1]}, store=tmp_path, executor=threads)
        monkeypatch.setattr(Store, "publish", lambda *_: full())
        with pytest.raises(ld.StoreError, match="No space left"):
            ld.sweep(measures.process, {"x": [1, 2, 3]}, store=tmp_path, executor=threads)


class Counting:
    """Counts its tasks."""

    def __init__(self, executor):
        self.executor, self.tasks = executor, 0

    def submit(self, function, *arguments):
        self.tasks += 1
        return self.executor.submit(function, *arguments)


def test_cells_of_another_process_are_waited_for_before_tasks_are_submitted(tmp_path):
    store = Store(tmp_path)
    store.prepare()
    taken = make_plan(
        measures.process, {"x": [1]}, fixed={}, together=(), batch_size=None, version=""
    ).units[0]
    with ThreadPoolExecutor(1) as own, ThreadPoolExecutor(1) as waiting:
        executor = Counting(own)
        with store.claim(taken.keys) as free:
            assert free
            sweep = waiting.submit(
                ld.sweep, measures.process, {"x": [0, 1, 2]}, store=tmp_path, executor=executor
            )
            deadline = time.monotonic() + 60
            while len(store.keys()) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(5 * engine.PAUSE)
            assert executor.tasks == 2
            assert not sweep.done()
        found = sweep.result(60)
    assert executor.tasks == 3
    assert found["process"].notnull().all()


class Useless:
    """An executor whose tasks never run."""

    def submit(self, *_):
        return self

    def done(self):
        return True

    def result(self):
        raise ConnectionError("no scheduler")


def test_an_executor_that_does_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "PAUSE", 0.0)
    with pytest.raises(RuntimeError, match="Useless got nothing done in 3 rounds") as caught:
        ld.sweep(measures.process, {"x": [1, 2]}, store=tmp_path, executor=Useless())
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_pool_that_forks_is_refused():
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as forking,
        pytest.raises(ValueError, match="must start its processes by spawn"),
    ):
        ld.sweep(measures.process, {"x": [1]}, executor=forking)
