"""Label photographs with a bundle folder, as `edgefw label` does: numpy, pillow and onnxruntime, nothing of edgefw.

python label.py BUNDLE_FOLDER PHOTO [PHOTO ...]    # 8-bit photographs, the bundle's ONNX file for them; checks no hashes"""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepared(path: str, steps: list[dict]) -> np.ndarray:
    """The preprocessing contract of the sensor: a file to (1, 3, H, W) float32."""
    resize, *crop, scale, normalise = steps
    if [step for step in crop if step["name"] != "centre-crop"] or not resize.get("antialias", True):
        sys.exit(f"this example does not know these steps: {steps}")
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    size = [int(resize["size"] * n / (min(image.size) if resize.get("fit") == "shortest" else n)) for n in image.size]
    image = image.resize(size, Image.Resampling[resize["filter"].upper()])
    for step in crop:
        left, top = (round((side - step["size"]) / 2) for side in image.size)
        image = image.crop((left, top, left + step["size"], top + step["size"]))
    unit = np.asarray(image, np.float32) / np.float32(scale["divisor"])
    return ((unit - np.float32(normalise["mean"])) / np.float32(normalise["std"])).transpose(2, 0, 1)[None]


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
    powers, best = np.exp(logits - logits.max()), logits[:count].argmax()
    label, probability = entries[best], powers[best] / powers.sum()
    stronger = (negative for negative, logit in zip(entries[count:], logits[count:]) if logit > logits[best])
    beaten = any(not negative["of"] or label["name"] in negative["of"] for negative in stronger)
    return label["name"], probability, probability >= label["threshold"] and not beaten


try:
    current, *photos = sys.argv[1:] or sys.exit("usage: python label.py BUNDLE_FOLDER PHOTO [PHOTO ...]")
    manifest = json.loads(Path(current, "manifest.json").read_bytes())
    pack = json.loads(Path(current, manifest["labels"] or sys.exit(f"{current}: no label pack")).read_bytes())
    pack["encoder"] == manifest["encoder"] or sys.exit(f"{current}: the label pack was made for another encoder")
    files = [one for one in manifest["artefacts"] if (one["backend"], len(one["inputs"])) == ("onnxruntime", 1)]
    rgb = [role for role, own in manifest["modalities"].items() if own["technique"] == "rgb"]
    role = next((r for r in rgb for one in files if r in one["modalities"]), "") or sys.exit(f"{current}: no ONNX file")
    file = max((one for one in files if role in one["modalities"]), key=lambda one: one["name"] == manifest["default"])
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact int8 sums on x86 without VNNI
    session = onnxruntime.InferenceSession(Path(current, file["file"]), options, providers=["CPUExecutionProvider"])
    for current in photos:
        feeds = {next(iter(file["inputs"])): prepared(current, manifest["modalities"][role]["preprocessing"]["steps"])}
        name, probability, said = answer(session.run(None, feeds)[0], pack)
        print(f"{current}\t{'' if said else 'unknown: '}{name}\t{probability:.3f}")
except Exception as error:  # noqa: BLE001 - Pillow and onnxruntime raise many unrelated types
    sys.exit(f"{current}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
