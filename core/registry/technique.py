"""The record a plugin hands over, and what its build function is given.

A technique is a name, a config model, a build function and the words it provides and needs. This module imports
neither pydantic nor torch, so that listing and refusing plugins stays fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from edgefw.contracts.student import StudentSpec
    from edgefw.contracts.teacher import TeacherSpec
    from edgefw.registry.config import TechniqueConfig
    from edgefw.registry.kinds import Kind

API_VERSION = 1
"""The plugin API that this edgefw offers; `Technique.api` says what an author wrote for."""

ConfigT = TypeVar("ConfigT", bound="TechniqueConfig")
BuiltT = TypeVar("BuiltT")


def silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What a build function may know beyond its own options.

    Attributes:
        path: where the piece stands in the recipe ("train[0].losses[1]"); every error message starts with it.
        base: folder that relative paths of the recipe start from.
        cache: folder for what may be made again (drawn scenes, indexes); exists.
        seed: the run's seed.
        teacher: the teacher's numbers, once it is built; None while the teacher itself is built or without one.
        student: the student's numbers, once it is built.
        modalities: names of the recipe's modalities, in order.
        inner: pieces of the techniques that the options name, built, in the order of `Technique.inner`.
        say: tells the user, in one line, of work that takes a while; silent where nobody listens.
    """

    path: str = ""
    base: Path = field(default_factory=Path.cwd)
    cache: Path = field(default_factory=Path.cwd)
    seed: int = 0
    teacher: TeacherSpec | None = None
    student: StudentSpec | None = None
    modalities: tuple[str, ...] = ()
    inner: tuple[Any, ...] = ()
    say: Callable[[str], None] = silent

    def resolve(self, path: str | Path) -> Path:
        """An absolute path; relative ones start from the recipe's folder, `~` is the home folder."""
        return (self.base / os.path.expanduser(path)).absolute()


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A technique that the options of another one name.

    Attributes:
        keys: where it stands below them: ("members", 0).
        kind: what it is.
        name: which one.
        options: its own options, as plain values.
        must: words of its kind that it must provide.
    """

    keys: tuple[str | int, ...]
    kind: Kind
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    must: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Technique(Generic[ConfigT, BuiltT]):
    """One technique, as its module registers it.

    Attributes:
        name: equal to the entry-point name; lower-case words joined by hyphens.
        config: a frozen pydantic model (`edgefw.TechniqueConfig`): the only schema there is.
        build: makes the piece from a validated config and a context.
        api: the plugin API the module was written for.
        provides: words of the technique's own kind ("embedding"); the most that any config provides.
        needs: full words ("teacher.tokens") that another chosen piece must provide.
        provides_for: what one config provides, where that is less than `provides` (a ResNet has no tokens).
        needs_for: what one config needs, where that depends on it.
        channels_for: of a scheme: how many channels it takes of a modality, by name, where that is not the student's number.
        inner: the techniques that a config names; they are found, checked and built first, see `BuildContext.inner`.
        requires: import names that must be importable before `build`.
        install: shown when one of them is missing: `pip install "edgefw[train]"`.
        paper: arXiv id, DOI or citation of the source; empty for plumbing.
        licence: licence of weights or data the technique brings; empty when it brings none.
    """

    name: str
    config: type[ConfigT]
    build: Callable[[ConfigT, BuildContext], BuiltT]
    api: int = API_VERSION
    provides: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    provides_for: Callable[[ConfigT], frozenset[str]] | None = None
    needs_for: Callable[[ConfigT], frozenset[str]] | None = None
    channels_for: Callable[[ConfigT], Mapping[str, int]] | None = None
    inner: Callable[[ConfigT], Sequence[Inner]] | None = None
    requires: tuple[str, ...] = ()
    install: str = ""
    paper: str = ""
    licence: str = ""

    def provided(self, config: ConfigT) -> frozenset[str]:
        """The words this config provides."""
        return self.provides_for(config) if self.provides_for else self.provides

    def needed(self, config: ConfigT) -> frozenset[str]:
        """The full words this config needs."""
        return self.needs_for(config) if self.needs_for else self.needs

    def channels(self, config: ConfigT) -> Mapping[str, int]:
        """Modality -> channels that this config takes of it; the student's number of any other."""
        return self.channels_for(config) if self.channels_for else {}


Register = Callable[[Technique[Any, Any]], None]
"""What a registration hook is given: call it once per technique."""

Options = Mapping[str, Any]
"""A piece's section of the recipe, as plain Python values."""
