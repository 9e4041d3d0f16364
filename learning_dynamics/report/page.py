"""The page: runs claims and writes one section per claim, after every claim."""

import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from learning_dynamics.files import (
    folder_path,
    plain_text,
    remove_abandoned,
    replacing,
    strict_json,
)
from learning_dynamics.markup import duration, number, plain_or_math, with_error
from learning_dynamics.report.claims import (
    BrokenPlugin,
    Claim,
    Outcome,
    Size,
    load_plugins,
    run_claim,
)
from learning_dynamics.report.progress import Progressing
from learning_dynamics.report.records import finished, load_records, store, versions
from learning_dynamics.validation import one_of

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
            raise ValueError(f"unknown claim {pattern!r}; the known claims are:{listed}{lost}")
        chosen |= fits
    return [known[id] for id in known if id in chosen or not patterns]


def write_report(
    outcomes: Iterable[Outcome],
    out: str | Path,
    *,
    pending: Sequence[str] = (),
    broken: Sequence[BrokenPlugin] = (),
) -> Path:
    """Store the outcomes below `out` and write `index.html` and `claims.json`.

    Claims that were stored there before keep their section, with their own date. Every file is
    replaced as a whole, so that a reader never sees half of one.

    Args:
        outcomes: claims that were run.
        out: folder, made if it is missing.
        pending: ids of claims that are still to be run, named on the page.
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
    page = plain_text(_render(records, pending, broken))
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
    progress: Progressing | None = None,
    done: Callable[[Outcome], object] | None = None,
    fresh: bool = False,
) -> list[Outcome]:
    """Run claims and write the page after each; an error in a claim fails that claim only.

    At full size an interrupted report goes on: a claim that the same code finished in this folder
    is kept, and one that was interrupted finds the cells of its sweeps in `out`/sweeps.

    Args:
        ids: ids or prefixes such as "linear/"; all claims when empty.
        size: "quick" or "full".
        out: folder of the page.
        seed: seed of every claim's random key.
        progress: where progress is shown (default: standard error).
        done: called with each outcome as soon as it is stored.
        fresh: whether to forget what earlier runs at full size left in `out`.

    Raises:
        ValueError: on an unknown claim or size, or if `out` is empty or a file.
    """
    one_of("size", size, ("quick", "full"))
    progress = progress or Progressing()
    claims = select_claims(ids)
    broken = load_plugins()[1]
    for plugin in broken:
        progress.say(f"plug-in {plugin.name} is left out: {plugin.reason}")
    out = folder_path("out", out)
    write_report([], out, pending=[claim.id for claim in claims], broken=broken)
    for folder in ("", "records", "figures", "data"):
        remove_abandoned(out / folder)
    outcomes = []
    for index, claim in enumerate(claims):
        waiting = [later.id for later in claims[index + 1 :]]
        start = time.perf_counter()
        cells = out / "sweeps" / claim.id.replace("/", "_") if size == "full" else None
        if cells is not None and fresh:
            shutil.rmtree(cells, ignore_errors=True)
        kept = None
        try:
            if cells is not None and not fresh:
                kept = finished(claim, out, size=size, seed=seed)
            outcome = kept or run_claim(
                claim, size=size, seed=seed, tracker=progress.track, store=cells
            )
            write_report([] if kept else [outcome], out, pending=waiting, broken=broken)
        except KeyboardInterrupt:
            raise
        except BaseException:  # also one raised while a figure is drawn, or that ends the program
            spent = time.perf_counter() - start
            outcome = Outcome(claim, None, spent, size, seed, traceback.format_exc())
            write_report([outcome], out, pending=waiting, broken=broken)
        outcomes.append(outcome)
        if done is not None:
            done(outcome)
        result = "holds" if outcome.holds else "error" if outcome.error else "does not hold"
        how = "kept from an earlier run" if kept else duration(outcome.seconds)
        progress.say(f"[{index + 1}/{len(claims)}] {claim.id}: {result} ({how})")
    return outcomes


def _render(
    records: list[dict[str, Any]], pending: Sequence[str], broken: Sequence[BrokenPlugin]
) -> str:
    environment = Environment(
        loader=PackageLoader("learning_dynamics.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        math=lambda text: Markup(plain_or_math(text)),
        number=number,
        duration=duration,
        day=lambda date: date.replace("T", " ").removesuffix("+00:00") + " UTC",
    )
    environment.globals["with_error"] = with_error
    return environment.get_template("report.html.j2").render(
        records=records,
        pending=pending,
        broken=broken,
        holding=sum(
            record["verdict"] == "pass" and record["control_verdict"] == "fail"
            for record in records
        ),
        versions=max(records, key=lambda r: r["date"])["versions"] if records else versions(),
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        seconds=sum(record["seconds"] for record in records),
    )
