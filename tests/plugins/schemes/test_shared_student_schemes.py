"""Rows that dual-modality and single-modality make of a batch: which image, which target, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgefw
from edgefw.contracts.scheme import Batch
from edgefw.contracts.student import StudentOutput
from edgefw.contracts.teacher import TeacherOutput
from edgefw.errors import RecipeError, TrainingError
from edgefw.plugins.schemes import dual_modality, single_modality

CONTEXT = edgefw.BuildContext(modalities=("rgb", "depth"))


class Tiny(nn.Module):
    """The mean of each channel, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, pixels: Tensor) -> StudentOutput:
        pooled = pixels.mean(dim=(2, 3))
        return StudentOutput(pooled * self.weight, pooled, pixels)


def batch(rgb: list[bool], depth: list[bool], reference: nn.Module | None = None) -> Batch:
    count = len(rgb)
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(count, 3, 4, 4, generator=generator) for name in ("rgb", "depth")}
    present = {"rgb": torch.tensor(rgb), "depth": torch.tensor(depth)}
    for name, mask in present.items():
        images[name][~mask] = 0
    return Batch(
        images=images,
        present=present,
        teacher=TeacherOutput(
            embedding=torch.rand(count, 3, generator=generator), tokens=torch.rand(count, 4, 2, generator=generator)
        ),
        sample=torch.arange(100, 100 + count),
        label=torch.arange(count) - 1,
        role=torch.zeros(count, dtype=torch.int64),
        group=torch.arange(count),
        logit_scale=20.0,
        text=torch.eye(3),
        reference=reference,
    )


def dual() -> dual_modality.DualModality:
    return dual_modality.build(edgefw.NoOptions(), CONTEXT)


def single(**options: str) -> single_modality.SingleModality:
    return single_modality.build(single_modality.SingleModalityConfig(**options), CONTEXT)


def test_dual_modality_stacks_what_is_present_beside_its_own_target() -> None:
    given = batch(rgb=[True, True, False], depth=[True, False, True])
    network = Tiny()
    inputs = dual().forward(network, given)
    expected = [("rgb", 0), ("rgb", 1), ("depth", 0), ("depth", 2)]
    assert len(inputs.student.embedding) == len(expected)
    for row, (name, index) in enumerate(expected):
        means = given.images[name][index].numpy().mean(axis=(1, 2)) * np.array([1.0, 2.0, 3.0])
        np.testing.assert_allclose(inputs.student.embedding[row].detach().numpy(), means, atol=1e-6)
        assert torch.equal(inputs.teacher.embedding[row], given.teacher.embedding[index])
        assert torch.equal(inputs.teacher.tokens[row], given.teacher.tokens[index])
        assert inputs.modality[row] == ("rgb", "depth").index(name)
        assert inputs.sample[row] == 100 + index and inputs.label[row] == index - 1 and inputs.group[row] == index
    assert inputs.teacher.queries is None and inputs.reference is None
    assert inputs.logit_scale == 20.0 and torch.equal(inputs.text, torch.eye(3))


def test_single_modality_uses_its_own_images_only() -> None:
    given = batch(rgb=[True, True, True], depth=[True, False, True])
    inputs = single(modality="depth").forward(Tiny(), given)
    assert inputs.sample.tolist() == [100, 102] and inputs.modality.tolist() == [1, 1]
    assert torch.equal(inputs.teacher.embedding, given.teacher.embedding[[0, 2]])


def test_dual_modality_of_one_modality_equals_single_modality() -> None:
    given, network = batch(rgb=[True, False, True], depth=[False, False, False]), Tiny()
    alone = edgefw.BuildContext(modalities=("rgb",))
    both = dual_modality.build(edgefw.NoOptions(), alone).forward(network, given)
    one = single_modality.build(single_modality.SingleModalityConfig(), alone).forward(network, given)
    assert torch.equal(both.student.embedding, one.student.embedding) and torch.equal(both.sample, one.sample)


def test_gradient_reaches_the_student_and_not_the_teacher() -> None:
    given, network = batch(rgb=[True, True], depth=[True, True]), Tiny()
    inputs = dual().forward(network, given)
    (inputs.student.embedding - inputs.teacher.embedding).abs().sum().backward()
    assert network.weight.grad.abs().min() > 0
    assert given.teacher.embedding.grad is None and not inputs.teacher.embedding.requires_grad


def test_the_reference_sees_the_same_rows_without_gradient() -> None:
    reference = Tiny()
    inputs = dual().forward(Tiny(), batch(rgb=[True, False], depth=[True, True], reference=reference))
    torch.testing.assert_close(inputs.reference.embedding, inputs.student.embedding.detach())
    assert not inputs.reference.embedding.requires_grad


def test_a_batch_without_the_modality_says_so() -> None:
    with pytest.raises(TrainingError, match="no sample of a batch has depth"):
        single(modality="depth").forward(Tiny(), batch(rgb=[True], depth=[False]))


def test_single_modality_uses_samples_that_have_it() -> None:
    assert [single(modality="depth").uses(held) for held in (("rgb",), ("depth",), ("rgb", "depth"))] == [
        False,
        True,
        True,
    ]


def test_embed_is_the_network_and_the_scheme_adds_nothing_to_it() -> None:
    network, pixels = Tiny(), torch.rand(2, 3, 4, 4)
    for scheme in (dual(), single(modality="rgb")):
        assert scheme.network(network) is network
        assert torch.equal(scheme.embed(network, "depth", pixels), network(pixels).embedding)


def test_signatures_say_what_the_graph_labels() -> None:
    (shared,) = dual().signatures(("rgb", "depth"))
    assert (shared.inputs, shared.serves) == (("rgb",), ("rgb", "depth"))
    (own,) = single(modality="depth").signatures(("rgb", "depth"))
    assert (own.inputs, own.serves) == (("depth",), ("depth",))
    (wide,) = single(modality="depth", serve="all").signatures(("rgb", "depth"))
    assert (wide.inputs, wide.serves) == (("depth",), ("rgb", "depth"))


def test_single_modality_must_be_told_which_of_several() -> None:
    with pytest.raises(RecipeError, match="rgb, depth"):
        single()


def test_an_unknown_modality_names_those_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match="no modality 'thermal'. It has: rgb, depth"):
        single(modality="thermal")
