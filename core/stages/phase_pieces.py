"""Everything one training phase is made of, built from the recipe: data, texts, losses, and the job itself.

`TrainingInputs` holds what all phases share, `PhasePieces` what one phase adds. No step is taken here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.data.student_input import refuse_other_channels
from edgefw.errors import DataError, RecipeError
from edgefw.recipe.compose import build
from edgefw.stages.kept import read_kept
from edgefw.stages.used_samples import Used, refuse_none, told, used_samples

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.quantizer import ModuleQuantizer
    from edgefw.contracts.sampler import Sampler
    from edgefw.contracts.scheme import Scheme
    from edgefw.contracts.student import StudentSpec
    from edgefw.contracts.view import View
    from edgefw.data.batches import TrainingData
    from edgefw.recipe.compose import Chosen, ChosenPhase
    from edgefw.stages.context import StageContext
    from edgefw.training.job import Callbacks, PhaseJob, PhaseLoss
    from edgefw.training.network import StudentNetwork

_TEACHER_PARTS = {"teacher.tokens": "tokens", "teacher.qkv": "qkv"}


class TrainingInputs:
    """Kept samples, labels and texts of a run. Labels index the rows of the texts that losses see."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._kept = read_kept(context.folder.stage("curate"))

    @cached_property
    def samples(self) -> list[Sample]:
        """The kept training samples, in the order of the listing."""
        by_id = {sample.id: sample for sample in self._context.pieces.listing("train").samples}
        return [by_id[name] for name, kept in zip(self._kept.ids, self._kept.kept) if kept]

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Pseudo-labels of the curation, else the data set's labels among the evaluation labels; (N,) int64 or None."""
        if self._context.recipe.config.curate is not None:
            label: np.ndarray = self._kept.label[self._kept.kept]
            return label
        return self._true_labels(self.samples)

    @cached_property
    def validation_samples(self) -> list[Sample]:
        """Validation samples with an image for the teacher; empty if the data set has no such split."""
        pieces = self._context.pieces
        if not pieces.dataset.listing("val").samples:
            return []
        return [sample for sample in pieces.listing("val").samples if pieces.teacher_modality in sample.images]

    def used(self, scheme: Scheme) -> Used:
        """Which of the kept samples a scheme uses."""
        return used_samples(scheme, self.samples, tuple(self._context.pieces.modalities))

    def validation_used(self, scheme: Scheme) -> Used:
        """Which of the validation samples a scheme uses."""
        return used_samples(scheme, self.validation_samples, tuple(self._context.pieces.modalities))

    def training_data(self, view: View, turns: int | None, used: Used) -> TrainingData:
        """The used ones of the training samples, seen through a view; `turns` draws of it are replayed."""
        keep = self._context.recipe.config.compute.keep_decoded * 1_000_000
        return self._data([self.samples[row] for row in used.rows], self.labels_of(used), view, turns, keep)

    def labels_of(self, used: Used) -> np.ndarray | None:
        """The labels of the used samples, (M,) int64 or None."""
        return None if self.labels is None else self.labels[used.rows]

    @cached_property
    def validation_data(self) -> TrainingData | None:
        """The validation samples as evaluation shows them; None without such a split."""
        if not self.validation_samples:
            return None
        return self._data(self.validation_samples, self._true_labels(self.validation_samples), None, None)

    @cached_property
    def text(self) -> Tensor | None:
        """Unit text embeddings (K, D) of the label superset, else of the evaluation labels; None without either."""
        curate = self._context.recipe.config.curate
        if curate is None:
            return self.evaluation_text
        labels = self._context.folder.result("curate")["labels"]
        return self._texts(labels, curate.template)

    @cached_property
    def evaluation_text(self) -> Tensor | None:
        """Unit text embeddings (L, D) of the evaluation labels; None without any."""
        if not self._evaluation_labels:
            return None
        return self._texts(self._evaluation_labels, self._context.recipe.config.evaluate.template)

    @cached_property
    def _evaluation_labels(self) -> list[str]:
        pieces = self._context.pieces
        named = self._context.recipe.config.evaluate.labels is not None or bool(pieces.dataset.classes)
        speaks = "teacher.text" in self._context.composition.teacher.provides
        return pieces.evaluation_labels() if named and speaks else []

    def _texts(self, labels: Sequence[str], template: str | Sequence[str]) -> Tensor:
        import torch

        return torch.from_numpy(self._context.pieces.text_embeddings(labels, template))

    def _true_labels(self, samples: Sequence[Sample]) -> np.ndarray | None:
        index = {name: number for number, name in enumerate(self._evaluation_labels)}
        labels = np.array([index.get(sample.label or "", -1) for sample in samples], dtype=np.int64)
        return labels if (labels >= 0).any() else None

    def _data(
        self,
        samples: Sequence[Sample],
        labels: np.ndarray | None,
        view: View | None,
        turns: int | None,
        keep: int = 0,
    ) -> TrainingData:
        from edgefw.data.batches import TrainingData

        pieces = self._context.pieces
        return TrainingData(
            samples=samples,
            sensors=pieces.modalities,
            input=pieces.student_spec.input,
            inputs=pieces.inputs,
            teacher=pieces.teacher,
            teacher_modality=pieces.teacher_modality,
            view=view,
            labels=labels,
            seed=self._context.recipe.config.seed,
            turns=turns,
            keep=keep,
        )


