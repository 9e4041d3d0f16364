"""One call that writes the page: what the theories predict for given data."""

from __future__ import annotations

import json
import os
import textwrap
import time
import traceback
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from learning_dynamics import short_text
from learning_dynamics.files import folder_path, remove_abandoned, replacing, strict_json
from learning_dynamics.identity import digest
from learning_dynamics.inspection.samples import Samples, as_samples
from learning_dynamics.inspection.sections import Findings, Section, load_sections
from learning_dynamics.report.plugins import BrokenPlugin
from learning_dynamics.report.records import (
    code_digest,
    files_of,
    remove_files,
    save_data,
    save_panels,
    versions,
)
from learning_dynamics.report.rendering import render
from learning_dynamics.tracking import Tracking, track, tracked
from learning_dynamics.validation import integers

__all__ = ["Inspection", "inspect"]

FORMAT = "inspection 3"
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Inspection:
    """Numbers and verdicts of an inspection, and the path of its page.

    Attributes:
        page: file of the page.
        name: where the data come from.
        notes: what was done to the data.
        records: one for each section, as on the page.
        missing: plug-ins that could not be imported, and why.
    """

    page: Path
    name: str
    notes: tuple[str, ...]
    records: tuple[Record, ...]
    missing: tuple[str, ...] = ()

    @property
    def numbers(self) -> dict[str, dict[str, tuple[float, float | None]]]:
        """Section -> name of a number -> its value and its error (None if it is exact)."""
        return {
            record["id"]: {n["name"]: (n["value"], n["error"]) for n in record["numbers"]}
            for record in self.records
        }

    @property
    def verdicts(self) -> dict[str, str]:
        """Section -> "pass", "fail", "not claimed here" or "error"; "" without a comparison."""
        return {record["id"]: record["verdict"] for record in self.records}

    @property
    def answers(self) -> dict[str, str]:
        """Section -> what it found, in one or two sentences, where it has an answer."""
        return {record["id"]: record["answer"] for record in self.records if record["answer"]}

    def __repr__(self) -> str:
        headline, *rows = short_text.represent(self).splitlines()
        answers = (
            line
            for answer in self.answers.values()
            for line in textwrap.wrap(answer, 100, initial_indent="  ", subsequent_indent="    ")
        )
        return "\n".join([headline, *answers, *rows])

    def _summary(self) -> tuple[str, short_text.Rows]:
        rows = {id: verdict or "measured" for id, verdict in self.verdicts.items()}
        return self.name, {**rows, "page": str(self.page)}


@tracked
def inspect(
    data: Any,
    out: str | os.PathLike[str] = "inspection",
    *,
    name: str | None = None,
    seed: int = 0,
    tracker: Tracking = "auto",
) -> Inspection:
    """Write a page that says what the theories of the installed packages predict for data.

    Each section measures what it can on subsamples of the data and lays it beside the theory, with
    error bars; where the theory claims to hold there is a verdict. An interrupted inspection goes
    on: sections that the same code found for the same data in this folder are kept.

    Args:
        data: samples by features, shape (n, d); images of shape (n, height, width[, channels]), a
            sequence of images of any sizes, an `ImageSet`; or the path of a folder, file or
            bundled set. At most 10 000 rows are used; larger images are cut into patches.
        out: folder of the page.
        name: of the data, on the page; by default where they come from.
        seed: of all random choices.
        tracker: progress bar, as of `simulate`.

    Raises:
        ValueError: if the data cannot be read, are not finite, do not vary or are too few; if no
            package with sections is installed, or `out` cannot be a folder.
    """
    number = int(integers("seed", seed, least=0))
    folder = folder_path("out", Path(out))
    sections, broken = load_sections()
    if not sections:
        lost = "".join(f"; not loaded: {each.name}, {each.reason}" for each in broken)
        raise ValueError(f"no package with sections for an inspection is installed{lost}")
    samples = as_samples(data, name=name, seed=number)
    for part in ("", "sections", "figures", "data"):
        remove_abandoned(folder / part)
    about = {
        "name": samples.name,
        "seed": number,
        "notes": list(samples.notes),
        "rows": list(samples.rows.shape),
    }
    records: list[Record] = []
    _write(folder, about, records, list(sections), broken)
    for done, section in enumerate(track(list(sections.values()), "sections"), 1):
        records.append(_record(section, samples, folder, number))
        _write(folder, about, records, list(sections)[done:], broken)
    return Inspection(
        folder / "index.html",
        samples.name,
        samples.notes,
        tuple(records),
        tuple(f"{each.name}: {each.reason}" for each in broken),
    )


