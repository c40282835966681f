"""Promises of a student, see `edgefw.contracts.student`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgefw.testing.fakes import pictures
from edgefw.testing.onnx_files import export, run
from edgefw.testing.subject import Subject
from edgefw.training.attention import recording
from edgefw.training.network import StudentNetwork


def shapes_are_those_of_the_spec(subject: Subject) -> None:
    """Pooled features are (B, width); the map is (B, channels, rows, columns) of `spec.map`, or None with it."""
    student = subject.piece.eval()
    for rows in (1, 3):
        pooled, feature_map = student(_pixels(student, rows))
        assert pooled.shape == (rows, student.spec.width), f"pooled {tuple(pooled.shape)}, spec {student.spec.width}"
        assert (feature_map is None) == (student.spec.map is None), (
            "the spec says one thing about a map, the trunk another"
        )
        if feature_map is not None:
            expected = (rows, student.spec.map.channels, *student.spec.map.grid)
            assert feature_map.shape == expected, f"map {tuple(feature_map.shape)}, spec {expected}"
        assert torch.isfinite(pooled).all(), "pooled features are not finite"


def words_follow_the_spec(subject: Subject) -> None:
    """It provides "pooled"; it provides "map" exactly when it has one."""
    provided = subject.technique.provided(subject.config)
    assert "pooled" in provided
    assert ("map" in provided) == (subject.piece.spec.map is not None), f"provides {sorted(provided)}"


def attention_is_read_by_head(subject: Subject) -> None:
    """A student that provides "attention" gives queries and keys (B, ..., heads, N, d) of at least one layer."""
    if "attention" not in subject.technique.provided(subject.config):
        return
    student = subject.piece.eval()
    network = StudentNetwork(student, nn.Identity())
    with torch.no_grad(), recording(network):
        layers = network(_pixels(student, 3)).attention
    assert layers, "no module has q_norm and k_norm that are called with (..., heads, N, d)"
    for layer in layers:
        shapes = f"queries {tuple(layer.queries.shape)}, keys {tuple(layer.keys.shape)}"
        assert all(part.ndim >= 4 and len(part) == 3 for part in layer), f"{shapes} of 3 images"
        assert layer.queries.shape[-1] == layer.keys.shape[-1], shapes


def parameter_count_is_that_of_the_spec(subject: Subject) -> None:
    """`spec.parameters` is the number of trainable numbers."""
    count = sum(parameter.numel() for parameter in subject.piece.parameters() if parameter.requires_grad)
    assert subject.piece.spec.parameters == count, f"{count} counted, {subject.piece.spec.parameters} stated"


def every_parameter_is_trained(subject: Subject) -> None:
    """A loss on pooled features and map reaches every trainable parameter."""
    student = subject.build().train()
    _loss(student, _pixels(student, 4)).backward()
    idle = [
        name for name, parameter in student.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert not idle, f"no gradient reaches {', '.join(idle)}"


def images_do_not_see_each_other(subject: Subject) -> None:
    """In evaluation mode the features of an image do not depend on the rest of the batch."""
    student = subject.piece.eval()
    pixels = _pixels(student, 3)
    with torch.no_grad():
        together, alone = student(pixels).pooled[:1], student(pixels[:1]).pooled
    scale = together.abs().max().clamp(min=1e-6)
    assert (together - alone).abs().max() <= 1e-3 * scale, "an image alone gives other features than in a batch"


def same_seed_same_student(subject: Subject) -> None:
    """Built twice from one seed, it has the same weights."""
    first, second = subject.build().state_dict(), subject.build().state_dict()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, f"different weights: {', '.join(different[:5])}"


def checkpointing_changes_no_gradient(subject: Subject) -> None:
    """With gradient checkpointing the gradients are the same; a student without it does not provide the word."""
    if "checkpointing" not in subject.technique.provided(subject.config):
        return
    gradients = []
    for enabled in (False, True):
        student = subject.build().train()
        student.set_gradient_checkpointing(enabled)
        torch.manual_seed(0)
        _loss(student, _pixels(student, 2)).backward()
        gradients.append({name: parameter.grad for name, parameter in student.named_parameters()})
    for name, expected in gradients[0].items():
        close = torch.allclose(expected, gradients[1][name], rtol=1e-3, atol=1e-5 + 1e-3 * float(expected.abs().max()))
        assert close, f"the gradient of {name} is another one"


def exports_to_onnx(subject: Subject) -> None:
    """PyTorch's exporter writes it to ONNX, and the file gives the same pooled features at another batch size."""
    student = subject.piece.eval()
    pixels = _pixels(student, 3)
    with torch.no_grad():
        expected = student(pixels).pooled.numpy()
    file = export(_Pooled(student), pixels[:2], Path(subject.folder) / "student.onnx")
    difference = np.abs(run(file, pixels.numpy()) - expected).max() / max(float(np.abs(expected).max()), 1e-6)
    assert difference <= 1e-3, f"the file is off by {difference:.2g} of the largest feature"


CHECKS = (
    shapes_are_those_of_the_spec,
    words_follow_the_spec,
    attention_is_read_by_head,
    parameter_count_is_that_of_the_spec,
    every_parameter_is_trained,
    images_do_not_see_each_other,
    same_seed_same_student,
    checkpointing_changes_no_gradient,
    exports_to_onnx,
)


class _Pooled(nn.Module):
    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, pixels: Tensor) -> Tensor:
        pooled: Tensor = self.student(pixels).pooled
        return pooled


def _pixels(student: Any, rows: int) -> Tensor:
    return torch.from_numpy(pictures(rows, student.spec.input.channels, student.spec.input.size))


def _loss(student: Any, pixels: Tensor) -> Any:
    pooled, feature_map = student(pixels)
    loss = (pooled * torch.linspace(-1, 1, pooled.numel()).view_as(pooled)).mean()
    return loss if feature_map is None else loss + feature_map.pow(2).mean()
