"""Take a snapshot of a report for the pages: `python docs/_ext/make_gallery.py REPORT`.

Copies the records of the report and the first figure of each claim to `docs/gallery`, where
they are committed.
"""

import re
import shutil
import sys
from pathlib import Path

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


def main(report: Path) -> None:
    """Replace the snapshot by the records of `report`."""
    records = load_records(report)
    if not records:
        sys.exit(f"{report} holds no records: run `learning-dynamics report --out {report}` first")
    shutil.rmtree(GALLERY, ignore_errors=True)
    (GALLERY / "figures").mkdir(parents=True)
    for record in records:
        record["figures"] = record["figures"][:1]
        for figure in record["figures"]:
            source, target = report / figure["file"], GALLERY / figure["file"]
            if source.suffix == ".svg":
                target.write_text(shorter(source.read_text("utf-8")), "utf-8")
            else:
                shutil.copyfile(source, target)
    kept = [{key: record[key] for key in KEPT} for record in records]
    (GALLERY / "claims.json").write_text(strict_json(kept), "utf-8")
    size = sum(file.stat().st_size for file in GALLERY.rglob("*") if file.is_file())
    print(f"{len(records)} claims, {size / 1e6:.1f} MB in {GALLERY}")
    if size > LARGEST:
        sys.exit(f"more than {LARGEST / 1e6:.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "report"))