def _record(section: Section, samples: Samples, out: Path, seed: int) -> Record:
    """The record of a section: the one in the folder, if nothing has changed, or a new one."""
    stem = section.id.replace("/", "_")
    path = out / "sections" / f"{stem}.json"
    earlier = _read(path)
    made = versions()
    code = code_digest(section.look)
    identity = digest(FORMAT, section.id, samples.digest, str(seed), code, strict_json(made))
    if earlier is not None and _still_holds(earlier, identity if code else "", out):
        return earlier
    start = time.perf_counter()
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(section.id.encode()))
    error = ""
    try:
        findings = section.look(samples, key)
        if not isinstance(findings, Findings):
            raise TypeError(f"Section {section.id!r} must return Findings, got {findings!r}.")
    except Exception:  # one section must not cost the others
        findings, error = Findings(), traceback.format_exc()
    unclaimed = save_data([each for each, _ in findings.unclaimed], out, f"{stem}-unclaimed")
    reasons = [reason for _, reason in findings.unclaimed]
    record = {
        "format": FORMAT,
        "key": identity,
        "id": section.id,
        "title": section.title,
        "source": section.source,
        "verdict": _verdict(findings, error),
        "answer": findings.answer,
        "numbers": [asdict(number) for number in findings.numbers],
        "comparisons": save_data(findings.comparisons, out, stem),
        "controls": [],
        "unclaimed": [
            {**entry, "reason": reason} for entry, reason in zip(unclaimed, reasons, strict=True)
        ],
        "figures": save_panels(findings.panels, out, stem),
        "tables": [asdict(table) for table in findings.tables],
        "notes": list(findings.notes),
        "error": error,
        "seconds": time.perf_counter() - start,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": made,
    }
    text = strict_json(record)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    stored: Record = json.loads(text)
    if earlier is not None:
        remove_files(out, _files(earlier) - _files(stored))
    return stored


def _still_holds(record: Record, identity: str, out: Path) -> bool:
    """Whether a record is that of the same data and code, without an error and with all files."""
    same = identity and record["key"] == identity and not record["error"]
    return bool(same) and all((out / file).is_file() for file in _files(record))


def _verdict(findings: Findings, error: str) -> str:
    if error:
        return "error"
    if any(each.verdict == "fail" for each in findings.comparisons):
        return "fail"
    if findings.comparisons:
        return "pass"
    return "not claimed here" if findings.unclaimed else ""


def _files(record: Record) -> set[str]:
    return files_of(record) | {str(entry["data"]) for entry in record["unclaimed"]}


def _read(path: Path) -> Record | None:
    """An earlier record; None if there is none, or it is none of this format."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and record.get("format") == FORMAT
    return record if whole else None


def _write(
    out: Path,
    about: Mapping[str, Any],
    records: Sequence[Record],
    pending: Sequence[str],
    broken: Sequence[BrokenPlugin],
) -> None:
    """Write `index.html` and `inspection.json`, whole or not at all."""
    page = render(
        "inspection.html.j2",
        records=list(records),
        about=about,
        pending=pending,
        broken=broken,
        reload=bool(pending),
    )
    kept = (
        "id", "title", "verdict", "answer", "numbers", "comparisons", "unclaimed", "tables",
        "notes",
    )  # fmt: skip
    published = {**about, "sections": [{key: each[key] for key in kept} for each in records]}
    for name, text in (("inspection.json", strict_json(published)), ("index.html", page)):
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
