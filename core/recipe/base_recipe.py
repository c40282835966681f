"""`base: NAME`: a recipe that says only what differs from another one.

    base: edgevl                               a shipped recipe, or a file: base: ../ours.yaml
    student: {model: vit_small_patch16_224}    mappings are laid over the base's
    train: {align: {batch: 8}}                 an item of a list by its `name` (or "1", its position)
    curate: null                               anything else takes the place of what the base says, lists included
    modalities: {depth: null}                  null takes an item of a list, or a modality, away

Naming another technique drops the base's options of the former one, as on the command line. A base may have a base.
Interpolations are resolved when everything lies together. This module knows no technique.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefw.errors import RecipeError
from edgefw.recipe import keys
from edgefw.recipe.addressing import forget_options, is_removable, position, remove
from edgefw.recipe.files import find, text_of
from edgefw.recipe.messages import shown
from edgefw.recipe.yaml_text import parse

KEY = "base"
_LONGEST_CHAIN = 20

Places = dict[keys.Path, str]


@dataclass
class _Laid:
    """Values and places of the base, changed in place by what `source` writes over them."""

    places: Places
    above: Mapping[keys.Path, str]
    source: str
    removed: list[keys.Path] = field(default_factory=list)


def read_values(text: str, source: str, file: Path) -> tuple[dict[str, Any], Places]:
    """Plain values of a recipe, laid over those of its base if it names one, and where each was written.

    Args:
        text: the recipe's YAML.
        source: its name or path as the user gave it; messages start with it.
        file: where it lies; a relative path of a base starts from its folder.

    Raises:
        RecipeError: if this or a base is no recipe, cannot be found, or is its own base.
    """
    return _read(text, source, file, ())


def _read(text: str, source: str, file: Path, chain: tuple[tuple[str, Path], ...]) -> tuple[dict[str, Any], Places]:
    data, places = parse(text, source)
    named = data.pop(KEY, None)
    line = places.pop((KEY,), "")
    if named is None:
        return data, places
    chain = (*chain, (source, file.absolute().resolve()))
    below, below_places = _base(named, line, file, chain)
    laid = _Laid(places=below_places, above=places, source=source)
    _lay(below, data, (), (), laid)
    remove(below, laid.removed, laid.places)
    return below, laid.places


def _base(named: Any, line: str, file: Path, chain: tuple[tuple[str, Path], ...]) -> tuple[dict[str, Any], Places]:
    source = chain[-1][0]
    if not isinstance(named, str) or not named:
        raise RecipeError(
            f"{source}: {KEY}: must be the name of a shipped recipe or the path of a YAML file, got {shown(named)}. ({line})"
        )
    try:
        path, _ = find(named, file.absolute().parent)
        text = text_of(path, named)
    except RecipeError as error:
        raise RecipeError(f"{source}: {KEY}: {error} ({line})") from error
    seen = [resolved for _, resolved in chain]
    if path.absolute().resolve() in seen or len(chain) > _LONGEST_CHAIN:
        way = " -> ".join([*(name for name, _ in chain), named])
        raise RecipeError(f"{source}: {KEY}: a recipe cannot be its own base: {way}. ({line})")
    data, places = _read(text, named, path, chain)
    return data, {key: place if ", line" in place else f"{named}, {place}" for key, place in places.items()}


def _lay(below: Any, above: Mapping[str, Any], path: keys.Path, as_written: keys.Path, laid: _Laid) -> None:
    """Write the mapping `above` over the mapping or list `below`, which stands at `path`."""
    if isinstance(below, dict) and "name" in above:
        for key in forget_options(below, path, above["name"]):
            _forget_places((*path, key), laid)
    for key, value in above.items():
        place = laid.above.get((*as_written, key), "")
        step = key if isinstance(below, dict) else _position(below, key, path, place, laid)
        here, written = (*path, step), (*as_written, key)
        if isinstance(value, Mapping) and isinstance(keys.value_at(below, (step,)), (dict, list)):
            _lay(below[step], value, here, written, laid)
            continue
        if value is None and is_removable(here):
            _check_it_is_there(below, step, here, place, laid)
            laid.removed.append(here)
            continue
        _forget_places(here, laid)
        laid.places |= {
            (*here, *at[len(written) :]): text for at, text in laid.above.items() if at[: len(written)] == written
        }
        if isinstance(below, list) and step == len(below):
            below.append(value)
        else:
            below[step] = value


def _position(items: list[Any], part: str, path: keys.Path, place: str, laid: _Laid) -> int:
    try:
        return position(items, part, path, laid.source, appending=True)
    except RecipeError as error:
        raise RecipeError(f"{error} ({place})" if place else str(error)) from error


def _check_it_is_there(below: Any, step: str | int, path: keys.Path, place: str, laid: _Laid) -> None:
    if not keys.holds(below, step):
        raise RecipeError(
            f"{laid.source}: {keys.written(path)}: null takes away what the base has, and it has none. ({place})"
        )


def _forget_places(path: keys.Path, laid: _Laid) -> None:
    for known in [known for known in laid.places if known[: len(path)] == path]:
        del laid.places[known]
