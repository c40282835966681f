"""The alignments `pca` and `gl` against NumPy, cell by cell; grids and heads that differ; what training alone does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgefw
from edgefw.contracts.student import InputSpec, MapSpec, StudentSpec
from edgefw.contracts.teacher import TeacherOutput, TeacherSpec, TokenSpec
from edgefw.errors import RecipeError, TrainingError
from edgefw.plugins.projectors import gl, pca

ROWS = 3


def context(
    grid: tuple[int, int] = (5, 6), tokens: tuple[int, int] | None = (5, 6), width: int = 8, heads: int = 2
) -> edgefw.BuildContext:
    spec = None if tokens is None else TokenSpec(grid=tokens, width=width, heads=heads)
    return edgefw.BuildContext(
        student=StudentSpec(
            width=12, input=InputSpec(size=32), parameters=0, map=MapSpec(grid=grid, channels=4) if grid else None
        ),
        teacher=TeacherSpec(
            width=7, image_size=(32, 32), logit_scale=100.0, fingerprint="", tokens=spec, source="a convolution"
        ),
    )


def maps(grid: tuple[int, int] = (5, 6), seed: int = 0) -> Tensor:
    return torch.randn(ROWS, 4, *grid, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def teacher(grid: tuple[int, int] = (5, 6), width: int = 8, heads: int = 2) -> TeacherOutput:
    draw = torch.Generator().manual_seed(5)
    parts = [torch.randn(ROWS, heads, grid[0] * grid[1], width // heads, generator=draw) for _ in range(3)]
    return TeacherOutput(embedding=torch.ones(ROWS, 7), queries=parts[0], keys=parts[1], values=parts[2])


def convolved(image: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution with zeros around the map (C, rows, columns), cell by cell."""
    side = weight.shape[2]
    edge = side // 2
    padded = np.pad(image, ((0, 0), (edge, edge), (edge, edge)))
    rows, columns = image.shape[1:]
    result = np.zeros((len(weight), rows, columns))
    for row in range(rows):
        for column in range(columns):
            seen = padded[:, row : row + side, column : column + side]
            result[:, row, column] = (weight * seen).sum(axis=(1, 2, 3)) + bias
    return result


def own_parts(module: pca.PartiallyCrossAttention, given: Tensor, heads: int) -> np.ndarray:
    """(B, 3, heads, N, d) of the convolutions, in NumPy."""
    weight, bias = (parameter.detach().double().numpy() for parameter in module.parameters())
    images = given.detach().double().numpy()
    result = np.stack([convolved(image, weight, bias) for image in images])  # (B, 3 C, rows, columns)
    count, _, rows, columns = result.shape
    return result.reshape(count, 3, heads, -1, rows * columns).transpose(0, 1, 2, 4, 3)


@pytest.mark.parametrize(("kernel", "heads"), [(3, 2), (1, 4), (5, 1)])
def test_pca_gives_convolutions_of_the_map_by_head_as_numpy_has_them(kernel: int, heads: int) -> None:
    module = pca.build(pca.PcaConfig(kernel=kernel), context(heads=heads)).eval()
    found = module(maps(), teacher(heads=heads)).detach().numpy()
    expected = own_parts(module, maps(), heads)
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-5)
    np.testing.assert_array_equal(found[:, 3], found[:, 2])


def test_in_training_each_number_is_the_students_or_the_teachers_and_both_come_as_often_as_asked() -> None:
    module = pca.build(pca.PcaConfig(cross=0.3), context(grid=(20, 20), tokens=(20, 20)))
    given, targets = maps((20, 20)), teacher((20, 20))
    torch.manual_seed(0)
    found = module(given, targets).detach().numpy()
    own = own_parts(module, given, 2)
    theirs = np.stack([targets.queries.numpy(), targets.keys.numpy(), targets.values.numpy()], axis=1)
    is_own, is_theirs = np.isclose(found[:, :3], own, atol=1e-5), found[:, :3] == theirs
    assert (is_own | is_theirs).all()
    for part in range(3):
        assert is_theirs[:, part].mean() == pytest.approx(0.3, abs=0.03)
    assert np.corrcoef(is_theirs[:, 0].ravel(), is_theirs[:, 1].ravel())[0, 1] == pytest.approx(0, abs=0.05)
    np.testing.assert_allclose(found[:, 3], own[:, 2], atol=1e-5)


@pytest.mark.parametrize(("cross", "training", "targets"), [(0.0, True, True), (0.9, False, True), (0.9, True, False)])
def test_nothing_is_replaced_without_a_probability_in_evaluation_or_without_a_teacher(
    cross: float, training: bool, targets: bool
) -> None:
    module = pca.build(pca.PcaConfig(cross=cross), context()).train(training)
    found = module(maps(), teacher() if targets else None)
    np.testing.assert_allclose(found[:, :3].detach().numpy(), own_parts(module, maps(), 2), atol=1e-5)


