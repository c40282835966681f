"""The second step of a transfer: who answers what, what is frozen, and the loss in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

import edgefw
from edgefw.contracts.student import InputSpec
from edgefw.errors import RecipeError, TrainingError
from edgefw.plugins.losses import feature
from edgefw.plugins.schemes import transfer
from edgefw.plugins.students.timm import TimmStudent
from edgefw.testing.fakes import scheme_batch, student_network
from edgefw.training.network import StudentNetwork


def scheme(modalities: tuple[str, ...] = ("rgb", "depth"), **options: object) -> transfer.Transfer:
    return transfer.build(transfer.TransferConfig(**options), edgefw.BuildContext(modalities=modalities))


def test_the_target_learns_what_the_frozen_source_says_of_the_paired_image() -> None:
    made, batch, student = scheme(), scheme_batch(missing={"depth": [1]}), student_network()
    network = made.network(student)
    with torch.no_grad():
        student.head.weight.mul_(1.5)
    inputs = made.forward(network, batch)
    said = [
        part(batch.images[name][[0, 2, 3]]).embedding.detach().numpy()
        for part, name in ((network.target, "depth"), (student_network(), "rgb"))
    ]
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in said]
    loss = feature.FeatureLoss("mse", against="reference")(inputs)
    assert loss.item() == pytest.approx(float(((units[0] - units[1]) ** 2).mean()), rel=1e-4)
    assert inputs.sample.tolist() == [10, 12, 13] and inputs.modality.tolist() == [1, 1, 1]
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.target.parameters())
    assert not any(parameter.requires_grad for parameter in network.source.parameters())
    assert network.target is student


def test_a_fresh_target_agrees_with_its_source_on_equal_images() -> None:
    made, batch = scheme(), scheme_batch()
    batch.images["depth"].copy_(batch.images["rgb"])
    inputs = made.forward(made.network(student_network()), batch)
    assert feature.FeatureLoss("mse", against="reference")(inputs).item() == pytest.approx(0, abs=1e-9)


def test_upper_stages_stay_frozen_with_their_statistics() -> None:
    backbone = timm.create_model("test_resnet", num_classes=0)
    trunk = TimmStudent(backbone, InputSpec(size=32), "none", "test")
    network = scheme(frozen=0.5).network(StudentNetwork(trunk, nn.Linear(trunk.spec.width, 16))).train()
    trained = {name.split(".")[3] for name, value in network.named_parameters() if value.requires_grad}
    assert trained == {"conv1", "bn1", "layer1", "layer2"}
    assert backbone.layer2[0].bn1.training and not backbone.layer3[0].bn1.training
    assert not network.source.training


def test_each_modality_is_answered_by_its_network() -> None:
    made = scheme(("depth", "rgb", "nir"))
    network, pixels = made.network(student_network()), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        network.target.head.weight.zero_()
    assert torch.equal(made.embed(network, "rgb", pixels), network.source(pixels).embedding)
    assert torch.equal(made.embed(network, "nir", pixels), network.target(pixels).embedding)
    assert [(graph.name, graph.inputs, graph.serves) for graph in made.signatures(("depth", "rgb", "nir"))] == [
        ("target", ("depth",), ("depth", "nir")),
        ("source", ("rgb",), ("rgb",)),
    ]


def test_a_sample_is_used_with_an_image_for_each_network() -> None:
    made = scheme(("rgb", "depth", "nir"), modality="nir")
    sets = (("rgb",), ("nir",), ("rgb", "depth"), ("rgb", "nir"), ("depth", "nir"))
    assert [made.uses(held) for held in sets] == [False, False, False, True, False]
    assert scheme(("rgb", "depth", "nir")).uses(("rgb", "depth"))


def test_what_cannot_be_transferred_says_so() -> None:
    with pytest.raises(RecipeError, match="source: the recipe has no modality 'rgb'. It has: nir, depth"):
        scheme(("nir", "depth"))
    with pytest.raises(RecipeError, match="the recipe has one modality, rgb: there is nothing to transfer to"):
        scheme(("rgb",))
    with pytest.raises(RecipeError, match="modality: 'rgb' cannot be the new network's. Choose from: depth"):
        scheme(modality="rgb")
    assert scheme(("rgb", "depth", "nir"), modality="nir").signatures(("rgb", "depth", "nir"))[1].serves == ("nir",)
    made = scheme()
    with pytest.raises(TrainingError, match="no sample of a batch has rgb beside another modality"):
        made.forward(made.network(student_network()), scheme_batch(missing={"rgb": [0, 1, 2, 3]}))
