"""DAT and DAT++: vision transformers whose keys lie where the image moves them.

Idea: four stages on smaller and smaller maps, in which attention to nearby cells (windows in DAT, neighbourhoods in
DAT++) takes turns with attention to a coarse grid of points, moved by offsets that a small network predicts from the
queries. Formulas stand in `dat_parts/`. After the last norm, pooled features are the mean of the map.
Source: Xia et al. 2022, arXiv:2201.00520 (`dat-t`); Xia et al. 2023, arXiv:2309.01430 (`dat-pp-t`), which EdgeVL calls
DAT-T (Cai et al. 2024, arXiv:2403.04908). The micro variants are ours.

Differs: plain PyTorch without a compiled extension, so that the network exports to ONNX (GridSample) and is captured by
torch.export; built for one input size; start values of Swin. The classifier is left out.
Does not: read the authors' weight files, or move a file of one input size to another (position tables belong to it).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

import edgefw
from edgefw.contracts.licence import RANDOM, UNKNOWN
from edgefw.contracts.student import InputSpec, MapSpec, StudentFeatures, StudentSpec
from edgefw.plugins.licences import Licence
from edgefw.plugins.students.dat_parts.architecture import SMALLEST_STEP, VARIANTS, Architecture
from edgefw.plugins.students.dat_parts.backbone import DatBackbone
from edgefw.registry.technique import Register
from edgefw.training.weight_files import load_by_name, locate, read_weights

Count = Annotated[int, Field(ge=1)]
Counts = tuple[Count, Count, Count, Count]


class DatConfig(edgefw.TechniqueConfig):
    """Options of DAT and DAT++."""

    variant: Literal["dat-t", "dat-pp-t", "dat-micro", "dat-pp-micro"] = Field(
        default="dat-pp-t", description="dat: windows and deformable attention; dat-pp: DAT++; t and micro: sizes"
    )
    size: Annotated[int, Field(ge=64, le=1024, multiple_of=SMALLEST_STEP)] = Field(
        default=224, description="square input in pixels, a multiple of 32"
    )
    weights: str = Field(default="none", description="none, or a file of this student's own tensors")
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="stochastic depth rate of the last block; it grows evenly from 0"
    )
    dims: Counts | None = Field(default=None, description="channels of the four stages; null: the variant's")
    depths: Counts | None = Field(default=None, description="blocks of the four stages; null: the variant's")
    heads: Counts | None = Field(default=None, description="heads of the four stages; null: the variant's")
    groups: Counts | None = Field(default=None, description="groups of points of the four stages; null: the variant's")
    licence: Licence = None

    @property
    def architecture(self) -> Architecture:
        """The variant with the numbers of the recipe in place of its own."""
        names = ("dims", "depths", "heads", "groups")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(VARIANTS[self.variant], **given)

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        numbers = self.architecture
        for stage, (width, heads, groups) in enumerate(zip(numbers.dims, numbers.heads, numbers.groups), start=1):
            if width % heads or heads % groups:
                raise ValueError(
                    f"stage {stage}: heads must divide dims, and groups must divide heads; "
                    f"got dims {width}, heads {heads}, groups {groups}. Set all three"
                )
        if numbers.is_convolutional and numbers.dims[0] % 2:
            raise ValueError(f"stage 1: dims must be even for '{self.variant}', got {numbers.dims[0]}")
        return self


class DatStudent(nn.Module):
    """A DAT as a trunk: (B, 3, size, size) to pooled features and the last map."""

    def __init__(self, backbone: DatBackbone, width: int, size: int, licence: str, source: str) -> None:
        super().__init__()
        self.backbone = backbone
        side = size // SMALLEST_STEP
        self.spec = StudentSpec(
            width=width,
            input=InputSpec(size=size),
            parameters=sum(p.numel() for p in backbone.parameters() if p.requires_grad),
            map=MapSpec(grid=(side, side), channels=width),
            licence=licence,
            source=source,
        )

    def forward(self, pixels: Tensor) -> StudentFeatures:
        """Features of a batch of normalised images."""
        cells: Tensor = self.backbone(pixels)  # (B, rows, columns, C)
        return StudentFeatures(cells.mean(dim=(1, 2)), cells.permute(0, 3, 1, 2))

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Keep only what goes from block to block while training; blocks run again in the backward pass."""
        self.backbone.checkpoints = enabled


def build(config: DatConfig, context: edgefw.BuildContext) -> DatStudent:
    """The network with random weights, or those of a file."""
    backbone = DatBackbone(config.architecture, config.size, config.drop_path)
    has_file = config.weights != "none"
    weights = f"weights {config.weights}" if has_file else "random weights"
    licence = config.licence or (UNKNOWN if has_file else RANDOM)
    width = config.architecture.dims[-1]
    student = DatStudent(backbone, width, config.size, licence, f"{config.variant}, {weights}")
    if has_file:
        path = locate(config.weights, context)
        load_by_name(student, read_weights(path), path)
    return student


@edgefw.hookimpl
def edgefw_register_students(register: Register) -> None:
    """Offer the student."""
    register(
        edgefw.Technique(
            name="dat",
            config=DatConfig,
            build=build,
            provides=frozenset({"pooled", "map", "tokens", "attention", "checkpointing"}),
            requires=("torch", "torchvision"),
            install='pip install "edgefw[train]"',
            paper="arXiv:2201.00520",
        )
    )
