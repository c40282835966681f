"""How many labelled images does a label pack need? The refinement curve on furniture-rgbd or CIFAR-10, by bundle.

    python benchmarks/clip4retrofit/few_shot.py runs/NAME/bundle [MORE...] [--data ../shared/data/furniture-rgbd]
    python benchmarks/clip4retrofit/few_shot.py runs/photos/bundle --set cifar10 --data ../shared/data/cifar10 \\
        --out benchmarks/clip4retrofit/few_shot_cifar10.json

For n = 0, 1, 2, 4, 8 and 16 images of each class, drawn from the training split by several seeds (the images of a smaller n
are among those of a larger one), the bundle's label pack is refined as `edgefw labels refine --each N --seed S` does, as
prototypes and as a logistic head, and measured on the test split (furniture: of other 3D models). n = 0 is the pack as it
is. The encoder is not trained. Accuracies are fractions; per n: mean, sample standard deviation, and each seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cifar
import furniture
import numpy as np
import onnxruntime

import edgefw
from edgefw.evaluation import balanced_top1, top1
from edgefw.labels import logistic_head, prototypes
from edgefw.labels.examples import Examples, embed_folder
from edgefw.labels.folders import LabelledFolder
from edgefw.runtime.bundle import Bundle, open_bundle
from edgefw.runtime.label_pack import LabelPack

HERE = Path(__file__).resolve().parent
COUNTS = (0, 1, 2, 4, 8, 16)
METHODS = ("prototype", "logistic")


def unpack(given: argparse.Namespace, split: str, folder: Path) -> Path:
    """The images of a split as `folder/<split>/<class>/<key>.jpg`."""
    for key, data, label in pictures(given, split):
        place = folder / split / label / f"{key}.{furniture.MEMBERS[given.modality]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder / split


def pictures(given: argparse.Namespace, split: str) -> Iterator[tuple[str, bytes, str]]:
    """Key, encoded image and class of every sample of a split."""
    if given.set == "cifar10":
        return cifar.samples(given.data, split)
    return ((view.key, view.data, view.label) for view in furniture.samples(given.data, split, given.modality))


def refined(pack: LabelPack, examples: Examples, method: str, seed: int) -> LabelPack:
    """The pack after the examples."""
    if method == "logistic":
        return logistic_head.refine(pack, examples, seed).pack
    return prototypes.refine(pack, examples).pack


def measured(pack: LabelPack, held_out: Examples) -> dict[str, float]:
    """Top-1 and balanced top-1 of a pack, stored as the device gets it."""
    stored = LabelPack.from_json(pack.to_json(), "pack")
    said = stored.probabilities(held_out.embeddings.astype(np.float32)).argmax(axis=1)
    return {"top1": top1(said, held_out.labels), "balanced_top1": balanced_top1(said, held_out.labels)}


def curve(
    bundle: Bundle, pack: LabelPack, train: LabelledFolder, held_out: Examples, seeds: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """Method -> a row per n."""
    found: dict[str, list[dict[str, Any]]] = {method: [summary(0, [measured(pack, held_out)])] for method in METHODS}
    for count in COUNTS[1:]:
        drawn = {seed: embed_folder(bundle, train, each=count, seed=seed) for seed in seeds}
        for method in METHODS:
            rows = [measured(refined(pack, drawn[seed], method, seed), held_out) for seed in seeds]
            found[method].append(summary(count, rows))
    return found


def summary(count: int, rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean and spread over seeds of every number."""
    told: dict[str, Any] = {"n": count}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        told[name] = {"mean": float(values.mean()), "std": spread, "seeds": values.tolist()}
    return told


def looked_at(path: Path, modality: str, train: Path, test: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """The curves of one bundle; classes that its pack has no label of are left out."""
    with open_bundle(path) as bundle:
        pack = bundle.label_pack()
        held_out = embed_folder(bundle, LabelledFolder(modality=modality, folder=test, names=pack.names))
        folder = LabelledFolder(modality=modality, folder=train, names=pack.names)
        about = {"artefact": bundle.artefact(None, modality).name, "encoder": bundle.manifest.encoder}
        curves = curve(bundle, pack, folder, held_out, seeds)
    return {"bundle": path.resolve().parent.name, **about, "n_test": len(held_out.labels), "curves": curves}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--set", choices=("furniture", "cifar10"), default="furniture")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"))
    parser.add_argument("--modality", choices=furniture.MEMBERS, default="rgb")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "few_shot.json")
    given = parser.parse_args()
    seeds = range(given.seeds)
    with tempfile.TemporaryDirectory() as scratch:
        train, test = (unpack(given, split, Path(scratch)) for split in ("train", "test"))
        found = [looked_at(bundle, given.modality, train, test, seeds) for bundle in given.bundles]
    for row in found:
        for method, points in row["curves"].items():
            told = ", ".join(f"{p['n']}: {p['top1']['mean']:.3f} +- {p['top1']['std']:.3f}" for p in points)
            print(f"{row['bundle']}, {method}, top-1 by n: {told}")
    versions = {"edgefw": edgefw.__version__, "numpy": np.__version__, "onnxruntime": onnxruntime.__version__}
    document = {
        "set": given.set,
        "modality": given.modality,
        "seeds": list(seeds),
        "bundles": found,
        "versions": versions,
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