def test_where_all_is_the_teachers_the_student_learns_from_its_own_values_alone() -> None:
    module, given = pca.build(pca.PcaConfig(cross=1.0), context()), maps()
    found = module(given, teacher())
    assert torch.autograd.grad(found[:, :3].sum(), given, retain_graph=True)[0].abs().max() == 0
    assert torch.autograd.grad(found[:, 3].square().sum(), given)[0].abs().min() > 0


def linear_by_cell(module: gl.GroupWiseLinear, given: Tensor, side: int) -> np.ndarray:
    """Each cell times the matrix of its neighbourhood."""
    images = given.detach().double().numpy()
    across = -(-images.shape[3] // side)
    cells = np.zeros((len(images), len(module.layers[0].bias), *images.shape[2:]))
    for row in range(images.shape[2]):
        for column in range(images.shape[3]):
            layer = module.layers[row // side * across + column // side]
            weight, bias = (parameter.detach().double().numpy() for parameter in layer.parameters())
            cells[:, :, row, column] = images[:, :, row, column] @ weight.T + bias
    return cells


@pytest.mark.parametrize(("grid", "side", "layers"), [((14, 14), 4, 16), ((5, 6), 4, 4), ((5, 6), 1, 30), ((3, 9), 8, 2)])  # fmt: skip
def test_gl_is_a_matrix_per_neighbourhood_as_numpy_has_it(grid: tuple[int, int], side: int, layers: int) -> None:
    module = gl.build(gl.GlConfig(side=side), context(grid, grid)).eval()
    assert len(module.layers) == layers
    np.testing.assert_allclose(module(maps(grid)).detach().numpy(), linear_by_cell(module, maps(grid), side), atol=1e-5)


def test_a_cell_of_gl_reaches_its_own_place_and_no_other() -> None:
    module, given = gl.build(gl.GlConfig(side=2), context()).eval(), maps()
    gradient = torch.autograd.grad(module(given)[:, :, 4, 1].sum(), given)[0].abs().sum(dim=(0, 1))
    assert gradient[4, 1] > 0 and gradient.sum() == gradient[4, 1]


def test_dropout_of_gl_leaves_out_numbers_of_the_map_in_training_alone() -> None:
    module = gl.build(gl.GlConfig(dropout=0.25), context((14, 14), (14, 14)))
    torch.manual_seed(0)
    given = maps((14, 14))
    dropped = torch.autograd.grad(module(given).square().sum(), given)[0] == 0
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert torch.equal(module.eval()(given), module(given))


@pytest.mark.parametrize("grid", [(3, 3), (10, 12), (1, 1)])
@pytest.mark.parametrize("name", ["pca", "gl"])
def test_a_map_of_another_grid_is_resampled_to_the_teachers(name: str, grid: tuple[int, int]) -> None:
    if name == "pca":
        module: nn.Module = pca.build(pca.PcaConfig(), context(grid))
        found = module(maps(grid), teacher())
        assert found.shape == (ROWS, 4, 2, 30, 4)
    else:
        module = gl.build(gl.GlConfig(), context(grid))
        found = module(maps(grid))
        assert found.shape == (ROWS, 8, 5, 6)
    given = torch.full((ROWS, 4, *grid), 0.5)
    own_grid = torch.full((ROWS, 4, 5, 6), 0.5)
    torch.testing.assert_close(module.eval()(given), module(own_grid))  # a flat map stays flat


@pytest.mark.parametrize("build", [lambda c: pca.build(pca.PcaConfig(), c), lambda c: gl.build(gl.GlConfig(), c)])
def test_networks_that_cannot_be_aligned_are_refused(build) -> None:
    with pytest.raises(RecipeError, match="teacher 'a convolution' has no tokens to align with. Use a vision"):
        build(context(tokens=None))
    with pytest.raises(RecipeError, match="the student has no feature map to align. Use a backbone"):
        build(context(grid=()))
    with pytest.raises(RecipeError, match="built after student and teacher"):
        build(edgefw.BuildContext())


def test_a_teacher_that_breaks_its_word_is_named() -> None:
    module = pca.build(pca.PcaConfig(), context())
    message = r"projector 'pca': queries, keys and values of \(3, 2, 30, 4\) are needed of the teacher, given: "
    with pytest.raises(TrainingError, match=message + r"\(3, 2, 4, 4\)\. Use a teacher that provides qkv"):
        module(maps(), teacher((2, 2)))
    with pytest.raises(TrainingError, match=message + "none"):
        module(maps(), TeacherOutput(embedding=torch.ones(ROWS, 7)))
