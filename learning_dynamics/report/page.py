"""The page: runs claims and writes one section per claim, after every claim."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from learning_dynamics.files import (
    folder_path,
    remove_abandoned,
    replacing,
    strict_json,
)
from learning_dynamics.markup import duration
from learning_dynamics.report.claims import (
    Claim,
    Outcome,
    Size,
    load_plugins,
)
from learning_dynamics.report.forecast import Forecast, shortest_then_longest
from learning_dynamics.report.plugins import BrokenPlugin
from learning_dynamics.report.progress import Progressing
from learning_dynamics.report.records import finished, load_records, store
from learning_dynamics.report.rendering import render
from learning_dynamics.report.workers import Job, can_run_elsewhere, execute, side_by_side
from learning_dynamics.validation import one_of, positive_integer

__all__ = ["run_report", "select_claims", "write_report"]

_PUBLISHED = [
    "id",
    "package",
    "statement",
    "verdict",
    "control_verdict",
    "measured",
    "predicted",
    "standard_error",
    "residual",
    "seconds",
    "size",
    "seed",
    "date",
    "comparisons",
    "controls",
    "error",
]


def select_claims(patterns: Sequence[str]) -> list[Claim]:
    """Claims with these ids or below these prefixes (such as "linear/"); all for no pattern.

    Raises:
        ValueError: if a pattern fits no claim; the message lists the known ones, and the plug-ins
            that cannot be loaded.
    """
    known, broken = load_plugins()
    chosen: set[str] = set()
    for pattern in patterns:
        fits = {id for id in known if id == pattern or id.startswith(pattern.rstrip("/") + "/")}
        if not fits:
            listed = "".join(f"\n  {id}" for id in known) or " (none)"
            lost = "".join(f"\nnot loaded: {each.name}, {each.reason}" for each in broken)
            raise ValueError(
                f"unknown claim {pattern!r}; one of your own is known where its module is "
                "imported, and to the command by an entry point of the group "
                f"learning_dynamics.claims; the known claims are:{listed}{lost}"
            )
        chosen |= fits
    return [known[id] for id in known if id in chosen or not patterns]


def write_report(
    outcomes: Iterable[Outcome],
    out: str | Path,
    *,
    pending: Sequence[str] = (),
    running: Sequence[str] = (),
    left: float | None = None,
    broken: Sequence[BrokenPlugin] = (),
) -> Path:
    """Store the outcomes below `out` and write `index.html` and `claims.json`.

    Claims that were stored there before keep their section, with their own date. Every file is
    replaced as a whole, so that a reader never sees half of one.

    Args:
        outcomes: claims that were run.
        out: folder, made if it is missing.
        pending: ids of claims that are not finished, named on the page.
        running: those of them that run now.
        left: seconds until all are finished; a browser reloads the page until this is None.
        broken: plug-ins that could not be loaded, shown on the page.

    Returns:
        The path of `index.html`.

    Raises:
        ValueError: if `out` is empty or a file.
    """
    out = folder_path("out", out)
    for outcome in outcomes:
        store(outcome, out)
    records = load_records(out)
    page = _render(records, pending, running, left, broken)
    published = [{key: record[key] for key in _PUBLISHED} for record in records]
    for name, text in (("claims.json", strict_json(published)), ("index.html", page)):
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return out / "index.html"


def run_report(
    ids: Sequence[str] = (),
    *,
    size: Size = "quick",
    out: str | Path = "report",
    seed: int = 0,
    workers: int | None = None,
    compiled: str | Path | None = None,
    progress: Progressing | None = None,
    done: Callable[[Outcome], object] | None = None,
    fresh: bool = False,
    context: BaseContext | None = None,
) -> list[Outcome]:
    """Run claims and write the page after each; an error in a claim fails that claim only.

    At full size an interrupted report goes on: a claim that the same code finished in this folder
    is kept, and one that was interrupted finds the cells of its sweeps in `out`/sweeps.

    Args:
        ids: ids or prefixes such as "linear/"; all claims when empty.
        size: "quick" or "full".
        out: folder of the page.
        seed: seed of every claim's random key.
        workers: number of processes in which claims run side by side, the shortest first and then
            the longest first; by default claims run in this process, in the order of their ids.
            Claims that are no top-level functions of a plug-in run here in any case. Outcomes of
            other processes hold a record of their verdicts in place of evidence.
        compiled: folder in which these processes keep compiled programs for each other and for
            later runs; programs are found again by what they compute.
        progress: where progress is shown (default: standard error).
        done: called with each outcome as soon as it is stored.
        fresh: whether to forget what earlier runs at full size left in `out`.
        context: of `multiprocessing`, starts these processes; they are spawned by default.

    Returns:
        Outcomes in the order of the claims' ids.

    Raises:
        ValueError: on an unknown claim or size, or if `out` is empty or a file.
    """
    one_of("size", size, ("quick", "full"))
    count = 1 if workers is None else positive_integer("workers", workers)
    progress = progress or Progressing()
    claims = select_claims(ids)
    broken = load_plugins()[1]
    for plugin in broken:
        progress.say(f"plug-in {plugin.name} is left out: {plugin.reason}")
    out = folder_path("out", out)
    apart = [claim for claim in claims if workers is not None and can_run_elsewhere(claim)]
    order = shortest_then_longest(apart) if apart else []
    here = [claim for claim in claims if claim not in apart]
    forecast = Forecast([*order, *here], min(count, max(len(apart), 1)))
    outcomes: dict[str, Outcome] = {}

    def write(*, over: bool = False) -> None:
        left = None if over or not forecast.pending else forecast.left()
        running = () if over else forecast.running
        write_report([], out, pending=forecast.pending, running=running, left=left, broken=broken)

    def ended(outcome: Outcome, *, kept: bool = False) -> None:
        forecast.end(outcome.claim, counts=not kept)
        outcomes[outcome.claim.id] = outcome
        write()
        if done is not None:
            done(outcome)
        how = "kept from an earlier run" if kept else duration(outcome.seconds)
        left = f", about {duration(forecast.left())} left" if forecast.pending else ""
        number = f"{forecast.finished}/{len(claims)}"
        progress.say(f"[{number}] {outcome.claim.id}: {_result(outcome)} ({how}){left}")

    def job(claim: Claim) -> Job:
        cells = out / "sweeps" / claim.id.replace("/", "_") if size == "full" else None
        return Job(claim, size, seed, out, cells)

    def kept(claim: Claim) -> bool:
        """Whether the claim need not be run; forgets what earlier runs left of it if asked to."""
        cells = job(claim).cells
        if cells is None:
            return False
        if fresh:
            shutil.rmtree(cells, ignore_errors=True)
            return False
        earlier = finished(claim, out, size=size, seed=seed)
        if earlier is not None:
            forecast.start(claim)
            ended(earlier, kept=True)
        return earlier is not None

    write()
    for folder in ("", "records", "figures", "data"):
        remove_abandoned(out / folder)
    try:
        jobs = [job(claim) for claim in order if not kept(claim)]
        at: dict[str, str] = {}
        with progress.line() as show:
            place = None if compiled is None else Path(compiled)
            for event in side_by_side(jobs, workers=count, compiled=place, context=context):
                if event.outcome is not None:
                    ended(event.outcome)
                elif event.claim is None:
                    write()
                elif event.claim.id not in forecast.running:
                    forecast.start(event.claim)
                    write()
                if event.claim is not None:
                    at[event.claim.id] = event.at
                where = (f"{id} {at.get(id, '')}".rstrip() for id in forecast.running)
                show(f"{', '.join(where)}; about {duration(forecast.left())} left")
        for claim in here:
            if not kept(claim):
                forecast.start(claim)
                write()
                ended(execute(job(claim), progress.track))
    finally:
        write(over=True)
    return [outcomes[claim.id] for claim in claims]


def _result(outcome: Outcome) -> str:
    return "holds" if outcome.holds else "error" if outcome.error else "does not hold"


def _render(
    records: list[dict[str, Any]],
    pending: Sequence[str],
    running: Sequence[str],
    left: float | None,
    broken: Sequence[BrokenPlugin],
) -> str:
    return render(
        "report.html.j2",
        reload=left is not None,
        records=records,
        pending=[id for id in pending if id not in running],
        running=running,
        left=left,
        broken=broken,
        holding=sum(
            record["verdict"] == "pass" and record["control_verdict"] == "fail"
            for record in records
        ),
    )
