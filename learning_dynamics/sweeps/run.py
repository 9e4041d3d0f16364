"""The sweep: one call that runs a measure over a grid and returns a labelled dataset."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learning_dynamics.files import strict_json
from learning_dynamics.sweeps.engine import check_executor, run_elsewhere, run_here
from learning_dynamics.sweeps.estimate import remaining_seconds, time_left
from learning_dynamics.sweeps.plan import Plan, Unit, grouped, make_plan
from learning_dynamics.sweeps.results import (
    Record,
    Schema,
    assemble,
    check_names,
    check_schema,
    record_of,
    schema_of,
)
from learning_dynamics.sweeps.store import Store
from learning_dynamics.sweeps.work import Report, batch_of, expect_code, program_of
from learning_dynamics.tracking import Tracking, track, tracked
from learning_dynamics.validation import positive_integer, reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["MissingCells", "sweep"]


class MissingCells(UserWarning):
    """Some cells of a sweep failed and are NaN in its result."""


@tracked
def sweep(
    measure: Callable[..., Any],
    over: Mapping[str, Any],
    *,
    store: str | Path | None = None,
    fixed: Mapping[str, Any] | None = None,
    together: str | Sequence[str] = (),
    batch_size: int | None = None,
    executor: Any = None,
    tasks: int | None = None,
    cores: int | None = None,
    attempts: int = 3,
    version: str = "",
    code: str | None = None,
    units: Mapping[str, str] | None = None,
    tracker: Tracking = "auto",
    check: Callable[[xr.Dataset], object] | None = None,
) -> xr.Dataset:
    """Evaluate `measure(**cell)` on a grid, and keep every result as soon as it is there.

    A cell whose result is in the store is not computed again, whatever stopped the sweep before,
    whatever the grid was, and whoever computed it. See the page on sweeps for what a result
    depends on.

    Args:
        measure: function of the arguments named in `over` and `fixed`; returns numbers, arrays, a
            mapping of them, or a result with `to_xarray`, of the same shapes in every cell. If it
            has an argument `checkpoint`, that is a file for the state of a long cell.
        over: argument -> list of values, or mapping from labels to values. Numbers, text, random
            keys, frozen dataclasses, small arrays, named functions.
        store: folder of the results, reachable by all workers; a temporary one if None.
        fixed: arguments that are the same in every cell.
        together: axes in which the measure is traceable by JAX (numbers, keys, configurations):
            their cells run as one compiled `vmap`. All other axes are run cell by cell.
        batch_size: lanes of a compiled program; the last batch is filled up. At most 32 if None.
            It is part of what a result depends on, since it changes the order of sums.
        executor: object with `submit`, such as a `ProcessPoolExecutor` that spawns,
            `client.get_executor()` of dask, or one of submitit; this process if None.
        tasks: number of tasks to cut the work into for the executor; one per batch or cell if None.
        cores: processor cores per worker process of the executor.
        attempts: how often a cell may fail (unless by a ValueError or TypeError, which are final)
            or lose its worker, before it is reported and left out.
        version: changes when results must not be reused although nothing else changed.
        code: text that stands for the code of the measure, such as "v3". You vouch for it: results
            are reused as long as it stays the same, whatever was edited. None follows the code.
        units: variable or axis -> unit, for the attributes of the result.
        tracker: progress bar, as of `simulate`; it also shows what goes on within a cell.
        check: called with the dataset of one cell as soon as it is known, for `together` before
            anything is computed and with zeros; an error that it raises ends the sweep.

    Returns:
        Dataset with the axes of `over` as leading dimensions. Failed cells are NaN, named in the
        attribute `missing` and by a warning `MissingCells`.

    Raises:
        ValueError: on arguments that make no sense, if cells return different shapes, and at the
            first cell if its variables do not fit into a dataset, or `units` names none of them;
            if the measure reaches something that cannot be followed by name.
        StoreError: if the store cannot be written; what was finished is kept.
        RuntimeError: if every cell failed, the first one returned what cannot be kept, or the
            executor gets nothing done.
    """
    if code is not None and store is None:
        raise reject("code", "be left out without a store", repr(code))
    plan = make_plan(
        measure,
        over,
        fixed=fixed or {},
        together=together,
        batch_size=batch_size,
        version=version,
        code=code,
    )
    expect_code(plan.code.digest, measure)
    attempts = positive_integer("attempts", attempts)
    for name, value in (("tasks", tasks), ("cores", cores)):
        if value is not None:
            if executor is None:
                raise reject(name, "be left out without an executor", value)
            positive_integer(name, value)
    if executor is not None:
        check_executor(executor, tasks)
    with ExitStack() as stack:
        if store is None:
            store = stack.enter_context(tempfile.TemporaryDirectory(prefix="sweep-"))
        folder = Store(store)
        folder.prepare()
        folder.write_json(folder.folder / "sweeps" / f"{plan.identity}.json", plan.manifest())
        gathering = _Gathering(plan, folder, units or {}, check)
        pending = [unit for unit in plan.units if not gathering.take(unit)]
        _check_shapes(plan, pending, gathering)

        def finished() -> Iterator[int]:
            yield from range(len(gathering.records))
            if not pending:
                return
            if executor is None:
                found = run_here(plan, pending, folder, attempts)
            else:
                found = run_elsewhere(
                    plan, pending, folder, attempts, executor=executor, tasks=tasks, cores=cores
                )
            for unit, report in found:
                before = len(gathering.records)
                gathering.add(unit, report)
                yield from range(before, before + len(unit.keys))

        progress = _Counted(finished, plan.cells)
        for _ in track(progress, plan.code.name, gathering.left):
            pass
        return gathering.result()


class _Counted:
    """An iterable of known length."""

    def __init__(self, items: Callable[[], Iterator[int]], length: int) -> None:
        self.items, self.length = items, length

    def __iter__(self) -> Iterator[int]:
        return self.items()

    def __len__(self) -> int:
        return self.length


class _Gathering:
    """Results of a sweep while they come in."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        units: Mapping[str, str],
        check: Callable[[xr.Dataset], object] | None,
    ) -> None:
        self.plan, self.store, self.units, self.trial = plan, store, units, check
        self.records: dict[int, Record] = {}
        self.failures: list[tuple[Unit, Report]] = []
        self.schema: tuple[Schema, str] | None = None
        self.started = time.monotonic()
        self.worked = 0.0

    def take(self, unit: Unit) -> bool:
        """Load what the store has of a unit; whether that is everything."""
        complete = True
        for key, place, label in zip(unit.keys, unit.places, unit.labels, strict=True):
            record = self.store.load(key) if place not in self.records else self.records[place]
            if record is None:
                complete = False
                continue
            self.check(schema_of(record), label, record)
            self.records[place] = record
        return complete

    def check(self, schema: Schema, label: str, record: Record | None = None) -> None:
        """Compare the shapes of a cell with those of the first, which is laid out on its own."""
        if self.schema is None:
            check_names(schema, [axis.name for axis in self.plan.axes])
            axes = {axis.name: axis.labels[:1] for axis in self.plan.axes}
            alone = {0: record or record_of(schema)}
            dataset = assemble(axes, alone, units=self.units, attributes={})
            if self.trial is not None:
                self.trial(dataset)
            self.schema = (schema, label)
        check_schema(*self.schema, schema, label)

    def add(self, unit: Unit, report: Report) -> None:
        """Note what became of a unit.

        Raises:
            RuntimeError: if the first one returned something that cannot be kept.
        """
        if report.state == "failed":
            if report.unusable and not self.records and not self.failures:
                raise RuntimeError(f"{report.error} (at {unit.labels[0]}, the first cell)")
            self.failures.append((unit, report))
        elif not self.take(unit):
            lost = Report("failed", 0.0, "its result vanished from the store")
            self.failures.append((unit, lost))
        else:
            self.worked += sum(self.records[place].about["seconds"] for place in unit.places)

    def left(self) -> str:
        """Estimate of the time left."""
        gone = {place for unit, _ in self.failures for place in unit.places}
        missing = [p for p in range(self.plan.cells) if p not in self.records and p not in gone]
        seconds = {place: record.about["seconds"] for place, record in self.records.items()}
        labels = {axis.name: axis.labels.tolist() for axis in self.plan.axes}
        elapsed = time.monotonic() - self.started
        at_once = self.worked / elapsed if self.worked and elapsed else 1.0
        return time_left(*remaining_seconds(labels, seconds, missing), at_once=at_once)

    def result(self) -> xr.Dataset:
        """Dataset of everything, with a warning about what is missing."""
        lost = [label for unit, _ in self.failures for label in unit.labels]
        if self.failures:
            text = _listed(self.failures)
            if not self.records:
                raise RuntimeError(f"all cells of the sweep failed: {text}")
            warnings.warn(
                f"{len(lost)} of {self.plan.cells} cells are missing: {text}",
                MissingCells,
                stacklevel=4,
            )
        plan = self.plan
        about = [record.about for record in self.records.values()]
        attributes = {
            "measure": plan.code.name,
            "code": plan.code.vouched or plan.code.digest,
            "version": plan.version,
            "fixed": strict_json(dict(plan.fixed)),
            "together": ", ".join(plan.together),
            **{f"version of {k}": v for k, v in plan.settings.items() if not k.startswith("jax_")},
            **{k: v for k, v in plan.settings.items() if k.startswith("jax_")},
            "backend": ", ".join(sorted({str(a.get("backend", "unknown")) for a in about})),
            "seconds": sum(a["seconds"] for a in about),
            "missing": "; ".join(lost),
        }
        axes = {axis.name: axis.labels for axis in plan.axes}
        return assemble(axes, self.records, units=self.units, attributes=attributes)


def _listed(failures: Sequence[tuple[Unit, Report]]) -> str:
    first = failures[0][1]
    lines = [f"\n  {unit.labels[0]}: {report.error}" for unit, report in failures[:10]]
    more = f"\n  and {len(failures) - 10} more" if len(failures) > 10 else ""
    return f"{''.join(lines)}{more}\nThe first one:\n{first.traceback}"


def _check_shapes(plan: Plan, pending: Sequence[Unit], gathering: _Gathering) -> None:
    """Trace every compiled program of the sweep and compare what they return.

    Raises:
        ValueError: if shapes differ, or the measure cannot be traced.
    """
    for group in grouped(unit for unit in pending if unit.width):
        unit = group[0]
        try:
            schema = program_of(plan.measure, unit).schema(batch_of(unit))
        except Exception as error:
            raise reject(
                "together",
                "name axes in which the measure is traceable by JAX",
                f"{type(error).__name__} at {unit.labels[0]}: {error}",
            ) from error
        gathering.check(schema, unit.labels[0])
