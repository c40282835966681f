"""Int8 by ONNX Runtime's defaults and by edgefw, beside float: latency, share of int8, cosine, size of five networks.

    python benchmarks/backends/int8.py --data photos/ [--only NAME ...] [--weights none] [--threads N] [--seconds S] [--out int8.json]

Each network is compiled once to float ONNX. From that file `onnxruntime.quantization.quantize_static` makes one with its defaults, and the
quantizer `int8-latency-aware` another or none. The files are called in turn, at batch 1; `ratio` is a file's p50 over the float file's.
The file of the defaults runs in a plain session, as whoever takes the defaults runs it: on a processor without VNNI that is faster than
edgefw's exact kernels and cuts sums. `cosine` is what that session answers, `cosine_exact` what the file says.
Half of the images are calibrated on, on the other half cosines are measured. Without --data images are noise, and cosines say little.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image

from edgefw.contracts.backend import CompileRequest
from edgefw.contracts.quantizer import Calibration
from edgefw.contracts.student import InputSpec
from edgefw.evaluation.comparison import row_cosines
from edgefw.plugins.backends.onnx_work import int8_share
from edgefw.plugins.backends.onnxruntime import OnnxRunner, OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig
from edgefw.plugins.quantizers.int8_latency_aware import Int8LatencyAware, LatencyAwareConfig
from edgefw.plugins.quantizers.onnx_graph import preprocessed, quiet
from edgefw.runtime.benchmark import time_interleaved
from edgefw.runtime.integer_products import products_are_exact

HERE = Path(__file__).resolve().parent
MODELS = {
    "EfficientNet-B3": "efficientnet_b3",
    "EfficientNet-Lite0": "efficientnet_lite0",
    "ViT-S": "vit_small_patch16_224",
    "Swin-T": "swin_tiny_patch4_window7_224",
    "MobileNetV4-S": "mobilenetv4_conv_small",
}
FLOAT, DEFAULT, OURS = "float", "onnxruntime's defaults", "int8-latency-aware"
_CALIBRATED, _SEEN, _BATCH, _TIMED_SECONDS = 64, 64, 4, 4.0
_ENDINGS = {".jpg", ".jpeg", ".png"}


class Reader(CalibrationDataReader):
    """Calibration rows as onnxruntime's examples give them: one after the other."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = iter({"image": row[None]} for row in rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next row."""
        return next(self._rows, None)


def pictures(folder: Path | None, count: int, size: int) -> np.ndarray:
    """(N, 3, size, size) float32: evenly spaced images of a folder, prepared as the modality `rgb` does; noise without one."""
    if folder is None:
        return np.random.default_rng(0).normal(size=(count, 3, size, size)).astype(np.float32)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if not found:
        raise SystemExit(f"{folder}: no image ({', '.join(sorted(_ENDINGS))})")
    places = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    prepare = Rgb(RgbConfig()).preprocessing(InputSpec(size=size))
    return np.stack([prepare(np.asarray(Image.open(found[place]).convert("RGB"))) for place in places])


def files_of(
    network: Any, rows: np.ndarray, folder: Path, backend: OnnxRuntimeBackend, threads: int | None, seconds: float
) -> tuple[dict[str, Path], dict[str, Any]]:
    """The float file and the quantised ones, and what the search said; a file that was not worth making is missing."""
    for name in ("float", "default", "ours"):
        (folder / name).mkdir()
    request = CompileRequest(
        network=network.eval(), inputs={"image": rows.shape[1:]}, folder=folder / "float", examples={"image": rows[:4]}
    )
    files = {FLOAT: backend.compile(request).file, DEFAULT: folder / "default" / "model.onnx"}
    preprocessed(files[FLOAT], folder / "default" / "clean.onnx")
    with quiet():
        quantize_static(str(folder / "default" / "clean.onnx"), str(files[DEFAULT]), Reader(rows))
    chunks = [{"image": rows[at : at + _BATCH]} for at in range(0, len(rows), _BATCH)]
    target = folder / "ours" / "model.onnx"
    report = Int8LatencyAware(LatencyAwareConfig(seconds=seconds), OURS, print).quantize_timed(
        files[FLOAT],
        target,
        Calibration(batches=lambda: iter(chunks), samples=len(rows)),
        lambda file: backend.open(file, threads),
    )
    if not report.stays_float:
        files[OURS] = target
    return files, dict(report.details)


def plain(file: Path, threads: int | None) -> OnnxRunner:
    """A session with ONNX Runtime's own kernels, exact or not."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return OnnxRunner(onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]))


def asked(runner: OnnxRunner, images: np.ndarray) -> np.ndarray:
    """(N, D) answers, image by image."""
    return np.concatenate([runner.run({"image": one[None]}) for one in images])


def measured(title: str, network: Any, images: np.ndarray, threads: int | None, seconds: float) -> dict[str, Any]:
    """One network's row: its files, and the search's table."""
    backend = OnnxRuntimeBackend(OnnxRuntimeConfig(threads=threads))
    held, rows = images[::2], images[1::2]
    with tempfile.TemporaryDirectory() as folder:
        files, details = files_of(network, rows, Path(folder), backend, threads, seconds)
        runners = {name: backend.open(file, threads) for name, file in files.items()}
        exact, runners[DEFAULT] = runners[DEFAULT], plain(files[DEFAULT], threads)
        feeds = [{"image": image[None]} for image in held[:8]]
        latency = time_interleaved(runners, dict.fromkeys(runners, feeds), _TIMED_SECONDS * len(runners), 30)
        answers = {name: asked(runner, held) for name, runner in runners.items()}
        made = {
            name: {
                "ms_p50": latency[name].p50_ms,
                "ms_p95": latency[name].p95_ms,
                "ratio": latency[name].p50_ms / latency[FLOAT].p50_ms,
                "int8_share": int8_share(file),
                "cosine": float(row_cosines(answers[name], answers[FLOAT]).mean()),
                "bytes": file.stat().st_size,
            }
            for name, file in files.items()
        }
        made[DEFAULT]["cosine_exact"] = float(row_cosines(asked(exact, held), answers[FLOAT]).mean())
    keys = ("choices", "whole_file", "search_seconds", "comparisons")
    return {"network": title, "images": len(held), "files": made, "search": {key: details[key] for key in keys}}


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of images")
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--model", help="another network of timm, instead of the five")
    parser.add_argument("--weights", choices=("pretrained", "none"), default="pretrained")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=120.0, help="for the search, per network")
    parser.add_argument("--out", type=Path, default=HERE / "int8.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write after each network."""
    options = arguments(argv)
    chosen = {options.model: options.model} if options.model else {name: MODELS[name] for name in options.only}
    images = pictures(options.data, _CALIBRATED + _SEEN, options.size)
    rows = []
    for title, model in chosen.items():
        network = timm.create_model(model, pretrained=options.weights == "pretrained", num_classes=0)
        rows.append(measured(title, network, images, options.threads, options.seconds))
        for name, row in rows[-1]["files"].items():
            share = "" if row["int8_share"] is None else f"{row['int8_share']:6.1%} int8"
            print(
                f"{title:<20} {name:<24} {row['ms_p50']:8.2f} ms  x {row['ratio']:.2f}  {share}  cosine {row['cosine']:.4f}"
            )
        about = {"onnxruntime": onnxruntime.__version__, "weights": options.weights, "threads": options.threads}
        about["default_kernels_are_exact"] = products_are_exact()
        document = {**about, "size": options.size, "seconds": options.seconds, "rows": rows}
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
