"""The two jobs that are timed: a toy where a step is mostly overhead, and a real one.

Both distil one image modality with two losses (mean square and mean absolute difference of embeddings), AdamW, clipping
and a cosine schedule. Pixels are drawn once and held in memory, so that no loop waits for files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefw.contracts.sampler import Pick
from edgefw.contracts.student import InputSpec, StudentFeatures, StudentSpec
from edgefw.contracts.teacher import TeacherOutput, TeacherSpec
from edgefw.data.batches import StepData
from edgefw.recipe.schema import Optimiser
from edgefw.training.network import StudentNetwork

WIDTH = 64
OPTIMISER = Optimiser(name="adamw", lr=1e-3, weight_decay=0.01, warmup=10)
CLIP = 5.0


@dataclass(frozen=True)
class Job:
    """One job: image `side`, `batch`, `blocks` per loop of `steps` each (the first `warm` of them untimed), its trunk."""

    name: str
    side: int
    batch: int
    steps: int
    warm: int
    blocks: int
    samples: int
    convolutional: bool

    def trunk(self) -> nn.Module:
        """The student's trunk with seeded weights."""
        torch.manual_seed(0)
        return MobileTrunk(self.side) if self.convolutional else PlainTrunk(self.side)

    def student(self) -> StudentNetwork:
        """Trunk and head with seeded weights; the same ones at every call."""
        trunk = self.trunk()
        return StudentNetwork(trunk, nn.Linear(trunk.spec.width, WIDTH))

    def teacher(self) -> FrozenTeacher:
        """A frozen network of two layers."""
        return FrozenTeacher(self.side)


TOY = Job("toy", side=8, batch=16, steps=130, warm=30, blocks=30, samples=8_000, convolutional=False)
REAL = Job("real", side=96, batch=16, steps=50, warm=10, blocks=8, samples=512, convolutional=True)


class PlainTrunk(nn.Module):
    """Three linear layers."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * side * side, 64),
            nn.GELU(),
            nn.Linear(64, 64),
            nn.GELU(),
            nn.Linear(64, 64),
        )
        self.spec = StudentSpec(width=64, input=InputSpec(size=side), parameters=0)

    def forward(self, pixels: Tensor) -> StudentFeatures:
        return StudentFeatures(self.body(pixels), None)


class MobileTrunk(nn.Module):
    """MobileNetV3-small of timm, random weights."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.body = timm.create_model("mobilenetv3_small_100", num_classes=0)
        self.spec = StudentSpec(width=self.body.head_hidden_size, input=InputSpec(size=side), parameters=0)

    def forward(self, pixels: Tensor) -> StudentFeatures:
        return StudentFeatures(self.body(pixels), None)


class FrozenTeacher:
    """Pixels to unit embeddings."""

    def __init__(self, side: int) -> None:
        torch.manual_seed(1)
        self.module = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 64), nn.GELU(), nn.Linear(64, WIDTH))
        self.module.requires_grad_(False)
        self.spec = TeacherSpec(width=WIDTH, image_size=(side, side), logit_scale=100.0, fingerprint="benchmark")

    def encode_image(self, pixels: Tensor, want: frozenset[str] = frozenset()) -> TeacherOutput:
        return TeacherOutput(embedding=functional.normalize(self.module(pixels), dim=-1))


class Memory:
    """Samples in memory, read the way files would be: by picks, with everything a scheme may ask for."""

    turns = None
    labels = None
    modalities = ("rgb",)
    teacher_modality = "rgb"

    def __init__(self, job: Job) -> None:
        generator = torch.Generator().manual_seed(2)
        self.pixels = torch.randn(job.samples, 3, job.side, job.side, generator=generator)
        self.ids = [str(index) for index in range(job.samples)]
        self.present = torch.ones(job.batch, dtype=torch.bool)
        self.zeros = torch.zeros(job.batch, dtype=torch.int64)
        self.none = self.zeros - 1

    def load(self, picks: Sequence[Pick], epoch: int, pictures: bool) -> StepData:
        index = torch.tensor([pick.index for pick in picks])
        pixels = self.pixels[index]
        return StepData({"rgb": pixels}, {"rgb": self.present}, index, self.none, self.zeros, self.zeros, pixels, 0)

    def pictures(self, indices: Sequence[int], turn: int) -> Tensor:
        return self.pixels[torch.tensor(indices)]

    def identity(self) -> Mapping[str, Any]:
        return {}
