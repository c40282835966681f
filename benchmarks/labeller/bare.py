"""What one would write by hand with onnxruntime: read, resize, run, name the nearest label. Imports nothing of edgefw.

    python bare.py PARTS.npz IMAGE|FOLDER [--batch 16] [--threads N] [--readers 0]

`PARTS.npz` comes from `pairs.py`. With `--readers N` so many threads read the next batch while one runs.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("parts")
parser.add_argument("source", type=Path)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--readers", type=int, default=0)
arguments = parser.parse_args()

parts = dict(np.load(arguments.parts))  # read once
size, names = int(parts["size"]), [str(name) for name in parts["names"]]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = arguments.threads
session = onnxruntime.InferenceSession(str(parts["model"]), options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name


def read(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    return ((pixels / np.float32(parts["divisor"]) - parts["mean"]) / parts["std"]).transpose(2, 0, 1)


def label(paths: list[Path], images: list[np.ndarray]) -> None:
    embeddings = session.run(None, {name: np.stack(images)})[0]
    for path, best in zip(paths, (embeddings @ parts["vectors"].T).argmax(axis=1), strict=True):
        print(f"{path}\t{names[best]}", flush=True)


paths = sorted(arguments.source.iterdir()) if arguments.source.is_dir() else [arguments.source]
batches = [paths[at : at + arguments.batch] for at in range(0, len(paths), arguments.batch)]
if not arguments.readers:
    for batch in batches:
        label(batch, [read(path) for path in batch])
else:
    with ThreadPoolExecutor(arguments.readers) as pool:
        coming = [pool.submit(read, path) for path in batches[0]]
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            images, coming = [future.result() for future in coming], [pool.submit(read, path) for path in following]
            label(batch, images)
