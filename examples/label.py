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
    """The preprocessing contract of the modality rgb: a file to (3, H, W) float32."""
    resize, *crop, scale, normalise = steps
    if [step for step in crop if step["name"] != "centre-crop"] or not resize.get("antialias", True):
        sys.exit(f"this example does not know these steps: {steps}")
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    size = [resize["size"], resize["size"]]
    if resize.get("fit") == "shortest":
        size = [int(resize["size"] * side / min(image.size)) for side in image.size]
    image = image.resize(size, Image.Resampling[resize["filter"].upper()])
    for step in crop:
        left, top = (round((side - step["size"]) / 2) for side in image.size)
        image = image.crop((left, top, left + step["size"], top + step["size"]))
    unit = np.asarray(image, np.float32) / np.float32(scale["divisor"])
    return ((unit - np.float32(normalise["mean"])) / np.float32(normalise["std"])).transpose(2, 0, 1)


def vectors(pack: dict) -> np.ndarray:
    """The rows (R, D) of labels and negatives; int8 rows begin with a float16 scale for every 64 numbers."""
    data, width = base64.b64decode(pack["vectors"]), pack["width"]
    if pack["dtype"] != "int8":
        return np.frombuffer(data, np.dtype(pack["dtype"]).newbyteorder("<")).reshape(-1, width).astype(np.float32)
    table = np.frombuffer(data, [("scales", "<f2", (-(-width // 64),)), ("bytes", "i1", (width,))])
    return table["bytes"] * np.repeat(table["scales"].astype(np.float32), 64, axis=1)[:, :width]


def answer(embedding: np.ndarray, pack: dict) -> tuple[str, float, bool]:
    """The best label of an embedding (1, D), its probability, and whether it is said, as docs/label-packs.md says it."""
    entries, count = pack["labels"] + pack.get("negatives", []), len(pack["labels"])
    rows, image = (table / np.linalg.norm(table, axis=1, keepdims=True) for table in (vectors(pack), embedding))
    starts = np.cumsum([0, *(entry["vectors"] for entry in entries)])[:-1]  # a synonym has a row of its own
    cosines = np.maximum.reduceat((image @ rows.T)[0], starts).astype(np.float64)
    bias, temperature = (np.array([entry.get(key, 0.0) for entry in entries]) for key in ("bias", "temperature"))
    logits = pack["logit_scale"] * cosines / temperature + bias
    powers = np.exp(logits - logits.max())
    best = powers[:count].argmax()
    label, probability = entries[best], powers[best] / powers.sum()
    stronger = (negative for negative, logit in zip(entries[count:], logits[count:]) if logit > logits[best])
    beaten = any(not negative["of"] or label["name"] in negative["of"] for negative in stronger)
    return label["name"], probability, probability >= label["threshold"] and not beaten


folder, photos = Path(sys.argv[1]), sys.argv[2:]
manifest = json.loads((folder / "manifest.json").read_text())
pack = json.loads((folder / manifest["labels"]).read_text())
role, sensor = next(item for item in manifest["modalities"].items() if item[1]["technique"] == "rgb")
files = [one for one in manifest["artefacts"] if one["backend"] == "onnxruntime" and role in one["modalities"]]
chosen = max((one for one in files if len(one["inputs"]) == 1), key=lambda one: one["name"] == manifest["default"])
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")  # exact int8 sums on x86 without VNNI
session = onnxruntime.InferenceSession(str(folder / chosen["file"]), options, providers=["CPUExecutionProvider"])
for photo in photos:
    image = prepared(photo, sensor["preprocessing"]["steps"])
    name, probability, said = answer(session.run(None, {session.get_inputs()[0].name: image[None]})[0], pack)
    print(f"{photo}\t{'' if said else 'unknown: '}{name}\t{probability:.3f}")
