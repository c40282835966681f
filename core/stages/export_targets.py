"""What export compiles: every graph that the training scheme names, for every entry of `export.backends`.

It says what is to be made, under which names and with which images; it makes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from edgefw.stages.artefact_names import artefact_name
from edgefw.stages.calibration import CalibrationImages

if TYPE_CHECKING:
    import numpy as np

    from edgefw.contracts.backend import Backend
    from edgefw.contracts.dataset import Sample
    from edgefw.contracts.scheme import Signature
    from edgefw.recipe.compose import Chosen
    from edgefw.stages.context import StageContext
    from edgefw.stages.trained import Trained

EXAMPLES = 16


@dataclass(frozen=True, kw_only=True)
class Target:
    """One graph for one backend; `graph` tells the files of several graphs apart."""

    backend: Backend
    chosen: Chosen
    signature: Signature
    graph: str
    images: CalibrationImages

    def named(self, precision: str, quantizer: Chosen | None = None) -> str:
        """The name of its float file, or of a quantizer's."""
        entry = self.backend.name, self.chosen.label
        return artefact_name(entry, precision, quantizer.label if quantizer else "", self.graph)

    @cached_property
    def examples(self) -> Mapping[str, np.ndarray]:
        """Real rows of the graph's inputs."""
        return self.images.examples(EXAMPLES)


def targets(context: StageContext, trained: Trained, samples: Sequence[Sample]) -> Iterator[Target]:
    """Every graph for every entry of `export.backends`, in the recipe's order."""
    from edgefw.stages.graphs import input_names

    signatures = trained.scheme.signatures(tuple(context.pieces.modalities))
    for backend, chosen in zip(context.pieces.backends, context.composition.backends):
        for position, signature in enumerate(signatures):
            yield Target(
                backend=backend,
                chosen=chosen,
                signature=signature,
                graph=signature.name if position else "",
                images=CalibrationImages(context, samples, signature, input_names(signature)),
            )
