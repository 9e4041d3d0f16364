"""What is kept of a claim that was run: figures, data and one JSON record, written atomically."""

import json
import math
import os
import platform
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from learning_dynamics.claims import Claim, Outcome
from learning_dynamics.comparison import Comparison
from learning_dynamics.markup import slug

__all__ = ["finished", "load_records", "replacing", "store", "strict_json", "versions"]

FORMAT = 1
LARGEST_SVG = 2_000_000  # bytes; beyond it a page of such figures loads slowly
Record = dict[str, Any]


def store(outcome: Outcome, out: Path) -> Record:
    """Write figures, netCDF data and the record of one outcome below `out`; return the record."""
    stem = outcome.claim.id.replace("/", "_")
    evidence = outcome.evidence
    figures, comparisons, controls = [], [], []
    if evidence is not None:
        for name, panel in evidence.panels.items():
            file = _save_figure(panel.figure, out, f"{stem}-{slug(name)}")
            width, height = panel.figure.get_size_inches()
            wide = bool(width > 1.4 * height)
            figures.append({"file": file, "caption": panel.caption, "wide": wide})
        comparisons = _save_data(evidence.comparisons, out, stem)
        controls = _save_data(evidence.controls, out, f"{stem}-control")
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
        "code": _code(outcome.claim),
    }
    path = out / "records" / f"{stem}.json"
    previous = _read(path) if path.exists() else None
    text = strict_json(record)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if previous is not None:
        for file in _files(previous) - _files(record):
            with suppress(FileNotFoundError):
                (out / file).unlink()
    return dict(json.loads(text))


def load_records(out: Path) -> list[Record]:
    """All records below `out`, sorted by claim."""
    found = [_read(path) for path in sorted((out / "records").glob("*.json"))]
    return sorted((record for record in found if record), key=lambda record: str(record["id"]))


def finished(claim: Claim, out: Path, *, size: str, seed: int) -> Outcome | None:
    """Outcome of an earlier run below `out`, if the very same run would come to it again."""
    path = out / "records" / f"{claim.id.replace('/', '_')}.json"
    record = _read(path) if path.exists() else None
    if record is None or record["error"]:
        return None
    same = (record["size"], record["seed"], record["versions"], record.get("code"))
    code = _code(claim)
    if not code or same != (size, seed, versions(), code):
        return None
    return Outcome(claim, None, record["seconds"], record["size"], seed, record=record)


def _code(claim: Claim) -> str:
    """Hash of the code that the claim reaches; empty if it cannot be followed."""
    from learning_dynamics.identity import code_of

    code = code_of(claim.test)
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


def strict_json(value: Any) -> str:
    """JSON without NaN or Infinity: null for NaN, the strings "Infinity" and "-Infinity"."""
    return json.dumps(_strict(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _strict(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Sequence):
        return [_strict(entry) for entry in value]
    return str(value)


def _headline(comparisons: Sequence[Comparison]) -> Record:
    """Numbers of the comparison that lies farthest from its theory."""
    keys = ("measured", "predicted", "standard_error", "residual")
    if not comparisons:
        return dict.fromkeys(keys)

    def severity(comparison: Comparison) -> float:
        residual = abs(float(comparison.residual[comparison.worst])) / comparison.critical
        return math.inf if math.isnan(residual) else residual

    summary = max(comparisons, key=severity).summary()
    return {key: summary[key] for key in keys}


def _save_figure(figure: Any, out: Path, stem: str) -> str:
    from learning_dynamics.figures import save_figure

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


def _save_data(comparisons: Sequence[Comparison], out: Path, stem: str) -> list[Record]:
    """Summaries of the comparisons, each with the name of its netCDF file."""
    records = []
    for index, comparison in enumerate(comparisons, start=1):
        file = f"data/{stem}-{index}-{slug(comparison.name)}.nc"
        labelled = comparison.to_xarray()
        labelled.attrs = {str(k): _attribute(v) for k, v in labelled.attrs.items()}
        with replacing(out / file) as temporary:
            labelled.to_netcdf(temporary, engine="h5netcdf")
        records.append({**comparison.summary(), "data": file})
    return records


def _attribute(value: Any) -> Any:
    """What netCDF can hold: numbers and text; all else as text."""
    if isinstance(value, str | int | float | np.number) and not isinstance(value, bool):
        return value
    return str(value)


def _read(path: Path) -> Record | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if isinstance(record, dict) and record.get("format") == FORMAT:
        return record
    warnings.warn(f"{path.name} is no record of a claim and is left out", stacklevel=2)
    return None


def _files(record: Record) -> set[str]:
    entries = (*record["figures"], *record["comparisons"], *record["controls"])
    return {str(entry.get("file") or entry.get("data")) for entry in entries}
