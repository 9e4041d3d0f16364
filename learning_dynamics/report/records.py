"""What is kept of a claim that was run: figures, data and one JSON record, written atomically."""

import json
import math
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from learning_dynamics.evidence.comparison import Comparison
from learning_dynamics.evidence.described import describe
from learning_dynamics.files import replacing, strict_json
from learning_dynamics.markup import slug
from learning_dynamics.netcdf import write_netcdf
from learning_dynamics.report.claims import Claim, Outcome, Panel

__all__ = [
    "code_digest",
    "files_of",
    "finished",
    "load_records",
    "remove_files",
    "save_data",
    "save_panels",
    "store",
    "versions",
]

FORMAT = 2
LARGEST_SVG = 2_000_000  # bytes; beyond it a page of such figures loads slowly
Record = dict[str, Any]

HEADLINE = ("measured", "predicted", "standard_error", "residual")
_TEXTS = (
    "id", "package", "statement", "source", "verdict", "control_verdict", "size", "date", "error",
)  # fmt: skip
_COMPARED = {
    "name", "verdict", "points", "replicas", "lost_replicas", "measured", "predicted",
    "standard_error", "allowed_bias", "bias_order", "residual", "critical", "at", "data",
}  # fmt: skip
_ENTRIES = {
    "comparisons": _COMPARED, "controls": _COMPARED,
    "figures": {"file", "caption", "shows", "wide"},
}  # fmt: skip


def store(outcome: Outcome, out: Path) -> Record:
    """Write figures, netCDF data and the record of one outcome below `out`; return the record."""
    stem = outcome.claim.id.replace("/", "_")
    evidence = outcome.evidence
    figures: list[Record] = []
    comparisons: list[Record] = []
    controls: list[Record] = []
    if evidence is not None:
        figures = save_panels(evidence.panels, out, stem)
        comparisons = save_data(evidence.comparisons, out, stem)
        controls = save_data(evidence.controls, out, f"{stem}-control")
    record = {
        "format": FORMAT,
        "id": outcome.claim.id,
        "package": outcome.claim.package,
        "statement": outcome.claim.statement,
        "source": outcome.claim.source,
        "verdict": outcome.verdict,
        "control_verdict": outcome.control_verdict,
        **_headline(evidence.comparisons if evidence is not None else ()),
        "seconds": outcome.seconds,
        "size": outcome.size,
        "seed": outcome.seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "comparisons": comparisons,
        "controls": controls,
        "figures": figures,
        "notes": list(evidence.notes) if evidence is not None else [],
        "error": outcome.error,
        "versions": versions(),
        "code": code_digest(outcome.claim.test),
    }
    path = out / "records" / f"{stem}.json"
    previous = _read(path) if path.exists() else None
    text = strict_json(record)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if previous is not None:
        remove_files(out, files_of(previous) - files_of(record))
    return dict(json.loads(text))


def remove_files(out: Path, files: Iterable[str]) -> None:
    """Remove files below `out`, if they are there."""
    for file in files:
        with suppress(FileNotFoundError):
            (out / file).unlink()


def load_records(out: Path) -> list[Record]:
    """All records below `out`, sorted by claim."""
    paths = [path for path in (out / "records").glob("*.json") if path.name[0] != "."]
    found = [_read(path) for path in sorted(paths)]
    return sorted((record for record in found if record), key=lambda record: str(record["id"]))


def finished(claim: Claim, out: Path, *, size: str, seed: int) -> Outcome | None:
    """Outcome of an earlier run below `out`, if the very same run would come to it again."""
    path = out / "records" / f"{claim.id.replace('/', '_')}.json"
    record = _read(path) if path.exists() else None
    if record is None or record["error"]:
        return None
    same = (record["size"], record["seed"], record["versions"], record.get("code"))
    code = code_digest(claim.test)
    if not code or same != (size, seed, versions(), code):
        return None
    return Outcome(claim, None, record["seconds"], record["size"], seed, record=record)


def code_digest(function: Callable[..., Any]) -> str:
    """Hash of the code that a function reaches; empty if it cannot be followed."""
    from learning_dynamics.identity import code_of

    code = code_of(function)
    return "" if code.uncovered or code.edited else code.digest


