"""Small inputs that any technique must cope with: specs, rows of a batch, a network, an ONNX file. All seeded.

torch and onnx are imported by the functions that need them, so that kinds without torch are checked without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgefw.contracts.loss import LossInput
from edgefw.contracts.quantizer import Calibration
from edgefw.contracts.scheme import Batch
from edgefw.contracts.student import (
    AttentionHeads,
    InputSpec,
    MapSpec,
    StudentFeatures,
    StudentOutput,
    StudentSpec,
)
from edgefw.contracts.teacher import TeacherOutput, TeacherSpec, TokenSpec
from edgefw.registry.kinds import Kind
from edgefw.registry.technique import BuildContext

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgefw.contracts.student import Student
    from edgefw.training.network import StudentNetwork

TEACHER_WIDTH = 16
STUDENT_WIDTH = 24
SIZE = 32
GRID = (4, 4)
TOKEN_WIDTH = 8
HEADS = 2
TEXTS = 5
ROWS = 12


def teacher_spec() -> TeacherSpec:
    """A teacher of 16 numbers, with a 4 x 4 grid of tokens."""
    tokens = TokenSpec(grid=GRID, width=TOKEN_WIDTH, heads=HEADS)
    return TeacherSpec(
        width=TEACHER_WIDTH, image_size=(SIZE, SIZE), logit_scale=100.0, fingerprint="fake", tokens=tokens
    )


def student_spec() -> StudentSpec:
    """A student of 24 numbers, whose map has the grid and the width of the teacher's tokens."""
    feature_map = MapSpec(grid=GRID, channels=TOKEN_WIDTH)
    return StudentSpec(width=STUDENT_WIDTH, input=InputSpec(size=SIZE), parameters=1000, map=feature_map)


def build_context(
    kind: Kind | None = None,
    modalities: Sequence[str] = ("rgb", "depth"),
    base: Path | None = None,
    cache: Path | None = None,
) -> BuildContext:
    """A context as the engine gives it: teachers know nobody, students know the teacher, the rest know both."""
    here = base or Path.cwd()
    return BuildContext(
        path=str(kind or ""),
        base=here,
        cache=cache or here,
        teacher=None if kind in (Kind.TEACHER, Kind.DATASET, Kind.MODALITY) else teacher_spec(),
        student=None if kind in (Kind.TEACHER, Kind.DATASET, Kind.MODALITY, Kind.STUDENT) else student_spec(),
        modalities=tuple(modalities),
    )


