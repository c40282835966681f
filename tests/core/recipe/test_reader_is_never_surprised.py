"""Whatever stands in a file or on the command line: a valid recipe, or one error of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgefw.errors import EdgefwError
from edgefw.recipe.read import Recipe, read_recipe, validate
from edgefw.recipe.schema import RunConfig

SMALL = """\
# A recipe for tests.
seed: 1
data: {name: pile, root: there}
modalities:
  rgb: {name: photo}
  depth: {name: range, encoding: jet}
teacher: {name: oracle}
student: {name: pupil, size: 32, head: {name: straight}}
curate: {labels: [cat, dog], keep: 0.5}
train:
  - name: distil
    losses: [{name: near, weight: 1.0e-1}]
    epochs: 2
    batch: ${seed}
evaluate: {labels: [cat, dog]}
"""
FRAGMENTS = [
    "???", "${", "${seed}", "${oc.env:HOME}", "${shipped:x}", "&a", "*a", "<<: ", "!!binary ", "!!python/name:os ", "\t",
    "- ", ": ", "{", "}", "[", "]", "null", "~", ".nan", ".inf", "-.inf", "1e400", "0x1F", "1_000", "2020-01-01", "yes",
    "'", '"', "|", ">", "#", "---\n", "...\n", "%YAML 1.1\n", "? ", "\x00", "\ufeff", "\u2028", "\U0001f600", "=", "\\ud800",
    "true: 1\n", "1: 2\n", "name: x\n", "9" * 400, "  ", "\n", "\r",
]  # fmt: skip
KEYS = st.sampled_from(
    ["seed", "data", "name", "train", "0", "distil", "losses", "near", "weight", "student", "head", "modalities", "rgb"]
    + ["curate", "labels", "optimiser", "betas", "1", "export", "backends", "x", "", "a b", "[0]", "-1", "\u00e9"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.yaml"


def read(file: Path, content: str | bytes, overrides: Sequence[str] = ()) -> Recipe | None:
    """The recipe, or None after one message of ours."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        recipe = read_recipe(str(file), overrides)
    except EdgefwError as error:
        assert str(error).strip()
        assert "Traceback" not in str(error)
        return None
    assert validate(RunConfig, json.loads(json.dumps(recipe.resolved))) == recipe.config
    return recipe


def test_the_recipe_to_be_damaged_is_good(file: Path) -> None:
    assert read(file, SMALL)


@relaxed
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(file: Path, content: bytes) -> None:
    read(file, content)


@relaxed
@given(st.lists(st.tuples(st.integers(0, len(SMALL)), st.integers(0, 12), st.sampled_from(FRAGMENTS)), max_size=4))
@example([(len(SMALL), 0, "zzz: &a [*a]\n")])
@example([(8, 1, "9" * 5000)])
def test_a_damaged_recipe(file: Path, cuts: list[tuple[int, int, str]]) -> None:
    text = SMALL
    for at, length, fragment in cuts:
        text = text[:at] + fragment + text[at + length :]
    read(file, text)


@relaxed
@given(st.dictionaries(st.sampled_from(sorted(RunConfig.model_fields)), VALUES, max_size=4))
def test_any_values_in_any_section(file: Path, sections: dict[str, Any]) -> None:
    read(file, SMALL + "\n")
    overrides = [f"{key}={json.dumps(value)}" for key, value in sections.items()]
    read(file, SMALL, overrides)


@relaxed
@given(
    st.lists(
        st.tuples(st.lists(KEYS, min_size=1, max_size=5), st.sampled_from(FRAGMENTS) | st.text(max_size=8)), max_size=3
    )
)
@example([(["train", "0", "losses", "5", "name"], "x")])
@example([(["student"], "null"), (["student", "head", "name"], "x")])
@example([(["train"], "null"), (["train", "0", "batch"], "1")])
@example([(["modalities"], "[]"), (["modalities", "rgb"], "1")])
@example([(["data"], "${student}")])
@example([(["data", "root"], "${data.root}")])
def test_any_overrides(file: Path, pairs: list[tuple[list[str], str]]) -> None:
    read(file, SMALL, [f"{'.'.join(keys)}={value}" for keys, value in pairs])


@relaxed
@given(st.text(max_size=30))
def test_any_override_text(file: Path, text: str) -> None:
    read(file, SMALL, [text])


@relaxed
@given(st.text(max_size=40))
@example("a" * 300)
@example("\x00")
@example("~nobody/x")
@example("")
@example(".")
@example("~\x00")
def test_any_path(text: str) -> None:
    with pytest.raises(EdgefwError):
        read_recipe(text + ".yaml" if text.isalnum() else text)


@pytest.mark.parametrize("value", [".nan", ".inf", "[1.0, -.inf]", "{deep: [.nan]}"])
def test_an_option_that_is_no_finite_number_is_refused(file: Path, value: str) -> None:
    with pytest.raises(EdgefwError, match="seed: a recipe holds finite numbers, neither nan nor inf"):
        read_recipe("quickstart", [f"data.seed={value}"])
