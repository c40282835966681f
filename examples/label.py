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


def probabilities(embeddings: np.ndarray, pack: dict) -> np.ndarray:
    """The label pack: embeddings (N, D) to probabilities (N, K), as docs/label-packs.md says it."""
    stored = np.frombuffer(base64.b64decode(pack["vectors"]), np.dtype(pack["dtype"]).newbyteorder("<"))
    vectors = stored.reshape(-1, pack["width"]).astype(np.float32)
    vectors, embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (vectors, embeddings))
    counts, bias, temperature = ([row[key] for row in pack["labels"]] for key in ("vectors", "bias", "temperature"))
    nearest = np.maximum.reduceat(embeddings @ vectors.T, np.cumsum([0, *counts[:-1]]), axis=1)
    logits = pack["logit_scale"] * nearest / np.array(temperature) + np.array(bias)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


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
    row = probabilities(session.run(None, {next(iter(chosen["inputs"])): image[None]})[0], pack)[0]
    best = pack["labels"][int(row.argmax())]
    print(f"{photo}\t{'' if row.max() >= best['threshold'] else 'unknown: '}{best['name']}\t{row.max():.3f}")
