"""Reading: files, YAML, interpolation, mandatory values, and the one message of a recipe that is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgefw.errors import RecipeError
from edgefw.recipe import shipped
from edgefw.recipe.read import read_recipe


def refusal(path: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        read_recipe(path, overrides)
    return str(caught.value)


def test_a_recipe_is_validated_and_carries_technique_options_along(small) -> None:
    recipe = small()
    assert recipe.config.train[0].batch == 4
    assert recipe.config.data.options == {"root": "there"}
    assert recipe.config.student.head.name == "straight"
    assert recipe.name == "recipe"
    assert recipe.base == Path(recipe.source).parent
    assert recipe.text.startswith("# A recipe for tests")


def test_resolved_holds_defaults_and_reads_back_to_the_same_config(small) -> None:
    from edgefw.recipe.read import validate
    from edgefw.recipe.schema import RunConfig

    recipe = small("train.0.optimiser.betas=[0.8,0.9]")
    assert recipe.resolved["verify"]["max_drop"] == 1.0
    assert validate(RunConfig, recipe.resolved) == recipe.config


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "the recipe is empty"),
        ("# only a comment\n", "the recipe is empty"),
        ("[1, 2]", "this is a list"),
        ("hello", "this is a single value"),
        ("\tseed: 1", "line 1, column 1: a tab. YAML indents with spaces."),
        ("data:\n\tname: x", "line 2, column 1: a tab"),
        ("a: b: c", "line 1, column 5: not YAML"),
        ("seed: 1\ndata: {name: a, name: b}", "data.name: the key stands on line 2 and on line 2."),
        ("seed: 1\nseed: 1", "seed: the key stands on line 1 and on line 2."),
        ("1: 2", "the key 1 is no text. Put it in quotes."),
        ("a: {b: ???}", "line 1, column 8: ??? in braces or brackets needs quotes"),
        ("a: &a [*a]", "levels deep"),
        ("a: " + "[" * 3000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [x]", "line 1, column 4: not YAML"),
        ("a: !!binary aGVsbG8=", "a: a bytes is no value of a recipe."),
        ("a: 1\n---\nb: 2", "line 2, column 1: not YAML"),
        ("seed: " + "9" * 5000, "not YAML that a recipe may hold"),
        ("a: ${", "a: "),
        ("a: " + ", ".join(f"&x{i} [" + ", ".join([f"*x{i - 1}"] * 10) + "]" for i in range(1, 2)), "not YAML"),
    ],
)
def test_text_that_is_no_recipe_gives_one_message(write, text: str, fragment: str) -> None:
    path = write(text)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert fragment in message


def test_aliases_that_multiply_are_refused(write) -> None:
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "more than 10000 values" in refusal(write("\n".join(levels)))


def test_scientific_notation_is_a_number(small) -> None:
    assert small("train.0.optimiser.lr=1e-3").config.train[0].optimiser.lr == 0.001


def test_a_path_that_is_no_readable_file_gives_one_message(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\x89PNG\r\n\xff")
    (tmp_path / "zero.yaml").write_bytes(b"seed: 1\0")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (5 * 2**20))
    assert "no such file, and no shipped recipe" in refusal(str(tmp_path / "absent.yaml"))
    assert "this is a folder" in refusal(str(tmp_path))
    assert "not a text file (byte 0 is no UTF-8)" in refusal(str(tmp_path / "binary.yaml"))
    assert "zero byte" in refusal(str(tmp_path / "zero.yaml"))
    assert "a recipe is a short YAML file" in refusal(str(tmp_path / "huge.yaml"))
    assert "no such file" in refusal("a\0b")


def test_a_folder_with_a_recipe_in_it_is_pointed_to(write) -> None:
    path = Path(write("seed: 1"))
    assert f"Did you mean '{path}'?" in refusal(str(path.parent))


def test_a_byte_order_mark_and_dos_line_ends_are_fine(tmp_path: Path, small) -> None:
    recipe = small()
    file = tmp_path / "dos.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + recipe.text.replace("\n", "\r\n").encode())
    assert read_recipe(str(file)).config == recipe.config


def test_interpolation_is_resolved(small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOGRAPHS", "/photographs")
    recipe = small("data.root=${oc.env:PHOTOGRAPHS}/a", "student.size=${train.0.batch}")
    assert recipe.config.data.options["root"] == "/photographs/a"
    assert recipe.config.student.options["size"] == 4


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        ("${nowhere}", "data.root: Interpolation key 'nowhere' not found"),
        ("${oc.env:NOT_SET_AT_ALL}", "data.root: Environment variable 'NOT_SET_AT_ALL' not found."),
        ("${shipped:none/here}", "data.root: no shipped asset 'none/here'. Shipped: "),
        ("${shipped:../../core/errors.py}", "data.root: no shipped asset"),
        ("${data.root}", "data.root: "),
        ("${unknown:x}", "data.root: "),
    ],
)
def test_an_interpolation_that_leads_nowhere_names_its_key(small, value: str, fragment: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(fragment)):
        small(f"data.root={value}")


def test_all_missing_values_are_told_with_the_override_that_gives_them(small) -> None:
    with pytest.raises(RecipeError) as caught:
        small("data.root=???", "modalities.depth.encoding='???'", "train.0.batch=0")
    message = str(caught.value)
    assert "3 problems" in message
    assert "data.root: the recipe leaves this to you (???). Give data.root=VALUE" in message
    assert "modalities.depth.encoding: the recipe leaves this to you" in message
    assert "train[0].batch: must be at least 1, got 0." in message


def test_a_missing_number_is_told_once(small) -> None:
    with pytest.raises(RecipeError) as caught:
        small("train.0.batch=???")
    assert str(caught.value).count("train[0].batch") == 1


def test_a_missing_value_is_told_before_what_points_to_it(small) -> None:
    with pytest.raises(RecipeError, match=r"data\.root: the recipe leaves this to you"):
        small("data.root=???", "student.size=${data.root}")


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("train.0.batch='4'", "train[0].batch: must be a whole number, got '4'. Remove the quotes."),
        ("train.0.batch=true", "train[0].batch: must be a whole number, got true."),
        ("train.0.batch=4.0", "train[0].batch: must be a whole number, got 4.0. Write 4."),
        ("train.0.batch=4.5", "train[0].batch: must be a whole number, got 4.5."),
        ("train.0.optimiser.lr='0.5'", "optimiser.lr: must be a number, got '0.5'. Remove the quotes."),
        ("train.0.optimiser.lr=.inf", "optimiser.lr: must be a finite number, got Infinity."),
        ("train.0.gradient_checkpointing='yes'", "must be true or false, got 'yes'."),
        ("curate.labels=[cat, no]", "curate.labels[1]: must be text, got false. Put it in quotes."),
        ("curate.labels=3", "curate.labels: must be text or a list, got 3."),
        ("curate.keep=2", "curate.keep: must be at most 1.0, got 2"),
        (
            ("curate.per_label=true", "curate.threshold=0.5"),
            "per_label is true and threshold is 0.5. A threshold is one for all labels: give per_label with keep, or",
        ),
        ("teacher=oracle", "teacher: must be a mapping of keys to values, got 'oracle'. Write {name: oracle}."),
        ("teacher=null", "teacher: must be a mapping of keys to values, got null."),
        ("teacher={model: x}", "teacher.name: is required: name of the technique"),
        ("train=[]", "train: must be at least 1 item long, got []."),
        ("train.0.steps=5", "train[0]: epochs is 2 and steps is 5. Give one of them, null the other."),
        ("train.0.optimiser.betas=[0.9]", "train[0].optimiser.betas[1]: an item is missing, got [0.9]."),
        ("train.0.optimizer.lr=1", "train[0].optimizer: unknown key. Did you mean 'optimiser'? Allowed: name, scheme"),
        ("train.0.optimiser.name=adam2", "must be one of 'adamw', 'adam', 'sgd', got 'adam2'. Did you mean 'adam'?"),
        ("modalities.RGB.name=photo", "modalities.RGB: must be text of the form"),
        ("compute.device=gpu", "got 'gpu'. It is: auto, cpu, cuda, cuda:1."),
        ("train.1={name: distil, losses: [{name: near}], steps: 1}", "two phases of train share a name: distil"),
    ],
)
def test_a_wrong_value_is_told_with_path_value_and_what_is_allowed(small, override: Any, fragment: str) -> None:
    with pytest.raises(RecipeError) as caught:
        small(*([override] if isinstance(override, str) else override))
    assert fragment in str(caught.value)
    from_several_keys = fragment.startswith(("train[0]: ", "per_label")) or "two phases" in fragment
    assert from_several_keys or "(command line)" in str(caught.value)


def test_the_line_of_a_wrong_value_is_told(write, small) -> None:
    text = small().text.replace("batch: 4", "batch: none")
    line = text[: text.index("batch: none")].count("\n") + 1
    assert f"train[0].batch: must be a whole number, got 'none'. (line {line})" in refusal(write(text))


def test_a_shipped_name_wins_and_relative_paths_start_from_the_working_directory(monkeypatch, tmp_path: Path) -> None:
    names = shipped.shipped_names()
    if not names:
        pytest.skip("no recipe ships yet")
    monkeypatch.chdir(tmp_path)
    (tmp_path / names[0]).mkdir()
    try:
        assert read_recipe(names[0]).base == tmp_path
    except RecipeError as error:
        assert "???" in str(error)
