"""Train one student on colour, depth and heat of drawn scenes, and write `results.json`.

    python benchmarks/third_sensor/run.py [--out RUN_FOLDER] [KEY=VALUE ...]

It runs `third_sensor.yaml` and reads top-1 of every model on every modality from the run's own `result.json`. A finished
run in the folder is taken as it is. Nothing is computed here. Overrides go to the recipe and into the result.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def run(out: Path, overrides: list[str]) -> dict[str, Any]:
    """The recipe from start to end; exit code 1 is the verdict of a budget, and the numbers are there."""
    command = [sys.executable, "-m", "edgefw", "run", str(HERE / "third_sensor.yaml"), *overrides, "--out", str(out)]
    done = subprocess.run([*command, "--resume"], check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def top1(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """model -> modality -> top-1, as a fraction."""
    table: dict[str, dict[str, float]] = {}
    for row in result["evaluation"]:
        if row["metric"] == "top1":
            table.setdefault(row["model"], {})[row["modality"]] = row["value"]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/third-sensor"), help="run folder")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE for the recipe")
    arguments = parser.parse_args()
    result = run(arguments.out, arguments.overrides)
    summary = {
        "top1": top1(result),
        "chance": 1 / 12,
        "overrides": arguments.overrides,
        "artefacts": result["artefacts"],
        "stages": result["stages"],
        "status": result["status"],
        "environment": json.loads((arguments.out / "environment.json").read_text()),
    }
    (HERE / "results.json").write_text(json.dumps(summary, indent=1) + "\n")
    for model, values in summary["top1"].items():
        print(model, *(f"{name} {value:.3f}" for name, value in values.items()))


if __name__ == "__main__":
    main()
