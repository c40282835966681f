"""Accuracy and AUC of a model on clean and on corrupted pictures of a held-out part.

The pictures are corrupted once (corruptions.py), at their own resolution, and kept as arrays in the work folder: every model then sees the same
pixels, prepared as its bundle (or its own library) says. The score of a class is the cosine to its prompt; AUC is one-vs-rest, macro.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corruptions
import numpy as np
from corruptions import CORRUPTIONS, SEVERITIES, corrupt
from PIL import Image
from sets import MOST_CORRUPTED, SEED, ImageSet

from edgefw.evaluation import auc_one_vs_rest, balanced_top1, predictions, top1, zero_shot_scores
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.opening import Opener, single_input

BATCH = 64
CLEAN = "clean"
Embed = Callable[[np.ndarray], np.ndarray]
"""Pictures (B, H, W, 3) uint8 to embeddings (B, D)."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Pictures of a part under every condition: "clean", or "<corruption>-<severity>" -> file of (n, H, W, 3) uint8.

    Attributes:
        folder: holds the files.
        labels: (N,) class of each clean picture.
        rows: (n,) which of them are there corrupted, too.
    """

    folder: Path
    labels: np.ndarray
    rows: np.ndarray

    @property
    def conditions(self) -> list[str]:
        """The clean one first."""
        return [CLEAN, *(f"{name}-{severity}" for name in CORRUPTIONS for severity in SEVERITIES)]

    def labels_of(self, condition: str) -> np.ndarray:
        """Class of each picture of a condition."""
        return self.labels if condition == CLEAN else np.asarray(self.labels[self.rows])

    def pictures(self, condition: str) -> np.ndarray:
        """Memory-mapped."""
        found: np.ndarray = np.load(self.folder / f"{condition}.npy", mmap_mode="r")
        return found


def held_out(of: ImageSet, data: Path, part: str, most: int, work: Path) -> HeldOut:
    """The pictures of a part, at most so many; made where they are missing, each file whole or not at all."""
    folder = work / "pictures" / f"{of.name}-{part}-{most}-{MOST_CORRUPTED}-{_drawing()}"
    if not (folder / "labels.npy").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        samples = of.samples(data, part, most)
        keys = [sample[""].decode() for sample in samples]
        clean = np.stack([np.asarray(Image.open(io.BytesIO(own["jpg"])).convert("RGB")) for own in samples])
        rows = np.sort(np.random.default_rng(SEED).permutation(len(clean))[:MOST_CORRUPTED])
        np.save(folder / f"{CLEAN}.npy", clean)
        np.save(folder / "rows.npy", rows)
        for name in CORRUPTIONS:
            for severity in SEVERITIES:
                changed = [corrupt(clean[row], name, severity, keys[row]) for row in rows]
                np.save(folder / f"{name}-{severity}.npy", np.stack(changed))
        names = of.names(data)
        np.save(
            folder / "labels.npy", np.array([of.class_of(sample, names) for sample in samples])
        )  # the last: all is there
    return HeldOut(folder=folder, labels=np.load(folder / "labels.npy"), rows=np.load(folder / "rows.npy"))


def _drawing() -> str:
    """Of the code that corrupts: other strengths are other pictures."""
    return hashlib.sha256(Path(corruptions.__file__).read_bytes()).hexdigest()[:12]


def measured(embed: Embed, texts: np.ndarray, pictures: HeldOut) -> dict[str, Any]:
    """Clean top-1, balanced top-1 and AUC; top-1 and AUC under each corruption, a number per severity; and their means.

    Args:
        embed: the model.
        texts: (K, D) embedding of each class's prompt, in the order of the labels.
        pictures: what is looked at.
    """
    found = {name: _condition(embed, texts, pictures, name) for name in pictures.conditions}
    clean = found[CLEAN]
    each = {
        metric: {name: [found[f"{name}-{severity}"][metric] for severity in SEVERITIES] for name in CORRUPTIONS}
        for metric in ("top1", "auc")
    }
    return {
        "n": len(pictures.labels),
        "n_corrupted": len(pictures.rows),
        "clean": clean["top1"],
        "clean_balanced": clean["balanced_top1"],
        "auc": clean["auc"],
        "corrupted": float(np.mean(list(each["top1"].values()))),
        "corrupted_auc": float(np.mean(list(each["auc"].values()))),
        "by_corruption": each["top1"],
        "auc_by_corruption": each["auc"],
    }


def of_bundle(bundle: Path, pictures: HeldOut) -> dict[str, Any]:
    """What the float file of a run says, on one thread, with its own label pack."""
    with open_bundle(bundle) as opened:
        entry, opener, pack = opened.artefact(None, "rgb"), Opener(opened), opened.label_pack()
        runner, prepare, name = opener.runner(entry, threads=1), opener.preprocessing("rgb"), single_input(entry)
        texts = np.concatenate([label.vectors for label in pack.labels])
        return measured(lambda images: runner.run({name: np.stack([prepare(one) for one in images])}), texts, pictures)


def stored(file: Path, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before under the same key, or what is measured now."""
    if file.is_file():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if known.get("key") == key:
            return known["found"]  # type: ignore[no-any-return]
    found = measure()
    file.write_text(json.dumps({"key": key, "found": found}) + "\n", encoding="utf-8")
    return found


def _condition(embed: Embed, texts: np.ndarray, held: HeldOut, name: str) -> dict[str, float]:
    embedded = np.concatenate([embed(part) for part in _parts(held.pictures(name))])
    scores = zero_shot_scores(embedded, texts)
    said = predictions(scores)
    labels = held.labels_of(name)
    return {
        "top1": top1(said, labels),
        "balanced_top1": balanced_top1(said, labels),
        "auc": auc_one_vs_rest(scores, labels),
    }


def _parts(pictures: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pictures), BATCH):
        yield np.asarray(pictures[start : start + BATCH])
