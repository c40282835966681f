"""Embeddings of labelled images, by one artefact of a bundle: what a label pack is refined and measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefw.errors import DataError
from edgefw.runtime.labelling import Encoder, Unreadable, read_inputs
from edgefw.runtime.opening import Opener, single_input

if TYPE_CHECKING:
    from edgefw.labels.folders import LabelledFolder
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle

BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled images as the encoder sees them.

    Attributes:
        embeddings: (N, D) float64 of length 1.
        labels: (N,) int, index of the label; -1 where an image shows none of them.
        unreadable: files that could not be read, and are not among the N.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    unreadable: int = 0


def embed_folder(
    bundle: Bundle,
    folder: LabelledFolder,
    artefact: str | None = None,
    each: int | None = None,
    seed: int = 0,
    strangers: bool = False,
    registry: Registry | None = None,
    threads: int | None = None,
) -> Examples:
    """The images of a folder.

    Args:
        bundle: opened.
        folder: images in folders named after labels.
        artefact: compiled file to run; None takes the bundle's best for that sensor.
        each: images of a label at most, drawn by `seed`; the draw of a larger number holds that of a smaller one.
        seed: of the draw.
        strangers: take images of no label too.
        registry: where techniques come from; None reads what is installed.
        threads: CPU threads of the artefact, and threads that read at most; None: the artefact's own option.

    Raises:
        DataError: if no image can be read or used, or the artefact gives what is no number.
    """
    wanted = [(path, label) for path, label in folder.images() if strangers or label >= 0]
    truth = dict(wanted if each is None else _drawn(wanted, each, seed))
    if not any(label >= 0 for label in truth.values()):
        named = ", ".join(folder.names[:5])
        raise DataError(f"{folder.folder}: no image lies in a folder named after a label ({named}, ...).")
    paths, embeddings, unreadable = embed_files(bundle, folder.modality, list(truth), artefact, registry, threads)
    if not paths:
        raise DataError(f"{folder.folder}: none of {unreadable} images can be read.")
    return Examples(embeddings=embeddings, labels=np.array([truth[path] for path in paths]), unreadable=unreadable)


def embed_files(
    bundle: Bundle,
    modality: str,
    paths: Sequence[Path],
    artefact: str | None = None,
    registry: Registry | None = None,
    threads: int | None = None,
) -> tuple[list[Path], np.ndarray, int]:
    """The files that can be read, their embeddings (N, D) float64 of length 1, and how many cannot be read.

    Args are those of `embed_folder`.

    Raises:
        DataError: if the artefact gives what is no number.
    """
    encoder = _encoder(bundle, modality, artefact, registry, threads)
    kept: list[Path] = []
    rows: list[np.ndarray] = []
    held: list[np.ndarray] = []
    for item in read_inputs(encoder, paths, threads=threads):
        if isinstance(item, Unreadable):
            continue
        kept.append(item[0])
        held.append(item[1])
        if len(held) == BATCH:
            rows.append(encoder.embed(held))
            held = []
    if held:
        rows.append(encoder.embed(held))
    found = _unit(np.concatenate(rows)) if rows else np.zeros((0, 0))
    return kept, found, len(paths) - len(kept)


def _drawn(pairs: Sequence[tuple[Path, int]], each: int, seed: int) -> list[tuple[Path, int]]:
    taken: list[tuple[Path, int]] = []
    for label in sorted({label for _, label in pairs}):
        own = [pair for pair in pairs if pair[1] == label]
        order = np.random.default_rng([seed, label + 1]).permutation(len(own))
        taken += [own[at] for at in sorted(order[:each])]
    return taken


def _encoder(
    bundle: Bundle, role: str, artefact: str | None, registry: Registry | None, threads: int | None
) -> Encoder:
    opener, entry = Opener(bundle, registry), bundle.artefact(artefact, role)
    return Encoder(
        runner=opener.runner(entry, threads),
        input=single_input(entry),
        modality=opener.modality(role),
        preprocessing=opener.preprocessing(role),
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    if not np.isfinite(rows).all():
        raise DataError("the artefact gave numbers that are not finite. Run `edgefw verify` on the bundle.")
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(wide, length, out=np.zeros_like(wide), where=length != 0)
    return unit
