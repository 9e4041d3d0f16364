import dataclasses
import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import learning_dynamics as ld
from learning_dynamics.sweeps import work
from learning_dynamics.sweeps.store import Store
from tests.learning_dynamics.sweeps import measures

GRID = {"dimension": [5, 8], "gamma": [0.0, 0.5, 1.0], "seed": range(4)}


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The calls of `measures.moments`, in order."""
    file = tmp_path / "calls"
    file.touch()
    monkeypatch.setenv("CALLS", str(file))
    return lambda: file.read_text().splitlines()


def values(result):
    return {name: array.values for name, array in result.data_vars.items()}


def assert_same(one, other):
    assert one.sizes == other.sizes
    for name, array in values(one).items():
        np.testing.assert_array_equal(array, values(other)[name])
        assert array.dtype == values(other)[name].dtype


def test_result_is_labelled_by_the_grid(tmp_path):
    found = ld.sweep(measures.moments, GRID, store=tmp_path, units={"mean": "1", "dimension": "N"})
    assert found["mean"].dims == ("dimension", "gamma", "seed")
    assert found["first"].dims == ("dimension", "gamma", "seed", "first_0")
    np.testing.assert_array_equal(found["gamma"], [0.0, 0.5, 1.0])
    one = measures.moments(8, 0.5, 3)
    cell = found.sel(dimension=8, gamma=0.5, seed=3)
    assert float(cell["mean"]) == one["mean"]
    np.testing.assert_array_equal(cell["first"], one["first"])
    assert found["size"].dtype == np.int64
    assert found["mean"].attrs["units"] == "1"
    assert found["dimension"].attrs["units"] == "N"
    assert found.attrs["measure"].endswith("measures.moments")
    assert found.attrs["version of jax"] == jax.__version__
    assert found.attrs["missing"] == ""


def test_nothing_is_computed_twice_and_a_changed_grid_reuses(tmp_path, calls):
    first = ld.sweep(measures.moments, GRID, store=tmp_path)
    assert len(calls()) == len(set(calls())) == 24
    again = ld.sweep(measures.moments, GRID, store=tmp_path)
    assert len(calls()) == 24
    assert again.identical(first)
    wider = {"seed": [2, 9], "dimension": [8, 16], "gamma": [1.0]}
    found = ld.sweep(measures.moments, wider, store=tmp_path)
    assert calls()[24:] == ["16 1.0 2", "8 1.0 9", "16 1.0 9"]
    assert float(found["mean"].sel(dimension=8, seed=2)[0]) == float(
        first["mean"].sel(dimension=8, seed=2, gamma=1.0)
    )
    # a default that becomes an axis, and a fixed argument, are the same cells
    ld.sweep(measures.moments, {"gamma": [0.5]}, fixed={"dimension": 5}, store=tmp_path)
    assert len(calls()) == 27
    ld.sweep(measures.moments, GRID, store=tmp_path, version="2")
    assert len(calls()) == 51


def test_without_a_store_everything_is_computed(calls):
    found = ld.sweep(measures.moments, {"dimension": [5], "gamma": [1.0]})
    assert found["mean"].shape == (1, 1)
    ld.sweep(measures.moments, {"dimension": [5], "gamma": [1.0]})
    assert len(calls()) == 2


def test_cells_together_equal_cells_one_by_one(tmp_path):
    grid = {"dimension": [5, 8], "gamma": [0.5, 1.0], "seed": range(3)}
    together = ld.sweep(
        measures.traceable, grid, store=tmp_path / "a", together=("gamma", "seed"), batch_size=4
    )
    single = ld.sweep(measures.traceable, grid, store=tmp_path / "b")
    for name, array in values(single).items():
        np.testing.assert_allclose(values(together)[name], array, rtol=1e-6)
    # order of the axes is that of `over`, whichever run together
    other = ld.sweep(
        measures.traceable,
        {"seed": range(3), "dimension": [5, 8], "gamma": [0.5, 1.0]},
        together="seed",
    )
    assert other["mean"].dims == ("seed", "dimension", "gamma")
    np.testing.assert_allclose(
        other["mean"].transpose(*together["mean"].dims), together["mean"], rtol=1e-6
    )


def test_only_shapes_compile_and_configurations_are_lanes(tmp_path):
    traced = []

    def measure(width, setting):
        traced.append(width)
        return jnp.full((3,), setting.rate) * width

    settings = {f"rate {r}": Setting(r) for r in (0.1, 0.2, 0.3, 0.4)}
    found = ld.sweep(
        measure, {"setting": settings, "width": [1, 2]}, together="setting", batch_size=2
    )
    assert traced == [1, 2]
    assert found["setting"].values.tolist() == list(settings)
    np.testing.assert_allclose(found["value"][:, 1, 0], [0.2, 0.4, 0.6, 0.8], rtol=1e-6)


@ld.configuration
class Setting:
    rate: float


def test_an_interrupted_batch_sweep_goes_on_bit_for_bit(tmp_path, monkeypatch):
    whole = ld.sweep(measures.traceable, GRID, store=tmp_path / "a", together=("seed", "gamma"),
                     batch_size=5)  # fmt: skip
    computed = []
    original = work.run_batch

    def interrupted(program, unit, device):
        computed.append(unit)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return original(program, unit, device)

    monkeypatch.setattr(work, "run_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ld.sweep(measures.traceable, GRID, store=tmp_path / "b", together=("seed", "gamma"),
                 batch_size=5)  # fmt: skip
    before = len(Store(tmp_path / "b").keys())
    assert 0 < before < 24
    resumed = ld.sweep(measures.traceable, GRID, store=tmp_path / "b",
                       together=("seed", "gamma"), batch_size=5)  # fmt: skip
    assert_same(resumed, whole)


def test_a_lost_cell_of_a_batch_comes_back_bit_for_bit(tmp_path):
    options = {"store": tmp_path, "together": ("gamma", "seed")}
    whole = ld.sweep(measures.traceable, GRID, **options)
    for key in sorted(Store(tmp_path).keys())[::3]:
        Store(tmp_path).cell(key).unlink()
    assert_same(ld.sweep(measures.traceable, GRID, **options), whole)


def test_failed_cells_are_missing_listed_and_tried_again(tmp_path):
    options = {"store": tmp_path / "s", "attempts": 2}
    given = {"over": {"x": [1, 2, 3]}, "fixed": {"folder": str(tmp_path), "times": 3}}
    with pytest.warns(ld.MissingCells, match=r"1 of 3 cells(.|\n)*x=2: RuntimeError: bad luck"):
        found = ld.sweep(measures.failing, **given, **options)
    np.testing.assert_array_equal(found["value"], [1.5, np.nan, 4.5])
    assert found.attrs["missing"] == "x=2"
    [failure] = (tmp_path / "s" / "failed").iterdir()
    assert "measures.py" in json.loads(failure.read_text())["traceback"]
    found = ld.sweep(measures.failing, **given, **options)
    np.testing.assert_array_equal(found["value"], [1.5, 3.0, 4.5])
    assert [measures.counted(tmp_path, x) for x in "123"] == [1, 4, 1]
    assert list((tmp_path / "s" / "failed").iterdir()) == []


def test_integers_with_gaps_become_floats_and_wrong_values_are_not_tried_twice(tmp_path):
    tried = []

    def measure(x):
        tried.append(x)
        if x == 2:
            raise ValueError("x must not be 2")
        return {"number": x, "text": f"x = {x}"}

    with pytest.warns(ld.MissingCells, match="must not be 2"):
        found = ld.sweep(measure, {"x": [1, 2, 3]})
    assert tried == [1, 2, 3]
    np.testing.assert_array_equal(found["number"], [1.0, np.nan, 3.0])
    assert found["text"].values.tolist() == ["x = 1", "", "x = 3"]


def test_if_every_cell_fails_there_is_no_result():
    def measure(x):
        raise ValueError("never")

    with pytest.raises(RuntimeError, match=r"all cells(.|\n)*never"):
        ld.sweep(measure, {"x": [1, 2]})


def test_labelled_results_keep_units_and_coordinates(tmp_path):
    found = ld.sweep(measures.labelled, {"dimension": [10, 20]}, store=tmp_path)
    assert found["loss"].dims == ("dimension", "time")
    assert found["loss"].attrs["units"] == "nats"
    np.testing.assert_array_equal(found["updates"], [[10, 20], [20, 40]])
    assert found.attrs["source"] == "here"
    assert "dimension was" not in found.attrs
    found.to_netcdf(tmp_path / "all.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "all.nc", engine="h5netcdf") as back:
        np.testing.assert_array_equal(back["loss"], found["loss"])


def test_a_cell_goes_on_from_its_checkpoint(tmp_path):
    options = {"fixed": {"folder": str(tmp_path)}, "store": tmp_path / "s"}
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        ld.sweep(measures.saving, {"x": [1, 2]}, **options)
    assert len(list((tmp_path / "s" / "checkpoints").iterdir())) == 1
    (tmp_path / "stop").unlink()
    found = ld.sweep(measures.saving, {"x": [1, 2]}, **options)
    np.testing.assert_array_equal(found["value"], [2.0, 4.0])
    assert measures.counted(tmp_path, "1") == 1
    assert not list((tmp_path / "s" / "checkpoints").iterdir())


@pytest.mark.slow
def test_simulations_are_results_and_resume_from_their_checkpoint(tmp_path, monkeypatch):
    grid = {"dimension": [20, 33], "seed": [0, 1]}
    found = ld.sweep(measures.trajectory, grid, store=tmp_path / "a")
    assert found["signal"].dims == ("dimension", "seed", "replica", "time", "neuron", "direction")
    assert not list((tmp_path / "a" / "checkpoints").iterdir())
    np.testing.assert_allclose(found["time_of_cell"][1, 0], [0.5, 1.0], atol=0.02)
    saves = []
    original = ld.kernel.simulate.saved.save

    def stopping(*arguments):
        original(*arguments)
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ld.kernel.simulate.saved, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        ld.sweep(measures.trajectory, grid, store=tmp_path / "b")
    assert len(list((tmp_path / "b" / "checkpoints").iterdir())) == 1
    again = ld.sweep(measures.trajectory, grid, store=tmp_path / "b")
    np.testing.assert_array_equal(again["signal"], found["signal"])
    assert len(saves) == 8  # two per cell: none was repeated


def test_two_threads_on_one_store_share_the_work(tmp_path):
    results = []

    def run():
        results.append(
            ld.sweep(measures.slow, {"x": range(12)}, fixed={"folder": str(tmp_path)},
                     store=tmp_path / "s")
        )  # fmt: skip

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])
    assert [measures.counted(tmp_path, f"{x}") for x in range(12)] == [1] * 12


def test_single_and_double_precision_are_different_cells(tmp_path):
    given = {"over": {"seed": [0, 1]}, "fixed": {"dimension": 50, "gamma": 1.0}}
    options = {"store": tmp_path, "together": "seed"}
    single = ld.sweep(measures.traceable, **given, **options)
    with jax.enable_x64(True):
        double = ld.sweep(measures.traceable, **given, **options)
    assert single["mean"].dtype == np.float32
    assert double["mean"].dtype == np.float64
    assert_same(ld.sweep(measures.traceable, **given, **options), single)


def test_a_batch_that_does_not_fit_is_refused_before_it_runs(monkeypatch):
    monkeypatch.setattr(work, "free_memory", lambda device: 3_000_000)

    def measure(seed):
        rows = jax.random.normal(jax.random.key(seed), (400, 400))
        return jnp.linalg.eigvalsh(rows + rows.T)

    with pytest.raises(RuntimeError, match=r"`batch_size` must leave(.|\n)*3e-?0?3|batch_size"):
        ld.sweep(measure, {"seed": range(8)}, together="seed")


def bad(match, **changes):
    given = {"measure": measures.moments, "over": {"dimension": [5], "gamma": [1.0]}} | changes
    return pytest.param(given, match, id=match)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        bad("`measure` must be a function", measure=3),
        bad("`over` must map at least one", over={}),
        bad("`over` must name arguments of the measure .dimension", over={"n": [1]}),
        bad("`over` must give a value to every argument", over={"dimension": [5]}),
        bad("'gamma'.` must hold at least one value", over={"dimension": [5], "gamma": []}),
        bad("`over.'gamma'.` must be a list", over={"dimension": [5], "gamma": 0.5}),
        bad("must be a list of values, but got 'abc'", over={"dimension": "abc", "gamma": [1]}),
        bad("hold every value once", over={"dimension": [5, 5], "gamma": [1.0]}),
        bad("hold every value once, but got 1.0", over={"dimension": [5], "gamma": [1, 1.0]}),
        bad("with a name at the top", over={"dimension": [5], "gamma": [lambda: 1]}),
        bad("be a number, text", over={"dimension": [5], "gamma": [object()]}),
        bad("small enough for a key", over={"dimension": [5], "gamma": [np.zeros(10**6)]}),
        bad("`fixed` must name arguments", fixed={"n": 3}),
        bad("`fixed` must name no axis", fixed={"gamma": 3}),
        bad("`fixed.'seed'.` must be a number", fixed={"seed": object()}),
        bad("`together` must name axes", together="seed"),
        bad("traceable by JAX", together="dimension", measure=measures.traceable),
        bad("`batch_size` must be left out", batch_size=3),
        bad("`batch_size` must be at least 1", together="gamma", batch_size=0,
            measure=measures.traceable),
        bad("`attempts` must be at least 1", attempts=0),
        bad("`version` must be text", version=2),
        bad("`tasks` must be left out", tasks=2),
        bad("`executor` must have a method", executor=3),
        bad("hold numbers, arrays of one shape", together="gamma", measure=measures.traceable,
            over={"dimension": [5], "gamma": [np.zeros(2), np.zeros(3)]}),
        bad("hold numbers, arrays of one shape", together="gamma", measure=measures.traceable,
            over={"dimension": [5], "gamma": ["a", "b"]}),
        bad("fit into int32", together="seed", measure=measures.traceable,
            over={"dimension": [5], "gamma": [1.0], "seed": [2**40]}),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_any_work(tmp_path, calls, given, match):
    with pytest.raises(ValueError, match=match):
        ld.sweep(**given, store=tmp_path / "store")
    assert calls() == []
    assert Store(tmp_path / "store").keys() == set()


def test_positional_only_arguments_and_a_file_as_store_are_refused(tmp_path):
    with pytest.raises(ValueError, match="take its arguments by name"):
        ld.sweep(positional, {"x": [1]})
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="`store` must be a folder"):
        ld.sweep(measures.moments, {"dimension": [5], "gamma": [1.0]}, store=tmp_path / "file")


def positional(x, /):
    return x


def test_different_shapes_are_refused_before_any_compiled_work(tmp_path):
    def measure(n, seed):
        return jnp.full(n, seed)

    with pytest.raises(ValueError, match=r"one shape per variable.*`value`.*\(2,\).*\(3,\)"):
        ld.sweep(measure, {"n": [2, 3], "seed": [0, 1]}, together="seed", store=tmp_path)
    assert Store(tmp_path).keys() == set()


@pytest.mark.parametrize(
    ("measure", "match"),
    [
        (lambda n: np.zeros(n), r"one shape per variable.*n=2.*n=3"),
        (lambda n: {f"x{n}": n}, r"the same variables in every cell"),
        (lambda n: "text" if n == 2 else 1.0, "one type per variable"),
        (lambda n: {"n": n}, "other names than those of the axes"),
    ],
)
def test_results_that_do_not_fit_together_stop_the_sweep(measure, match):
    with pytest.raises(ValueError, match=match):
        ld.sweep(measure, {"n": [2, 3]})


def test_a_measure_must_return_numbers():
    with pytest.raises(RuntimeError, match=r"must return numbers.*`value` is builtins.object"):
        ld.sweep(lambda n: object(), {"n": [1]})


def test_units_of_unknown_variables_are_refused():
    with pytest.raises(ValueError, match="`units` must name some of"):
        ld.sweep(lambda n: n * 1.0, {"n": [1]}, units={"loss": "nats"})


def test_dataclass_and_array_axes(tmp_path):
    found = ld.sweep(
        lambda law, weights: law.rate * weights.sum(),
        {"law": [Plain(0.5), Plain(2.0)], "weights": {"few": np.ones(2), "many": np.ones(9)}},
        store=tmp_path,
    )
    np.testing.assert_array_equal(found["value"], [[1.0, 4.5], [4.0, 18.0]])
    assert found["law"].values.tolist() == [0, 1]
    assert found["weights"].values.tolist() == ["few", "many"]


@dataclasses.dataclass(frozen=True)
class Plain:
    rate: float


def test_progress_counts_cells(tmp_path):
    seen = []

    def tracker(items, description):
        seen.append((len(items), description.rpartition(".")[2]))
        for item in items:
            seen.append(item)
            yield item

    grid = {"dimension": [5, 8], "gamma": [1.0]}
    ld.sweep(measures.moments, grid, store=tmp_path, tracker=tracker)
    ld.sweep(measures.moments, {**grid, "seed": [0, 1]}, store=tmp_path, tracker=tracker)
    assert seen == [(2, "moments"), 0, 1, (4, "moments"), 0, 1, 2, 3]
