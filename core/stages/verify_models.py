"""Show every held-out sample to teacher, student and artefacts: one pass, one batch of samples in memory at a time.

The teacher's answers come from its cache, which is filled first. The student and every artefact see the same prepared
pixels, decoded once per modality. What takes several modalities together is asked about the samples that have all of them. Artefacts run in
their own runtime; one that fails on a batch is asked no more. It collects answers; what they are worth, `verify` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np

from edgefw.contracts.scheme import together
from edgefw.data.loading import read_image
from edgefw.errors import BundleError
from edgefw.evaluation import predictions, zero_shot_scores
from edgefw.evaluation.batch_sizes import Truth, spread
from edgefw.stages.answers import Answers, Questions
from edgefw.stages.teacher_answers import TeacherAnswers

if TYPE_CHECKING:
    from edgefw.runtime.preprocessing import Preprocessing
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut
    from edgefw.stages.opened import OpenArtefact, Opened
    from edgefw.stages.trained import Trained

TEACHER, STUDENT = "teacher", "student"


@dataclass
class Gathered:
    """What one pass leaves.

    Attributes:
        answers: by (model, role).
        inputs: some real inputs (N, C, H, W) per role, by modality, spread over the samples.
        truths: what the student says of these, and their labels, by role.
    """

    answers: dict[tuple[str, str], Answers] = field(default_factory=dict)
    inputs: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    truths: dict[str, Truth] = field(default_factory=dict)

    def keep(self, role: str, images: Mapping[str, np.ndarray], truth: Truth) -> None:
        """Keep images of a role (B, C, H, W), by modality, and what is known of them."""
        if role in self.truths:
            before, kept = self.truths[role], self.inputs[role]
            images = {name: np.concatenate([kept[name], own]) for name, own in images.items()}
            rows, source, labels = (np.concatenate(both) for both in zip(_known(before), _known(truth), strict=True))
            truth = replace(truth, rows=rows, source=source, labels=labels)
        self.inputs[role], self.truths[role] = dict(images), truth


def _known(truth: Truth) -> tuple[np.ndarray, ...]:
    return truth.rows, truth.source, truth.labels


class Pass:
    """One walk over the held-out samples."""

    def __init__(self, context: StageContext, trained: Trained, opened: Opened, held: HeldOut) -> None:
        self._context, self._pieces = context, context.pieces
        self._trained, self._opened, self._held = trained, opened, held
        self._questions = Questions(labels=held.labels, text=held.text)
        self._contracts: dict[str, Preprocessing] = {
            name: self._pieces.preprocessing(name) for name in self._pieces.modalities
        }
        signatures = [artefact.signature for artefact in opened.artefacts]
        self._joint = list(dict.fromkeys(own.inputs for own in signatures if len(own.inputs) > 1))
        self._gathered = Gathered()
        self._chosen: dict[str, np.ndarray] = {}
        self._predict = None if held.text is None else partial(_predicted, text=held.text)

    def run(self) -> Gathered:
        """Ask the teacher, then show all samples to the others; the teacher is given back to the CPU."""
        batch, total = self._context.recipe.config.evaluate.batch, len(self._held.samples)
        try:
            self._teacher = {name: self._answers_of_teacher(name) for name in self._pieces.modalities}
        finally:
            self._pieces.teacher.module.to("cpu")
        with self._context.progress.bar("verify: models look at held-out samples", total) as bar:
            for start in range(0, total, batch):
                rows = np.arange(start, min(start + batch, total))
                self._batch(rows)
                bar.update(int(rows[-1]) + 1)
        answers = self._gathered.answers
        self._gathered.answers = {key: own for key, own in answers.items() if key[0] not in self._opened.broken}
        return self._gathered

    def _answers_of_teacher(self, name: str) -> TeacherAnswers:
        return TeacherAnswers(self._context, self._held.samples, name)

    def _batch(self, rows: np.ndarray) -> None:
        names = [self._pieces.teacher_modality]
        names += [name for name in self._pieces.modalities if name not in names]
        photographs: np.ndarray | None = None  # (B, D), NaN without a photograph
        target = self._held.labels[rows]
        pixels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name in names:
            present, values = self._decoded(rows, name)
            if not len(present):
                continue
            seen = self._teacher[name](rows[present])
            if name == self._pieces.teacher_modality:
                photographs = np.full((len(rows), seen.shape[1]), np.nan, np.float32)
                photographs[present] = seen
                target = self._targets(rows, present, seen)
            if photographs is None:
                photographs = np.full((len(rows), seen.shape[1]), np.nan, np.float32)
            place, wanted = rows[present], target[present]
            self._of(TEACHER, name).add(place, seen, teacher=photographs[present], target=wanted)
            prepared = np.stack([self._contracts[name](image) for image in values])
            self._small(place, name, {name: prepared}, photographs[present], wanted)
            pixels[name] = present, prepared
        for inputs in self._joint:
            self._together(rows, inputs, pixels, photographs, target)

    def _decoded(self, rows: np.ndarray, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """Positions within the batch that have the modality, and their decoded values."""
        samples, sensor = self._held.samples, self._pieces.modalities[name]
        present = [at for at, row in enumerate(rows) if name in samples[int(row)].images]
        return np.array(present, np.int64), [read_image(samples[int(rows[at])], name, sensor) for at in present]

    def _targets(self, rows: np.ndarray, present: np.ndarray, photographs: np.ndarray) -> np.ndarray:
        """(B,) the label's index, or what the teacher takes the photograph for; -1 without either."""
        target: np.ndarray = self._held.labels[rows].copy()
        if self._held.text is not None:
            said = np.full(len(rows), -1, np.int64)
            said[present] = predictions(zero_shot_scores(photographs, self._held.text))
            target = np.where(target >= 0, target, said)
        return target

    def _together(
        self,
        rows: np.ndarray,
        inputs: tuple[str, ...],
        pixels: Mapping[str, tuple[np.ndarray, np.ndarray]],
        photographs: np.ndarray | None,
        target: np.ndarray,
    ) -> None:
        """Student and artefacts on several modalities at once, where a sample has all of them."""
        if photographs is None or any(name not in pixels for name in inputs):
            return
        both = reduce(np.intersect1d, [pixels[name][0] for name in inputs])
        if len(both):
            images = {name: pixels[name][1][np.searchsorted(pixels[name][0], both)] for name in inputs}
            self._small(rows[both], together(inputs), images, photographs[both], target[both])

    def _small(
        self,
        place: np.ndarray,
        role: str,
        images: dict[str, np.ndarray],
        photographs: np.ndarray,
        target: np.ndarray,
    ) -> None:
        """Student and artefacts on one modality, or on several together."""
        source = student_embeddings(self._trained, images)
        self._of(STUDENT, role).add(place, source, teacher=photographs, target=target)
        for artefact in self._opened.artefacts:
            if role in artefact.roles and (embeddings := self._asked(artefact, images, source)) is not None:
                self._of(artefact.name, role).add(place, embeddings, source, photographs, target)
        self._keep(place, role, images, source)

    def _keep(self, place: np.ndarray, role: str, images: Mapping[str, np.ndarray], source: np.ndarray) -> None:
        """Of samples that are shown one by one later."""
        if role not in self._chosen:
            able = [at for at, sample in enumerate(self._held.samples) if all(name in sample.images for name in images)]
            self._chosen[role] = np.array(able, np.int64)[spread(len(able))]
        if (rows := np.flatnonzero(np.isin(place, self._chosen[role]))).size:
            at = place[rows]
            truth = Truth(rows=at, source=source[rows], labels=self._held.labels[at], predict=self._predict)
            self._gathered.keep(role, {name: own[rows] for name, own in images.items()}, truth)

    def _asked(self, artefact: OpenArtefact, images: Mapping[str, np.ndarray], source: np.ndarray) -> np.ndarray | None:
        """What an artefact says; None if it fails, in which case it is asked no more."""
        try:
            embeddings = artefact.ask(images)
        except BundleError as error:
            self._opened.drop(artefact, str(error))
            return None
        if embeddings.shape != source.shape:
            self._opened.drop(artefact, f"gives shape {embeddings.shape}, the student {source.shape}")
            return None
        return embeddings

    def _of(self, model: str, modality: str) -> Answers:
        return self._gathered.answers.setdefault((model, modality), Answers(questions=self._questions))


def _predicted(embeddings: np.ndarray, text: np.ndarray) -> np.ndarray:
    return predictions(zero_shot_scores(embeddings, text))


def student_embeddings(trained: Trained, images: Mapping[str, np.ndarray]) -> np.ndarray:
    """(B, D) of the trained network, from (B, C, H, W) images by modality."""
    import torch

    tensors = {name: torch.from_numpy(own) for name, own in images.items()}
    with torch.inference_mode():
        if len(tensors) > 1:
            said = trained.embed_together(tensors)
        else:
            ((name, own),) = tensors.items()
            said = trained.embed(name, own)
    embedding: np.ndarray = said.float().numpy()
    return embedding


def single_feeds(artefact: OpenArtefact, images: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What the artefact is fed for each sample alone, from (B, C, H, W) images by modality."""
    return [artefact.feeds({name: own[row : row + 1] for name, own in images.items()}) for row in range(_count(images))]


def _count(images: Mapping[str, np.ndarray]) -> int:
    return min(len(own) for own in images.values())
