"""Queries and keys of attention layers: who fills them, when, in which shape, and who gets to see them."""

from __future__ import annotations

from typing import Any

import torch
import training_toys as toys
from torch import Tensor, nn

from edgefw.contracts.scheme import Batch
from edgefw.contracts.student import StudentFeatures
from edgefw.contracts.teacher import TeacherOutput
from edgefw.testing.fakes import scheme_batch, student_output, student_spec
from edgefw.training.attention import attention_layers, recording
from edgefw.training.job import PhaseLoss
from edgefw.training.network import StudentNetwork
from edgefw.training.objective import Objective
from edgefw.training.rows import join_rows


class Attention(nn.Module):
    """Two heads over the 16 cells of a map; `windows` cuts them into groups that stand in the batch dimension."""

    def __init__(self, windows: int = 1) -> None:
        super().__init__()
        self.num_heads, self.windows = 2, windows
        self.qkv = nn.Linear(8, 24)
        self.q_norm, self.k_norm = nn.Identity(), nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        shape = tokens.shape
        tokens = tokens.reshape(-1, shape[1] // self.windows, 8)
        query, key, value = self.qkv(tokens).reshape(*tokens.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = (self.q_norm(query) @ self.k_norm(key).mT).softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(shape)


class ByToken(Attention):
    """Calls its norms with (B, N, heads, d), as a few of timm's layers do."""

    def forward(self, tokens: Tensor) -> Tensor:
        self.q_norm(tokens.unflatten(2, (2, 4)))
        self.k_norm(tokens.unflatten(2, (2, 4)))
        return tokens


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.blocks = nn.Sequential(Attention(), Attention(windows=4), ByToken())
        self.spec = student_spec()

    def forward(self, pixels: Tensor) -> StudentFeatures:
        tokens = self.patches(pixels).flatten(2).mT
        return StudentFeatures(self.blocks(tokens).mean(1), None)


def network() -> StudentNetwork:
    torch.manual_seed(0)
    return StudentNetwork(Trunk(), nn.Linear(8, 16))  # type: ignore[arg-type]


class Reads(nn.Module):
    """Compares the queries of student and reference, and keeps what it saw."""

    across_batch = False
    reads_attention = True

    def forward(self, inputs: Any) -> Tensor:
        self.seen = inputs
        return sum((a.queries - b.queries).square().mean() for a, b in zip(inputs.student.attention, inputs.reference.attention))  # type: ignore[return-value]  # fmt: skip


class Other(nn.Module):
    across_batch = False

    def forward(self, inputs: Any) -> Tensor:
        self.seen = inputs
        return inputs.student.embedding.square().mean()


def test_attention_is_there_inside_the_block_and_nowhere_else() -> None:
    made, pixels = network(), torch.randn(3, 3, 32, 32)
    assert list(attention_layers(made)) == ["trunk.blocks.0", "trunk.blocks.1", "trunk.blocks.2"]
    before = made(pixels)
    with recording(made, None):
        output = made(pixels)
        again = made(pixels[:2])
    assert before.attention is None and made(pixels).attention is None
    assert torch.equal(before.embedding, output.embedding)
    assert [layer.queries.shape for layer in output.attention] == [(3, 2, 16, 4), (3, 4, 2, 4, 4)]
    assert [layer.keys.shape for layer in again.attention] == [(2, 2, 16, 4), (2, 4, 2, 4, 4)]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in made.modules())


def test_what_is_read_is_what_enters_the_product_and_has_a_gradient() -> None:
    made, pixels = network(), torch.randn(2, 3, 32, 32)
    with recording(made):
        layer = made(pixels).attention[0]
    tokens = made.trunk.patches(pixels).flatten(2).mT  # type: ignore[operator,union-attr]
    expected = made.trunk.blocks[0].qkv(tokens)[..., :8].unflatten(2, (2, 4)).transpose(1, 2)  # type: ignore[index,operator,union-attr]
    torch.testing.assert_close(layer.queries, expected)
    layer.keys.square().sum().backward()
    gradient = made.trunk.blocks[0].qkv.weight.grad  # type: ignore[index,union-attr]
    assert not gradient[:8].any() and gradient[8:16].all()


def batch(reference: nn.Module) -> Batch:
    found = scheme_batch()
    found.images["rgb"].requires_grad_(False)
    return Batch(**{**vars(found), "reference": reference, "teacher": TeacherOutput(embedding=found.teacher.embedding)})


def test_losses_see_attention_only_where_they_ask_for_it() -> None:
    reads, other, reference = Reads(), Other(), network().eval()
    losses = [PhaseLoss(name="reads", weight=1.0, module=reads), PhaseLoss(name="other", weight=1.0, module=other)]
    objective = Objective(network(), losses, toys.ToyScheme(), mixed=True)
    terms = objective(batch(reference))
    assert reads.seen.student.attention and reads.seen.reference.attention
    assert reads.seen.student.attention[0].queries.requires_grad
    assert not reads.seen.reference.attention[0].queries.requires_grad
    assert other.seen.student.attention is None and other.seen.reference.attention is None
    assert float(terms.each[0]) == 0.0
    alone = Other()
    Objective(network(), [PhaseLoss(name="other", weight=1.0, module=alone)], toys.ToyScheme())(batch(reference))
    assert alone.seen.student.attention is None


def test_rows_that_are_joined_or_changed_keep_their_attention() -> None:
    reads = Reads()
    objective = Objective(network(), [PhaseLoss(name="reads", weight=1.0, module=reads)], toys.ToyScheme())
    objective(batch(network()))
    joined = join_rows([reads.seen, reads.seen])
    for one, twice in zip(reads.seen.student.attention, joined.student.attention):
        assert torch.equal(twice.keys, torch.cat([one.keys, one.keys]))
    half = student_output(4).each(torch.Tensor.half)
    assert half.attention is not None and half.attention[1].keys.dtype == half.map.dtype == torch.float16  # type: ignore[union-attr]
    assert student_output(4)._replace(map=None, attention=None).each(torch.Tensor.half).map is None
