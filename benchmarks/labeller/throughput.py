"""Does `edgefw label` cost throughput? Images a second of a folder, against scripts on bare onnxruntime.

    python benchmarks/labeller/throughput.py [--bundle runs/quickstart/bundle] [--images 1000] [--size 640x480] [--rounds 5]

Three processes label the same JPEG files with the same ONNX file, in turn: `bare.py` that reads one file after the other,
`bare.py` with a thread per processor that reads ahead, and `edgefw label`. All must say the same labels. Limit, and exit
code 1 if it is missed: `edgefw label` does at least 0.95 of the first script's images a second. `throughput.json` holds every round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from pairs import HERE, Timed, in_turn, machine, ratio, write_parts, write_photographs

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.in_order import processors

LEAST = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("runs/quickstart/bundle"))
    parser.add_argument("--artefact", help="default: the bundle's")
    parser.add_argument("--modality", default="rgb")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", default="640x480", help="of the photographs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("runs/labeller"), help="where photographs are written")
    parser.add_argument("--out", type=Path, default=HERE / "throughput.json")
    arguments = parser.parse_args()
    found = {"images": arguments.images, "size": arguments.size, "batch": arguments.batch} | _measured(arguments)
    found["machine"] = machine()
    found["met"] = found["ratio"]["bare"] >= LEAST
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(0 if found["met"] else 1)


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    width, height = map(int, arguments.size.split("x"))
    folder = write_photographs(
        arguments.work / f"{arguments.size}-{arguments.images}", arguments.images, (width, height)
    )
    with open_bundle(arguments.bundle) as bundle:
        artefact = bundle.artefact(arguments.artefact, arguments.modality).name
        parts = write_parts(bundle, artefact, arguments.modality, arguments.work / "parts.npz")
        count = str(processors())
        same = ["--batch", str(arguments.batch), "--threads", count]
        bare = [str(HERE / "bare.py"), str(parts), str(folder), *same]
        edgefw = ["-m", "edgefw", "label", str(arguments.bundle), str(folder), "--modality", arguments.modality]
        commands = {
            "bare": bare,
            "bare, reading ahead": [*bare, "--readers", count],
            "edgefw": [*edgefw, "--artefact", artefact, *same],
        }
        rounds = in_turn(commands, arguments.rounds)
    return {"artefact": artefact, **_told(rounds, arguments.images)}


def _told(rounds: dict[str, list[Timed]], images: int) -> dict[str, Any]:
    rates = {name: [images / one.whole for one in results] for name, results in rounds.items()}
    return {
        "images_a_second": {name: round(statistics.median(rate), 1) for name, rate in rates.items()},
        "processor_ms_an_image": {
            name: round(1e3 * statistics.median(one.processor for one in results) / images, 2)
            for name, results in rounds.items()
        },
        "ratio": {name: ratio(rates["edgefw"], rate) for name, rate in rates.items() if name != "edgefw"},
        "rounds": {name: [round(value, 1) for value in rate] for name, rate in rates.items()},
    }


if __name__ == "__main__":
    main()
