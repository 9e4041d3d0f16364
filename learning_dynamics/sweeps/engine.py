"""Running the units of a sweep: in this process, or by any executor with a method `submit`.

Neither keeps results in memory of its own: a unit is done when its files are there.
"""

import multiprocessing
import queue
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any

import jax

from learning_dynamics.identity.settings import flagged, flags
from learning_dynamics.sweeps import locks
from learning_dynamics.sweeps.plan import Plan, Unit
from learning_dynamics.sweeps.store import Store, StoreError
from learning_dynamics.sweeps.work import Measure, Report, ensure
from learning_dynamics.sweeps.worker import forget_marks, marks, package, run_remote
from learning_dynamics.validation import reject

__all__ = ["check_executor", "run_elsewhere", "run_here"]

Finished = tuple[Unit, Report]
PAUSE = 0.2  # seconds between looks at cells that another process computes


def run_here(
    plan: Plan, pending: Sequence[Unit], store: Store, attempts: int
) -> Iterator[Finished]:
    """Run units in this process; batches take turns on all its devices.

    Yields:
        Each unit with what became of it, as it finishes. Units on which another process works are
        waited for.
    """
    devices = jax.local_devices() if any(unit.width for unit in pending) else []
    if len(devices) > 1 and len(pending) > 1:
        yield from _on_devices(plan, pending, store, attempts, devices)
    else:
        yield from _in_turn(plan.measure, deque(pending), store, attempts)


def _in_turn(
    measure: Measure,
    waiting: "deque[Unit]",
    store: Store,
    attempts: int,
    device: jax.Device | None = None,
) -> Iterator[Finished]:
    failed: dict[str, int] = {}
    idle = 0
    standstill = locks.Standstill()
    while True:
        try:
            unit = waiting.popleft()  # shared by the threads of several devices
        except IndexError:
            return
        report = ensure(measure, unit, store, device)
        if report.state == "busy" and _stands_still(unit, store, standstill):
            report = ensure(measure, unit, store, device, even_if_taken=True)
        if report.state == "busy":
            waiting.append(unit)
            idle += 1
            if idle >= len(waiting):
                time.sleep(PAUSE)
                idle = 0
            continue
        idle = 0
        if report.state == "failed" and not report.lasting:
            failed[unit.keys[0]] = failed.get(unit.keys[0], 0) + 1
            if failed[unit.keys[0]] < attempts:
                waiting.append(unit)
                continue
        yield unit, report


def _on_devices(
    plan: Plan, pending: Sequence[Unit], store: Store, attempts: int, devices: Sequence[jax.Device]
) -> Iterator[Finished]:
    waiting = deque(pending)
    found: queue.SimpleQueue[Finished | BaseException | None] = queue.SimpleQueue()
    known = flags()

    def serve(device: jax.Device) -> None:
        try:
            with flagged(known):
                for finished in _in_turn(plan.measure, waiting, store, attempts, device):
                    found.put(finished)
        except BaseException as error:
            found.put(error)
        found.put(None)

    threads = [threading.Thread(target=serve, args=(d,), daemon=True) for d in devices]
    for thread in threads:
        thread.start()
    try:
        serving = len(threads)
        while serving:
            item = found.get()
            if item is None:
                serving -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        waiting.clear()
        for thread in threads:
            thread.join()


def check_executor(executor: Any, tasks: int | None) -> None:
    """Check that an executor can be used.

    Raises:
        ValueError: if it has no `submit`, forks, or would put one job per cell into a queue.
    """
    if not callable(getattr(executor, "submit", None)):
        raise reject("executor", "have a method `submit`", repr(executor))
    if isinstance(executor, ProcessPoolExecutor):
        context = getattr(executor, "_mp_context", None) or multiprocessing.get_context()
        if context.get_start_method() == "fork":
            raise reject(
                "executor",
                "start its processes by spawn, since JAX does not survive a fork: give "
                'ProcessPoolExecutor mp_context=multiprocessing.get_context("spawn")',
                "a pool that forks",
            )
    if type(executor).__module__.startswith("submitit"):
        if tasks is None:
            raise reject(
                "tasks", "be given with submitit: the number of jobs to cut the work into", None
            )
        minutes = _minutes(executor)
        if minutes is not None and minutes < 10:
            raise reject(
                "executor",
                "allow at least 10 minutes, since submitit signals jobs 90 s before their end",
                f"{minutes} minutes",
            )


def _minutes(executor: Any) -> float | None:
    """Time limit of a submitit executor, as far as it is known."""
    known = getattr(executor, "parameters", None)
    if not isinstance(known, dict):
        known = getattr(getattr(executor, "_executor", None), "parameters", {}) or {}
    for name in ("timeout_min", "time"):
        if isinstance(known.get(name), int | float):
            return float(known[name])
    return None


