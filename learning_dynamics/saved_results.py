"""Results on disk: `save` and `load`, for every result of the project."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learning_dynamics.array_files import DamagedFileError
from learning_dynamics.netcdf_trees import Part, read_tree, write_tree
from learning_dynamics.validation import reject

__all__ = ["load", "save", "saved_as"]

FORMAT = "learning-dynamics result 1"


class Kind(NamedTuple):
    """How a class of results is taken apart, and put together again.

    Attributes:
        module: where the class is.
        dimensions: field -> names of the leading axes of the arrays in it, for other readers.
        take: result -> fields; those of the dataclass or named tuple by default.
        make: fields -> result; the class by default.
    """

    module: str
    dimensions: Mapping[str, tuple[str, ...]] = {}
    take: Callable[[Any], dict[str, Any]] | None = None
    make: Callable[[dict[str, Any]], Any] | None = None


def _limit_fields(limit: Any) -> dict[str, Any]:
    names = ["times", "values", "quadrature_error", "integrator_error", "paths"]
    names += ["attributes", "label"]
    # a comparison asks for the bias: without it the loaded limit would be judged otherwise
    return {**{name: getattr(limit, name) for name in names}, "bias": dict(limit.bias)}


def _limit(fields: dict[str, Any]) -> Any:
    from learning_dynamics.limit.limit import Limit

    bias = fields.pop("bias")
    return Limit(**fields, work_out_bias=partial(dict, bias) if bias else None)


def _training_fields(training: Any) -> dict[str, Any]:
    return {
        "steps": training.steps,
        "values": training.values,
        "states": {name: training.leaves(name) for name in training.states._fields},
        "seconds": training.seconds,
    }


def _training(fields: dict[str, Any]) -> Any:
    from learning_dynamics.training.network import State, Training

    return Training(**{**fields, "states": State(**fields["states"])}, graph=None)


def _optimum_fields(optimum: Any) -> dict[str, Any]:
    return _plain_fields(optimum) | {
        "problem": None,
        "constant_problem": None,
        "objective": None,
    }  # they are code


_TIME = {"times": ("time",)}
_KINDS: dict[str, Kind] = {
    "Trajectory": Kind(
        "process.trajectory",
        {
            **_TIME,
            "updates": ("time",),
            "values": ("replica", "time"),
            "start": ("replica",),
            "last": ("replica",),
            "memory": ("replica",),
            "stopped": ("replica",),
        },
    ),
    "Overlaps": Kind("model.overlaps"),
    "Limit": Kind(
        "limit.limit",
        {
            **dict.fromkeys(
                ("times", "values", "quadrature_error", "integrator_error", "bias"), ("time",)
            ),
            "paths": ("start", "time"),
        },
        _limit_fields,
        _limit,
    ),
    "Fluctuations": Kind(
        "limit.linear_noise",
        dict.fromkeys(
            ("times", "covariance", "spread", "shift", "spread_error", "shift_error"), ("time",)
        ),
    ),
    "Optimum": Kind("protocols.optimum", {}, _optimum_fields),
    "Estimate": Kind("limit.accuracy"),
    "Form": Kind(
        "search.forms", dict.fromkeys(("powers", "coefficients", "errors"), ("monomial",))
    ),
    "Direction": Kind("search.information_exponent"),
    "InformationExponent": Kind("search.information_exponent"),
    "Leap": Kind("search.leap_map"),
    "LeapMap": Kind("search.leap_map"),
    "SearchLaw": Kind("search.recovery_law", dict.fromkeys(("draws", "draw_errors"), ("draw",))),
    "Recoveries": Kind(
        "search.recovery_times",
        {
            "samples": ("replica", "dimension"),
            **dict.fromkeys(("dimensions", "followed", "lost"), ("dimension",)),
        },
    ),
    "ExponentFit": Kind("search.sample_complexity"),
    "Measurement": Kind("evidence.measurement"),
    "Prediction": Kind("evidence.measurement"),
    "Comparison": Kind(
        "evidence.comparison", take=lambda item: _plain_fields(item) | {"theory": None}
    ),
    "Comparisons": Kind("evidence.comparison"),
    "Training": Kind(
        "training.network",
        {"steps": ("step",), "values": ("replica", "step"), "states": ("replica",)},
        _training_fields,
        _training,
    ),
}
_REGISTERED: dict[str, tuple[type, Mapping[str, tuple[str, ...]]]] = {}


def saved_as(**dimensions: tuple[str, ...]) -> Callable[[type], type]:
    """Decorate a dataclass of your own so that `save` and `load` take it.

    `load` knows the class once its module has been imported.

    Args:
        dimensions: field -> names of the leading axes of the arrays in it.
    """

    def register(cls: type) -> type:
        _REGISTERED[f"{cls.__module__}.{cls.__qualname__}"] = (cls, dimensions)
        return cls

    return register


def save(path: str | os.PathLike[str], result: Any) -> None:
    """Write a result as netCDF, whole or not at all.

    Arrays, random keys and provenance come back bit for bit, of any number type. Other programs
    read the file as netCDF 4: tables and parts are groups, times and replicas named dimensions
    (`xarray.open_datatree(path)`). Nothing in it is code. The bias of a limit is worked out, as
    a comparison would. Of a `Training` the states are kept, not the code of the network.

    Args:
        path: file; an old one is replaced, folders are made.
        result: what `simulate`, `integrate`, `fluctuations`, `compare`, `search_law`,
            `information_exponent`, `leap_map`, `train` and their companions return.

    Raises:
        ValueError: if `path` names no file, `result` is of another kind, holds something else than
            arrays, numbers and text, or is traced.
        OSError: if the file cannot be written.
    """
    header = {"format": FORMAT, "learning_dynamics": version("learning-dynamics")}
    tree = _taken_apart(result)
    if not isinstance(tree, Part):
        known = [name for name in _KINDS if name not in ("Form", "Direction", "Leap")]
        raise reject("result", f"be one of {', '.join(known)}", type(result).__name__)
    write_tree(_file(path), header, tree)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a result that `save` wrote.

    A loaded trajectory starts `integrate`, its order parameters start `simulate`; a loaded limit
    compares, but holds the times that were asked for and no others (no `at`); the networks of a
    loaded `Training` need their `build`.

    Args:
        path: file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it was written by something else, by another version, or is damaged.
    """
    file = _file(path)
    try:
        header, tree = read_tree(file)
        if header.get("format") != FORMAT:
            raise DamagedFileError(f"is of another format ({header.get('format')!r})")
        return _put_together(tree)
    except FileNotFoundError:
        raise
    except (OSError, DamagedFileError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
        demand = "be a whole file as `save` wrote it"
        raise reject("path", demand, f"{path}, which {reason}") from error


def _file(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise reject("path", "name a file", repr(path))
    if Path(path).is_dir():
        raise reject("path", "name a file", f"the folder {path}")
    return Path(path).absolute()


def _name_of(cls: type) -> str | None:
    """Under which name the results of a class are stored."""
    kind = _KINDS.get(cls.__name__)
    if kind is not None and cls.__module__ == f"learning_dynamics.{kind.module}":
        return cls.__name__
    name = f"{cls.__module__}.{cls.__qualname__}"
    return name if _REGISTERED.get(name, (None,))[0] is cls else None


def _taken_apart(value: Any, axes: tuple[str, ...] = ()) -> Any:
    """The value with each result in it as a `Part`."""
    name = _name_of(type(value))
    if name is not None:
        kind = _KINDS.get(name)
        dimensions = kind.dimensions if kind is not None else _REGISTERED[name][1]
        take = _plain_fields if kind is None or kind.take is None else kind.take
        fields = take(value)
        batched = name == "Trajectory" and np.ndim(fields["start"].signal) > 3
        if batched or np.ndim(fields.get("times", 0)) > 1:  # from `jax.vmap`
            dimensions = {}
        if name == "Measurement":
            axes = tuple(fields["coordinates"])
            fields["coordinates"] = Part("axes", fields["coordinates"], {a: (a,) for a in axes})
        if name == "Comparison":
            axes = tuple(value.measured.coordinates)
        inner = (dict.fromkeys(fields, axes) if axes else {}) | dict(dimensions)
        return Part(name, {k: _taken_apart(v, axes) for k, v in fields.items()}, inner)
    if isinstance(value, Part):
        return value
    if isinstance(value, Mapping):
        return {key: _taken_apart(entry, axes) for key, entry in value.items()}
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(_taken_apart(entry, axes) for entry in value)
    return value


def _plain_fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return dict(value._asdict())


def _put_together(value: Any) -> Any:
    """The value with each `Part` in it as a result."""
    if isinstance(value, Part):
        fields = {name: _put_together(entry) for name, entry in value.fields.items()}
        if value.kind == "axes":
            return fields
        make = _maker(value.kind)
        try:
            return make(fields)
        except (TypeError, KeyError) as error:
            text = f"holds a {value.kind} of another version"
            raise DamagedFileError(text) from error
    if isinstance(value, dict):
        return {key: _put_together(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_put_together(entry) for entry in value)
    return value


def _maker(name: str) -> Callable[[dict[str, Any]], Any]:
    """What makes a result from its fields.

    Raises:
        DamagedFileError: if the kind is unknown.
    """
    kind = _KINDS.get(name)
    if kind is not None and kind.make is not None:
        return kind.make
    if kind is not None:
        cls = getattr(import_module(f"learning_dynamics.{kind.module}"), name)
    elif name in _REGISTERED:
        cls = _REGISTERED[name][0]
    else:
        module, _, _ = name.rpartition(".")
        hint = f": import {module} first" if module else ""
        raise DamagedFileError(f"holds a {name.rsplit('.', 1)[-1]} that is not known{hint}")
    return lambda fields: cls(**fields)
