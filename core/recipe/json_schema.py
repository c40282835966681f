"""The JSON schema of recipes, with the options of every installed technique by name; for editors and other programs.

It describes a recipe after interpolation. Everything comes from pydantic models: the recipe's own, and each technique's
config. This module knows where kinds stand in a recipe, and no technique.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefw.errors import EdgefwError
from edgefw.recipe.base_recipe import KEY
from edgefw.recipe.schema import ExportPiece, LossPiece, Piece, RunConfig, StudentPiece
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.registry.technique import Technique

DIALECT = "https://json-schema.org/draft/2020-12/schema"

PLACES: dict[str, dict[str, Kind]] = {
    "RunConfig": {
        "data": Kind.DATASET,
        "modalities": Kind.MODALITY,
        "teacher": Kind.TEACHER,
        "student": Kind.STUDENT,
    },
    "StudentPiece": {"head": Kind.PROJECTOR},
    "LossPiece": {"projector": Kind.PROJECTOR},
    "Phase": {
        "scheme": Kind.SCHEME,
        "views": Kind.VIEW,
        "sampler": Kind.SAMPLER,
        "losses": Kind.LOSS,
        "quantizer": Kind.QUANTIZER,
    },
    "Export": {"backends": Kind.BACKEND, "quantizers": Kind.QUANTIZER},
}
"""Model -> key -> which kind of technique stands there."""

_HEAD: dict[str, Any] = {
    "$schema": DIALECT,
    "title": "edgefw recipe",
    "description": "A whole recipe, or one that names a base and says what differs.",
    "type": "object",
    "if": {"required": [KEY]},
    "then": {"$ref": "#/$defs/changes"},
    "else": {"$ref": "#/$defs/recipe"},
}

_OWN: dict[Kind, type[Piece]] = {Kind.STUDENT: StudentPiece, Kind.LOSS: LossPiece, Kind.BACKEND: ExportPiece}

_EXPORTED = f"{Kind.QUANTIZER}-of-export"
"""Where quantizers of `export` are described, which may have a label; those of a phase have none."""


def recipe_schema(registry: Registry) -> tuple[dict[str, Any], list[str]]:
    """The schema, and one line about each technique that could not be loaded and is left out.

    Techniques that are installed twice stand under their qualified names.
    """
    schema = RunConfig.model_json_schema()
    definitions: dict[str, Any] = schema.pop("$defs")
    own = {name: definitions.pop(name) for name in ("Piece", "StudentPiece", "LossPiece", "ExportPiece")}
    models = {"RunConfig": schema, **own, **definitions}
    for model, places in PLACES.items():
        for key, kind in places.items():
            models[model]["properties"][key] = _pointing_to(models[model]["properties"][key], kind)
    schema["properties"]["modalities"]["additionalProperties"] = False
    definitions |= {"recipe": schema, "changes": _changes(schema)}
    left_out: list[str] = []
    for kind in Kind:
        definitions[str(kind)] = _kind_schema(kind, registry, own, definitions, left_out)
    definitions[_EXPORTED] = _labelled(definitions[str(Kind.QUANTIZER)], own["ExportPiece"])
    return {**_HEAD, "$defs": definitions}, left_out


def _changes(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with a base: every key as in a recipe, or a part of what the base says."""
    part = {"type": "object", "description": "laid over the base; items of lists by name"}
    keys = {
        key: {"description": value.get("description", ""), "anyOf": [value, part]}
        for key, value in recipe["properties"].items()
    }
    base = {"type": "string", "minLength": 1, "description": "shipped recipe, or file, that this one changes"}
    return {
        "description": "What differs from another recipe.",
        "type": "object",
        "properties": {KEY: base, **keys},
        "required": [KEY],
        "additionalProperties": False,
    }


def _pointing_to(part: Any, kind: Kind) -> Any:
    """The part of a schema with every reference to a piece replaced by one to a kind."""
    if isinstance(part, Mapping):
        replaced = {key: _pointing_to(value, kind) for key, value in part.items()}
        reference = str(part.get("$ref", ""))
        if reference.endswith("Piece"):
            exported = kind is Kind.QUANTIZER and reference.endswith("ExportPiece")
            replaced["$ref"] = f"#/$defs/{_EXPORTED if exported else kind}"
        return replaced
    return [_pointing_to(item, kind) for item in part] if isinstance(part, list) else part


def _kind_schema(
    kind: Kind, registry: Registry, own: Mapping[str, Any], definitions: dict[str, Any], left_out: list[str]
) -> dict[str, Any]:
    model = _OWN.get(kind, Piece)
    common = own[model.__name__]["properties"]
    variants = []
    for ref in registry.refs(kind):
        name = ref.qualified if ref.status == "clash" else ref.name
        try:
            technique = registry.load_ref(ref)
        except EdgefwError as error:
            left_out.append(str(error))
            continue
        variants.append(_variant(kind, name, technique, common, definitions))
    return {"description": f"a {kind} by name", "oneOf": variants} if variants else own[model.__name__]


def _labelled(quantizer: Mapping[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    """The schema of a quantizer, with the keys that an entry of `export` has beside its options."""
    if "oneOf" not in quantizer:
        return piece
    variants = [{**own, "properties": {**piece["properties"], **own["properties"]}} for own in quantizer["oneOf"]]
    return {**quantizer, "oneOf": variants}


def _variant(
    kind: Kind, name: str, technique: Technique[Any, Any], common: Mapping[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    """One technique: its name, the keys that the recipe adds beside it, and its options."""
    prefix = f"{kind}-{name}-".replace(":", "-")
    options = technique.config.model_json_schema(ref_template="#/$defs/" + prefix + "{model}")
    definitions |= {prefix + model: part for model, part in options.pop("$defs", {}).items()}
    description = {"description": options["description"]} if "description" in options else {}
    return {
        "title": f"{kind} {name}",
        **description,
        "type": "object",
        "properties": {**common, **options.get("properties", {}), "name": {"const": name}},
        "required": ["name", *options.get("required", [])],
        "additionalProperties": False,
    }
