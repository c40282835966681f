"""Label photographs with a bundle: numpy, pillow and onnxruntime, nothing of edgefw.

    python label.py BUNDLE_FOLDER PHOTO [PHOTO ...]

Prints what `edgefw label` prints. It takes 8-bit photographs and the bundle's ONNX file for them; it does not check hashes.
"""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepared(path: str, steps: list[dict]) -> np.ndarray:
    """The preprocessing contract, step by step: a file to (3, H, W) float32."""
    values = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    for step in steps:
        if step["name"] == "resize" and step.get("antialias", True):
            size, (width, height) = step["size"], values.size
            longer = int(size * max(width, height) / min(width, height)) if step.get("fit") == "shortest" else size
            shape = (size, longer) if width <= height else (longer, size)
            values = values.resize(shape, Image.Resampling[step["filter"].upper()])
        elif step["name"] == "centre-crop":
            left, top = (round((side - step["size"]) / 2) for side in values.size)
            values = values.crop((left, top, left + step["size"], top + step["size"]))
        elif step["name"] == "scale":
            values = np.asarray(values, np.float32) / np.float32(step["divisor"])
        elif step["name"] == "normalise":
            mean, std = (np.array(step[key], np.float32)[:, None, None] for key in ("mean", "std"))
            values = (values.transpose(2, 0, 1) - mean) / std
        else:
            sys.exit(f"this example does not know the step {step}")
    return values


def vectors(pack: dict) -> np.ndarray:
    """The rows (R, D) of labels and negatives; int8 rows begin with a float16 scale for every 64 numbers."""
    data, width = base64.b64decode(pack["vectors"]), pack["width"]
    if pack["dtype"] != "int8":
        return np.frombuffer(data, np.dtype(pack["dtype"]).newbyteorder("<")).reshape(-1, width).astype(np.float32)
    table = np.frombuffer(data, np.int8).reshape(-1, 2 * -(-width // 64) + width)
    scales = np.ascontiguousarray(table[:, :-width]).view("<f2").astype(np.float32)
    return table[:, -width:] * np.repeat(scales, 64, axis=1)[:, :width]


def scores(embedding: np.ndarray, pack: dict) -> tuple[np.ndarray, np.ndarray]:
    """The label pack: an embedding (1, D) to (K,) probabilities and what negatives beat, as docs/label-packs.md says it."""
    negatives = pack.get("negatives", [])
    entries, count = [*pack["labels"], *negatives], len(pack["labels"])
    rows, image = (table / np.linalg.norm(table, axis=1, keepdims=True) for table in (vectors(pack), embedding))
    starts = np.cumsum([0, *(entry["vectors"] for entry in entries)][:-1])
    nearest = np.maximum.reduceat(image @ rows.T, starts, axis=1)[0].astype(np.float64)
    bias, temperature = (np.array([entry.get(key, 0.0) for entry in entries]) for key in ("bias", "temperature"))
    logits = pack["logit_scale"] * nearest / temperature + bias
    powers = np.exp(logits - logits.max())
    rivals = [[not one["of"] or label["name"] in one["of"] for one in negatives] for label in pack["labels"]]
    beaten = ((logits[count:] > logits[:count, None]) & np.reshape(rivals, (count, len(negatives))).astype(bool)).any(1)
    return powers[:count] / powers.sum(), beaten


folder, photos = Path(sys.argv[1]), sys.argv[2:]
manifest = json.loads((folder / "manifest.json").read_text())
pack = json.loads((folder / manifest["labels"]).read_text())
role, sensor = next((role, entry) for role, entry in manifest["modalities"].items() if entry["technique"] == "rgb")
files = {entry["name"]: entry for entry in manifest["artefacts"] if entry["backend"] == "onnxruntime"}
files = {name: entry for name, entry in files.items() if role in entry["modalities"] and len(entry["inputs"]) == 1}
chosen = files.get(manifest["default"], next(iter(files.values())))
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")  # exact int8 sums on x86 without VNNI
session = onnxruntime.InferenceSession(str(folder / chosen["file"]), options, providers=["CPUExecutionProvider"])
for photo in photos:
    image = prepared(photo, sensor["preprocessing"]["steps"])
    row, beaten = scores(session.run(None, {next(iter(chosen["inputs"])): image[None]})[0], pack)
    best = pack["labels"][int(row.argmax())]
    said = row.max() >= best["threshold"] and not beaten[row.argmax()]
    print(f"{photo}\t{'' if said else 'unknown: '}{best['name']}\t{row.max():.3f}")
