"""Verify a bundle on folders of images, with nothing but its own files: no torch, no recipe, no teacher.

The reference is the bundle's float artefact. Every other artefact is held against it and against the budget that the
bundle carries; accuracy is measured where folders are named after labels. It measures; the command line prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import DataError
from edgefw.evaluation import agreement, balanced_top1, expected_calibration_error, top1
from edgefw.evaluation.budget import Measured, best, checks, not_judged
from edgefw.evaluation.comparison import relative_errors, row_cosines, summary
from edgefw.runtime.benchmark import time_interleaved
from edgefw.runtime.labelling import Encoder, Unreadable, read_inputs
from edgefw.runtime.opening import Opener, single_input

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.labels.folders import LabelledFolder
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.manifest import ArtefactEntry

_LISTED = 20
_WORST = {"cosine_mean": min, "cosine_p1": min, "cosine_min": min, "top1_agreement": min}
_WORST |= {"relative_error_mean": max, "relative_error_max": max}


@dataclass
class _Column:
    """One artefact on one folder, row by row."""

    prediction: list[np.ndarray] = field(default_factory=list)
    confidence: list[np.ndarray] = field(default_factory=list)
    cosine: list[np.ndarray] = field(default_factory=list)
    error: list[np.ndarray] = field(default_factory=list)


@dataclass
class _Sheet:
    """One folder: labels, unreadable files, a column per artefact, and a few inputs to time."""

    modality: str
    columns: dict[str, _Column]
    labels: list[np.ndarray] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)


def verify_bundle(
    bundle: Bundle,
    folders: Sequence[LabelledFolder],
    pack: LabelPack | None,
    *,
    registry: Registry | None = None,
    batch: int = 16,
    threads: int | None = None,
    seconds: float = 1.0,
) -> dict[str, Any]:
    """Measure every artefact on every folder.

    Args:
        bundle: opened.
        folders: at least one; each of one modality.
        pack: labels to predict; without one, embeddings are compared and nothing is labelled.
        registry: where techniques come from; None reads what is installed.
        batch: images in memory at a time.
        threads: CPU threads of each session; None: the artefact's own option.
        seconds: timing per artefact.

    Returns:
        JSON-able: reference, samples, evaluation, artefacts, budget, best, ok, unreadable, warnings.

    Raises:
        DataError: if a folder has no readable image.
    """
    opener = Opener(bundle, registry)
    entries = {entry.name: entry for entry in bundle.manifest.artefacts}
    runners = {name: opener.runner(entry, threads) for name, entry in entries.items()}
    sheets = [_sheet(opener, folder, entries, runners, pack, batch) for folder in folders]
    evaluation = [row for sheet in sheets for row in _evaluation(sheet, pack)]
    inputs = {sheet.modality: np.stack(sheet.inputs) for sheet in sheets}
    records = _records(entries, runners, sheets, inputs, seconds)
    numbers = [_measured(record, evaluation) for record in records]
    rows = checks(numbers, bundle.manifest.budget)
    return {
        "samples": {sheet.modality: sum(map(len, sheet.labels)) for sheet in sheets},
        "evaluation": evaluation,
        "artefacts": records,
        "budget": rows,
        "best": best(numbers, bundle.manifest.budget)[0],
        "ok": all(row["ok"] for row in rows),
        "unreadable": _unreadable(sheets),
        "warnings": [f"{check} is not judged: no labelled image" for check in _open_checks(numbers, bundle)],
    }


def reference_of(entry: ArtefactEntry, entries: Mapping[str, ArtefactEntry]) -> ArtefactEntry:
    """The float artefact that an artefact was made from: of the same backend and inputs, else the first that serves
    the same modalities, else itself."""
    floats = [other for other in entries.values() if other.precision == "fp32" and other.modalities == entry.modalities]
    same = [other for other in floats if other.backend == entry.backend]
    return (same or floats or [entry])[0]


def _sheet(
    opener: Opener,
    folder: LabelledFolder,
    entries: Mapping[str, ArtefactEntry],
    runners: Mapping[str, Runner],
    pack: LabelPack | None,
    batch: int,
) -> _Sheet:
    serving = {name: entry for name, entry in entries.items() if folder.modality in entry.modalities}
    sheet = _Sheet(modality=folder.modality, columns={name: _Column() for name in serving})
    encoder = Encoder(
        runner=runners[next(iter(serving))],
        input=single_input(next(iter(serving.values()))),
        modality=opener.modality(folder.modality),
        preprocessing=opener.preprocessing(folder.modality),
    )
    for labels, pixels in _batches(folder, encoder, sheet, batch):
        sheet.labels.append(labels)
        sheet.inputs += list(pixels[: max(0, 8 - len(sheet.inputs))])
        embeddings = {name: runners[name].run({single_input(serving[name]): pixels}) for name in serving}
        for name, entry in serving.items():
            column, source = sheet.columns[name], embeddings[reference_of(entry, serving).name]
            column.cosine.append(row_cosines(embeddings[name], source))
            column.error.append(relative_errors(embeddings[name], source))
            if pack is not None:
                probability = pack.probabilities(embeddings[name])
                column.prediction.append(_best(probability))
                column.confidence.append(probability)
    if not sheet.labels:
        raise DataError(f"{folder.folder}: none of its {len(sheet.unreadable)} images can be read.")
    return sheet


def _batches(
    folder: LabelledFolder, encoder: Encoder, sheet: _Sheet, batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(B,) labels and (B, C, H, W) prepared images; what cannot be read goes onto the sheet."""
    labels: list[int] = []
    pixels: list[np.ndarray] = []
    for path, label in folder.images():
        for item in read_inputs(encoder, [path]):
            if isinstance(item, Unreadable):
                sheet.unreadable.append(item)
            else:
                labels.append(label)
                pixels.append(item[1])
        if len(pixels) == batch:
            yield np.array(labels, np.int64), np.stack(pixels)
            labels, pixels = [], []
    if pixels:
        yield np.array(labels, np.int64), np.stack(pixels)


