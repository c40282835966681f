"""The text of a recipe: YAML to plain values, and the line each key stands on.

OmegaConf reads the values (so that `1e-3` is a number and `${...}` is understood); the node graph that PyYAML composes
gives the lines, and is checked first: one mapping, no key twice, no runaway aliases. It knows no key of a recipe.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from edgefw.errors import RecipeError
from edgefw.recipe.keys import Path, written

_MOST_NODES = 10_000
_DEEPEST = 60
_UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, RecursionError, ArithmeticError, OSError)


def parse(text: str, source: str) -> tuple[dict[str, Any], dict[Path, str]]:
    """Plain values with interpolations unresolved, and `line 12` by key path.

    Raises:
        RecipeError: if the text is no YAML mapping; the message starts with `source`.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        places = _places(root, source)
        return _plain(OmegaConf.load(io.StringIO(text)), source), places
    except _UNREADABLE as error:
        raise RecipeError(f"{source}: {_reason(error, text)}") from error


def parse_value(text: str, source: str) -> Any:
    """One value as the command line gives it, read by the rules of the recipe's YAML.

    Raises:
        RecipeError: if it is no YAML value; the message starts with `source`.
    """
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index,call-overload]
        _check(value, source)
        return value
    except _UNREADABLE as error:
        raise RecipeError(f"{source}: {_reason(error, text)}") from error


def resolve(data: dict[str, Any], source: str) -> dict[str, Any]:
    """Plain values with every `${...}` replaced.

    Raises:
        RecipeError: if an interpolation points nowhere; the message names its key.
    """
    try:
        return _plain(OmegaConf.create(data), source, resolve=True)
    except _UNREADABLE as error:
        raise RecipeError(f"{source}: {_reason(error)}") from error


def _plain(config: Any, source: str, resolve: bool = False) -> dict[str, Any]:
    data = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=resolve))
    _check(data, source)
    return data


def _check(data: Any, source: str) -> None:
    for path, value in _leaves(data, (), source):
        where = f"{source}: {written(path)}" if path else source
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise RecipeError(f"{where}: a {type(value).__name__} is no value of a recipe.")
        if isinstance(value, str) and "\0" in value:
            raise RecipeError(f"{where}: the text holds a zero byte.")


def _leaves(value: Any, path: Path, source: str) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                where = written((*path, str(key)))
                raise RecipeError(f"{source}: {where}: the key {key!r} is no text. Put it in quotes.")
            yield from _leaves(child, (*path, key), source)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index), source)
    else:
        yield path, value


def _places(root: yaml.Node | None, source: str) -> dict[Path, str]:
    if root is None:
        raise RecipeError(f"{source}: the recipe is empty. `edgefw init` writes one for your data.")
    if not isinstance(root, yaml.MappingNode):
        what = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise RecipeError(f"{source}: a recipe is a mapping of keys (data, teacher, ...), this is {what}.")
    places: dict[Path, str] = {}
    for count, (path, node) in enumerate(_nodes(root, (), source)):
        if count > _MOST_NODES:
            raise RecipeError(f"{source}: more than {_MOST_NODES} values. Put long lists (labels) into files.")
        places[path] = f"line {node.start_mark.line + 1}"
    return places


def _nodes(node: yaml.Node, path: Path, source: str) -> Iterator[tuple[Path, yaml.Node]]:
    if len(path) > _DEEPEST:
        raise RecipeError(f"{source}: line {node.start_mark.line + 1}: more than {_DEEPEST} levels deep.")
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                twice = written((*path, name))
                raise RecipeError(f"{source}: {twice}: the key stands on line {seen[name]} and on line {line}.")
            seen[name] = line
            yield (*path, name), key
            yield from _nodes(value, (*path, name), source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value
            yield from _nodes(value, (*path, index), source)


def _reason(error: BaseException, text: str = "") -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply."
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return _marked(error, error.problem_mark, text)
    key = getattr(error, "full_key", None)
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    first = re.sub(r"^\w+ raised while resolving interpolation: ", "", first).strip('."') + "."
    return f"{key}: {first}" if key else f"not YAML that a recipe may hold: {first}"


def _marked(error: yaml.MarkedYAMLError, mark: yaml.Mark, text: str) -> str:
    where = f"line {mark.line + 1}, column {mark.column + 1}"
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    if rest.startswith("\t"):
        return f"{where}: a tab. YAML indents with spaces."
    if rest.startswith("???"):
        return f"{where}: ??? in braces or brackets needs quotes. Write '???'."
    return f"{where}: not YAML: {error.problem or error.context}."