def run_elsewhere(
    plan: Plan,
    pending: Sequence[Unit],
    store: Store,
    attempts: int,
    *,
    executor: Any,
    tasks: int | None,
    cores: int | None,
) -> Iterator[Finished]:
    """Run units by an executor, in rounds: what a lost worker left undone is submitted again.

    Args:
        plan: of the sweep.
        pending: units to do.
        store: reachable by all workers under the same path.
        attempts: how often a unit may fail, or vanish with its worker.
        executor: object with `submit(function, *arguments)` and futures with `done`, `result`.
        tasks: number of tasks per round; one per unit if None.
        cores: processor cores of each worker process; all if None.

    Yields:
        Each unit with what became of it.

    Raises:
        RuntimeError: if the executor gets nothing done.
    """
    left = {unit.keys[0]: unit for unit in pending}
    failed: dict[str, int] = {}
    standstill = locks.Standstill()
    forget_marks(store, left)
    barren, revived = 0, None
    try:
        while left:
            for unit in [u for u in left.values() if _finished(u, store)]:
                del left[unit.keys[0]]  # by another process
                yield unit, Report("done")
            # who was there when a worker died runs on its own, after all others
            suspects = [unit for key, unit in left.items() if marks(store, key)]
            units = [u for u in left.values() if u not in suspects] or suspects[:1]
            # a task that finds its cells taken ends at once, and a queue should not see many
            free = [unit for unit in units if not _taken(unit, store)]
            stopped = [] if free else [u for u in units if _stands_still(u, store, standstill)]
            units = free or stopped
            if not units:
                time.sleep(PAUSE)
                continue
            count = min(tasks or len(units), len(units))
            shares = [units[i::count] for i in range(count)]  # every task sees all sizes
            broken: BaseException | None = None
            progress = False
            futures: dict[Any, list[Unit]] = {}
            before = {key: marks(store, key) for key in left}
            try:
                for share in shares:
                    task = package(plan, share, store, cores, even_if_taken=bool(stopped))
                    futures[executor.submit(run_remote, task)] = share
            except (BrokenExecutor, RuntimeError) as error:
                broken = error
            try:
                for unit, report in _collect(futures, store, left):
                    if isinstance(report, BaseException):
                        if isinstance(report, StoreError):
                            raise report
                        broken = report
                        continue
                    if report.state == "busy":
                        continue
                    progress = True
                    key = unit.keys[0]
                    if report.state == "failed" and not report.lasting:
                        failed[key] = failed.get(key, 0) + 1
                        if failed[key] < attempts:
                            continue
                    del left[key]
                    yield unit, report
            finally:
                for future in futures:
                    if hasattr(future, "cancel") and not future.done():
                        future.cancel()
            if broken is not None:
                for key in list(left):
                    lost = marks(store, key)
                    progress |= lost > before[key]
                    if lost >= attempts:
                        unit = left.pop(key)
                        yield unit, _vanished(unit, store, lost, broken)
                if isinstance(executor, ProcessPoolExecutor):
                    if revived is not None:
                        revived.shutdown(wait=False)
                    executor = revived = _fresh(executor)
                barren = 0 if progress else barren + 1
                if left and barren >= attempts:
                    name = type(executor).__name__
                    raise RuntimeError(
                        f"{name} got nothing done in {barren} rounds: {broken}"
                    ) from broken
            if left:
                time.sleep(PAUSE)
    finally:
        if revived is not None:
            revived.shutdown(wait=True, cancel_futures=True)


def _finished(unit: Unit, store: Store) -> bool:
    return all(store.has(key) for key in unit.keys)


def _taken(unit: Unit, store: Store) -> bool:
    """Whether another process works on a unit."""
    return any(store.busy(key) for key in unit.keys)


def _stands_still(unit: Unit, store: Store, standstill: locks.Standstill) -> bool:
    """Whether who works on a taken unit has given no sign of life for long; says so."""
    key = next((key for key in unit.keys if store.busy(key)), None)
    sign = None if key is None else store.sign_of_life(key)
    if key is None or not standstill(key, sign):
        return False
    owner = "the process" if sign is None else sign.decode(errors="replace").split(" at ")[0]
    warnings.warn(
        f"{owner} that works on {unit.labels[0]} has given no sign of life for {locks.STILL:g} s, "
        "as if it were stopped; the cell is computed here",
        stacklevel=2,
    )
    return True


def _fresh(pool: ProcessPoolExecutor) -> ProcessPoolExecutor:
    """A pool like a broken one, which accepts no work any more."""
    old: Any = pool
    return ProcessPoolExecutor(
        max_workers=old._max_workers,
        mp_context=old._mp_context,
        initializer=old._initializer,
        initargs=old._initargs,
    )


def _vanished(unit: Unit, store: Store, times: int, cause: BaseException) -> Report:
    message = f"its worker vanished {times} times ({type(cause).__name__}: {cause})"
    trace = "".join(traceback.format_exception(cause))
    store.fail(unit.keys, {"error": message, "traceback": trace, "cells": unit.labels})
    forget_marks(store, [unit.keys[0]])
    return Report("failed", 0.0, message, trace)


def _collect(
    futures: dict[Any, list[Unit]], store: Store, left: dict[str, Unit]
) -> Iterator[tuple[Unit, Any]]:
    """Units as they finish: when their task does, or earlier when their files appear."""
    open_futures = dict(futures)
    pause, looked = 0.002, time.monotonic()
    while open_futures:
        finished = [future for future in open_futures if future.done()]
        for future in finished:
            share = open_futures.pop(future)
            try:
                reports = future.result()
            except StoreError:
                raise
            except Exception as error:
                # what was finished before the worker vanished counts
                for unit in share:
                    if unit.keys[0] in left:
                        yield unit, Report("done") if _finished(unit, store) else error
                continue
            for unit, report in zip(share, reports, strict=True):
                if unit.keys[0] in left:
                    yield unit, report
        if finished:
            pause = 0.002
            continue
        if time.monotonic() - looked > 1.0:  # tasks of many units are long
            looked = time.monotonic()
            for unit in [u for share in open_futures.values() if len(share) > 1 for u in share]:
                if unit.keys[0] in left and _finished(unit, store):
                    yield unit, Report("done")
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
