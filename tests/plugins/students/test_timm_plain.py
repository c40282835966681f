"""What to take instead of a timm backbone: a name that timm has, and a network without the operators."""

from __future__ import annotations

import pytest
import timm
import torch

from edgefw import BuildContext
from edgefw.contracts.operators import Replaceable
from edgefw.plugins.students.timm import TimmConfig, build
from edgefw.plugins.students.timm_plain import plain_backbones
from edgefw.training.operators import operators


def found(model: str) -> dict[str, int]:
    torch.manual_seed(0)
    trunk = build(TimmConfig(model=model, size=64), BuildContext())
    return operators(trunk, trunk.spec.input)


@pytest.mark.parametrize(
    ("model", "instead"),
    [
        ("efficientnet_b0", "tf_efficientnet_lite0"),
        ("efficientnet_b3.ra2_in1k", "tf_efficientnet_lite3"),
        ("tf_efficientnet_b7", "tf_efficientnet_lite4"),
        ("tf_efficientnetv2_b2", "tf_efficientnet_lite2"),
        ("mobilenetv3_small_050", "mobilenetv4_conv_small"),
        ("mobilenetv3_large_100", "mobilenetv4_conv_medium"),
        ("semnasnet_075", "mnasnet_075"),
        ("regnety_002", "regnetx_002"),
        ("legacy_seresnet18", "resnet18"),
    ],
)
def test_a_rule_gives_a_name(model: str, instead: str) -> None:
    assert plain_backbones(model) == (instead,)


@pytest.mark.parametrize("model", ["vit_small_patch16_224", "resnet18", "tf_efficientnet_lite0", "regnety_1280", "x"])
def test_where_there_is_none_nothing_is_said(model: str) -> None:
    assert plain_backbones(model) == ()


def test_every_rule_leads_to_a_model_that_no_rule_replaces() -> None:
    targets = {name for model in timm.list_models() for name in plain_backbones(model)}
    assert len(targets) > 20
    assert all(timm.is_model(name) and plain_backbones(name) == () for name in targets)


@pytest.mark.parametrize(
    ("model", "has"),
    [
        ("efficientnet_b0", {"SiLU": 33, "squeeze-excite": 16}),
        ("regnety_002", {"squeeze-excite": 13}),
        ("mobilenetv3_small_050", {"Hardswish": 18, "squeeze-excite": 9}),
    ],
)
def test_the_replacement_has_none_of_the_operators(model: str, has: dict[str, int]) -> None:
    assert found(model) == has
    assert found(*plain_backbones(model)) == {}


def test_the_student_says_what_to_write_into_the_recipe() -> None:
    trunk = build(TimmConfig(model="efficientnet_b0", size=32), BuildContext())
    assert isinstance(trunk, Replaceable)
    assert trunk.replacements() == ("student.model=tf_efficientnet_lite0",)
