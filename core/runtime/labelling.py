"""Label images with an opened bundle: decode, prepare, run, score, in batches of bounded memory.

While a batch runs, threads decode and prepare the next one. A file that cannot be decoded is counted and told, and the
work goes on. It knows contracts and packs; it prints nothing and finds no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import DataError
from edgefw.runtime.image_formats import with_all_formats
from edgefw.runtime.in_order import in_order

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.contracts.modality import Modality
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.preprocessing import Preprocessing


AHEAD = 16
"""Images that are read ahead, where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What was said about one image, or about one scene that several sensors saw.

    Attributes:
        path: the image file; of a scene, that of its first sensor.
        ranking: (label, probability) of the best labels, the best first.
        label: the best label, or None where its probability is below its threshold, or a negative beats it.
        modality: what the answer is about ("rgb", "rgb+depth"), where sources were named by their sensor; else None.
        files: sensor -> file, where sources were named.
    """

    path: Path
    ranking: Sequence[tuple[str, float]]
    label: str | None
    modality: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One JSON object: path, label (or null), score, and the ranking; modality and files of named sources."""
        named = {"modality": self.modality, "files": {name: str(path) for name, path in self.files.items()}}
        return {
            "path": str(self.path),
            **(named if self.modality else {}),
            "label": self.label,
            "score": self.ranking[0][1],
            "labels": [{"label": name, "score": score} for name, score in self.ranking],
        }


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """An image file that could not be read, and why."""

    path: Path
    reason: str

    def to_json(self) -> dict[str, Any]:
        """One JSON object: path and error."""
        return {"path": str(self.path), "error": self.reason}


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An opened artefact with what stands before it: image bytes in, embeddings out.

    Attributes:
        runner: the artefact in its own runtime.
        input: name of its one input.
        modality: decodes the files.
        preprocessing: the bundle's contract for that sensor.
    """

    runner: Runner
    input: str
    modality: Modality
    preprocessing: Preprocessing

    def prepare(self, data: bytes, where: str) -> np.ndarray:
        """The student's input (C, H, W) float32 of a file's bytes.

        Raises:
            DataError: if they are no image of this sensor.
        """
        return self.preprocessing(self.modality.decode(data, where))

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embeddings (B, D) float32 of prepared images."""
        return self.runner.run({self.input: np.stack(images)})


def read_input(encoder: Encoder, path: Path) -> tuple[Path, np.ndarray] | Unreadable:
    """A prepared image; what cannot be read comes as a record with its reason."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Unreadable(path=path, reason=f"cannot be read ({error.strerror or error})")
    try:
        return path, with_all_formats(lambda: encoder.prepare(data, str(path)))
    except DataError as error:
        return Unreadable(path=path, reason=str(error).removeprefix(f"{path}: "))


def read_inputs(
    encoder: Encoder, paths: Iterable[Path], ahead: int = AHEAD, threads: int | None = None
) -> Iterator[tuple[Path, np.ndarray] | Unreadable]:
    """Prepared images, or why there is none, in the order of `paths`, read by several threads.

    Args:
        encoder: for the sensor the images come from.
        paths: any number.
        ahead: images that wait in memory at most, at least one a thread; each thread decodes one of them.
        threads: that read at most; None: see `in_order`.
    """
    return in_order(partial(read_input, encoder), paths, ahead, threads)


def label_images(
    encoder: Encoder,
    pack: LabelPack,
    paths: Iterable[Path],
    batch: int = 16,
    top: int = 1,
    threads: int | None = None,
) -> Iterator[Labelled | Unreadable]:
    """Label images in the order of `paths`, except that unreadable ones are told at once.

    Args:
        encoder: for the sensor the images come from.
        pack: labels that fit the encoder.
        paths: any number; in memory are at most the batch of prepared images that runs and the next one (or one image per
            thread that reads, if that is more), and one decoded image of full size per thread that reads.
        batch: images per call of the runtime.
        top: labels per image.
        threads: that read ahead at most; None: see `in_order`.
    """
    held: list[tuple[Path, np.ndarray]] = []
    for item in read_inputs(encoder, paths, batch, threads):
        if isinstance(item, Unreadable):
            yield item
            continue
        held.append(item)
        if len(held) == batch:
            yield from _labelled(encoder, pack, held, top)
            held = []
    if held:
        yield from _labelled(encoder, pack, held, top)


def _labelled(
    encoder: Encoder, pack: LabelPack, held: Sequence[tuple[Path, np.ndarray]], top: int
) -> Iterator[Labelled]:
    scores = pack.scores(encoder.embed([image for _, image in held]))
    for (path, _), row, beaten in zip(held, scores.probabilities, scores.beaten):
        if not np.isfinite(row).all():
            raise DataError(
                f"{path}: the artefact gave numbers that are not finite. Run `edgefw verify` on the bundle."
            )
        yield decide(path, row, beaten, pack, top)


def decide(path: Path, probabilities: np.ndarray, beaten: np.ndarray, pack: LabelPack, top: int) -> Labelled:
    """The best labels of one image from its probabilities (K,) and what negatives beat (K,)."""
    best = np.argsort(-probabilities, kind="stable")[: max(1, top)]
    ranking = [(pack.labels[index].name, float(probabilities[index])) for index in best]
    return Labelled(path=path, ranking=ranking, label=pack.said(probabilities, beaten))
