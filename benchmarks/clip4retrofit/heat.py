"""Does the heat map point at the object? The pointing game on furniture-rgbd, for one bundle or several.

    python benchmarks/clip4retrofit/heat.py runs/NAME/bundle [MORE...] [--data ../shared/data/furniture-rgbd]

A map hits if its peak, the centre of its hottest cell, lies in the object's box (`bbox_xyxy` of each sample, made by the
renderer: pixels of the 128 x 128 frame, the right and lower edge not included). The label whose map is looked at is the
sample's class. Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop, arXiv:1608.00507, section 4.1; their
margin of 15 pixels is not given here, and an image has one object.

Beside it stand what a blind pointer reaches: `area`, the box's mean share of the picture (a pixel drawn evenly), `cell`, the
mean share of cells whose centre lies in the box (a cell drawn evenly), `centre`, the middle of every picture; and
`other_label`, the hits of the maps of all other classes, on average: a map that only finds what stands out hits as often.
Intervals are bootstrapped over 3D models, whose views are alike. Everything goes into one JSON file, each sample included.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from furniture import MEMBERS, Sample, samples

import edgefw
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.heat import heat_maps
from edgefw.runtime.opening import Opener

HERE = Path(__file__).resolve().parent
DRAWS = 2000


def inside(point: tuple[float, float], box: tuple[int, int, int, int]) -> bool:
    """Whether (x, y) lies in a box."""
    return box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3]


def pointing(cells: Any, cosines: np.ndarray, own: int, sample: Sample, size: tuple[int, int]) -> dict[str, Any]:
    """What one image gives: the hit of its own label's map, and of every pointer beside it."""
    peaks = [cells.peak(heat) for heat in cosines]
    others = [inside(peak, sample.box) for label, peak in enumerate(peaks) if label != own]
    grid = cosines.shape[1:]
    centres = [cells.peak(np.eye(1, grid[0] * grid[1], at).reshape(grid)) for at in range(grid[0] * grid[1])]
    left, top, right, bottom = sample.box
    return {
        "key": sample.key,
        "label": sample.label,
        "model": sample.model,
        "peak": [round(at, 2) for at in peaks[own]],
        "box": list(sample.box),
        "hit": inside(peaks[own], sample.box),
        "area": (right - left) * (bottom - top) / (size[0] * size[1]),
        "cell": float(np.mean([inside(centre, sample.box) for centre in centres])),
        "centre": inside((size[1] / 2, size[0] / 2), sample.box),
        "other_label": float(np.mean(others)),
    }


def looked_at(
    bundle: Path, data: Path, split: str, modality: str, most: int | None, threads: int | None
) -> dict[str, Any]:
    """All images of a split whose class is a label of the bundle."""
    rows: list[dict[str, Any]] = []
    unlabelled = 0
    with open_bundle(bundle) as opened:
        maps, sensor, pack = (
            heat_maps(opened, modality, threads),
            Opener(opened).modality(modality),
            opened.label_pack(),
        )
        for sample in samples(data, split, modality):
            if sample.label not in pack.names:
                unlabelled += 1
                continue
            values = sensor.decode(sample.data, sample.key)
            cells = maps.look(values)
            own = pack.names.index(sample.label)
            rows.append(pointing(cells, cells.cosines(pack), own, sample, (values.shape[0], values.shape[1])))
            if len(rows) == most:
                break
        entry = opened.map(modality)
        about = {"encoder": opened.manifest.encoder, "grid": entry.grid, "mean_error": entry.mean_error}
    if not rows:
        raise SystemExit(f"{data}: no sample of split '{split}' has a class that the bundle has a label of.")
    return {"bundle": bundle.resolve().parent.name, **about, **summary(rows), "unlabelled": unlabelled, "samples": rows}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over images, the interval of the hit rate over models, and hits by class."""
    names = ("hit", "area", "cell", "centre", "other_label")
    labels = sorted({row["label"] for row in rows})
    by_class = {
        label: {name: mean([r for r in rows if r["label"] == label], name) for name in names} for label in labels
    }
    return {
        "n": len(rows),
        **{name: mean(rows, name) for name in names},
        "hit_interval_95": interval(rows, lambda row: float(row["hit"])),
        "hit_over_other_label_interval_95": interval(rows, lambda row: row["hit"] - row["other_label"]),
        "hit_over_centre_interval_95": interval(rows, lambda row: float(row["hit"]) - row["centre"]),
        "by_class": by_class,
    }


def mean(rows: list[dict[str, Any]], name: str) -> float:
    """Of one number."""
    return float(np.mean([row[name] for row in rows]))


def interval(rows: list[dict[str, Any]], number: Any) -> list[float]:
    """95 % bootstrap interval of a mean, drawing 3D models with all their views."""
    models = sorted({row["model"] for row in rows})
    at = {model: index for index, model in enumerate(models)}
    total, count = np.zeros(len(models)), np.zeros(len(models))
    for row in rows:
        total[at[row["model"]]] += number(row)
        count[at[row["model"]]] += 1
    drawn = np.random.default_rng(0).integers(0, len(models), (DRAWS, len(models)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    return [float(edge) for edge in np.quantile(means, (0.025, 0.975))]


def as_text(document: dict[str, Any]) -> str:
    """JSON with every sample on a line of its own."""
    samples = {id(bundle): [json.dumps(row) for row in bundle["samples"]] for bundle in document["bundles"]}
    held = [{**bundle, "samples": f"@{id(bundle)}"} for bundle in document["bundles"]]
    text = json.dumps({**document, "bundles": held}, indent=1)
    for number, rows in samples.items():
        text = text.replace(f'"@{number}"', "[\n" + ",\n".join(rows) + "]")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="made with export.heat=true")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--modality", choices=MEMBERS, default="rgb")
    parser.add_argument("--samples", type=int, help="at most so many images of each bundle")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=HERE / "heat.json")
    given = parser.parse_args()
    found = [
        looked_at(bundle, given.data, given.split, given.modality, given.samples, given.threads)
        for bundle in given.bundles
    ]
    for row in found:
        low, high = row["hit_interval_95"]
        beside = ", ".join(f"{name} {row[name]:.3f}" for name in ("area", "cell", "centre", "other_label"))
        print(f"{row['bundle']}: {row['hit']:.3f} ({low:.3f} .. {high:.3f}) of {row['n']} peaks in the box; {beside}")
    versions = {"edgefw": edgefw.__version__, "numpy": np.__version__, "onnxruntime": onnxruntime.__version__}
    document = {"split": given.split, "modality": given.modality, "bundles": found, "versions": versions}
    given.out.write_text(as_text(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
