"""The graph that answers for every cell: against NumPy, with heads of several kinds, and of the right student of a scheme."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgefw.contracts.scheme import Signature
from edgefw.contracts.student import InputSpec, MapSpec, StudentFeatures, StudentSpec
from edgefw.errors import ExportError, RecipeError
from edgefw.plugins.schemes.dual_modality import DualModality
from edgefw.plugins.schemes.transfer import Transfer
from edgefw.stages.maps import map_graph, mean_error
from edgefw.testing.fakes import pictures, student_network
from edgefw.training.network import StudentNetwork

CHANNELS, WIDTH, SIDE = 6, 5, 3
ALONE = Signature(name="encoder", inputs=("rgb",), serves=("rgb", "depth"))


class MeanOfMap(nn.Module):
    """A trunk whose pooled features are the mean of its map, `post` after it."""

    def __init__(self, width: int = CHANNELS) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, CHANNELS, 8, stride=8)
        spec = MapSpec(grid=(SIDE, SIDE), channels=CHANNELS)
        self.spec = StudentSpec(width=width, input=InputSpec(size=24), parameters=1, map=spec)

    def forward(self, pixels: torch.Tensor) -> StudentFeatures:
        cells = torch.tanh(self.convolution(pixels))
        return StudentFeatures(cells.mean(dim=(2, 3)), cells)


def network(head: nn.Module) -> StudentNetwork:
    torch.manual_seed(3)
    return StudentNetwork(MeanOfMap(), head).eval()


def answers(head: nn.Module, count: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the graph says, (B, 1 + N, D); and the map in NumPy, (B, N, C), by a convolution written out."""
    student, images = network(head), pictures(count, size=24)
    graph = map_graph(student, DualModality(("rgb",)), ALONE, {"image": images})
    with torch.inference_mode():
        rows = graph(torch.from_numpy(images)).numpy().reshape(count, 1 + SIDE * SIDE, -1)
        own = student(torch.from_numpy(images)).embedding.numpy()
    convolution: Any = student.trunk.convolution
    patches = images.reshape(count, 3, SIDE, 8, SIDE, 8).transpose(0, 2, 4, 1, 3, 5).reshape(count, SIDE * SIDE, -1)
    kernels = convolution.weight.detach().numpy().reshape(CHANNELS, -1)
    cells = np.tanh(patches.astype(np.float64) @ kernels.T + convolution.bias.detach().numpy())
    return rows, own, cells


def test_with_a_linear_head_the_mean_of_the_cells_is_the_embedding() -> None:
    head = nn.Linear(CHANNELS, WIDTH)
    rows, own, cells = answers(head)
    expected = cells @ head.weight.detach().numpy().T + head.bias.detach().numpy()  # (B, N, D)
    np.testing.assert_allclose(rows[:, 1:], expected, atol=1e-5)
    np.testing.assert_allclose(rows[:, 0], own, atol=1e-6)
    np.testing.assert_allclose(expected.mean(axis=1), own, atol=1e-5)
    assert mean_error(rows.reshape(2, -1), (SIDE, SIDE)) < 1e-5


def test_a_head_with_a_norm_is_applied_to_each_cell() -> None:
    linear, norm = nn.Linear(CHANNELS, WIDTH), nn.LayerNorm(WIDTH)
    rows, own, cells = answers(nn.Sequential(linear, norm))
    hidden = cells @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    centred = hidden - hidden.mean(axis=2, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-5)
    np.testing.assert_allclose(rows[:, 1:], expected, atol=1e-4)
    apart = np.linalg.norm(own - expected.mean(axis=1), axis=1) / np.linalg.norm(own, axis=1)
    assert mean_error(rows.reshape(2, -1), (SIDE, SIDE)) == pytest.approx(apart.max(), rel=1e-3)
    assert apart.max() > 0.05  # and there is no such sum


def test_a_perceptron_is_applied_to_each_cell() -> None:
    first, last = nn.Linear(CHANNELS, 7), nn.Linear(7, WIDTH)
    rows, _, cells = answers(nn.Sequential(first, nn.ReLU(), last))
    hidden = np.maximum(cells @ first.weight.detach().numpy().T + first.bias.detach().numpy(), 0)
    expected = hidden @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(rows[:, 1:], expected, atol=1e-5)


def test_cells_stand_row_by_row() -> None:
    student = network(nn.Identity())
    graph = map_graph(student, DualModality(("rgb",)), ALONE, {"image": pictures(1, size=24)})
    plain, marked = torch.zeros(1, 3, 24, 24), torch.zeros(1, 3, 24, 24)
    marked[:, :, 8:16, 16:24] = 3.0  # row 1, column 2
    with torch.inference_mode():
        change = (graph(marked) - graph(plain)).reshape(1 + SIDE * SIDE, -1).abs().sum(dim=1)
    assert change[1:].nonzero().flatten().tolist() == [1 * SIDE + 2]


def test_the_student_of_the_modality_is_found_in_a_scheme_of_several() -> None:
    scheme = Transfer("rgb", ("depth",), 0.0, ("rgb", "depth"))
    both = scheme.network(network(nn.Linear(CHANNELS, WIDTH)))
    with torch.no_grad():
        both.target.head.bias.add_(1.0)
    images = pictures(2, size=24)
    for signature in scheme.signatures(("rgb", "depth")):
        graph = map_graph(both, scheme, signature, {"image": images})
        with torch.inference_mode():
            expected = scheme.embed(both.eval(), signature.inputs[0], torch.from_numpy(images))
            torch.testing.assert_close(graph(torch.from_numpy(images))[:, :WIDTH], expected)


def test_a_scheme_that_changes_what_the_student_says_is_refused() -> None:
    class Doubled(DualModality):
        def embed(self, network: Any, modality: str, pixels: torch.Tensor) -> torch.Tensor:
            return 2 * super().embed(network, modality, pixels)

    with pytest.raises(ExportError, match="does not embed rgb images by a student and its head alone"):
        map_graph(network(nn.Identity()), Doubled(("rgb",)), ALONE, {"image": pictures(1, size=24)})


def test_a_student_that_does_not_say_how_a_cell_is_pooled_is_refused() -> None:
    with pytest.raises(RecipeError, match="a cell of the student's map has 8 numbers and its pooled features 24"):
        map_graph(student_network(), DualModality(("rgb",)), ALONE, {"image": pictures(1)})
