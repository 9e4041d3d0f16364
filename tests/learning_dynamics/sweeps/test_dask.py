import os

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.sweeps.store import Store
from tests.learning_dynamics.sweeps import measures

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as made,
    ):
        yield made


def test_workers_of_dask_compute_the_same(client, tmp_path):
    grid = {"dimension": [5, 8], "gamma": [0.5, 1.0], "seed": range(4)}
    options = {"together": ("gamma", "seed"), "batch_size": 4}
    here = ld.sweep(measures.traceable, grid, **options)
    there = ld.sweep(
        measures.traceable, grid, store=tmp_path, executor=client.get_executor(), cores=1, **options
    )
    for name in here.data_vars:
        np.testing.assert_array_equal(here[name], there[name])
    where = ld.sweep(
        measures.process, {"x": range(8)}, store=tmp_path, executor=client.get_executor()
    )
    assert os.getpid() not in where["process"]
    assert set(where["cores"].values.tolist()) == {1}


def test_a_failing_cell_is_reported_with_its_traceback(client, tmp_path):
    with pytest.warns(ld.MissingCells, match=r"bad luck at 2(.|\n)*Traceback(.|\n)*measures\.py"):
        found = ld.sweep(
            measures.failing,
            {"x": [1, 2, 3]},
            fixed={"folder": str(tmp_path), "times": 9},
            store=tmp_path / "s",
            executor=client.get_executor(),
        )
    np.testing.assert_array_equal(found["value"], [1.5, np.nan, 4.5])


def test_a_worker_that_dies_costs_no_finished_cell(client, tmp_path):
    found = ld.sweep(
        measures.killed,
        {"x": range(6)},
        fixed={"folder": str(tmp_path), "times": 1},
        store=tmp_path / "s",
        executor=client.get_executor(),
    )
    np.testing.assert_array_equal(found["value"], 1.5 * np.arange(6))
    assert measures.counted(tmp_path, "2") == 2
    assert len(Store(tmp_path / "s").keys()) == 6
