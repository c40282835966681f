"""Overrides: keys through sections, lists and named phases; another technique forgets the former one's options."""

from __future__ import annotations

import pytest

from edgefw.errors import RecipeError


def test_list_items_are_found_by_position_by_brackets_and_by_name(small) -> None:
    for key in ("train.0.batch", "train[0].batch", "train.distil.batch"):
        assert small(f"{key}=7").config.train[0].batch == 7
    assert small("train.distil.losses.near.weight=2").config.train[0].losses[0].weight == 2.0
    assert small("train.0.losses.0.weight=0.5").config.train[0].losses[0].weight == 0.5


def test_options_of_techniques_and_absent_sections_can_be_set(small) -> None:
    recipe = small("modalities.depth.encoding=min-max", "verify.max_ms=20", "modalities.nir.name=photo")
    assert recipe.config.modalities["depth"].options == {"encoding": "min-max"}
    assert recipe.config.verify.max_ms == 20.0
    assert list(recipe.config.modalities) == ["rgb", "depth", "nir"]


def test_values_are_yaml(small) -> None:
    recipe = small("curate=null", "evaluate.labels=[a, b]", "evaluate.template=a photo of a {}, indoors", "seed=0x10")
    assert recipe.config.curate is None
    assert recipe.config.evaluate.labels == ["a", "b"]
    assert recipe.config.evaluate.template == "a photo of a {}, indoors"
    assert recipe.config.seed == 16


def test_a_value_replaces_a_whole_section(small) -> None:
    assert small("student={name: pupil}").config.student.options == {}


def test_another_technique_forgets_the_options_of_the_former_one(small) -> None:
    recipe = small("student.name=scholar", "train.0.losses.0.name=labelled")
    assert recipe.config.student.options == {}
    assert recipe.config.student.head.name == "straight"
    assert recipe.config.train[0].losses[0].options == {}
    assert small("modalities.depth.name=photo").config.modalities["depth"].options == {}


def test_options_given_on_the_command_line_survive_in_any_order(small) -> None:
    for overrides in (["student.low=0.5", "student.name=scholar"], ["student.name=scholar", "student.low=0.5"]):
        assert small(*overrides).config.student.options == {"low": 0.5}


def test_naming_the_same_technique_keeps_its_options(small) -> None:
    assert small("student.name=pupil").config.student.options == {"size": 32}


def test_the_weight_of_a_loss_survives_another_technique(small) -> None:
    recipe = small("train.0.losses.0.weight=3", "train.0.losses.0.name=labelled")
    assert recipe.config.train[0].losses[0].weight == 3.0


def test_renaming_a_phase_or_an_optimiser_forgets_nothing(small) -> None:
    recipe = small("train.0.optimiser.momentum=0.5", "train.0.optimiser.name=sgd", "train.0.name=other")
    assert recipe.config.train[0].optimiser.momentum == 0.5
    assert recipe.config.train[0].batch == 4


def test_a_default_piece_can_be_refined_without_naming_it(small) -> None:
    recipe = small("export={}", "export.backends.0.opset=18")
    assert recipe.config.export.backends[0].name == "onnxruntime"
    assert recipe.config.export.backends[0].options == {"opset": 18}


def test_one_item_past_the_end_is_appended(small) -> None:
    recipe = small("train.0.losses.1={name: labelled}", "export.quantizers.0={name: after}")
    assert [loss.name for loss in recipe.config.train[0].losses] == ["near", "labelled"]
    assert recipe.config.export.quantizers[0].name == "after"


def test_the_last_override_of_a_key_wins(small) -> None:
    assert small("seed=2", "seed=3").config.seed == 3


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("seed", "override 'seed': not of the form key=value"),
        ("=3", "not of the form key=value"),
        ("a..b=3", "not of the form key=value"),
        ("a b=3", "not of the form key=value"),
        ("--seed=3", "unknown key"),
        ("seed=", "override 'seed=': no value. Write seed=null"),
        ("seed=[", "override 'seed=[': line"),
        ("seed=a: b: c", "override 'seed=a: b: c': line 1"),
        ("train.3.batch=1", "override 'train.3.batch=1': train has no item 3; its items: 0 to 0."),
        ("export.quantizers.1.name=x", "export.quantizers has no item 1; its items: none, it is empty."),
        ("train.distill.batch=1", "train is a list without an item 'distill'. Did you mean 'distil'? Its items: 0 ("),
        ("seed.x=1", "override 'seed.x=1': seed is 1, which has no key 'x'. Give the whole section: seed={...}."),
        ("traim.0.batch=2", "traim: unknown key. Did you mean 'train'?"),
    ],
)
def test_a_wrong_override_gives_one_message(small, override: str, fragment: str) -> None:
    with pytest.raises(RecipeError) as caught:
        small(override)
    assert fragment in str(caught.value)


def test_two_items_of_one_name_ask_for_the_position(small) -> None:
    with pytest.raises(RecipeError, match="names 'near' twice; use its position"):
        small("train.0.losses.1={name: near}", "train.0.losses.near.weight=2")
