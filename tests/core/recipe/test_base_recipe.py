"""`base:`: a recipe that says only what differs from another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from edgefw.errors import RecipeError
from edgefw.recipe import keys
from edgefw.recipe.base_recipe import read_values
from edgefw.recipe.compose import compose
from edgefw.recipe.read import Recipe, read_recipe


@pytest.fixture
def folder(tmp_path: Path, small) -> Path:
    (tmp_path / "whole.yaml").write_text(small().text)
    return tmp_path


@pytest.fixture
def over(folder: Path) -> Callable[..., Recipe]:
    """Reads a text that is laid over the small recipe."""

    def read(text: str, *overrides: str) -> Recipe:
        (folder / "mine.yaml").write_text(f"base: whole.yaml\n{text}")
        return read_recipe(str(folder / "mine.yaml"), overrides)

    return read


def test_a_base_alone_is_the_base(over, folder: Path) -> None:
    assert over("").resolved == read_recipe(str(folder / "whole.yaml")).resolved


def test_mappings_are_laid_over_and_everything_else_takes_the_place(over) -> None:
    config = over("seed: 7\nstudent: {size: 16}\ncurate: {labels: [bird]}\n").config
    assert (config.seed, config.student.name, config.student.options) == (7, "pupil", {"size": 16})
    assert (config.curate.labels, config.curate.keep) == (["bird"], 0.5)
    assert config.train[0].epochs == 2


def test_null_removes_a_section_and_a_missing_one_is_made(over) -> None:
    config = over("curate: null\nverify: {max_ms: 3}\n").config
    assert config.curate is None and config.verify.max_ms == 3


def test_items_of_lists_are_changed_by_name_or_position_and_one_is_appended(over) -> None:
    config = over(
        """
train:
  distil: {batch: 9, losses: {near: {weight: 2}, "1": {name: grouped}}}
  "1": {name: align, losses: [{name: near}], steps: 3}
"""
    ).config
    assert [phase.name for phase in config.train] == ["distil", "align"]
    assert (config.train[0].batch, config.train[0].epochs) == (9, 2)
    assert [(loss.name, loss.weight) for loss in config.train[0].losses] == [("near", 2.0), ("grouped", 1.0)]
    assert config.train[0].losses[0].options == {"power": 1}


TWO_PHASES = """
modalities: {far: {name: range}}
train:
  "1": {name: middle, losses: [{name: near}], steps: 1}
  "2": {name: last, losses: [{name: near}, {name: grouped}], steps: many}