class PhasePieces:
    """The built pieces of one phase; `chosen` is its part of the composition."""

    def __init__(self, context: StageContext, chosen: ChosenPhase, index: int) -> None:
        self._context = context
        self.chosen = chosen
        self._index = index
        self._used: Used | None = None

    def used(self, inputs: TrainingInputs) -> Used:
        """Which of the kept samples the phase trains on.

        Raises:
            DataError: if its scheme can use none.
        """
        if self._used is None:
            self._used = inputs.used(self.scheme)
            chosen, modalities = self.chosen.scheme, tuple(self._context.pieces.modalities)
            refuse_none(self._used, self.scheme, chosen.technique.name, modalities, chosen.path)
        return self._used

    def left_out(self, inputs: TrainingInputs, kind: str) -> str | None:
        """What of the `kind` ("kept") samples the scheme cannot use, in words; None if it uses all."""
        used, name = self.used(inputs), self.chosen.scheme.technique.name
        if not used.left_out:
            return None
        sentence = told(used, self.scheme, name, tuple(self._context.pieces.modalities), kind)
        return f"train[{self._index}]: {sentence}"

    def check_samples(self, inputs: TrainingInputs, processes: int) -> None:
        """Refuse samples that fill no step or cannot be selected by, before any phase is trained.

        Raises:
            DataError: if they fill no step, or the scheme can use none.
            RecipeError: if the validation samples do not have what is selected by.
        """
        from edgefw.contracts.sampler import SampleTable
        from edgefw.training.steps import make_plan

        used = self.used(inputs)
        table = SampleTable(size=len(used.rows), label=inputs.labels_of(used))
        try:
            make_plan(self.chosen.phase, self._build(self.chosen.sampler), table, processes)
        except DataError as error:
            raise DataError(self.too_short(inputs, error, "kept")) from error
        self._check_selection(inputs)

    def too_short(self, inputs: TrainingInputs, error: DataError, kind: str) -> str:
        """What is wrong with the length of the phase, and whether left out samples are the reason."""
        left_out = self.left_out(inputs, kind)
        return f"{left_out}. {error}" if left_out else f"train[{self._index}]: {error}"

    @property
    def needs_reference(self) -> bool:
        """Whether a loss or the scheme compares with the student of the phase before."""
        pieces = [self.chosen.scheme, *(loss.loss for loss in self.chosen.losses)]
        return any("run.reference" in piece.needs for piece in pieces)

    @cached_property
    def scheme(self) -> Scheme:
        """The shape of the distillation."""
        scheme: Scheme = self._build(self.chosen.scheme)
        return scheme

    @cached_property
    def quantizer(self) -> ModuleQuantizer | None:
        """The training-time quantizer, or None."""
        return self._build(self.chosen.quantizer) if self.chosen.quantizer else None

    def job(
        self,
        inputs: TrainingInputs,
        *,
        student: StudentNetwork,
        folder: Path,
        reference: nn.Module | None,
        resume: bool,
        callbacks: Callbacks,
    ) -> PhaseJob:
        """The whole phase as one record."""
        from edgefw.training.job import PhaseJob

        phase, pieces = self.chosen.phase, self._context.pieces
        view: View = self._build(self.chosen.views)
        sampler: Sampler = self._build(self.chosen.sampler)
        data = inputs.training_data(view, phase.cache.views if phase.cache else None, self.used(inputs))
        self._check_selection(inputs)
        self._check_cache(data)
        self._check_channels()
        return PhaseJob(
            phase=phase,
            compute=self._context.recipe.config.compute,
            seed=self._context.recipe.config.seed + self._index,
            folder=folder,
            student=student,
            scheme=self.scheme,
            losses=self._losses(student.spec),
            sampler=sampler,
            data=data,
            teacher=pieces.teacher,
            validation=inputs.validation_data,
            quantizer=self.quantizer,
            reference=reference,
            text=inputs.text,
            evaluation_text=inputs.evaluation_text,
            want=self._want(),
            cache=pieces.cache,
            resume=resume,
            path=f"train[{self._index}]",
            callbacks=callbacks,
        )

    def _check_selection(self, inputs: TrainingInputs) -> None:
        if self.chosen.phase.select.by != "last" and inputs.validation_data is None:
            raise RecipeError(
                f"train[{self._index}].select.by: '{self.chosen.phase.select.by}' needs a validation split, and the "
                "data set has none. Add one, or write select: {by: last}."
            )
        if self.chosen.phase.select.by == "loss":
            self._check_loss_is_measured(inputs)

    def _check_loss_is_measured(self, inputs: TrainingInputs) -> None:
        used, name = inputs.validation_used(self.scheme), self.chosen.scheme.technique.name
        if not len(used.rows):
            sentence = told(used, self.scheme, name, tuple(self._context.pieces.modalities), "validation")
            raise RecipeError(
                f"train[{self._index}].select.by: 'loss' cannot be measured: {sentence}. Add such samples, or write "
                "select: {by: last}."
            )

    def _check_channels(self) -> None:
        pieces = self._context.pieces
        graphs = self.scheme.signatures(tuple(pieces.modalities))
        taken = {name for graph in graphs for name in (*graph.inputs, *graph.serves)}
        own = pieces.inputs_of(pieces.student_spec.input, self._index)
        refuse_other_channels(pieces.inputs, own, taken, self.chosen.scheme.path)

    def _check_cache(self, data: TrainingData) -> None:
        several = "sampler.views" in self.chosen.sampler.provides
        if several and self.chosen.phase.cache is not None and not data.clean_teacher:
            raise RecipeError(
                f"train[{self._index}].cache: sampler '{self.chosen.sampler.technique.name}' puts several views of a "
                f"sample into a batch, and view '{self.chosen.views.technique.name}' shows the teacher each of them, "
                "where a cache has one answer. Use a view whose teacher sees the clean image, or set cache to null."
            )

    def _losses(self, student: StudentSpec) -> tuple[PhaseLoss, ...]:
        """The terms of the sum; what they learn starts from the run's seed. A repeated name gets a number."""
        import torch

        from edgefw.training.job import PhaseLoss

        losses: list[PhaseLoss] = []
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(self._context.recipe.config.seed + self._index)
            for term in self.chosen.losses:
                name, earlier = term.loss.technique.name, [loss.name.split("#")[0] for loss in losses]
                losses.append(
                    PhaseLoss(
                        name=f"{name}#{earlier.count(name) + 1}" if name in earlier else name,
                        weight=term.weight,
                        module=self._build(term.loss, student),
                        projector=self._build(term.projector, student) if term.projector else None,
                    )
                )
        return tuple(losses)

    def _want(self) -> frozenset[str]:
        """What losses and their projectors need of the teacher beyond embeddings."""
        chosen = [piece for term in self.chosen.losses for piece in (term.loss, term.projector) if piece is not None]
        needs = frozenset().union(*(piece.needs for piece in [*chosen, self.chosen.scheme]))
        return frozenset(part for word, part in _TEACHER_PARTS.items() if word in needs)

    def _build(self, chosen: Chosen, student: StudentSpec | None = None) -> Any:
        pieces = self._context.pieces
        spec = student or pieces.student_spec
        return build(chosen, pieces.context(chosen, teacher=True, student=spec))
