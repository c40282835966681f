"""What a bundle's artefacts say about folders of images: one sheet per sensor, and one per several sensors together.

It runs artefacts and collects their answers beside the labels; what they are worth, `bundle_check` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.scheme import together
from edgefw.errors import BundleError, DataError
from edgefw.evaluation import balanced_top1, expected_calibration_error, top1
from edgefw.evaluation.batch_sizes import spread
from edgefw.evaluation.comparison import length_ratios, relative_errors, row_cosines
from edgefw.labels.folders import scenes
from edgefw.runtime.asking import ask
from edgefw.runtime.drawn import bad_rows
from edgefw.runtime.labelling import Encoder, Unreadable, read_input
from edgefw.runtime.opening import single_input

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.labels.folders import LabelledFolder
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.opening import Opener

Group = Sequence["LabelledFolder"]
"""One folder, or several whose files belong together."""


@dataclass
class Column:
    """One artefact on one sheet, row by row, and how many rows are not finite."""

    prediction: list[np.ndarray] = field(default_factory=list)
    confidence: list[np.ndarray] = field(default_factory=list)
    cosine: list[np.ndarray] = field(default_factory=list)
    error: list[np.ndarray] = field(default_factory=list)
    length: list[np.ndarray] = field(default_factory=list)
    not_finite: int = 0


@dataclass
class Sheet:
    """One role: labels, unreadable files, a column per artefact, and some inputs to show alone and to time, by modality, with rows and labels.

    Where an artefact fails on an image, `failed` says why by its name, and nothing is compared from there on.
    """

    role: str
    columns: dict[str, Column]
    labels: list[np.ndarray] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    inputs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    kept: list[tuple[int, int]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def alone(self, entry: ArtefactEntry) -> Iterator[dict[str, np.ndarray]]:
        """What an artefact is fed for one sample at a time."""
        for row in range(min(map(len, self.inputs.values()))):
            yield feeds(entry, {name: images[row][None] for name, images in self.inputs.items()})


def folder_groups(folders: Sequence[LabelledFolder], bundle: Bundle) -> tuple[list[Group], list[str]]:
    """The folders one by one, then those that an artefact takes together; and what cannot be measured, in words.

    Raises:
        DataError: if nothing is left to measure.
    """
    groups: list[Group] = [[folder] for folder in folders if bundle.serves(folder.modality)]
    by_role = {folder.modality: folder for folder in folders}
    notes = []
    joint = {entry.roles[0]: entry for entry in bundle.manifest.artefacts if len(entry.inputs) > 1}
    for role, entry in joint.items():
        missing = [name for name in entry.modalities if name not in by_role]
        group = [by_role[name] for name in entry.modalities if name in by_role]
        if missing:
            notes.append(
                f"{role} is not measured: give --data {' --data '.join(f'{name}=DIR' for name in missing)} too"
            )
        elif next(scenes(group), None) is None:
            notes.append(
                f"{role} is not measured: no file has the same name in {' and '.join(str(f.folder) for f in group)}"
            )
        else:
            groups.append(group)
    if not groups:
        raise DataError(f"{bundle.source}: {'; '.join(notes) or 'no artefact takes these images'}.")
    return groups, notes


def reference_of(entry: ArtefactEntry, entries: Mapping[str, ArtefactEntry]) -> ArtefactEntry:
    """The float artefact that an artefact was made from, whatever it computes in, if it says which and that one is there.

    Else an fp32 file that serves the same modalities, of the same backend if there is one; else itself.
    """
    if entry.source is not None and entry.source in entries:
        return entries[entry.source]
    floats = [other for other in entries.values() if other.precision == "fp32" and other.roles == entry.roles]
    same = [other for other in floats if other.backend == entry.backend]
    return (same or floats or [entry])[0]


def held_against(entry: ArtefactEntry, entries: Mapping[str, ArtefactEntry]) -> ArtefactEntry:
    """What an artefact's answers are compared with: of an fp32 file the first fp32 file of the same roles and inputs,
    whatever its backend, as each is a translation of one student; of others `reference_of`. Itself if there is no other."""
    if entry.precision != "fp32":
        return reference_of(entry, entries)
    return next(other for other in entries.values() if other.precision == "fp32" and _alike(entry, other))


def _alike(entry: ArtefactEntry, other: ArtefactEntry) -> bool:
    shapes = (sorted(map(list, own.inputs.values())) for own in (entry, other))
    return other.roles == entry.roles and next(shapes) == next(shapes)


def feeds(entry: ArtefactEntry, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Images (B, C, H, W) by modality, under the names of an artefact's inputs."""
    return dict(images) if len(entry.inputs) > 1 else {single_input(entry): next(iter(images.values()))}


