"""The technique under test: loaded through the registry, validated and built as a run would do it.

Knows the registry and the build context, and refuses to know what any kind must be able to do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgefw.errors import RecipeError
from edgefw.registry.discovery import PluginRef
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.registry.technique import BuildContext, Technique

Options = Mapping[str, Any] | Callable[[Path], Mapping[str, Any]] | None


@dataclass(frozen=True)
class Subject:
    """One technique with the options to test it with.

    Attributes:
        kind: what it is.
        name: as a recipe would write it.
        options: its options, or a function that is given an empty folder and returns them.
        modalities: the modalities of the imagined recipe.
    """

    kind: Kind
    name: str
    options: Options = None
    modalities: tuple[str, ...] = ("rgb", "depth")

    @cached_property
    def registry(self) -> Registry:
        """What is installed."""
        return Registry()

    @cached_property
    def ref(self) -> PluginRef:
        """Its entry point."""
        return self.registry.find(self.kind, self.name)

    @cached_property
    def technique(self) -> Technique[Any, Any]:
        """Its record."""
        return self.registry.load(self.kind, self.name)

    @cached_property
    def folder(self) -> Path:
        """A temporary folder, for options that are files, and for caches."""
        return Path(self._temporary.name)

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="edgefw-kit-")

    @cached_property
    def values(self) -> dict[str, Any]:
        """Its options as plain values."""
        options = self.options(self.folder) if callable(self.options) else self.options
        return dict(options or {})

    @cached_property
    def config(self) -> Any:
        """Its options, validated.

        Raises:
            RecipeError: if they are wrong; `config=` of the kit must give what has no default.
        """
        from pydantic import ValidationError

        try:
            return self.technique.config.model_validate(self.values)
        except ValidationError as error:
            raise RecipeError(
                f"{self.kind} '{self.name}' refuses the options of the kit's `config`: {error}"
            ) from error

    def context(self) -> BuildContext:
        """A build context with a small teacher and a small student in it, as far as the kind may see them."""
        from edgefw.testing.fakes import build_context

        cache = self.folder / "cache"
        cache.mkdir(exist_ok=True)
        return build_context(self.kind, modalities=self.modalities, base=self.folder, cache=cache)

    def build(self) -> Any:
        """The piece, made anew; every random number generator starts from the same state each time."""
        seed_everything()
        return _built(self.technique, self.config, self.context(), self.registry)

    @cached_property
    def piece(self) -> Any:
        """The piece, made once: for checks that do not change it."""
        return self.build()


def _built(technique: Technique[Any, Any], config: Any, context: BuildContext, registry: Registry) -> Any:
    """The piece, after those that its options name."""
    pieces = []
    for inner in technique.inner(config) if technique.inner else ():
        found = registry.load(inner.kind, inner.name)
        pieces.append(_built(found, found.config.model_validate(dict(inner.options)), context, registry))
    return technique.build(config, replace(context, inner=tuple(pieces)))


def seed_everything() -> None:
    """Start Python's, NumPy's and, where it is loaded, torch's generators from 0."""
    import random
    import sys

    import numpy as np

    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
