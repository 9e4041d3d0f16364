"""Take a snapshot of a report for the pages: `python docs/_ext/make_gallery.py REPORT`.

Copies the records of the report and the first figure of each claim to `docs/gallery`, where
they are committed; of an inspection all records and figures to `docs/gallery/inspection`.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from learning_dynamics.files import strict_json
from learning_dynamics.report.records import load_records

GALLERY = Path(__file__).parents[1] / "gallery"
KEPT = (
    "id", "package", "statement", "source", "verdict", "control_verdict", "seconds", "size", "seed",
    "date", "comparisons", "controls", "figures", "notes", "versions",
)  # fmt: skip
LARGEST = 3_000_000  # bytes in all


def _rounded(path: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), path[0])


def shorter(svg: str) -> str:
    """The drawing without comments, and with paths to a hundredth of a point, which nobody sees."""
    bare = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    thin = re.sub(r"\s*\n\s*", " ", re.sub(r">\s+<", "><", bare)).strip()
    return re.sub(r'\bd="[^"]*"', _rounded, thin) + "\n"


def copy_figures(records: list[dict[str, Any]], report: Path, gallery: Path) -> None:
    """Replace the figures of a gallery by those of the records."""
    shutil.rmtree(gallery / "figures", ignore_errors=True)
    (gallery / "figures").mkdir(parents=True)
    for record in records:
        for figure in record["figures"]:
            source, target = report / figure["file"], gallery / figure["file"]
            if source.suffix == ".svg":
                target.write_text(shorter(source.read_text("utf-8")), "utf-8")
            else:
                shutil.copyfile(source, target)


def main(report: Path) -> None:
    """Replace the snapshot by the records of `report`, or by those of an inspection."""
    if (report / "inspection.json").is_file():
        records = [json.loads(file.read_text("utf-8")) for file in report.glob("sections/*.json")]
        records.sort(key=lambda record: record["id"])
        about = json.loads((report / "inspection.json").read_text("utf-8"))
        gallery, name = GALLERY / "inspection", "inspection.json"
        kept: Any = {**about, "sections": records}
    else:
        records = load_records(report)
        gallery, name = GALLERY, "claims.json"
        for record in records:
            record["figures"] = record["figures"][:1]
        kept = [{key: record[key] for key in KEPT} for record in records]
    if not records:
        sys.exit(f"{report} holds no records: run `learning-dynamics report --out {report}` first")
    copy_figures(records, report, gallery)
    (gallery / name).write_text(strict_json(kept), "utf-8")
    size = sum(file.stat().st_size for file in GALLERY.rglob("*") if file.is_file())
    print(f"{len(records)} records, {size / 1e6:.1f} MB in {GALLERY}")
    if size > LARGEST:
        sys.exit(f"more than {LARGEST / 1e6:.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "report"))