def fill(
    opener: Opener,
    group: Group,
    entries: Mapping[str, ArtefactEntry],
    runners: Mapping[str, Runner],
    pack: LabelPack | None,
    batch: int,
) -> Sheet:
    """Show every image of a group to every artefact that serves it; there must be one. One that fails is asked no more.

    Raises:
        DataError: if none of them can be read.
    """
    role = together([folder.modality for folder in group])
    serving = {name: entry for name, entry in entries.items() if role in entry.roles}
    sheet = Sheet(role=role, columns={name: Column() for name in serving})
    encoders = {
        folder.modality: Encoder(
            runner=runners[next(iter(serving))],
            input=next(iter(serving[next(iter(serving))].inputs)),
            modality=opener.modality(folder.modality),
            preprocessing=opener.preprocessing(folder.modality),
        )
        for folder in group
    }
    for labels, images in _batches(group, encoders, sheet, batch):
        _enter(sheet, serving, runners, pack, labels, images)
    if not sheet.labels:
        raise DataError(f"{group[0].folder}: none of its {len(sheet.unreadable)} images can be read.")
    return sheet


def _enter(
    sheet: Sheet,
    serving: Mapping[str, ArtefactEntry],
    runners: Mapping[str, Runner],
    pack: LabelPack | None,
    labels: np.ndarray,
    images: Mapping[str, np.ndarray],
) -> None:
    """One batch: what every artefact says, beside its reference."""
    sheet.labels.append(labels)
    embeddings = _said(sheet, serving, runners, images)
    for name, entry in serving.items() if not sheet.failed else ():
        column, source = sheet.columns[name], embeddings[held_against(entry, serving).name]
        column.not_finite += bad_rows(embeddings[name])
        column.cosine.append(row_cosines(embeddings[name], source))
        column.error.append(relative_errors(embeddings[name], source))
        column.length.append(length_ratios(embeddings[name], source))
        if pack is not None:
            probability = pack.probabilities(embeddings[name])
            column.prediction.append(best_labels(probability))
            column.confidence.append(probability)


def _said(
    sheet: Sheet, serving: Mapping[str, ArtefactEntry], runners: Mapping[str, Runner], images: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """(B, D) by artefact; those that fail go onto the sheet."""
    embeddings: dict[str, np.ndarray] = {}
    for name, entry in serving.items():
        if name not in sheet.failed:
            try:
                embeddings[name] = ask(runners[name], feeds(entry, images))
            except BundleError as error:
                sheet.failed[name] = str(error)
    return embeddings


def _batches(
    group: Group, encoders: Mapping[str, Encoder], sheet: Sheet, batch: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """(B,) labels and (B, C, H, W) prepared images by modality; what cannot be read goes onto the sheet."""
    labels: list[int] = []
    rows: list[dict[str, np.ndarray]] = []
    every = list(_files(group))
    due, shown = spread(len(every)), 0
    for at, (files, label) in enumerate(every):
        read = {name: read_input(encoders[name], path) for name, path in files.items()}
        broken = [item for item in read.values() if isinstance(item, Unreadable)]
        sheet.unreadable += broken
        if not broken:
            labels.append(label)
            rows.append({name: item[1] for name, item in read.items() if not isinstance(item, Unreadable)})
            if np.searchsorted(due, at, "right") > len(sheet.kept):  # the next that can be read, where one cannot
                _keep(sheet, shown, label, rows[-1])
            shown += 1
        if len(rows) == batch:
            yield _stacked(labels, rows)
            labels, rows = [], []
    if rows:
        yield _stacked(labels, rows)


def _keep(sheet: Sheet, row: int, label: int, images: Mapping[str, np.ndarray]) -> None:
    sheet.kept.append((row, label))
    for name, pixels in images.items():
        sheet.inputs.setdefault(name, []).append(pixels)


def _files(group: Group) -> Iterator[tuple[dict[str, Path], int]]:
    if len(group) > 1:
        yield from scenes(group)
        return
    for path, label in group[0].images():
        yield {group[0].modality: path}, label


def _stacked(
    labels: Sequence[int], rows: Sequence[Mapping[str, np.ndarray]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return np.array(labels, np.int64), {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def best_labels(probability: np.ndarray) -> np.ndarray:
    """(N,) of (N, K); -1 where a row is not a number."""
    return np.where(np.isnan(probability).any(axis=1), -1, probability.argmax(axis=1)).astype(np.int64)


def evaluation_rows(sheet: Sheet, pack: LabelPack | None) -> Iterator[dict[str, Any]]:
    """Rows of {model, modality, metric, value, n}; none without labels."""
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
            yield {"model": name, "modality": sheet.role, "metric": metric, "value": value, "n": int(known.sum())}
