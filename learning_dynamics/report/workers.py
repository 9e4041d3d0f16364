"""Claims side by side, each in a process that has processor cores and memory of its own."""

import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from learning_dynamics.report.claims import Claim, Outcome, Size, run_claim
from learning_dynamics.sweeps.worker import end_with_parent, keep_to, share_compiled

__all__ = ["Job", "available_cores", "can_run_elsewhere", "execute", "side_by_side"]

TICK = 5.0  # seconds after which the page shows the remaining time again
OFTEN = 0.5  # seconds between messages on the progress of a claim
LARGE = 700 * 2**20  # bytes of memory above which a process is replaced by a new one


@dataclass(frozen=True)
class Job:
    """One claim to be run: size, seed, folder of the page, and store of its sweeps."""

    claim: Claim
    size: Size
    seed: int
    out: Path
    cells: Path | None = None


@dataclass(frozen=True)
class Event:
    """What happens to a claim: it starts, is somewhere, or has ended; without claim, a tick."""

    claim: Claim | None = None
    outcome: Outcome | None = None
    at: str = ""


def available_cores() -> list[int]:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))  # macOS, Windows


def can_run_elsewhere(claim: Claim) -> bool:
    """Whether a new process finds the claim: a function at the top of a module of a plug-in."""
    homes = {entry.value for entry in entry_points(group="learning_dynamics.claims")}
    module = claim.test.__module__
    if not any(module == home or module.startswith(f"{home}.") for home in homes):
        return False
    with suppress(Exception):
        return bool(pickle.dumps(claim))
    return False


def execute(job: Job, tracker: Any) -> Outcome:
    """Run one claim and store it; whatever it raises, while figures are drawn too, fails it.

    Raises:
        OSError: if the folder of the page cannot be written.
        KeyboardInterrupt: if it is interrupted.
    """
    from learning_dynamics.report.records import store

    start = time.perf_counter()
    try:
        outcome = run_claim(
            job.claim, size=job.size, seed=job.seed, tracker=tracker, store=job.cells
        )
        store(outcome, job.out)
    except KeyboardInterrupt:
        raise
    except BaseException:  # also one that ends the program
        spent = time.perf_counter() - start
        outcome = Outcome(job.claim, None, spent, job.size, job.seed, traceback.format_exc())
        store(outcome, job.out)
    return outcome


@dataclass(eq=False)
class _Worker:
    """A process, the pipe to it, and the job that it has."""

    process: Any
    pipe: Connection
    cores: list[int]
    job: Job | None = None
    since: float = 0.0


@dataclass(eq=False)
class _Crew:
    """Processes that take up claims; one that has ended, or holds much memory, is replaced."""

    compiled: Path | None
    context: BaseContext
    idle: list[_Worker] = field(default_factory=list)
    busy: list[_Worker] = field(default_factory=list)

    def hire(self, cores: list[int]) -> None:
        context: Any = self.context
        here, there = context.Pipe()
        arguments = (there, cores, list(sys.path), self.compiled)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        there.close()
        self.idle.append(_Worker(process, here, cores))

    def give(self, job: Job) -> None:
        worker = self.idle.pop(0)
        worker.job, worker.since = job, time.perf_counter()
        self.busy.append(worker)
        with suppress(OSError):  # a process that has ended is noticed below
            worker.pipe.send(pickle.dumps(job))

    def free(self, worker: _Worker, *, fit: bool, more: bool) -> None:
        """Take the job from a worker; one that is not fit is replaced if there is more to do."""
        self.busy.remove(worker)
        worker.job = None
        if fit or not more:
            self.idle.append(worker)
            return
        worker.process.terminate()
        worker.pipe.close()
        self.hire(worker.cores)

    def dismiss(self) -> None:
        for worker in (*self.idle, *self.busy):
            worker.process.terminate()
        for worker in (*self.idle, *self.busy):
            worker.process.join()
            worker.pipe.close()


