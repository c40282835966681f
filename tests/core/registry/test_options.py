"""Options as rows and as YAML: whatever the default, the block reads back as it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pydantic import Field

import edgefw
from edgefw.registry.kinds import Kind
from edgefw.registry.options import options, type_in_words, yaml_block, yaml_value

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda text: "${" not in text and text != "???"
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(PLAIN)
def test_a_plain_value_reads_back_as_itself(value) -> None:
    line = f"key: {yaml_value(value)}  # a comment"
    assert "\n" not in line
    assert OmegaConf.to_container(OmegaConf.create(line))["key"] == value


@pytest.mark.parametrize(
    "word", ["yes", "No", "null", "TRUE", "~", "1e5", "0x10", "a: b", "a #b", "-", "", " a", "012", "1_000"]
)
def test_texts_that_yaml_takes_for_something_else_are_quoted(word: str) -> None:
    assert OmegaConf.to_container(OmegaConf.create(f"key: {yaml_value(word)}"))["key"] == word


class Nested(edgefw.TechniqueConfig):
    """Inner options."""

    mean: tuple[float, float] = Field(description="two numbers")


class Config(edgefw.TechniqueConfig):
    """Options of every sort."""

    model: str = Field(description="a name")
    inner: Nested | None = Field(default=None, description="inner options")
    pair: tuple[int, str] = Field(default=(1, "a"), description="a pair")
    ratio: float = Field(default=0.5, gt=0, lt=1, description="a ratio")
    made: list[int] = Field(default_factory=lambda: [1, 2], description="made anew")


TECHNIQUE = edgefw.Technique(name="x", config=Config, build=lambda config, context: None)


def test_rows_have_types_in_words() -> None:
    assert [(row.name, row.type, row.required, row.default) for row in options(TECHNIQUE)] == [
        ("model", "text", True, None),
        ("inner", "mapping or null", False, None),
        ("pair", "[integer, text]", False, [1, "a"]),
        ("ratio", "number > 0 and < 1", False, 0.5),
        ("made", "list of integer", False, [1, 2]),
    ]


@pytest.mark.parametrize("kind", Kind)
def test_the_block_stands_where_the_kind_stands_in_a_recipe(kind: Kind) -> None:
    block = OmegaConf.to_container(OmegaConf.create(yaml_block(kind, TECHNIQUE)), throw_on_missing=False)
    (key, piece), *rest = block.items()
    piece = piece["x"] if kind is Kind.MODALITY else piece
    piece = piece[0] if isinstance(piece, list) else piece
    assert not rest and piece == {
        "name": "x",
        "model": "???",
        "inner": None,
        "pair": [1, "a"],
        "ratio": 0.5,
        "made": [1, 2],
    }
    assert key in (
        "teacher",
        "student",
        "head",
        "losses",
        "scheme",
        "sampler",
        "views",
        "quantizers",
        "modalities",
        "data",
        "backends",
    )


@pytest.mark.parametrize(
    "schema, words",
    [
        ({"enum": ["a", "no", 3]}, 'a | "no" | 3'),
        ({"const": "a"}, "a"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "integer >= 1 or null"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"type": "boolean"}, "true | false"),
        ({}, "any value"),
        ({"$ref": "#/$defs/Colour"}, "red"),
    ],
)
def test_a_schema_is_said_in_words(schema, words) -> None:
    assert type_in_words(schema, {"Colour": {"const": "red"}}) == words