def _best(probability: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(probability).any(axis=1), -1, probability.argmax(axis=1)).astype(np.int64)


def _evaluation(sheet: _Sheet, pack: LabelPack | None) -> Iterator[dict[str, Any]]:
    labels = np.concatenate(sheet.labels)
    known = labels >= 0
    if pack is None or not known.any():
        return
    for name, column in sheet.columns.items():
        predicted, probability = np.concatenate(column.prediction), np.concatenate(column.confidence)
        values = {
            "top1": top1(predicted, labels),
            "balanced_top1": balanced_top1(predicted, labels),
            "ece": expected_calibration_error(probability[known], labels[known]),
        }
        for metric, value in values.items():
            yield {
                "model": name, "modality": sheet.modality, "metric": metric, "value": value, "n": int(known.sum())
            }  # fmt: skip


def _records(
    entries: Mapping[str, ArtefactEntry],
    runners: Mapping[str, Runner],
    sheets: Sequence[_Sheet],
    inputs: Mapping[str, np.ndarray],
    seconds: float,
) -> list[dict[str, Any]]:
    used = {name: entry for name, entry in entries.items() if any(name in sheet.columns for sheet in sheets)}
    feeds = {}
    for name, entry in used.items():
        shown = next(role for role in entry.modalities if role in inputs)
        feeds[name] = [{single_input(entry): image[None]} for image in inputs[shown]]
    latency = time_interleaved({name: runners[name] for name in used}, feeds, seconds * len(used))
    return [
        {
            "name": name,
            "backend": entry.backend,
            "precision": entry.precision,
            "reference": reference_of(entry, entries).name,
            "bytes": entry.bytes,
            "latency_ms_p50": latency[name].p50_ms,
            "latency_ms_p95": latency[name].p95_ms,
            **_distance(name, reference_of(entry, entries).name, sheets),
        }
        for name, entry in used.items()
    ]


def _distance(name: str, source: str, sheets: Sequence[_Sheet]) -> dict[str, Any]:
    """The worst modality's numbers, and each modality's under its name."""
    each: dict[str, dict[str, Any]] = {}
    for sheet in sheets:
        if name in sheet.columns:
            own, other = sheet.columns[name], sheet.columns[source]
            each[sheet.modality] = summary(np.concatenate(own.cosine), np.concatenate(own.error))
            if own.prediction:
                agreed = agreement(np.concatenate(own.prediction), np.concatenate(other.prediction))
                each[sheet.modality]["top1_agreement"] = agreed
    worst = {}
    for key, worse in _WORST.items():
        values = [row[key] for row in each.values() if row.get(key) is not None]
        worst[key] = worse(values) if values else None
    return {**worst, "modalities": each}


def _measured(record: Mapping[str, Any], evaluation: Sequence[Mapping[str, Any]]) -> Measured:
    found = {(row["model"], row["modality"]): row["value"] for row in evaluation if row["metric"] == "top1"}
    drops = [
        100 * (found[record["reference"], role] - value)
        for (model, role), value in found.items()
        if model == record["name"] and (record["reference"], role) in found
    ]
    return Measured(
        name=record["name"],
        quantised=record["reference"] != record["name"],
        values={
            "max_drop": max(drops) if drops else None,
            "min_cosine": record["cosine_mean"],
            "min_agreement": record["top1_agreement"],
            "max_ms": record["latency_ms_p50"],
            "max_mb": record["bytes"] / 1e6,
        },
    )


def _open_checks(numbers: Sequence[Measured], bundle: Bundle) -> list[str]:
    return not_judged(numbers, bundle.manifest.budget)


def _unreadable(sheets: Sequence[_Sheet]) -> dict[str, Any]:
    files = [item.to_json() for sheet in sheets for item in sheet.unreadable]
    return {"count": len(files), "files": files[:_LISTED]}
