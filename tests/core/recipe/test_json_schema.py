"""The JSON schema: it knows every technique's options, and every reference in it leads somewhere."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from edgefw.recipe.json_schema import PLACES, recipe_schema
from edgefw.recipe.schema import RunConfig
from edgefw.registry.kinds import Kind


@pytest.fixture(scope="module")
def schema(registry) -> dict[str, Any]:
    schema, left_out = recipe_schema(registry)
    assert left_out == []
    return schema


def test_every_reference_leads_somewhere_and_none_to_a_bare_piece(schema) -> None:
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(schema)))
    assert references <= {f"#/$defs/{name}" for name in schema["$defs"]}
    assert not [name for name in references if name.endswith("Piece")]


def test_every_kind_stands_somewhere_and_lists_its_techniques(schema) -> None:
    assert {kind for places in PLACES.values() for kind in places.values()} == set(Kind)
    losses = {variant["properties"]["name"]["const"]: variant for variant in schema["$defs"]["loss"]["oneOf"]}
    assert set(losses) >= {"near", "attentive", "labelled"}
    assert {"weight", "projector", "power", "temperature", "name"} == set(losses["near"]["properties"])
    assert losses["near"]["properties"]["temperature"]["exclusiveMinimum"] == 0


def test_keys_of_the_recipe_keep_their_descriptions_and_ranges(schema) -> None:
    recipe = schema["$defs"]["recipe"]
    assert set(recipe["properties"]) == set(RunConfig.model_fields)
    assert recipe["properties"]["seed"]["minimum"] == 0
    assert schema["$defs"]["Phase"]["properties"]["batch"]["description"]


def test_real_recipes_validate_and_wrong_ones_do_not(schema, small) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    resolved = small().resolved
    assert list(validator.iter_errors(resolved)) == []
    for path, value in [
        (("student", "size"), 65),
        (("student", "sise"), 8),
        (("train", 0, "losses", 0, "name"), "feature2"),
        (("train", 0, "batch"), "4"),
        (("modalities", "RGB"), {"name": "photo"}),
        (("data",), {"name": "pile"}),
    ]:
        changed = json.loads(json.dumps(resolved))
        here = changed
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = value
        assert list(validator.iter_errors(changed)), path


def test_a_label_is_a_key_of_export_alone(schema, small) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema)
    labelled = [{"name": "after"}, {"name": "after", "label": "tails"}]
    right = small().resolved
    right["export"] |= {"quantizers": labelled, "backends": [{"name": "file", "label": "b"}]}
    assert list(validator.iter_errors(right)) == []
    wrong = small("train.0.quantizer={name: during}").resolved
    wrong["train"][0]["quantizer"]["label"] = "tails"
    assert list(validator.iter_errors(wrong))


def test_a_recipe_with_a_base_may_say_as_little_as_it_likes(schema) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema)
    right = [
        {"base": "edgevl"},
        {"base": "../ours.yaml", "student": {"size": 16}, "curate": None, "verify": {"max_ms": 3}},
        {"base": "edgevl", "train": {"distil": {"losses": {"near": {"weight": 2}}}}},
    ]
    wrong = [{"base": 5}, {"base": ""}, {"base": "edgevl", "studend": {}}, {"base": "edgevl", "seed": -1}, {"seed": 1}]
    assert [list(validator.iter_errors(recipe)) for recipe in right] == [[]] * len(right)
    assert all(list(validator.iter_errors(recipe)) for recipe in wrong)


def test_a_technique_that_cannot_be_loaded_is_left_out_and_named() -> None:
    from edgefw.registry.discovery import PluginRef
    from edgefw.registry.loading import Registry

    broken = PluginRef(Kind.LOSS, "broken", "no_such_module_at_all", "acme", "1.0", "ok")
    schema, left_out = recipe_schema(Registry([broken]))
    assert "loss 'broken' (acme 1.0" in left_out[0]
    assert "oneOf" not in schema["$defs"]["loss"]