def versions() -> dict[str, str]:
    """Versions, device and random-generator name of this process."""
    import jax

    devices = jax.devices()
    found = {"learning-dynamics": "not installed"}
    with suppress(PackageNotFoundError):
        found["learning-dynamics"] = version("learning-dynamics")
    return {
        **found,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{len(devices)} × {devices[0].device_kind} ({platform.machine()})",
        "random generator": str(jax.random.key_impl(jax.random.key(0))),
    }


def _headline(comparisons: Sequence[Comparison]) -> Record:
    """Numbers of the comparison that lies farthest from its theory."""
    if not comparisons:
        return dict.fromkeys(HEADLINE)

    def severity(comparison: Comparison) -> float:
        residual = abs(float(comparison.residual[comparison.worst])) / comparison.critical
        return math.inf if math.isnan(residual) else residual

    summary = max(comparisons, key=severity).summary()
    return {key: summary[key] for key in HEADLINE}


def save_panels(panels: Mapping[str, Panel], out: Path, stem: str) -> list[Record]:
    """Write figures below `out`; for each the file, its caption, what it shows and its form."""
    records = []
    for name, panel in panels.items():
        file = _save_figure(panel.figure, out, f"{stem}-{slug(name)}")
        width, height = panel.figure.get_size_inches()
        records.append(
            {
                "file": file,
                "caption": panel.caption,
                "shows": describe(panel.figure),
                "wide": bool(width > 1.4 * height),  # needs the width of the page
            }
        )
    return records


def _save_figure(figure: Any, out: Path, stem: str) -> str:
    from learning_dynamics.evidence.figures import save_figure

    file = f"figures/{stem}.svg"
    with replacing(out / file) as temporary:
        save_figure(figure, temporary)
        size = temporary.stat().st_size
    if size <= LARGEST_SVG:
        return file
    (out / file).unlink()
    file = f"figures/{stem}.png"
    with replacing(out / file) as temporary:
        save_figure(figure, temporary)
    return file


def save_data(comparisons: Sequence[Comparison], out: Path, stem: str) -> list[Record]:
    """Summaries of the comparisons, each with the name of its netCDF file."""
    records = []
    for index, comparison in enumerate(comparisons, start=1):
        file = f"data/{stem}-{index}-{slug(comparison.name)}.nc"
        write_netcdf(comparison.to_xarray(), out / file)
        records.append({**comparison.summary(), "data": file})
    return records


def _read(path: Path) -> Record | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if _is_record(record):
            return dict(json.loads(strict_json(record)))  # without lone surrogates
    except (OSError, ValueError, RecursionError):
        pass
    warnings.warn(f"{path.name} is no record of a claim and is left out", stacklevel=2)
    return None


def _is_record(record: Any) -> bool:
    """Whether a record has all that the page shows, each of its kind."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return False
    return (
        all(isinstance(record.get(name), str) for name in _TEXTS)
        and all(_is_number(record.get(name)) for name in ("seconds", "seed"))
        and all(name in record for name in HEADLINE)
        and isinstance(record.get("versions"), dict)
        and _is_list_of(record.get("notes"), str)
        and all(_is_list_of(record.get(name), dict) for name in _ENTRIES)
        and all(keys <= entry.keys() for name, keys in _ENTRIES.items() for entry in record[name])
        and all(isinstance(f[key], str) for f in record["figures"] for key in ("caption", "shows"))
        and all(map(_is_comparison, (*record["comparisons"], *record["controls"])))
    )


def _is_comparison(entry: Record) -> bool:
    return (
        all(isinstance(entry[name], str) for name in ("name", "bias_order", "data"))
        and all(_is_number(entry[name]) for name in ("points", "replicas", "lost_replicas"))
        and isinstance(entry["at"], dict)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(entry, kind) for entry in value)


def files_of(record: Record) -> set[str]:
    """Names of the figures and data of a record."""
    entries = (*record["figures"], *record["comparisons"], *record["controls"])
    return {str(entry.get("file") or entry.get("data")) for entry in entries}
