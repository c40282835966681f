"""What is installed: technique names from entry points, without importing one of them.

It reads distribution metadata and the first lines of files, and refuses to know what a technique is: no plugin module,
and no parent package of one, is executed here. `EDGEFW_PLUGINS` (distributions, separated by commas) limits what is
seen; when it is set but empty, that is edgefw's own techniques only.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from edgefw.errors import EdgefwWarning
from edgefw.registry.kinds import OBSERVER_GROUP, Kind
from edgefw.registry.source_files import first_docstring_line, module_file

FIRST_PARTY = "edgefw"
ALLOW_LIST = "EDGEFW_PLUGINS"

_GROUPS: dict[str, Kind | None] = {**{kind.group: kind for kind in Kind}, OBSERVER_GROUP: None}


def canonical(name: str) -> str:
    """A name for comparison: `_`, `.` and `-` are equal, and so are capitals and small letters."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class PluginRef:
    """One entry point: a name that somebody offers, and where it would be imported from.

    Attributes:
        kind: what it offers; None for an observer of runs.
        name: the entry point's name, which is the technique's name.
        module: dotted name of the module.
        distribution: name of the installed distribution.
        version: its version.
        status: "ok"; "clash" when another distribution offers the same name; "missing" when there is no such module.
        file: the module's file, None when missing.
    """

    kind: Kind | None
    name: str
    module: str
    distribution: str
    version: str
    status: str
    file: Path | None = None

    @property
    def qualified(self) -> str:
        """The spelling that is always allowed: distribution without `edgefw-`, colon, name ("acme:cosine")."""
        return f"{short_name(self.distribution)}:{self.name}"

    @property
    def source(self) -> str:
        """Distribution and version, as tables and messages print them."""
        return f"{self.distribution} {self.version}"


def short_name(distribution: str) -> str:
    """A distribution's name without the `edgefw-` prefix, in canonical spelling."""
    return canonical(distribution).removeprefix("edgefw-")


def kind_word(kind: Kind | None) -> str:
    """The word for a kind in tables and JSON; observers are not techniques, but are listed beside them."""
    return kind.value if kind else "observer"


def installed(kind: Kind | None = None, *, everything: bool = False) -> list[PluginRef]:
    """All entry points of edgefw's groups, sorted by kind and name; of one kind when given.

    Args:
        kind: only this kind; None for all, observers included.
        everything: look past `EDGEFW_PLUGINS`.
    """
    refs = [
        ref for distribution in _distributions() if everything or _allowed(distribution) for ref in _refs(distribution)
    ]
    counts = Counter((ref.kind, canonical(ref.name)) for ref in refs)
    marked = [_mark(ref, counts[ref.kind, canonical(ref.name)]) for ref in refs if kind in (None, ref.kind)]
    order = [*Kind, None]
    return sorted(marked, key=lambda ref: (order.index(ref.kind), canonical(ref.name), canonical(ref.distribution)))


def summary(ref: PluginRef) -> str:
    """The first line of the module's docstring, read without importing anything; "" if there is none."""
    return first_docstring_line(ref.file) if ref.file else ""


def _mark(ref: PluginRef, offers: int) -> PluginRef:
    file = module_file(ref.module)
    if file is None:
        return replace(ref, status="missing")
    clash = offers > 1 and ref.kind is not None
    return replace(ref, status="clash" if clash else "ok", file=file)


def _distributions() -> Iterator[metadata.Distribution]:
    """The distributions that mention an edgefw group; of two with one name, the one that Python would import."""
    names: dict[str, str] = {}
    for distribution in metadata.distributions():
        if "edgefw." in _entry_points_text(distribution):
            name = distribution.metadata["Name"]
            if name:
                names.setdefault(canonical(name), name)
    for name in names.values():
        yield metadata.distribution(name)


def _entry_points_text(distribution: metadata.Distribution) -> str:
    """The text of `entry_points.txt`; "" where there is none, or none that can be read."""
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeError):
        return ""


def _allowed(distribution: metadata.Distribution) -> bool:
    listed = os.environ.get(ALLOW_LIST)
    if listed is None:
        return True
    name = canonical(distribution.metadata["Name"])
    allowed = {canonical(word.strip()) for word in listed.split(",") if word.strip()}
    return name == FIRST_PARTY or name in allowed or short_name(name) in allowed


def _refs(distribution: metadata.Distribution) -> list[PluginRef]:
    name, version = distribution.metadata["Name"], distribution.version
    try:
        points = [point for point in distribution.entry_points if point.group in _GROUPS]
    except Exception as error:  # noqa: BLE001 - a damaged file of one distribution must not hide all others
        warnings.warn(f"{name} {version}: its entry points cannot be read ({error}).", EdgefwWarning, stacklevel=2)
        return []
    return [PluginRef(_GROUPS[point.group], point.name, point.value.strip(), name, version, "ok") for point in points]
