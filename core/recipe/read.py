"""A recipe as the user names it, read, overridden, resolved and validated against the recipe's own keys.

    name or path -> YAML text -> plain values, over those of its base -> overrides -> ${interpolation} -> RunConfig

Values are strict: a number is a number ('0.5' in quotes is text, `true` is no 1), a whole number is fine where a
number is asked for, lists stand for tuples. Options of techniques are carried through as they are: `compose` validates
them, because only the technique knows them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from edgefw.errors import RecipeError
from edgefw.recipe import keys, shipped
from edgefw.recipe.addressing import is_removable, remove
from edgefw.recipe.base_recipe import read_values
from edgefw.recipe.files import find, text_of
from edgefw.recipe.messages import Problem, one_message, problems_in
from edgefw.recipe.overrides import apply_overrides
from edgefw.recipe.schema import RunConfig
from edgefw.recipe.yaml_text import resolve

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Recipe:
    """A validated recipe.

    Attributes:
        config: every key of the recipe; technique options are not validated yet.
        source: name or path as the user gave it; every message starts with it.
        base: folder that relative paths start from: the YAML's, or the working directory for shipped recipes.
        name: the file's name without suffix.
        resolved: `config` as plain JSON values, with all defaults, what interpolations gave, and overrides applied.
        text: the YAML as it stands in the file.
        overrides: the command line's `key=value`s.
        places: where a key path was written, `line 12`, `edgevl, line 12` or `command line`; for messages.
    """

    config: RunConfig
    source: str
    base: Path
    name: str
    resolved: dict[str, Any]
    text: str = ""
    overrides: tuple[str, ...] = ()
    places: Mapping[keys.Path, str] = field(default_factory=dict)


def read_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name, or a YAML file by path.

    Raises:
        RecipeError: one message with every problem found: key path, value, what is allowed, the nearest spelling.
    """
    file, is_shipped = find(name_or_path)
    text = text_of(file, name_or_path)
    data, places = read_values(text, name_or_path, file)
    given = apply_overrides(data, overrides)
    places = _overlaid(places, given)
    remove(data, [path for path in given if is_removable(path) and keys.value_at(data, path) is None], places)
    missing = [Problem(path, _mandatory(path)) for path in keys.mandatory_paths(data)]
    data = _interpolated(data, name_or_path, missing, places)
    config = _validated(data, name_or_path, missing, places)
    return Recipe(
        config=config,
        source=name_or_path,
        base=Path.cwd() if is_shipped else file.absolute().parent,
        name=file.stem,
        resolved=config.model_dump(mode="json"),
        text=text,
        overrides=tuple(overrides),
        places=places,
    )


def validate(model: type[ModelT], data: Mapping[str, Any]) -> ModelT:
    """A frozen config from plain values, by the rules above.

    Raises:
        ValidationError: pydantic's own; `messages.problems_in` words it.
    """
    return model.model_validate_json(json.dumps(data), strict=True)


def _overlaid(places: Mapping[keys.Path, str], given: Mapping[keys.Path, str]) -> dict[keys.Path, str]:
    """Where values stand now: lines of the file are forgotten below a key that the command line gave."""
    kept = {path: place for path, place in places.items() if not any(path[: len(key)] == key for key in given)}
    return {**kept, **given}


def _mandatory(path: keys.Path) -> str:
    key = ".".join(str(part) for part in path)
    return f"the recipe leaves this to you (???). Give {key}=VALUE on the command line, or write it into the file."


def _interpolated(
    data: dict[str, Any], source: str, missing: list[Problem], places: Mapping[keys.Path, str]
) -> dict[str, Any]:
    _know_shipped_assets()
    try:
        return resolve(data, source)
    except RecipeError:
        if missing:  # an interpolation of a missing value fails because of that value
            raise RecipeError(one_message(source, missing, places)) from None
        raise


def _know_shipped_assets() -> None:
    """Make `${shipped:PATH}` known to OmegaConf; 2.4 renamed the function to what 2.3 called something older."""
    new = "replace" in signature(OmegaConf.register_resolver).parameters
    register = OmegaConf.register_resolver if new else OmegaConf.register_new_resolver
    register("shipped", lambda path: str(shipped.asset(str(path))), replace=True)


def _validated(data: dict[str, Any], source: str, missing: list[Problem], places: Mapping[keys.Path, str]) -> RunConfig:
    try:
        config = validate(RunConfig, data)
    except ValidationError as error:
        known = {problem.path for problem in missing}
        wrong = [problem for problem in problems_in(error, RunConfig, data) if problem.path not in known]
        raise RecipeError(one_message(source, [*missing, *wrong], places)) from error
    if missing:
        raise RecipeError(one_message(source, missing, places))
    return config