def side_by_side(
    jobs: Iterable[Job],
    *,
    workers: int,
    compiled: Path | None = None,
    context: BaseContext | None = None,
) -> Iterator[Event]:
    """Run claims in processes of their own and store each as it ends.

    Every process is bound to its share of the processor cores, where the system allows it: XLA
    sizes its threads by the cores that it may use. A process that ends in the middle of a claim
    fails that claim only. All processes are ended when the iteration stops, however that happens.

    Args:
        jobs: in the order in which they start.
        workers: number of processes.
        compiled: folder in which processes share compiled programs; None to compile anew.
        context: how processes are started; they are spawned by default.

    Yields:
        Events, a tick at least every few seconds.

    Raises:
        OSError: if a worker cannot write the folder of the page.
    """
    waiting = list(jobs)
    count = min(workers, len(waiting))
    cores = available_cores()
    crew = _Crew(compiled, context or multiprocessing.get_context("spawn"))
    try:
        for number in range(count):
            crew.hire(cores[number::count] or cores)
        while waiting or crew.busy:
            while waiting and crew.idle:
                job = waiting.pop(0)
                crew.give(job)
                yield Event(job.claim)
            ready = wait([worker.pipe for worker in crew.busy], timeout=TICK)
            if not ready:
                yield Event()
            for worker in [worker for worker in crew.busy if worker.pipe in ready]:
                yield from _listen(worker, crew, bool(waiting))
    finally:
        crew.dismiss()


def _listen(worker: _Worker, crew: _Crew, more: bool) -> Iterator[Event]:
    """What a worker says: how far it is, how its claim ended, or nothing any more."""
    assert worker.job is not None
    job = worker.job
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        yield Event(job.claim, _lost(job, worker))
        crew.free(worker, fit=False, more=more)
        return
    if kind == "at":
        yield Event(job.claim, at=content)
        return
    if kind == "unwritten":
        raise content
    seconds, error, record, memory = content
    yield Event(
        job.claim, Outcome(job.claim, None, seconds, job.size, job.seed, error, record=record)
    )
    crew.free(worker, fit=memory < LARGE, more=more)


def _lost(job: Job, worker: _Worker) -> Outcome:
    """Outcome of a claim whose process has ended."""
    from learning_dynamics.report.records import store

    code = worker.process.exitcode
    how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    why = ", as when memory runs out" if code == -9 else ""
    spent = time.perf_counter() - worker.since
    text = f"The process of this claim {how}{why}.\n"
    outcome = Outcome(job.claim, None, spent, job.size, job.seed, text)
    store(outcome, job.out)
    return outcome


# ------------------------------------------------------------------ in the process of a worker


def _serve(pipe: Connection, cores: list[int], path: list[str], compiled: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that asked ends this process
    sys.path.extend(entry for entry in path if entry not in sys.path)
    end_with_parent()
    keep_to(cores)
    if compiled is not None:
        share_compiled(compiled)
    while True:
        job: Job = pickle.loads(pipe.recv())
        try:
            outcome = execute(job, _Teller(pipe))
        except OSError as error:
            pipe.send(("unwritten", OSError(error.errno, error.strerror, error.filename)))
            return
        record = {"verdict": outcome.verdict, "control_verdict": outcome.control_verdict}
        told = (outcome.seconds, outcome.error, record)
        del outcome  # with its draws and figures
        pipe.send(("done", (*told, _give_memory_back())))


@dataclass(eq=False)
class _Teller:
    """A tracker that tells the process that asked how far the work is."""

    pipe: Connection
    last: float = 0.0

    def __call__(self, items: Iterable[Any], description: str) -> Iterator[Any]:
        total = f"/{len(items)}" if isinstance(items, Sized) else ""
        for number, item in enumerate(items):
            now = time.perf_counter()
            if now - self.last > OFTEN:
                self.last = now
                self.pipe.send(("at", f"{description} {number}{total}"))
            yield item


def _give_memory_back() -> int:
    """Drop compiled programs; bytes that this process still holds."""
    import ctypes
    import gc

    import jax

    jax.clear_caches()
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # what the C library keeps for later
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
