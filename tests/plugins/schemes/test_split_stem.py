"""Branches: what is shared and what is not, for timm's families; mid-level maps against NumPy; stems of n channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn

import edgefw
from edgefw.contracts.student import InputSpec
from edgefw.errors import RecipeError, TrainingError
from edgefw.plugins.losses import feature
from edgefw.plugins.schemes import split_stem
from edgefw.plugins.schemes.branches import branch, find_split
from edgefw.plugins.students.timm import TimmStudent
from edgefw.testing.fakes import scheme_batch, student_network
from edgefw.training.network import StudentNetwork

CONTEXT = edgefw.BuildContext(modalities=("rgb", "depth"))
SWIN = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": (1, 1, 1), "num_heads": (1, 1, 1)}


def scheme(**options: object) -> split_stem.SplitStem:
    return split_stem.build(split_stem.SplitStemConfig(**options), CONTEXT)


def student(name: str, **options: object) -> StudentNetwork:
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0, **options)
    trunk = TimmStudent(backbone, InputSpec(size=32), "none", "test")
    return StudentNetwork(trunk, nn.Linear(trunk.spec.width, 16))


def cases() -> dict[str, StudentNetwork]:
    return {
        "resnet": student("test_resnet"),
        "efficientnet": student("test_efficientnet"),
        "vit": student("test_vit", img_size=32),
        "swin": student("swin_tiny_patch4_window7_224", **SWIN),
    }


@pytest.mark.parametrize(
    ("family", "boundary", "own", "common"),
    [
        ("resnet", "layer2", "conv1.0.weight", "layer3.0.conv1.weight"),
        ("efficientnet", "blocks.1", "conv_stem.weight", "conv_head.weight"),
        ("vit", "blocks.2", "patch_embed.proj.weight", "blocks.3.attn.qkv.weight"),
        ("swin", "layers.1", "patch_embed.proj.weight", "layers.2.blocks.0.attn.qkv.weight"),
    ],
)
def test_lower_stages_are_copies_and_the_rest_is_the_same_object(family, boundary, own, common) -> None:
    made, network = scheme(), cases()[family].eval()
    both = made.network(network).eval()
    assert both.split.boundary == f"trunk.backbone.{boundary}"
    rgb, depth = (dict(both.students[name].named_parameters()) for name in ("rgb", "depth"))
    assert rgb[f"trunk.backbone.{own}"] is not depth[f"trunk.backbone.{own}"]
    assert rgb[f"trunk.backbone.{common}"] is depth[f"trunk.backbone.{common}"]
    assert rgb["head.weight"] is depth["head.weight"] and both.students["rgb"] is network
    pixels = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(made.embed(both, "depth", pixels), network(pixels).embedding)
    with torch.no_grad():
        depth[f"trunk.backbone.{own}"].add_(0.5 * torch.randn_like(depth[f"trunk.backbone.{own}"]))
    assert not torch.allclose(made.embed(both, "depth", pixels), made.embed(both, "rgb", pixels), atol=1e-4)


def test_each_row_goes_through_its_own_branch() -> None:
    made, batch = scheme(), scheme_batch(missing={"depth": [1]})
    network = made.network(student_network())
    with torch.no_grad():
        network.students["depth"].trunk.convolution.weight.mul_(2)
    inputs = made.forward(network, batch)
    convolution, linear, head = (
        network.students["depth"].get_submodule(name) for name in ("trunk.convolution", "trunk.linear", "head")
    )
    patches = batch.images["depth"][[0, 2, 3]].numpy().reshape(3, 3, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5)
    kernel = convolution.weight.detach().numpy().reshape(8, -1)
    pooled = np.tanh(patches.reshape(3, 16, -1) @ kernel.T + convolution.bias.detach().numpy()).mean(axis=1)
    for layer in (linear, head):
        pooled = pooled @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(inputs.student.embedding[4:].detach().numpy(), pooled, atol=1e-5)
    assert inputs.modality.tolist() == [0] * 4 + [1] * 3 and inputs.sample[4:].tolist() == [10, 12, 13]


def test_supervision_transfer_matches_the_maps_of_pairs_and_trains_lower_stages_only() -> None:
    made, batch = scheme(match="mid"), scheme_batch(missing={"depth": [3]})
    network = made.network(student_network())
    inputs = made.forward(network, batch)
    layer = network.students["rgb"].trunk.convolution
    maps = {name: layer(batch.images[name][:3]).detach().numpy() for name in ("rgb", "depth")}
    loss = feature.FeatureLoss("mse", against="reference", of="map")(inputs)
    assert loss.item() == pytest.approx(float(((maps["rgb"] - maps["depth"]) ** 2).mean()), rel=1e-4)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained == ["students.depth.trunk.convolution.weight", "students.depth.trunk.convolution.bias"]
    assert not inputs.reference.map.requires_grad and inputs.sample.tolist() == [10, 11, 12]


def test_a_frozen_upper_part_keeps_its_statistics() -> None:
    network = scheme(match="mid").network(student("test_resnet")).train()
    backbone = network.students["depth"].trunk.backbone
    assert backbone.bn1.training and not backbone.layer4[0].bn1.training
    assert not network.students["rgb"].training


def test_a_branch_may_take_other_channels_with_an_inflated_stem() -> None:
    made, network = scheme(channels={"depth": 5}), student("test_resnet").eval()
    both = made.network(network).eval()
    grey = torch.rand(2, 1, 32, 32)
    wide = made.embed(both, "depth", grey.repeat(1, 5, 1, 1))
    torch.testing.assert_close(wide, network(grey.repeat(1, 3, 1, 1)).embedding, atol=1e-4, rtol=1e-3)
    assert both.students["rgb"].trunk.backbone.conv1[0].weight.shape[1] == 3
    assert split_stem.channels_for(made.config) == {"depth": 5}


def test_a_stem_of_the_students_own_number_stays_as_it_is_and_the_source_takes_no_other() -> None:
    network = student("test_resnet")
    weight = network.trunk.backbone.conv1[0].weight.clone()
    same = scheme(channels={"rgb": 3, "depth": 3}).network(network)
    torch.testing.assert_close(same.students["depth"].trunk.backbone.conv1[0].weight, weight)
    context = replace(CONTEXT, student=network.spec)
    with pytest.raises(
        RecipeError, match="channels.rgb: 'rgb' is the source, .* takes 3 channels, not 5. Set student.ch"
    ):
        split_stem.build(split_stem.SplitStemConfig(channels={"rgb": 5}), context)


def test_one_graph_per_modality() -> None:
    graphs = scheme().signatures(("rgb", "depth"))
    assert [(graph.name, graph.inputs, graph.serves) for graph in graphs] == [
        ("rgb", ("rgb",), ("rgb",)),
        ("depth", ("depth",), ("depth",)),
    ]


def test_saved_weights_load_and_shared_ones_stay_shared() -> None:
    first, second = (scheme().network(student("test_resnet")) for _ in range(2))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    rgb, depth = (second.students[name].head.weight for name in ("rgb", "depth"))
    assert rgb is depth and torch.equal(rgb, first.students["rgb"].head.weight)


def test_the_stem_alone_is_below_at_0_and_what_cannot_be_split_says_so() -> None:
    network = student("test_resnet")
    split = find_split(network, 0.0, "own")
    assert split.own == 0 and "trunk.backbone.conv1" in split.lower
    copied = branch(network, split)
    assert copied.trunk.backbone.layer1 is network.trunk.backbone.layer1
    with pytest.raises(RecipeError, match="own: this needs the student's own stages, and a quantizer hides them"):
        find_split(nn.Flatten(), 0.5, "own")
    with pytest.raises(RecipeError, match="own: nothing runs before the first stage 'convolution'"):
        find_split(student_network(), 0.0, "own")


def test_mid_level_maps_use_pairs_and_embeddings_use_every_image() -> None:
    sets = (("rgb",), ("depth",), ("rgb", "depth"))
    assert [scheme(match="mid").uses(held) for held in sets] == [False, False, True]
    assert all(scheme().uses(held) for held in sets)


def test_wrong_modalities_and_batches_say_what_to_do() -> None:
    made = scheme(match="mid")
    with pytest.raises(TrainingError, match="no sample of a batch has rgb beside another modality"):
        made.forward(made.network(student_network()), scheme_batch(missing={"depth": [0, 1, 2, 3]}))