"""


def test_null_takes_away_a_modality_a_phase_and_a_loss_and_lines_stay_right(over, folder: Path) -> None:
    (folder / "middle.yaml").write_text(f"base: whole.yaml{TWO_PHASES}")
    (folder / "mine.yaml").write_text(
        "base: middle.yaml\nmodalities: {depth: null}\ntrain: {middle: null, distil: null, last: {losses: {near: null}}}\n"
    )
    with pytest.raises(
        RecipeError, match=r"train\[0\].steps: must be a whole number, got 'many'. \(middle.yaml, line 5\)"
    ):
        read_recipe(str(folder / "mine.yaml"))
    config = read_recipe(str(folder / "mine.yaml"), ["train.last.steps=3"]).config
    assert list(config.modalities) == ["rgb", "far"]
    assert [(phase.name, [loss.name for loss in phase.losses]) for phase in config.train] == [("last", ["grouped"])]


def test_null_takes_away_on_the_command_line_too(small) -> None:
    phases = ["train.1={name: middle, losses: [{name: near}], steps: 1}", "train.2={name: last, losses: [{name: near}], steps: x}"]  # fmt: skip
    with pytest.raises(RecipeError, match=r"train\[0\].steps: must be a whole number, got 'x'. \(command line\)"):
        small(*phases, "train.middle=null", "train.distil=null")
    config = small(*phases, "train.0=null", "train.last.steps=2", "modalities.depth=null", "train.middle=null").config
    assert [phase.name for phase in config.train] == ["last"] and list(config.modalities) == ["rgb"]
    with pytest.raises(RecipeError, match="train: must be at least 1 item long"):
        small("train.distil=null")


def test_a_null_that_takes_nothing_away_is_an_error(small, over, write) -> None:
    with pytest.raises(
        RecipeError, match="override 'modalities.deph=null': null takes modalities.deph away, and it is not"
    ):
        small("modalities.deph=null")
    with pytest.raises(
        RecipeError, match=r"modalities.deph: null takes away what the base has, and it has none. \(line 2\)"
    ):
        over("modalities: {deph: null}\n")
    with pytest.raises(RecipeError, match=r"modalities.depth: must be a mapping of keys to values, got null"):
        read_recipe(write(small().text.replace("depth: {name: range, encoding: jet}", "depth:")))


def test_a_list_takes_the_place_of_a_list(over) -> None:
    assert [phase.name for phase in over("train: [{name: only, losses: [{name: near}], steps: 1}]\n").config.train] == [
        "only"
    ]


def test_another_technique_drops_the_options_of_the_former_and_keeps_the_recipes_own_keys(over, registry) -> None:
    recipe = over("student: {name: scholar, low: 0.5}\ntrain: {distil: {losses: {near: {name: grouped}}}}\n")
    assert recipe.config.student.options == {"low": 0.5}
    assert recipe.config.student.head.name == "straight"
    assert recipe.config.train[0].losses[0].options == {}


def test_the_command_line_comes_last_and_interpolations_see_everything(over) -> None:
    config = over("data: {root: '${student.size}-${seed}'}\n", "student.size=8", "seed=4").config
    assert config.data.options["root"] == "8-4"


def test_what_the_base_leaves_open_is_still_asked_for(folder: Path) -> None:
    text = (folder / "whole.yaml").read_text()
    (folder / "open.yaml").write_text(text.replace("root: there", "root: ???"))
    (folder / "mine.yaml").write_text("base: open.yaml\nseed: 2\n")
    with pytest.raises(RecipeError, match=r"data.root: the recipe leaves this to you .* \(open.yaml, line 5\)"):
        read_recipe(str(folder / "mine.yaml"))
    assert read_recipe(str(folder / "mine.yaml"), ["data.root=here"]).config.data.options["root"] == "here"


def test_a_base_has_a_base_and_paths_start_from_the_file_that_names_it(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "middle.yaml").write_text("base: ../whole.yaml\nseed: 5\nstudent: {size: 16}\n")
    (folder / "top.yaml").write_text("base: deep/middle.yaml\nstudent: {head: {name: straight}}\n")
    recipe = read_recipe(str(folder / "top.yaml"))
    assert (recipe.config.seed, recipe.config.student.options, recipe.base) == (5, {"size": 16}, folder)
    assert recipe.name == "top" and recipe.text.startswith("base: deep")


def test_a_shipped_recipe_is_a_base_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: quickstart\nseed: 9\n")
    ours, shipped = read_recipe(str(tmp_path / "mine.yaml")), read_recipe("quickstart")
    assert ours.resolved == {**shipped.resolved, "seed": 9}
    assert ours.base == tmp_path


def test_a_wrong_value_is_told_with_the_file_and_line_that_wrote_it(over, folder: Path, registry) -> None:
    (folder / "whole.yaml").write_text((folder / "whole.yaml").read_text().replace("batch: 4", "batch: none"))
    with pytest.raises(RecipeError) as caught:
        over("seed: -1\ntrain: {distil: {epochs: many}}\n")
    message = str(caught.value)
    assert "seed: must be at least 0, got -1. (line 2)" in message
    assert "train[0].epochs: must be a whole number, got 'many'. (line 3)" in message
    assert "train[0].batch: must be a whole number, got 'none'. (whole.yaml, line 23)" in message
    (folder / "whole.yaml").write_text((folder / "whole.yaml").read_text().replace("batch: none", "batch: 4"))
    with pytest.raises(RecipeError, match=r"student.sise: unknown key. .* \(line 3\)"):
        compose(over("seed: 1\nstudent: {sise: 8}\n"), registry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: 5\n", "base: must be the name of a shipped recipe or the path of a YAML file, got 5. (line 1)"),
        ("base: ''\n", "base: must be the name of a shipped recipe or the path of a YAML file, got ''. (line 1)"),
        ("seed: 1\nbase: quickstat\n", "base: quickstat: no such file, and no shipped recipe. Did you mean 'quickstart'?"),
        ("base: .\n", "base: .: this is a folder, and a recipe is a YAML file."),
        ("base: broken.yaml\n", "broken.yaml: line 2, column 1: not YAML"),
        ("base: mine.yaml\n", "base: a recipe cannot be its own base: "),
        ("base: whole.yaml\ntrain: {distill: {batch: 1}}\n", "train is a list without an item 'distill'. Did you mean 'distil'? Its items: 0 (distil). (line 2)"),
        ("base: whole.yaml\ntrain: {'7': {batch: 1}}\n", "train has no item 7; its items: 0 to 0. (line 2)"),
        ("base: whole.yaml\nstudnet: {}\n", "studnet: unknown key. Did you mean 'student'?"),
    ],
)  # fmt: skip
def test_a_wrong_base_is_one_message(folder: Path, text: str, message: str) -> None:
    (folder / "broken.yaml").write_text("{a: [\n")
    (folder / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(str(folder / "mine.yaml"))
    assert message in str(caught.value)
    assert "mine.yaml" in str(caught.value) or "broken.yaml" in str(caught.value)


def test_a_circle_of_bases_is_told_as_the_way_round(folder: Path) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (folder / f"{name}.yaml").write_text(f"base: {base}.yaml\n")
    with pytest.raises(RecipeError, match=r"a recipe cannot be its own base: .*a.yaml -> b.yaml -> c.yaml -> a.yaml"):
        read_recipe(str(folder / "a.yaml"))


def test_the_command_line_names_a_recipe_and_no_base(over) -> None:
    with pytest.raises(RecipeError, match="override 'base=quickstart': a base is written in the file"):
        over("", "base=quickstart")


leaves = st.one_of(st.integers(-3, 3), st.sampled_from(["x", "y"]), st.none())
trees = st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from("pq"), inner, max_size=2), max_leaves=6)
recipes = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@settings(max_examples=60, deadline=None)
@given(recipes, recipes)
def test_without_lists_it_is_the_merge_that_omegaconf_makes(tmp_path_factory, below, above) -> None:
    folder = tmp_path_factory.mktemp("pair")
    OmegaConf.save(OmegaConf.create({"z": 0, **below}), folder / "below.yaml")
    OmegaConf.save(OmegaConf.create({"base": "below.yaml", **above}), folder / "above.yaml")
    file = folder / "above.yaml"
    values, places = read_values(file.read_text(), "above.yaml", file)
    assert values == OmegaConf.to_container(OmegaConf.merge({"z": 0, **below}, above))
    assert {path[0] for path in places} == set(values)
    for path, place in places.items():
        if isinstance(keys.value_at(values, path), dict):
            continue  # both may have written a part of it
        assert place.startswith(
            "line " if keys.holds(keys.value_at(above, path[:-1]), path[-1]) else "below.yaml, line "
        )
