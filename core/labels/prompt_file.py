"""Reads what a label pack is built from: prompt lists and triggers in YAML, or plain text with one label name a line."""

from __future__ import annotations

from pathlib import Path

import yaml

from edgefw.errors import BundleError
from edgefw.labels.names import read_label_names
from edgefw.labels.prompt_list import PromptLabel, PromptList, parse_prompts

LARGEST = 2**20
"""A file beyond so many bytes is no prompt list, and no trigger."""
_UNREADABLE = (
    yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError
)  # fmt: skip


def read_prompts(path: Path) -> PromptList:
    """The prompt list in a file; a text file gives names only, repeated ones included.

    Raises:
        BundleError: if a YAML file cannot be read, or is no prompt list.
        RecipeError: if a text file cannot be read, or holds no name.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        names = read_label_names(str(path), Path.cwd(), "--file")
        return PromptList(labels=[PromptLabel(name=name) for name in names])
    return parse_prompts(read_yaml(path, "prompt list"), str(path))


def read_yaml(path: Path, what: str) -> object:
    """Plain values of a YAML file, in which no key may stand twice.

    Args:
        what: what the file is to be, for messages.

    Raises:
        BundleError: if it cannot be read, is too large, or no YAML.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise BundleError(f"{path}: {path.stat().st_size} bytes is too large for a {what}.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: no UTF-8 text. Save it as UTF-8.") from error
    return load(text, str(path))


def load(text: str, where: str) -> object:
    """Plain values of a YAML text, in which no key may stand twice.

    Raises:
        BundleError: if it is no YAML, in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except _UNREADABLE as error:
        raise BundleError(f"{where}: {_reason(error)}") from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that stands twice, of which the last would be taken."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands twice", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        values: dict[object, object] = super().construct_mapping(node, deep)
        return values


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "no YAML that can be read (nested too deeply)."
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        place = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
        return f"{place}: no YAML ({' '.join(str(error.problem or error.context).split())})."
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"no YAML ({first})."
