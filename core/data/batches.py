"""The tensors of one training step, made from files: decoded, seen through a view, preprocessed, stacked.

Every random draw is a pure function of (seed, sample id, turn), where the turn is the epoch, or the epoch modulo the
number of views that a teacher cache replays. So a step can be made again at any time, in any process, and the global
random state is never touched. This file knows the contracts of samples, modalities, views and teachers; it runs no
network and knows no loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image

from edgefw.contracts.view import Numbering
from edgefw.data.decoded import Decoded
from edgefw.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.modality import Modality
    from edgefw.contracts.sampler import Pick
    from edgefw.contracts.student import InputSpec
    from edgefw.contracts.teacher import Teacher
    from edgefw.contracts.view import View, ViewDraw
    from edgefw.runtime.preprocessing import Preprocessing


class StepData(NamedTuple):
    """One batch of B samples on the CPU, before the teacher has spoken.

    Attributes:
        images: modality name -> (B, C, S, S) float32 student input; zeros where the sample lacks the modality.
        present: modality name -> (B,) bool.
        sample, label, role, group: (B,) int64 as in `edgefw.contracts.scheme.Batch`.
        pictures: (B, 3, H, W) the teacher's own input, or None when its answers come from a cache.
        turn: which draw of the views this is.
    """

    images: dict[str, Tensor]
    present: dict[str, Tensor]
    sample: Tensor
    label: Tensor
    role: Tensor
    group: Tensor
    pictures: Tensor | None
    turn: int


class StepSource(Protocol):
    """What the training loop reads from: N samples that become tensors, reproducibly.

    `ids` names the samples in order, `labels` is (N,) int64 (-1 without one) or None, `turns` is how many draws of
    the views exist (None: a new one each epoch), and `modalities` names the modalities in the recipe's order.
    """

    @property
    def ids(self) -> Sequence[str]:
        """Names of the samples, in order."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64, -1 without one; or None."""
        ...

    @property
    def turns(self) -> int | None:
        """How many draws of the views exist; None for a new one each epoch."""
        ...

    @property
    def modalities(self) -> Sequence[str]:
        """Names of the modalities, in the recipe's order."""
        ...

    @property
    def teacher_modality(self) -> str:
        """The modality that the teacher sees."""
        ...

    def load(self, picks: Sequence[Pick], epoch: int, pictures: bool) -> StepData:
        """The tensors of a batch in an epoch, with the teacher's pictures if asked for."""
        ...

    def pictures(self, indices: Sequence[int], turn: int) -> Tensor:
        """What the teacher sees of some samples in one turn: (n, 3, H, W)."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """Everything that a stored teacher answer depends on besides the teacher itself, as JSON values."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Samples of a split as tensors.

    Attributes:
        samples: each must have the teacher's modality; `with_modality` sorts out those that have not.
        sensors: modality name -> modality, in the recipe's order.
        input: the student's input; its size holds unless the view states another one.
        inputs: modality name -> its own input, where the network takes another number of channels of it.
        teacher: preprocesses its own pictures.
        teacher_modality: the modality that the teacher sees.
        view: how images are varied; None shows each image as evaluation does (the modality's own geometry).
        labels: (N,) int64, -1 without one; or None.
        seed: the run's seed.
        turns: how many draws of the view are replayed (a teacher cache's `views`); None draws anew each epoch.
        keep: bytes of decoded images that each process keeps, so that they are not decoded in every epoch.
    """

    samples: Sequence[Sample]
    sensors: Mapping[str, Modality]
    input: InputSpec
    teacher: Teacher
    teacher_modality: str
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    view: View | None = None
    labels: np.ndarray | None = None
    seed: int = 0
    turns: int | None = None
    keep: int = 0
    preprocessing: Mapping[str, Preprocessing] = field(init=False)
    _decoded: Decoded = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        contracts = {name: modality.preprocessing(self._input(name)) for name, modality in self.sensors.items()}
        object.__setattr__(self, "preprocessing", contracts)
        object.__setattr__(self, "_decoded", Decoded(self.keep))
        if self.view is None:
            object.__setattr__(self, "turns", 1)
        blind = [sample.id for sample in self.samples if self.teacher_modality not in sample.images]
        if blind:
            raise DataError(
                f"{len(blind)} of {len(self.samples)} samples have no '{self.teacher_modality}' image for the teacher "
                f"(first: {', '.join(blind[:3])}). Leave them out, or add the images."
            )
        if self.labels is not None and len(self.labels) != len(self.samples):
            raise DataError(f"{len(self.labels)} labels for {len(self.samples)} samples. Give one label per sample.")

    @cached_property
    def ids(self) -> Sequence[str]:
        """Ids of the samples, in order."""
        return [sample.id for sample in self.samples]

    @property
    def modalities(self) -> Sequence[str]:
        """Names of the modalities, in the recipe's order."""
        return list(self.sensors)

    @property
    def clean_teacher(self) -> bool:
        """Whether the teacher sees one and the same picture of a sample in every turn."""
        return self.view is None or bool(getattr(self.view, "clean_teacher", False))

    @property
    def size(self) -> int:
        """Side of the student's images in pixels."""
        return (self.view.size if self.view else None) or self.input.size

    def load(self, picks: Sequence[Pick], epoch: int, pictures: bool) -> StepData:
        """The tensors of a batch in an epoch, with the teacher's pictures if asked for."""
        turn = epoch if self.turns is None else epoch % self.turns
        loaded = list(self._loaded(picks, turn, pictures))
        label = [-1 if self.labels is None else int(self.labels[pick.index]) for pick in picks]
        return StepData(
            images={name: self._stack([images.get(name) for images, _ in loaded], name) for name in self.sensors},
            present={name: torch.tensor([name in images for images, _ in loaded]) for name in self.sensors},
            sample=torch.tensor([pick.index for pick in picks]),
            label=torch.tensor(label),
            role=torch.tensor([pick.role for pick in picks]),
            group=torch.tensor([pick.group for pick in picks]),
            pictures=torch.stack([picture for _, picture in loaded if picture is not None]) if pictures else None,
            turn=turn,
        )

    def pictures(self, indices: Sequence[int], turn: int) -> Tensor:
        """What the teacher sees of some samples in one turn: (n, 3, H, W)."""
        return torch.stack(
            [self._picture(self._decode(index, self.teacher_modality), self._draw(index, turn)) for index in indices]
        )

    def identity(self) -> dict[str, Any]:
        """Everything that a stored teacher answer depends on besides the teacher itself, as JSON values."""
        contract = self.preprocessing[self.teacher_modality]
        hashed = hashlib.sha256()
        for sample in self.samples:
            hashed.update(f"{sample.id}\0{_state(sample.images[self.teacher_modality])}\n".encode())
        return {
            "modality": {"name": contract.modality, "options": dict(contract.options)},
            "view": "clean" if self.clean_teacher or self.view is None else self.view.recipe,
            "seed": 0 if self.clean_teacher else self.seed,
            "turns": 1 if self.clean_teacher else self.turns,
            "samples": len(self.samples),
            "content": hashed.hexdigest(),
        }

    def _loaded(
        self, picks: Sequence[Pick], turn: int, pictures: bool
    ) -> Iterator[tuple[dict[str, np.ndarray], Tensor | None]]:
        """Each pick's images and picture. Views of one sample stand together in a batch, and are decoded once."""
        last, decoded = -1, {}
        for pick in picks:
            if pick.index != last:
                last, names = pick.index, self.samples[pick.index].images
                decoded = {name: self._decode(pick.index, name) for name in self.sensors if name in names}
            draw = self._draw(pick.index, turn, pick.view)
            images = {name: self._student_image(name, values, draw) for name, values in decoded.items()}
            yield images, self._picture(decoded[self.teacher_modality], draw) if pictures else None

    def _decode(self, index: int, name: str) -> np.ndarray:
        reference = self.samples[index].images[name]
        return self._decoded.get((index, name), lambda: self.sensors[name].decode(reference.read(), reference.where))

    def _draw(self, index: int, turn: int, number: int | None = None) -> ViewDraw | None:
        if self.view is None:
            return None
        rng = generator(self.seed, self.samples[index].id, turn, number)
        if number is None or not isinstance(self.view, Numbering):
            return self.view.draw(rng)
        return self.view.draw_number(rng, number)

    def _student_image(self, name: str, values: np.ndarray, draw: ViewDraw | None) -> np.ndarray:
        contract = self.preprocessing[name]
        if self.view is None or draw is None:
            return contract(values)
        unit = contract.to_unit(self.view.geometric(contract.prepare(values), draw, self.size))
        return contract.normalise(self.view.photometric(unit, draw, self.sensors[name]))

    def _picture(self, values: np.ndarray, draw: ViewDraw | None) -> Tensor:
        picture = self.sensors[self.teacher_modality].picture(values)
        if self.view is not None and draw is not None:
            picture = self.view.for_teacher(picture, draw)
        return self.teacher.preprocess(Image.fromarray(picture))

    def _stack(self, images: Sequence[np.ndarray | None], name: str) -> Tensor:
        empty = (self._input(name).channels, self.size, self.size)
        shape = next((image.shape for image in images if image is not None), empty)
        stacked = np.zeros((len(images), *shape), dtype=np.float32)
        for row, image in enumerate(images):
            if image is not None:
                stacked[row] = image
        return torch.from_numpy(stacked)

    def _input(self, name: str) -> InputSpec:
        return self.inputs.get(name, self.input)


def generator(seed: int, sample: str, turn: int, number: int | None = None) -> np.random.Generator:
    """The random numbers of one sample's view in one turn; independent of everything else.

    Args:
        number: of the view, where a batch holds several of a sample; None where it holds one.
    """
    view = "" if number is None else f"\0{number}"
    digest = hashlib.blake2b(f"{seed}\0{sample}\0{turn}{view}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def with_modality(samples: Sequence[Sample], modality: str) -> tuple[list[int], list[int]]:
    """Indices of the samples that have an image of `modality`, and of those that have none."""
    kept = [index for index, sample in enumerate(samples) if modality in sample.images]
    return kept, sorted(set(range(len(samples))) - set(kept))


def rank_part(picks: Sequence[Pick], rank: int, world: int) -> Sequence[Pick]:
    """The share of a global batch that one of `world` processes works on; whole groups stay together.

    The parts of all ranks, one after the other, are the global batch. A batch whose picks form one group (or none) is
    cut by position; a batch of several groups is cut between groups.
    """
    if world == 1:
        return picks
    starts = [at for at, pick in enumerate(picks) if at == 0 or pick.group != picks[at - 1].group]
    if len(starts) == 1:
        starts = list(range(len(picks)))
    bounds = [*starts, len(picks)]
    first, last = len(starts) * rank // world, len(starts) * (rank + 1) // world
    return picks[bounds[first] : bounds[last]]


def _state(reference: Any) -> str:
    """Where an image lies and, for files, size and time of change, so that a replaced file is noticed."""
    path = getattr(reference, "path", None) or getattr(reference, "shard", None)
    if path is None:
        return str(reference.where)
    status = path.stat()
    return f"{reference.where}\0{status.st_size}\0{status.st_mtime_ns}"
