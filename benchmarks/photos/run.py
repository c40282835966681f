"""Run the photographs benchmark and write `results.json`.

    python benchmarks/photos/run.py [--out RUN_FOLDER]

It runs `photos.yaml` (teacher, student, int8, verification on the 10,000 test images of CIFAR-10), reads the numbers
from the run's own `result.json`, then labels five photographs of scikit-image with the bundle through `edgefw label`.
A finished run in the folder is taken as it is. Nothing is computed here. Exit code 1 if the student keeps less than 95 % of
the teacher's accuracy, or int8 loses more than a point.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import skimage.data
from PIL import Image

HERE = Path(__file__).resolve().parent
KEPT, LOST_POINTS = 0.95, 1.0
PHOTOGRAPHS = ("chelsea", "astronaut", "coffee", "rocket", "camera")


def edgefw(*arguments: str) -> str:
    """What an `edgefw` command prints; it may end with exit code 1, the verdict of a gate."""
    done = subprocess.run([sys.executable, "-m", "edgefw", *arguments], text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    return done.stdout


def accuracy(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """model -> metric -> value, for the metrics of the one modality."""
    table: dict[str, dict[str, float]] = {}
    for row in result["evaluation"]:
        table.setdefault(row["model"], {})[row["metric"]] = row["value"]
    return table


def photographs(folder: Path) -> list[str]:
    """Five pictures that scikit-image ships, as PNG files."""
    for name in PHOTOGRAPHS:
        Image.fromarray(getattr(skimage.data, name)()).convert("RGB").save(folder / f"{name}.png")
    return [str(folder / f"{name}.png") for name in PHOTOGRAPHS]


def labels(bundle: Path, file: str) -> list[dict[str, Any]]:
    """What `edgefw label` says of one photograph: its three best labels with their probabilities."""
    answer = json.loads(edgefw("label", str(bundle), file, "--top", "3", "--json"))
    ranking: list[dict[str, Any]] = answer["images"][0]["labels"]
    return ranking


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/photos"), help="run folder")
    out: Path = parser.parse_args().out
    edgefw("run", str(HERE / "photos.yaml"), "--out", str(out), "--resume")
    result = json.loads((out / "result.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        files = photographs(Path(scratch))
        printed = edgefw("label", str(out / "bundle"), str(Path(scratch) / "*.png"), "--top", "3")
        print(printed.replace(scratch + "/", ""))
        labelled = {Path(file).stem: labels(out / "bundle", file) for file in files}
    table = accuracy(result)
    summary = {
        "accuracy": table,
        "kept_of_teacher": table["student"]["top1"] / table["teacher"]["top1"],
        "lost_by_int8_points": 100 * (table["student"]["top1"] - table["onnxruntime-int8-static"]["top1"]),
        "artefacts": result["artefacts"],
        "stages": result["stages"],
        "status": result["status"],
        "photographs": labelled,
        "environment": json.loads((out / "environment.json").read_text()),
    }
    (HERE / "results.json").write_text(json.dumps(summary, indent=1) + "\n")
    sys.exit(0 if keeps_limits(summary) else 1)


def keeps_limits(summary: dict[str, Any]) -> bool:
    """Whether student and int8 file are as good as they must be."""
    return bool(summary["kept_of_teacher"] >= KEPT and summary["lost_by_int8_points"] <= LOST_POINTS)


if __name__ == "__main__":
    main()
