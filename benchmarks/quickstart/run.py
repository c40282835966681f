"""Does the quickstart's student do as well on scenes that nobody looked at while its recipe was made?

    make quickstart
    python benchmarks/quickstart/run.py [--run runs/quickstart] [--seed 20261127] [--scenes 4000]

The run is verified, unchanged, on scenes of another seed, with its teacher. Limits, and exit code 1 if one is missed:
teacher on colour at least 85 %, on depth at least 30 points below that; the int8 student within 5 points of the teacher on
colour, and at least 30 points above it on depth. Writes `results.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
INT8 = "onnxruntime-int8-static"
READS, BLIND, BEHIND, AHEAD = 0.85, 0.30, 0.05, 0.30


def main() -> None:
    arguments = _arguments()
    out = arguments.run.with_name(f"{arguments.run.name}-{arguments.seed}")
    scenes = [f"data.seed={arguments.seed}", f"data.test={arguments.scenes}"]
    command = [sys.executable, "-m", "edgefw", "verify", str(arguments.run), *scenes, "--out", str(out)]
    if subprocess.run(command, check=False).returncode not in (0, 1):
        raise SystemExit(f"edgefw verify {arguments.run} failed.")
    found = judged(json.loads((out / "result.json").read_text(encoding="utf-8"))["evaluation"])
    found |= {"seed": arguments.seed, "scenes": arguments.scenes, "machine": platform.machine()}
    arguments.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(0 if all(found["met"].values()) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="the quickstart's run folder")
    parser.add_argument("--seed", type=int, default=20261127, help="seed of the scenes")
    parser.add_argument("--scenes", type=int, default=4000, help="how many are drawn")
    parser.add_argument("--results", type=Path, default=HERE / "results.json", help="file that is written")
    return parser.parse_args()


def judged(evaluation: list[dict[str, Any]]) -> dict[str, Any]:
    """Top-1 by model and sensor, its standard error, and which limits are met."""
    rows = [row for row in evaluation if row["metric"] == "top1"]
    top1 = {f"{row['model']} {row['modality']}": round(row["value"], 4) for row in rows}
    errors = {
        f"{row['model']} {row['modality']}": round(math.sqrt(row["value"] * (1 - row["value"]) / row["n"]), 4)
        for row in rows
    }
    colour, depth = top1["teacher rgb"], top1["teacher depth"]
    met = {
        "teacher reads colour": colour >= READS,
        "teacher is poor at depth": depth <= colour - BLIND,
        "int8 student near the teacher on colour": top1[f"{INT8} rgb"] >= colour - BEHIND,
        "int8 student beyond the teacher on depth": top1[f"{INT8} depth"] >= depth + AHEAD,
    }
    return {"top1": top1, "standard_error": errors, "met": met}


if __name__ == "__main__":
    main()
