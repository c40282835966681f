"""What do the triplets of stage 2 move? Classes apart, on the images that trained a student and on those of other 3D models.

    python benchmarks/edgevl/separation.py --data ../shared/data/furniture-rgbd [--work runs/edgevl] [--seeds 1 2 3]

For the deployed file of finished cells of the CNN (`run.py`), embeddings of the images that curation kept and of the test images, each sensor on its own:

    violated    share of triplets that break the margin of 0.3: anchor, an image of its class that shows another 3D model, an image of another class
    neighbour   share of images whose nearest image of another 3D model has their class
    top1        share of images whose nearest text has their class

Classes are those of the data set, which no student saw but those of `known-*`. If a second stage separates the images it trained on and not those of
the test, it learns the models by heart; if it separates both and `top1` stays, texts are not where its clusters go. 100,000 triplets a set, drawn
with a seed. `separation.json` holds the means over seeds and each seed's numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from cells import HERE
from collect import refuse_missing
from halves import samples, shard_samples
from kept import FILE, write_kept

from edgefw.runtime.bundle import Bundle, read_bundle
from edgefw.runtime.labelling import Encoder
from edgefw.runtime.opening import Opener, single_input

METHODS = ("stage-1", "longer", "triplets", "stage-2", "known-stage-1", "known-triplets", "known-stage-2")
MEMBERS = {"rgb": "jpg", "depth": "depth.png"}
MARGIN, TRIPLETS, BATCH = 0.3, 100_000, 32
Samples = list[dict[str, bytes]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"), help="furniture-rgbd")
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="runs of run.py")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="these seeds")
    arguments = parser.parse_args()
    runs, shards = arguments.work / "cells-test", arguments.work / "data"
    each_run = [runs / f"{method}-cnn-{seed}" for method in METHODS for seed in arguments.seeds]
    refuse_missing(list(dict.fromkeys([runs / "stage-1-cnn-1", *each_run])))
    write_kept(runs / "stage-1-cnn-1", shards)
    sets = {"trained on": list(shard_samples(shards / FILE)), "test": list(samples(arguments.data, "test"))}
    each = {run.name: {name: of_set(run / "bundle", rows) for name, rows in sets.items()} for run in each_run}
    found = {"rows": means(each), "each": each, "samples": {name: len(rows) for name, rows in sets.items()}}
    (HERE / "separation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["rows"], indent=1))


def of_set(folder: Path, rows: Samples) -> dict[str, dict[str, float]]:
    """The three figures of a bundle's default file on some samples, by sensor."""
    bundle = read_bundle(folder, folder)
    about = [json.loads(sample["json"]) for sample in rows]
    classes, models = (np.array([one[key] for one in about]) for key in ("class", "model_id"))
    found = {}
    for sensor, ending in MEMBERS.items():
        embedded = unit(embed(bundle, sensor, (sample[ending] for sample in rows)))
        pack = bundle.label_pack()
        names = np.array(pack.names)[pack.scores(embedded.astype(np.float32)).probabilities.argmax(1)]
        found[sensor] = apart(embedded, classes, models) | {"top1": round(float((names == classes).mean()), 4)}
    return found


def embed(bundle: Bundle, sensor: str, files: Iterable[bytes]) -> np.ndarray:
    """Embeddings (N, D) of files of one sensor."""
    opener, entry = Opener(bundle), bundle.artefact(None, sensor)
    encoder = Encoder(
        runner=opener.runner(entry, 1),
        input=single_input(entry),
        modality=opener.modality(sensor),
        preprocessing=opener.preprocessing(sensor),
    )
    ready = [encoder.prepare(data, f"{sensor} {number}") for number, data in enumerate(files)]
    return np.concatenate([encoder.embed(ready[at : at + BATCH]) for at in range(0, len(ready), BATCH)])


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    scaled: np.ndarray = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return scaled


def apart(embedded: np.ndarray, classes: np.ndarray, models: np.ndarray) -> dict[str, float]:
    """`violated` and `neighbour` of unit embeddings (N, D) with their classes (N,) and 3D models (N,)."""
    distance = np.sqrt(np.clip(2 - 2 * embedded @ embedded.T, 0, None))  # (N, N)
    alike, same_model = (values[:, None] == values for values in (classes, models))
    nearest = np.where(same_model, np.inf, distance).argmin(1)
    near, far = drawn(alike & ~same_model, ~alike, distance)
    return {
        "violated": round(float((near + MARGIN > far).mean()), 4),
        "neighbour": round(float((classes[nearest] == classes).mean()), 4),
    }


def drawn(positive: np.ndarray, negative: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances (T,) to positive and negative of triplets, drawn evenly over the anchors that have both."""
    draw = np.random.default_rng(0)
    anchors = np.flatnonzero(positive.any(1) & negative.any(1))
    each = -(-TRIPLETS // len(anchors))
    pairs = [
        [distance[anchor, draw.choice(np.flatnonzero(allowed[anchor]), each)] for allowed in (positive, negative)]
        for anchor in anchors
    ]
    near, far = zip(*pairs, strict=True)
    return np.concatenate(near), np.concatenate(far)


def means(each: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per method: means over its seeds and both sensors."""
    rows = []
    for method in METHODS:
        runs = [found for name, found in each.items() if name.rpartition("-cnn-")[0] == method]
        if runs:
            rows.append({"method": method, "seeds": len(runs)} | {name: _mean(runs, name) for name in runs[0]})
    return rows


def _mean(runs: list[dict[str, Any]], name: str) -> dict[str, float]:
    return {
        key: round(statistics.mean(run[name][sensor][key] for run in runs for sensor in MEMBERS), 4)
        for key in ("violated", "neighbour", "top1")
    }


if __name__ == "__main__":
    main()
