"""The qvit quantizer on small transformers of each kind: start, training, state, what the file says, what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from int8_files import compiled
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import edgefw
from edgefw.contracts.student import InputSpec
from edgefw.errors import CapabilityError, ExportError, RecipeError
from edgefw.plugins.backends.onnx_export import compare
from edgefw.plugins.losses.distribution_guided import DistributionGuidedLoss
from edgefw.plugins.quantizers.qvit import Qvit, QvitConfig, build
from edgefw.plugins.quantizers.rectification import Rectification
from edgefw.plugins.schemes.dual_modality import DualModality
from edgefw.plugins.students.dat import DatConfig
from edgefw.plugins.students.dat import build as build_dat
from edgefw.plugins.students.swin_attention import open_window_attention
from edgefw.plugins.students.timm import TimmConfig, TimmStudent, provides_for
from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.testing.fakes import loss_input, pictures, student_network
from edgefw.training.assemble import load_trained
from edgefw.training.attention import attention_layers, recording
from edgefw.training.ema import WeightAverage
from edgefw.training.network import StudentNetwork
from edgefw.training.optimisers import parameter_groups

SMALL = {"embed_dim": 16, "num_classes": 0, "img_size": 64}
THIN = {"dims": (8, 8, 16, 16), "depths": (2, 1, 2, 1), "heads": (2, 2, 2, 2), "groups": (1, 1, 2, 2)}


def vit() -> nn.Module:
    return trunk(VisionTransformer(patch_size=16, depth=2, num_heads=2, **SMALL))


def swin() -> nn.Module:
    made = SwinTransformer(patch_size=8, window_size=4, depths=(2, 2), num_heads=(2, 4), **SMALL)
    open_window_attention(made)
    return trunk(made)


def trunk(backbone: nn.Module) -> TimmStudent:
    return TimmStudent(backbone, InputSpec(size=64), "none", "test")


def dat(variant: str) -> Callable[[], nn.Module]:
    return lambda: build_dat(DatConfig(variant=variant, size=64, **THIN), edgefw.BuildContext())


STUDENTS = {"vit": vit, "swin": swin, "dat": dat("dat-micro"), "dat-pp": dat("dat-pp-micro")}


def network(kind: str = "vit", seed: int = 0) -> StudentNetwork:
    torch.manual_seed(seed)
    made: Any = STUDENTS[kind]()
    return StudentNetwork(made, nn.Linear(made.spec.width, 16))


def images(count: int, seed: int = 4) -> Tensor:
    return torch.from_numpy(pictures(count, size=64, seed=seed))


def quantizer(**options: object) -> Qvit:
    return build(QvitConfig(**options), edgefw.BuildContext(path="train[1].quantizer"))


def trained(made: nn.Module, steps: int = 3) -> nn.Module:
    made.train()
    optimiser = torch.optim.AdamW(made.parameters(), 1e-3)
    target = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        (made(images(6)).embedding - target).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return made.eval()


def rectified(made: nn.Module) -> dict[str, Rectification]:
    return {name: module for name, module in made.named_modules() if isinstance(module, Rectification)}


@pytest.mark.parametrize("kind", STUDENTS)
def test_every_attention_layer_is_rectified_and_the_network_begins_as_it_was(kind: str) -> None:
    plain = network(kind).eval()
    made = quantizer().prepare(plain, images(2)).train()
    assert len(rectified(made)) == 2 * len(attention_layers(plain)) > 0 and not rectified(plain)
    with recording(made, plain):
        found, expected = made(images(4)), plain(images(4))
    assert nn.functional.cosine_similarity(expected.embedding, found.embedding).min() > 0.99
    assert all(bool(module.gain.isfinite().all()) for module in rectified(made).values())
    value = DistributionGuidedLoss()(replace(loss_input(rows=4), student=found, reference=expected))
    assert 0.0 < float(value.detach()) < 0.1
    value.backward()
    assert all(bool(module.gamma.grad.isfinite().all()) for module in rectified(made).values())


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_converted_network_says_what_the_trained_one_says(kind: str) -> None:
    piece = quantizer()
    made = trained(piece.prepare(network(kind), images(2)), steps=3 if kind == "vit" else 1)
    converted = piece.convert(made)
    assert not rectified(converted) and rectified(made)
    with torch.no_grad():
        expected, found = made(images(5, seed=9)).embedding, converted(images(5, seed=9)).embedding
    assert nn.functional.cosine_similarity(expected, found).min() > 0.999


@pytest.mark.parametrize("options", [{"statistics": "token"}, {"steps": "range", "activation": "affine"}, {"bits": 4}])
def test_other_options_convert_too(options: dict[str, object]) -> None:
    piece = quantizer(**options)
    made = trained(piece.prepare(network(), images(2)))
    with torch.no_grad():
        expected, found = made(images(5)).embedding, piece.convert(made)(images(5)).embedding
    assert nn.functional.cosine_similarity(expected, found).min() > 0.99


@pytest.mark.slow
def test_the_file_agrees_with_the_trained_network_at_every_batch(tmp_path: Path) -> None:
    piece = quantizer()
    made = trained(piece.prepare(network(), images(2)))
    pixels = images(6).numpy()
    backend, artefact = compiled(piece.convert(made), tmp_path, pixels)
    runner = backend.open(artefact.file)
    for count in (1, 5, 6):
        found, expected = runner.run({"image": pixels[:count]}), made(torch.from_numpy(pixels[:count])).embedding
        assert compare(expected.detach().numpy(), found).within(0.05, cosine=0.998)


def test_parameters_are_those_of_the_float_student_and_new_ones_decay_not() -> None:
    plain = network()
    made = quantizer().prepare(plain, images(2))
    assert made.head.layer.weight is plain.head.weight
    new = {name for name, _ in made.named_parameters() if name.rsplit(".", 1)[1] in ("gamma", "beta", "theta")}
    assert len(new) == 3 * len(rectified(made))
    _, spared = parameter_groups(made, 0.1)
    assert {id(value) for name, value in made.named_parameters() if name in new} <= {id(p) for p in spared["params"]}


def test_state_and_average_go_into_a_network_prepared_anew(tmp_path: Path) -> None:
    piece = quantizer()
    made = piece.prepare(network(), images(2))
    average = WeightAverage(made, 0.5)
    for _ in range(2):
        made.train()(images(4)).embedding.square().sum().backward()
        torch.optim.SGD(made.parameters(), 0.01).step()
        average.update()
    with average.applied(), torch.no_grad():
        assert nn.functional.cosine_similarity(made(images(4)).embedding, made(images(4)).embedding).min() > 0.9
        assert all(bool(value.isfinite().all()) for value in made.state_dict().values())
    save_file(
        {name: value.clone().contiguous() for name, value in made.state_dict().items()}, tmp_path / "w.safetensors"
    )
    again = load_trained(tmp_path / "w.safetensors", network("vit", 5), DualModality(("rgb",)), quantizer())
    assert torch.equal(again(images(3)).embedding, made.eval()(images(3)).embedding)
    copied = copy.deepcopy(made)
    assert torch.equal(copied(images(3)).embedding, made(images(3)).embedding)


def test_excluded_layers_keep_their_queries_and_keys() -> None:
    names = rectified(quantizer(exclude=["trunk.backbone.blocks.0.*"]).prepare(network(), images(2)))
    assert names and not [name for name in names if ".blocks.0." in name]


def test_a_student_without_attention_is_told_what_to_use() -> None:
    with pytest.raises(RecipeError) as error:
        quantizer().prepare(student_network(), torch.from_numpy(pictures(2)))
    assert str(error.value) == (
        "train[1].quantizer: 'qvit' rectifies queries and keys, and Trunk has no attention layer with q_norm and k_norm. "
        "Use quantizer: {name: int8-qat} for this student, or a student with attention: vit_small_patch16_224 or "
        "swin_tiny_patch4_window7_224 of timm, or dat."
    )
    piece = quantizer()
    with pytest.raises(ExportError, match=r"layer 'trunk.backbone.patch_embed.proj' has no range"):
        piece.convert(piece.prepare(network(), images(2)))


def test_a_recipe_with_a_convolutional_student_is_refused_before_any_weight_is_read() -> None:
    given = ["data.file=yours", "student.model=resnet18", "train.align.quantizer.name=qvit"]
    with pytest.raises(
        CapabilityError, match=r"quantizer 'qvit' needs student.attention; student 'timm' provides .*int8-qat"
    ):
        compose(read_recipe("edgevl-qat", given), Registry())


@pytest.mark.parametrize(
    "model",
    ["deit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "vit_relpos_small_patch16_224", "eva02_tiny_patch14_224"],
)
@pytest.mark.slow
def test_families_that_provide_attention_have_it(model: str) -> None:
    assert "attention" in provides_for(TimmConfig(model=model))
    assert attention_layers(timm.create_model(model, pretrained=False))
