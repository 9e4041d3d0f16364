"""Datasets as netCDF: names and attributes of all kinds, or a clear refusal."""

import numpy as np
import pytest
import xarray as xr

from learning_dynamics.netcdf import write_netcdf
from learning_dynamics.netcdf_trees import Part, read_tree, write_tree


def back(dataset, path):
    write_netcdf(dataset, path)
    return xr.load_dataset(path, engine="h5netcdf")


def test_a_slash_is_written_under_another_sign(tmp_path):
    data = xr.Dataset(
        {"loss/train": ("n/m", [1.0, 2.0], {"units": "nats"}), ".": 3.0, "a b.c": 4.0},
        coords={"n/m": [5, 6], "x/y": ("n/m", [7, 8])},
    )
    found = back(data, tmp_path / "a.nc")
    assert set(found.data_vars) == {"loss_train", "_", "a b.c"}
    assert found["loss_train"].dims == ("n_m",)
    assert found["loss_train"].attrs == {"units": "nats", "name": "loss/train"}
    np.testing.assert_array_equal(found["x_y"], [7, 8])
    np.testing.assert_array_equal(found["n_m"], [5, 6])
    assert "name" not in data["loss/train"].attrs  # what was given stays as it is


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\udc80"])
def test_names_that_cannot_be_printed_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="names of printable signs, but got"):
        write_netcdf(xr.Dataset({name: 1.0}), tmp_path / "a.nc")
    assert not list(tmp_path.iterdir())


def test_names_that_would_become_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="but got 'a/b', 'a_b'"):
        write_netcdf(xr.Dataset({"a/b": 1.0, "a_b": 2.0}), tmp_path / "a.nc")


def test_attributes_of_all_kinds(tmp_path):
    given = {
        "text": "é", "number": 1.5, "yes": True, "none": None, "table": {"a": 1}, "big": 2**70,
        "date": np.datetime64("2020-01-01"), "odd": "\udc80\0",
        "list": np.arange(3), "one": np.int8(2),
    }  # fmt: skip
    found = back(xr.Dataset({"x": ((), 1.0, dict(given))}, attrs=given), tmp_path / "a.nc")
    for attributes in (found.attrs, found["x"].attrs):
        assert attributes["text"] == "é"
        assert (attributes["number"], attributes["one"]) == (1.5, 2)
        assert (attributes["yes"], attributes["none"]) == ("True", "None")
        assert attributes["table"] == "{'a': 1}"
        assert attributes["big"] == str(2**70)
        assert attributes["date"] == "2020-01-01"
        assert attributes["odd"] == "\\udc80\\0"
        np.testing.assert_array_equal(attributes["list"], [0, 1, 2])


@pytest.mark.parametrize(
    "kind", ["f2", "f4", "f8", "c8", "c16", "?", "i1", "u8", "U3", "S3", "m8[ns]"]
)
def test_values_of_all_types(tmp_path, kind):
    values = np.arange(2).astype(kind)
    found = back(xr.Dataset({"x": ("n", values)}), tmp_path / "a.nc")["x"]
    np.testing.assert_array_equal(found, values)


def test_values_without_a_place_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="hold what netCDF can"):
        write_netcdf(xr.Dataset({"x": ("n", np.array(["a\0b"]))}), tmp_path / "a.nc")
    with pytest.raises(ValueError, match="hold what netCDF can"):
        write_netcdf(xr.Dataset({"x": ("n", np.zeros(2, "G"))}), tmp_path / "a.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [("start", "part"), ("part", "start")])
@pytest.mark.parametrize("start", [np.arange(4.0), Part("own", {"w": np.arange(2.0)}, {})])
def test_a_field_may_have_the_name_of_a_dimension(tmp_path, order, start):
    part = Part("limit", {"paths": np.arange(3.0)}, {"paths": ("start",)})
    fields = {"start": start, "part": part}
    write_tree(tmp_path / "a.nc", {}, Part("result", {name: fields[name] for name in order}, {}))
    read = read_tree(tmp_path / "a.nc")[1].fields
    np.testing.assert_array_equal(read["part"].fields["paths"], np.arange(3.0))
    first = read["start"].fields["w"] if isinstance(start, Part) else read["start"]
    np.testing.assert_array_equal(first, np.arange(4.0 if not isinstance(start, Part) else 2.0))
