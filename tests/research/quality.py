"""The quality table of the bundled preset: every row is one `maskwright evaluate` command.

    python -m tests.research.quality DATA [--preset tiny] [--results FILE]

`DATA` holds the image sets. Rows that `FILE` (JSON lines) has already are not measured again, so an interrupted run
goes on; the table is printed in Markdown at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from maskwright.presets.config import OVS_DINO
from maskwright.presets.config_io import sections
from maskwright.presets.folders import find
from maskwright.settings import Settings

__all__ = ["ROWS", "main"]

_HELD_OUT = "--held-out"
_NUCLEI = "--unlabelled background"
_TEXT = {
    "msrc_v2": _HELD_OUT,
    "coco128": _HELD_OUT,
    "camvid": _HELD_OUT,
    "nuclei": f"{_HELD_OUT} {_NUCLEI}",
    "clothing": f"{_HELD_OUT} {_NUCLEI} --limit 20",
    "davis2016": "--limit 50",
}
_CLICKS = {
    "camvid": f"{_HELD_OUT} --limit 20",
    "davis2016": f"{_HELD_OUT} --limit 20",
    "msrc_v2": _HELD_OUT,
    "nuclei": f"{_HELD_OUT} --limit 20",
    "clothing": f"{_HELD_OUT} --limit 30",
    "coco128": _HELD_OUT,
}
ROWS = [
    *(f"{data} --task click {options}" for data, options in _CLICKS.items()),
    *(f"{data} --task text {options}" for data, options in _TEXT.items()),
    *(f"{data} --task text --method dinotxt {options}" for data, options in _TEXT.items()),
    *(f"{data} --task text --method talk2dino {options}" for data, options in _TEXT.items() if data != "davis2016"),
    *(
        f"{data} --task text --method {method} {_HELD_OUT} --boundary"
        for data in ("msrc_v2", "coco128", "camvid")
        for method in (OVS_DINO, "talk2dino", "dinotxt", "dinov3seg")
    ),
    "davis2016 --task example --refine none",
    "msrc_v2 --task example --refine none",
    f"nuclei --task text --instances {_HELD_OUT} {_NUCLEI}",
]
"""Arguments of `maskwright evaluate`, the data set first."""


def _measure(data: Path, row: str, preset: str) -> dict[str, Any]:
    name, *options = row.split()
    command = "from maskwright.cli import main; main()"
    arguments = ["evaluate", str(data / name), *options, "--preset", preset, "--json"]
    done = subprocess.run([sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def _result(scores: dict[str, Any]) -> str:
    if "instances" in scores:
        found = scores["instances"]
        return f"F1 {found['f1']:.3f}, mean IoU {found['mean_iou']:.3f}, PQ {found['pq']:.3f}"
    if scores["task"] == "click":
        clicks = f"IoU {scores['iou_1click']:.3f} after one click, {scores['iou_5click']:.3f} after five"
        return f"{clicks}; {scores['noc85']:.1f} clicks to 0.85 ({scores['objects']} objects)"
    if scores["task"] == "example":
        return f"mean IoU {scores['miou']:.3f} over {scores['episodes']} episodes"
    edges = f", boundary IoU {scores['boundary_iou']:.3f}" if "boundary_iou" in scores else ""
    accuracy = f"pixel accuracy {scores['pixel_accuracy']:.3f}"
    return f"mIoU {scores['miou']:.3f}{edges}, {accuracy} ({scores['classes']} classes)"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--results", type=Path, default=Path("quality.jsonl"))
    parser.add_argument("--only", default="", help="rows that contain this text")
    options = parser.parse_args()
    known: dict[str, dict[str, Any]] = {}
    if options.results.exists():
        known = {line["row"]: line["scores"] for line in map(json.loads, options.results.open(encoding="utf-8"))}
    trained = sections(find(options.preset, Settings.load()))
    # a preset whose OVS-DINO was not trained has no such rows
    rows = [row for row in ROWS if options.only in row and (OVS_DINO not in row or OVS_DINO in trained)]
    for row in rows:
        if row not in known:
            known[row] = _measure(options.data, row, options.preset)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"row": row, "scores": known[row]}) + "\n")
    print("| data | images | `maskwright evaluate DATA` | result |\n| --- | --- | --- | --- |")
    for row in rows:
        name, _, arguments = row.partition(" ")
        print(f"| {name} | {known[row]['images']} | `{arguments}` | {_result(known[row])} |")


if __name__ == "__main__":
    main()
