"""One exported graph of a scheme as a module: images to embeddings, nothing else.

A graph of one input takes one image of any modality that it serves, under the name "image"; a graph of several takes one
image of each modality together, under the modalities' names. It knows schemes and torch; it compiles nothing.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgefw.contracts.scheme import Joining, Scheme, Signature
from edgefw.errors import ExportError

INPUT = "image"
"""Name of the input of a graph that takes one image."""


def input_names(signature: Signature) -> tuple[str, ...]:
    """Names of a graph's inputs, in order."""
    return (INPUT,) if len(signature.inputs) == 1 else signature.inputs


def graph_of(network: nn.Module, scheme: Scheme, signature: Signature) -> nn.Module:
    """The module that is compiled, in evaluation mode.

    Raises:
        ExportError: if the scheme names a graph of several images and cannot embed them together.
    """
    if len(signature.inputs) == 1:
        return SignatureGraph(network, scheme, signature).eval()
    return JointGraph(network, scheme, signature).eval()


class SignatureGraph(nn.Module):
    """(B, C, H, W) images to (B, D) embeddings, through the scheme's own `embed`."""

    def __init__(self, network: nn.Module, scheme: Scheme, signature: Signature) -> None:
        super().__init__()
        self.network = network
        self._scheme = scheme
        self._modality = signature.inputs[0]

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings of a batch."""
        return self._scheme.embed(self.network, self._modality, image)


class JointGraph(nn.Module):
    """Several (B, C, H, W) images of B samples, one per modality, to (B, D) embeddings: the scheme's `embed_together`."""

    def __init__(self, network: nn.Module, scheme: Scheme, signature: Signature) -> None:
        super().__init__()
        if not isinstance(scheme, Joining):
            raise ExportError(
                f"the scheme's graph '{signature.name}' takes {len(signature.inputs)} images at once "
                f"({', '.join(signature.inputs)}), and the scheme has no `embed_together`. Its author must add one."
            )
        self.network = network
        self._scheme: Joining = scheme
        self._modalities = signature.inputs

    def forward(self, *images: Tensor) -> Tensor:
        """Embeddings of a batch; images in the order of the signature."""
        return self._scheme.embed_together(self.network, dict(zip(self._modalities, images, strict=True)))
