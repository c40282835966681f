"""The trained network of a run with the scheme that says how it is used: what export compiles and verify compares with.

It reads `train/`; it trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefw.errors import RunFolderError
from edgefw.runtime.hashes import sha256_of
from edgefw.stages.phase_pieces import PhasePieces

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgefw.contracts.quantizer import ModuleQuantizer
    from edgefw.contracts.scheme import Scheme
    from edgefw.stages.context import StageContext


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network of the last phase, on the CPU and in evaluation mode; `quantizer` where it was trained with one."""

    network: nn.Module
    scheme: Scheme
    quantizer: ModuleQuantizer | None
    sha256: str

    @property
    def precision(self) -> str:
        """Of what is exported before any post-training quantizer."""
        return self.quantizer.precision if self.quantizer else "fp32"

    def embed(self, modality: str, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of (B, C, H, W) images of one modality."""
        return self.scheme.embed(self.network, modality, pixels)

    def embed_together(self, images: Mapping[str, Tensor]) -> Tensor:
        """Embeddings (B, D) of B samples, from one (B, C, H, W) image of each modality."""
        joining: Any = self.scheme
        embedding: Tensor = joining.embed_together(self.network, images)
        return embedding


def weights_file(context: StageContext) -> Path:
    """The weights of the last phase."""
    return context.folder.stage("train") / context.composition.phases[-1].phase.name / "student.safetensors"


def load_student(context: StageContext) -> Trained:
    """The trained student of a run.

    Raises:
        RunFolderError: if the run holds no weights.
        TrainingError: if they belong to another network.
    """
    from edgefw.training.assemble import load_trained

    file = weights_file(context)
    if not file.is_file():
        raise RunFolderError(f"{file}: there are no trained weights. Run the recipe up to train first.")
    phases = context.composition.phases
    pieces = PhasePieces(context, phases[-1], len(phases) - 1)
    student = context.pieces.student_network()
    student.set_gradient_checkpointing(False)
    network = load_trained(file, student, pieces.scheme, pieces.quantizer)
    return Trained(
        network=network.requires_grad_(False), scheme=pieces.scheme, quantizer=pieces.quantizer, sha256=sha256_of(file)
    )
