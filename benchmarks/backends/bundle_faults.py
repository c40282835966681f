"""Ways in which a bundle goes wrong around a right file: preprocessing, sensors, label pack, a file that was cut short.

Each changes a bundle's folder; hashes are written anew afterwards, so that no fault is found by its hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.runtime.bundle import MANIFEST
from edgefw.runtime.hashes import sha256_of, write_sums
from edgefw.runtime.label_pack import Label, LabelPack, read_pack, write_pack

Texts = Callable[[list[str], str], np.ndarray]
"""Text embeddings of label names under a template."""


def resealed(bundle: Path) -> None:
    """Write the hashes and sizes of the files as they are now."""
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    for entry in manifest["artefacts"]:
        file = bundle / entry["file"]
        entry.update(bytes=file.stat().st_size, sha256=sha256_of(file))
    _write(bundle, manifest)
    write_sums(bundle)


def wrong_normalisation(bundle: Path, texts: Texts) -> None:
    """The contract of the first sensor has ImageNet's mean and deviation; where it had them, 0.5."""
    _change_step(bundle, 0, "normalise", _other_numbers)


def _other_numbers(step: dict[str, Any]) -> None:
    usual = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    step.update(usual if step["mean"] != usual["mean"] else {"mean": [0.5] * 3, "std": [0.5] * 3})


def wrong_filter(bundle: Path, texts: Texts) -> None:
    """Images of the first sensor are resized with another filter."""
    _change_step(bundle, 0, "resize", lambda step: step.update(filter="bilinear" if step["filter"] != "bilinear" else "nearest"))  # fmt: skip


def wrong_modality(bundle: Path, texts: Texts) -> None:
    """The first two sensors have each other's decoder and contract."""
    manifest = _manifest(bundle)
    first, second, *_ = manifest["modalities"]
    sensors = manifest["modalities"]
    sensors[first], sensors[second] = sensors[second], sensors[first]
    _write(bundle, manifest)


def wrong_encoding(bundle: Path, texts: Texts) -> None:
    """Depth is divided by its largest reading, where the student was trained on stretched readings."""
    manifest = _manifest(bundle)
    for entry in manifest["modalities"].values():
        for step in entry["preprocessing"]["steps"]:
            if step["name"] == "min-max":
                step["name"] = "image-max"
    _write(bundle, manifest)


def wrong_label_order(bundle: Path, texts: Texts) -> None:
    """Every name stands beside its neighbour's vector."""
    pack = _pack(bundle)
    names = [*pack.names[1:], pack.names[0]]
    _write_pack(bundle, pack, [replace(label, name=name) for label, name in zip(pack.labels, names, strict=True)])


def stale_texts(bundle: Path, texts: Texts) -> None:
    """The label pack was made with another prompt."""
    pack = _pack(bundle)
    vectors = texts(list(pack.names), "an old picture without any {}")
    _write_pack(
        bundle, pack, [Label(name=name, vectors=row[None]) for name, row in zip(pack.names, vectors, strict=True)]
    )


def stale_encoder(bundle: Path, texts: Texts) -> None:
    """The label pack belongs to an earlier student."""
    write_pack(replace(_pack(bundle), encoder="0" * 64), bundle / "labels.json")


def cut_short(bundle: Path, texts: Texts) -> None:
    """The first artefact's file ends in the middle."""
    file = bundle / _manifest(bundle)["artefacts"][0]["file"]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _change_step(bundle: Path, sensor: int, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = _manifest(bundle)
    steps = list(manifest["modalities"].values())[sensor]["preprocessing"]["steps"]
    change(next(step for step in steps if step["name"] == name))
    _write(bundle, manifest)


def _manifest(bundle: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    return document


def _write(bundle: Path, manifest: dict[str, Any]) -> None:
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _pack(bundle: Path) -> LabelPack:
    return read_pack(bundle / "labels.json")


def _write_pack(bundle: Path, pack: LabelPack, labels: list[Label]) -> None:
    write_pack(replace(pack, labels=labels), bundle / "labels.json")
