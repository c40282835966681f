"""What a technique must look like to be taken in: type, name, API version, capability words.

Knows the record's rules; refuses to know where a record comes from. Every failure is a `PluginError` that names the
value; the loader puts the plugin's name in front.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from edgefw import __version__
from edgefw.errors import PluginError
from edgefw.registry.capabilities import CAPABILITIES, unknown_words
from edgefw.registry.kinds import Kind
from edgefw.registry.technique import API_VERSION, Technique

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def check_name(name: object) -> str:
    """The name, if it is lower-case words joined by hyphens.

    Raises:
        PluginError: if it is not.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(f"name {name!r} must be lower-case words joined by hyphens, like 'relational-kd'.")
    return name


def check_technique(kind: Kind, record: object, offered: int = API_VERSION) -> Technique[Any, Any]:
    """The record, if it is a technique of this kind that this edgefw can use.

    Args:
        kind: the kind whose hook handed it over.
        record: what the plugin registered.
        offered: the plugin API of this edgefw.

    Raises:
        PluginError: if it is not; the message holds the value and what is allowed.
    """
    if not isinstance(record, Technique):
        raise PluginError(f"register() takes an edgefw.Technique, got {type(record).__name__}.")
    check_name(record.name)
    _check_api(record, offered)
    if not (isinstance(record.config, type) and hasattr(record.config, "model_validate")):
        raise PluginError(
            f"config of '{record.name}' must be a subclass of edgefw.TechniqueConfig, got {record.config!r}."
        )
    if not callable(record.build):
        raise PluginError(f"build of '{record.name}' must be a function of (config, context), got {record.build!r}.")
    _check_words(kind, record)
    return record


def _check_api(record: Technique[Any, Any], offered: int) -> None:
    oldest = max(1, offered - 1)
    if record.api not in range(oldest, offered + 1):
        offers = str(offered) if oldest == offered else f"{oldest}-{offered}"
        raise PluginError(f"it needs plugin API {record.api}; this edgefw ({__version__}) offers {offers}.")
    if record.api < offered:
        warnings.warn(
            f"'{record.name}' is written for plugin API {record.api}; this edgefw offers {offered} and will refuse "
            f"{record.api} in the release that brings API {offered + 1}. Ask its author for an update.",
            DeprecationWarning,
            stacklevel=2,
        )


def _check_words(kind: Kind, record: Technique[Any, Any]) -> None:
    unknown = unknown_words(kind, frozenset(record.provides), frozenset(record.needs))
    if unknown:
        allowed = ", ".join(CAPABILITIES)
        raise PluginError(f"'{record.name}' uses unknown capability words: {', '.join(unknown)}. Known: {allowed}.")
