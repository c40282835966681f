"""One exported graph of a scheme as a module: a tensor of one modality to embeddings, nothing else.

It knows schemes and torch; it compiles nothing.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgefw.contracts.scheme import Scheme, Signature
from edgefw.errors import ExportError

INPUT = "image"
"""Name of the input of a graph that takes one image."""


class SignatureGraph(nn.Module):
    """(B, C, H, W) images to (B, D) embeddings, through the scheme's own `embed`."""

    def __init__(self, network: nn.Module, scheme: Scheme, signature: Signature) -> None:
        super().__init__()
        if len(signature.inputs) != 1:
            raise ExportError(
                f"the scheme's graph '{signature.name}' takes {len(signature.inputs)} images at once "
                f"({', '.join(signature.inputs)}); only graphs of one image can be exported."
            )
        self.network = network
        self._scheme = scheme
        self._modality = signature.inputs[0]

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings of a batch."""
        return self._scheme.embed(self.network, self._modality, image)
