"""How long does `edgefw label` take to its first label? Against a script on bare onnxruntime.

    python benchmarks/labeller/cold_start.py [--bundle runs/quickstart/bundle] [--rounds 15]

Processes that label one image, in turn: `bare.py`, `edgefw label` with the bundle as a folder, and as an `.edgefw` file, which
is unpacked first. What counts is the time from the start of the process to its first line. Limit, and exit code 1 if it is
missed: with the folder at most 3 times the script's. `cold_start.json` holds every round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from pairs import HERE, in_turn, machine, ratio, write_parts, write_photographs

from edgefw.runtime.bundle import open_bundle, pack

MOST = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("runs/quickstart/bundle"))
    parser.add_argument("--artefact", help="default: the bundle's")
    parser.add_argument("--modality", default="rgb")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", type=Path, default=Path("runs/labeller"), help="where the image is written")
    parser.add_argument("--out", type=Path, default=HERE / "cold_start.json")
    arguments = parser.parse_args()
    found = _measured(arguments) | {"machine": machine()}
    found["met"] = found["ratio"]["edgefw"] <= MOST
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(0 if found["met"] else 1)


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    image = str(write_photographs(arguments.work / "one", 1, (640, 480)) / "00000.jpg")
    packed = arguments.work / "bundle.edgefw"
    pack(arguments.bundle, packed)
    with open_bundle(arguments.bundle) as bundle:
        artefact = bundle.artefact(arguments.artefact, arguments.modality).name
        parts = write_parts(bundle, artefact, arguments.modality, arguments.work / "parts.npz")
    more = [image, "--modality", arguments.modality, "--artefact", artefact]
    commands = {
        "bare": [str(HERE / "bare.py"), str(parts), image],
        "edgefw": ["-m", "edgefw", "label", str(arguments.bundle), *more],
        "edgefw, .edgefw file": ["-m", "edgefw", "label", str(packed), *more],
    }
    rounds = in_turn(commands, arguments.rounds)
    first = {name: [one.first for one in results] for name, results in rounds.items()}
    return {
        "artefact": artefact,
        "first_label_ms": {name: round(1e3 * statistics.median(values)) for name, values in first.items()},
        "processor_ms": {
            name: round(1e3 * statistics.median(one.processor for one in results)) for name, results in rounds.items()
        },
        "ratio": {name: ratio(values, first["bare"]) for name, values in first.items() if name != "bare"},
        "rounds": {name: [round(1e3 * value) for value in values] for name, values in first.items()},
    }


if __name__ == "__main__":
    main()
