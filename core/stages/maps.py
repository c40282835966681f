"""An exported graph that answers for every cell of the student's last map: where in an image something is.

    e = head(pool(M))            the embedding of an image
    e_ij = head(pool(M_ij))      that of one cell: what would be said if the whole map were like it
    row of the graph = (e, e_11, e_12, ..., e_RC), (1 + R * C) * D numbers

For a student that pools by the mean and has a linear head, e is the mean of all e_ij, so the cosines of cells are parts of
what was said about the image. With anything else in between (a norm or layers after pooling, a head with LayerNorm or
activations, a class token) there is no such sum; e_ij is then what head and pooling say of that cell alone. How far the two
are apart is measured on real images and recorded.

Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, arXiv:1512.04150, section 2 (a linear
layer after an average may be taken before it); for embeddings of text in place of class weights: Zhou, Loy and Dai 2022,
arXiv:2112.01071, section 3.2.
Differs: the cosine is taken per cell, so that a cell counts by its direction and not by its length.
Does not: train anything, look at gradients, or make the map finer than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from edgefw.contracts.backend import CompileRequest
from edgefw.contracts.student import CellPooling, MapSpec, Student, StudentFeatures, refuse_unmapped
from edgefw.errors import ExportError
from edgefw.training.network import StudentNetwork

if TYPE_CHECKING:
    from edgefw.contracts.backend import Artefact, Backend
    from edgefw.contracts.scheme import Scheme, Signature

FAR = 0.01
"""A mean of cells that is further from the embedding than this is worth a warning."""


class MapGraph(nn.Module):
    """(B, C, H, W) images to (B, (1 + rows * columns) * D): the embedding of the image, then that of each cell."""

    def __init__(self, student: StudentNetwork, grid: tuple[int, int]) -> None:
        super().__init__()
        self.student = student
        self.grid = grid

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings of a batch and of its cells."""
        features: StudentFeatures = self.student.trunk(image)
        embedding: Tensor = self.student.head(features.pooled)
        cells: Tensor = self.student.head(pooled_cells(self.student.trunk, cast(Tensor, features.map)))
        count = self.grid[0] * self.grid[1] * embedding.shape[1]
        return torch.cat([embedding, cells.reshape(-1, count)], dim=1)


def pooled_cells(trunk: nn.Module, feature_map: Tensor) -> Tensor:
    """Pooled features (B * rows * columns, width) of every cell of a map (B, channels, rows, columns)."""
    if isinstance(trunk, CellPooling):
        return trunk.pooled_cells(feature_map)
    return feature_map.flatten(2).transpose(1, 2).flatten(0, 1)


def map_graph(network: nn.Module, scheme: Scheme, signature: Signature, examples: Mapping[str, np.ndarray]) -> MapGraph:
    """The graph of one signature of one input, in evaluation mode.

    Raises:
        RecipeError: if cells of the student's map have no embeddings.
        ExportError: if what the scheme embeds with is no student and its head.
    """
    (rows,) = examples.values()
    student = _asked(network.eval(), scheme, signature.inputs[0], torch.from_numpy(rows[:1]))
    refuse_unmapped(cast(Student, student.trunk))
    return MapGraph(student, cast(MapSpec, student.spec.map).grid).eval()


def _asked(network: nn.Module, scheme: Scheme, modality: str, pixels: Tensor) -> StudentNetwork:
    """The student that gives a scheme's embeddings of a modality: found by watching one image go through."""
    said: list[tuple[StudentNetwork, Tensor]] = []
    students = [module for module in network.modules() if isinstance(module, StudentNetwork)]
    hooks = [
        student.register_forward_hook(lambda own, _, output: said.append((own, output.embedding)))
        for student in students
    ]
    try:
        with torch.inference_mode():
            embedding = scheme.embed(network, modality, pixels)
    finally:
        for hook in hooks:
            hook.remove()
    found = next((student for student, own in said if own is embedding), None)
    if found is None:
        raise ExportError(
            f"export.heat: the scheme does not embed {modality} images by a student and its head alone, so their cells have "
            "no embeddings. Set it to false, or use another scheme."
        )
    return found


def compile_map(
    graph: MapGraph, backend: Backend, examples: Mapping[str, np.ndarray], folder: Path, quantised: bool
) -> Artefact:
    """The compiled graph; its details hold `grid`, and `mean_error` on the examples.

    Raises:
        ExportError: if the backend cannot compile it.
    """
    request = CompileRequest(
        network=graph,
        inputs={name: values.shape[1:] for name, values in examples.items()},
        folder=folder,
        examples=examples,
        quantised=quantised,
    )
    try:
        artefact = backend.compile(request)
    except ExportError as error:
        raise ExportError(f"export.heat: {error}") from error
    apart = mean_error(backend.open(artefact.file).run(examples), graph.grid)
    note = f"the mean of a map's cells is {apart:.2g} from the embedding; see docs/deployment.md"
    details = {**artefact.details, "grid": list(graph.grid), "mean_error": apart}
    return replace(artefact, details=details, warnings=(*artefact.warnings, *([note] if apart > FAR else [])))


def mean_error(rows: np.ndarray, grid: tuple[int, int]) -> float:
    """Largest relative difference between an image's embedding and the mean of its cells', of a graph's answers."""
    parts = rows.astype(np.float64).reshape(len(rows), 1 + grid[0] * grid[1], -1)
    whole, mean = parts[:, 0], parts[:, 1:].mean(axis=1)
    return float((np.linalg.norm(whole - mean, axis=1) / np.linalg.norm(whole, axis=1)).max())