def teacher_output(rows: int = ROWS, seed: int = 0) -> TeacherOutput:
    """Unit embeddings (rows, 16), tokens and last-block attention of a made-up teacher."""
    import torch
    from torch.nn.functional import normalize

    draw = torch.Generator().manual_seed(seed)
    count = GRID[0] * GRID[1]
    heads = [torch.randn(rows, HEADS, count, TOKEN_WIDTH // HEADS, generator=draw) for _ in range(3)]
    return TeacherOutput(
        embedding=normalize(torch.randn(rows, TEACHER_WIDTH, generator=draw), dim=1),
        tokens=torch.randn(rows, count, TOKEN_WIDTH, generator=draw),
        queries=heads[0],
        keys=heads[1],
        values=heads[2],
    )


def student_output(rows: int = ROWS, seed: int = 1) -> StudentOutput:
    """Embeddings (rows, 16), pooled features, maps and two attention layers of a made-up student, with gradient."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    tokens = GRID[0] * GRID[1]
    shapes = [(rows, TEACHER_WIDTH), (rows, STUDENT_WIDTH), (rows, TOKEN_WIDTH, *GRID)]
    shapes += [(rows, HEADS, tokens, 4), (rows, HEADS, tokens, 4)] * 2
    parts = [torch.randn(*shape, generator=draw, requires_grad=True) for shape in shapes]
    return StudentOutput(parts[0], parts[1], parts[2], (AttentionHeads(*parts[3:5]), AttentionHeads(*parts[5:7])))


def attention_map(rows: int = ROWS, seed: int = 7) -> Tensor:
    """What an alignment to queries, keys and values gives: (rows, 4, heads, cells, 4), with gradient."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    shape = (rows, 4, HEADS, GRID[0] * GRID[1], TOKEN_WIDTH // HEADS)
    return torch.randn(*shape, generator=draw, requires_grad=True)


def loss_input(
    student: Tensor | StudentOutput | None = None,
    teacher: Tensor | TeacherOutput | None = None,
    rows: int = ROWS,
    groups: bool = False,
) -> LossInput:
    """Aligned rows for a loss; plain tensors stand for embeddings.

    Args:
        student: what the student says; None makes it up.
        teacher: the targets; None makes them up.
        rows: how many rows, where nothing is given.
        groups: rows form groups of three (anchor, positive, negative) instead of samples seen by two modalities.
    """
    import torch
    from torch.nn.functional import normalize

    earlier = None if student is not None else _constant(student_output(rows, seed=6))
    student = student_output(rows) if student is None else student
    teacher = teacher_output(rows) if teacher is None else teacher
    said = student if isinstance(student, StudentOutput) else StudentOutput(student, student, None)
    target = teacher if isinstance(teacher, TeacherOutput) else TeacherOutput(embedding=normalize(teacher, dim=1))
    index = torch.arange(len(said.embedding))
    draw = torch.Generator().manual_seed(2)
    return LossInput(
        student=said,
        teacher=target,
        modality=torch.zeros_like(index) if groups else index % 2,
        sample=index if groups else index // 2,
        label=index // 3 % 2 if groups else index // 2 % 3,
        logit_scale=100.0,
        text=normalize(torch.randn(TEXTS, target.embedding.shape[1], generator=draw), dim=1),
        reference=earlier or _constant(said),
        peer=_constant(student_output(len(said.embedding), seed=5)),
        role=index % 3 if groups else torch.zeros_like(index),
        group=index // 3 if groups else torch.zeros_like(index),
    )


def _constant(output: StudentOutput) -> StudentOutput:
    """The same values without gradient."""
    return output.each(lambda part: part.detach().clone())


def student_network(attention: bool = False) -> StudentNetwork:
    """A tiny trunk with a linear head: (B, 3, 32, 32) to `StudentOutput`; on request with an attention layer."""
    import torch
    from torch import nn

    from edgefw.training.network import StudentNetwork

    torch.manual_seed(0)
    return StudentNetwork(
        cast("Student", _trunk(_attention() if attention else None)), nn.Linear(STUDENT_WIDTH, TEACHER_WIDTH)
    )


def embedding_network() -> nn.Module:
    """Images to embeddings in evaluation mode, (B, 3, 32, 32) to (B, 16): what a scheme hands to a backend."""
    import torch

    class Embedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = student_network()

        def forward(self, pixels: Tensor) -> Tensor:
            embedding: Tensor = self.student(pixels).embedding
            return embedding

    return Embedding().eval()


def scheme_batch(
    modalities: Sequence[str] = ("rgb", "depth"), size: int = 4, missing: Mapping[str, Sequence[int]] | None = None
) -> Batch:
    """A batch of `size` samples; `missing` says which of them lack a modality."""
    import torch

    draw = torch.Generator().manual_seed(3)
    present = {name: torch.ones(size, dtype=torch.bool) for name in modalities}
    for name, samples in (missing or {}).items():
        present[name][list(samples)] = False
    images = {name: torch.rand(size, 3, SIZE, SIZE, generator=draw) for name in modalities}
    return Batch(
        images={name: pixels * present[name][:, None, None, None] for name, pixels in images.items()},
        present=present,
        teacher=teacher_output(size),
        sample=torch.arange(size) + 10,
        label=torch.arange(size) % 3,
        role=torch.zeros(size, dtype=torch.int64),
        group=torch.zeros(size, dtype=torch.int64),
        logit_scale=100.0,
    )


def onnx_model(path: Path) -> Path:
    """Write an encoder of convolutions and matrices, "image" (batch, 3, 32, 32) to "embedding" (batch, 16), 230 kB."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    shapes = {
        "w1": (32, 3, 3, 3),
        "b1": (32,),
        "w2": (64, 32, 3, 3),
        "b2": (64,),
        "w3": (64, 448),
        "b3": (448,),
        "w4": (448, 16),
        "b4": (16,),
    }
    weights = [
        numpy_helper.from_array(
            draw.normal(0, (np.prod(shape[1:]) if len(shape) == 4 else shape[0]) ** -0.5, shape).astype(np.float32),
            name,
        )
        for name, shape in shapes.items()
    ]
    convolution: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", **convolution),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", **convolution),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["h"], name="hidden"),
        helper.make_node("Relu", ["h"], ["r3"], name="relu3"),
        helper.make_node("Gemm", ["r3", "w4", "b4"], ["embedding"], name="head"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", TEACHER_WIDTH])
    graph = helper.make_graph(nodes, "encoder", [image], [embedding], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def pictures(count: int, channels: int = 3, size: int = SIZE, seed: int = 4) -> np.ndarray:
    """Smooth images (count, channels, size, size) float32, roughly normalised, each with a pattern of its own."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size
    waves = draw.uniform(1, 8, (count, channels, 2, 1, 1))
    phases = draw.uniform(0, 6, (count, channels, 1, 1))
    images = np.sin(waves[:, :, 0] * rows + waves[:, :, 1] * columns + phases)
    return np.asarray(images + draw.normal(0, 0.1, images.shape), np.float32)


def calibration(samples: int = 24, batch: int = 8) -> Calibration:
    """Calibration data for `onnx_model`."""
    images = pictures(samples)

    def batches() -> Iterator[Mapping[str, np.ndarray]]:
        return iter([{"image": images[start : start + batch]} for start in range(0, samples, batch)])

    return Calibration(batches=batches, samples=samples)


def _attention() -> nn.Module:
    """An attention layer over the cells of a map, with the places that `student.attention` stands for."""
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(TOKEN_WIDTH, 3 * TOKEN_WIDTH)
            self.q_norm, self.k_norm = nn.Identity(), nn.Identity()

        def forward(self, feature_map: Tensor) -> Tensor:
            parts = self.qkv(feature_map.flatten(2).mT).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
            query, key, value = parts.unbind(0)  # (B, heads, N, d)
            mixed: Tensor = (self.q_norm(query) @ self.k_norm(key).mT).softmax(-1) @ value
            return feature_map + mixed.transpose(2, 3).reshape(feature_map.shape)

    return Attention()


def _trunk(attention: nn.Module | None = None) -> nn.Module:
    """A trunk with the numbers of `student_spec`."""
    import torch
    from torch import nn

    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, TOKEN_WIDTH, SIZE // GRID[0], stride=SIZE // GRID[0])
            self.attention = attention or nn.Identity()
            self.linear = nn.Linear(TOKEN_WIDTH, STUDENT_WIDTH)
            self.spec = student_spec()

        def forward(self, pixels: Tensor) -> StudentFeatures:
            feature_map = self.attention(torch.tanh(self.convolution(pixels)))
            return StudentFeatures(self.linear(feature_map.mean(dim=(2, 3))), feature_map)

        def set_gradient_checkpointing(self, enabled: bool) -> None:
            return None

    return Trunk()
