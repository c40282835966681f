"""The built pieces of a composition, each made once, when it is first asked for.

This file knows in which order pieces depend on each other (a head needs the numbers of teacher and trunk) and which
context each build function gets. It knows no technique, trains nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefw.contracts.student import refuse_unmapped
from edgefw.data.listing import scan
from edgefw.data.student_input import student_inputs
from edgefw.errors import RecipeError
from edgefw.labels.names import prompts, read_label_names
from edgefw.recipe.compose import Chosen, Composition, build
from edgefw.registry.technique import BuildContext, silent

if TYPE_CHECKING:
    import numpy as np

    from edgefw.contracts.backend import Backend
    from edgefw.contracts.dataset import Dataset, Listing
    from edgefw.contracts.modality import Modality
    from edgefw.contracts.quantizer import OnnxQuantizer
    from edgefw.contracts.student import InputSpec, StudentSpec
    from edgefw.contracts.teacher import Teacher
    from edgefw.runtime.preprocessing import Preprocessing
    from edgefw.training.network import StudentNetwork


class Pieces:
    """Builds what a composition names; every attribute is built on first use and kept.

    Args:
        composition: validated techniques and configs.
        cache: an existing folder for what may be made again (drawn scenes, indexes, teacher features).
        say: where building tells of work that takes a while.
        partly: take a split in which no sample has one of the modalities.
    """

    def __init__(
        self, composition: Composition, cache: Path, say: Callable[[str], None] = silent, partly: bool = False
    ) -> None:
        self.composition = composition
        self.cache = cache
        self._say = say
        self._partly = partly
        self._listings: dict[str, Listing] = {}
        self._student_spec: StudentSpec | None = None
        self._texts: dict[tuple[tuple[str, ...], tuple[str, ...]], np.ndarray] = {}

    @property
    def config(self) -> Any:
        """The recipe's `RunConfig`."""
        return self.composition.recipe.config

    def context(
        self, chosen: Chosen, seed: int | None = None, *, teacher: bool = False, student: StudentSpec | None = None
    ) -> BuildContext:
        """What the build function of `chosen` is given; `teacher=True` builds the teacher for its numbers."""
        return BuildContext(
            path=chosen.path,
            base=self.composition.recipe.base,
            cache=self.cache,
            seed=self.config.seed if seed is None else seed,
            teacher=self.teacher.spec if teacher else None,
            student=student,
            modalities=tuple(self.composition.modalities),
            say=self._say,
        )

    @cached_property
    def dataset(self) -> Dataset:
        """The data set."""
        dataset: Dataset = build(self.composition.dataset, self.context(self.composition.dataset))
        return dataset

    @cached_property
    def modalities(self) -> dict[str, Modality]:
        """Modality name -> modality, in the recipe's order."""
        chosen = self.composition.modalities
        return {name: build(choice, self.context(choice)) for name, choice in chosen.items()}

    @cached_property
    def teacher_modality(self) -> str:
        """Name of the modality that the teacher sees: the first one that shows photographs.

        Raises:
            RecipeError: if no modality of the recipe does.
        """
        for name, modality in self.modalities.items():
            if getattr(modality, "shows_photographs", modality.colour):
                return name
        raise RecipeError(
            f"modalities: none of {', '.join(self.modalities)} shows photographs, so there is nothing to show the "
            f"teacher. Add a colour modality, for example rgb: {{name: rgb}}."
        )

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, frozen, on the CPU until a stage moves it; the random state of the caller is left as it was."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(self.config.seed)
            teacher: Teacher = build(self.composition.teacher, self.context(self.composition.teacher))
        return teacher

    def student_network(self, seed: int | None = None) -> StudentNetwork:
        """A new student: trunk and head with the weights they start from, the same ones for the same seed.

        The random state of the caller is left as it was.
        """
        import torch

        from edgefw.training.network import StudentNetwork

        chosen, head = self.composition.student, self.composition.head
        seed = self.config.seed if seed is None else seed
        self.teacher  # noqa: B018 - built first, outside the fork: it has a seed of its own
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(seed)
            trunk = build(chosen, self.context(chosen, seed, teacher=True))
            if self.config.export.heat:
                refuse_unmapped(trunk)
            network = StudentNetwork(trunk, build(head, self.context(head, seed, teacher=True, student=trunk.spec)))
            if self.config.export.folded:
                self._refuse_unfoldable(trunk.spec)
        self._student_spec = network.spec
        return network

    def _refuse_unfoldable(self, student: StudentSpec) -> None:
        from edgefw.stages.folded import refuse_unfoldable

        pieces: Any = self
        refuse_unfoldable(pieces, self.inputs_of(student.input))

    @property
    def student_spec(self) -> StudentSpec:
        """The trunk's numbers; builds a student and lets it go, if none has been built yet."""
        return self._student_spec or self.student_network().spec

    def inputs_of(self, input: InputSpec, phase: int = -1) -> dict[str, InputSpec]:
        """What a phase's network takes of each modality, for a student's input.

        Raises:
            RecipeError: if the phase's scheme states channels of a modality that the recipe does not have.
        """
        return student_inputs(self.composition.modalities, input, self.composition.phases[phase].scheme)

    @property
    def inputs(self) -> dict[str, InputSpec]:
        """What the exported network takes of each modality: how the run prepares images."""
        return self.inputs_of(self.student_spec.input)

    def preprocessing(self, name: str) -> Preprocessing:
        """From decoded values of a modality to what the exported network takes of it."""
        return self.modalities[name].preprocessing(self.inputs[name])

    def listing(self, split: str) -> Listing:
        """The readable samples of a split and the skipped ones, as `edgefw.data.listing.scan` finds them."""
        if split not in self._listings:
            self._listings[split] = scan(self.dataset, split, self.modalities, partly=self._partly)
        return self._listings[split]

    @cached_property
    def backends(self) -> tuple[Backend, ...]:
        """The recipe's backends, in order."""
        return tuple(build(choice, self.context(choice)) for choice in self.composition.backends)

    @cached_property
    def quantizers(self) -> tuple[OnnxQuantizer, ...]:
        """The recipe's post-training quantizers, in order."""
        return tuple(build(choice, self.context(choice)) for choice in self.composition.quantizers)

    @property
    def quantizers_by_path(self) -> dict[str, OnnxQuantizer]:
        """Key path in the recipe -> post-training quantizer, in order."""
        return dict(zip((choice.path for choice in self.composition.quantizers), self.quantizers))

    def evaluation_labels(self) -> list[str]:
        """Label names of the zero-shot evaluation: `evaluate.labels`, or the data set's classes.

        Raises:
            RecipeError: if there are none, or one of them twice.
        """
        names = self.config.evaluate.labels
        if names is None:
            found = list(self.dataset.classes)
            if not found:
                raise RecipeError(
                    "evaluate.labels: the data set names no classes. Give a list of label names, or a file of them."
                )
            return found
        found = read_label_names(names, self.composition.recipe.base, "evaluate.labels")
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise RecipeError(f"evaluate.labels: listed more than once: {', '.join(twice)}. Keep one of each.")
        return found

    def text_embeddings(self, labels: Sequence[str], template: str | Sequence[str]) -> np.ndarray:
        """Unit text embeddings (K, D) float32 of K labels; with several templates, the normalised mean."""
        import numpy as np
        import torch

        templates = (template,) if isinstance(template, str) else tuple(template)
        key = (tuple(labels), templates)
        if key not in self._texts:
            with torch.no_grad():
                tables = [self.teacher.encode_text(prompts(labels, one)).float().cpu().numpy() for one in templates]
            mean = np.mean(tables, axis=0, dtype=np.float64)
            self._texts[key] = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
        return self._texts[key]
