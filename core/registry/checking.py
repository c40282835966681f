"""Load-tests of plugins: each is imported and registered, and what goes wrong becomes a verdict instead of an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgefw.errors import PluginError
from edgefw.registry.discovery import PluginRef
from edgefw.registry.loading import Registry
from edgefw.registry.observers import load_observers
from edgefw.registry.requirements import how_to_get, missing_requirements
from edgefw.registry.technique import Technique


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a load-test ended.

    Attributes:
        status: "ok" or "clash" when it loads; "missing" without a module; "broken" when it fails; "unavailable" when
            it wants a package of an extra that is not installed, which is no fault of the plugin.
        reason: why, for the last three; "" otherwise.
    """

    status: str
    reason: str = ""


def check_refs(refs: Sequence[PluginRef]) -> Iterator[Verdict]:
    """A verdict for each entry point, in order."""
    registry = Registry(refs)
    for ref in refs:
        yield check_ref(registry, ref)


def check_ref(registry: Registry, ref: PluginRef) -> Verdict:
    """Load one entry point and say how it went."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            technique = _load(registry, ref)
    except PluginError as error:
        return _failed(ref, error)
    missing = missing_requirements(technique) if technique else ()
    if missing:
        remedy = (technique.install if technique else "") or f"pip install {' '.join(missing)}"
        return Verdict(status="unavailable", reason=f"needs {', '.join(missing)}: {remedy}")
    return Verdict(status=ref.status)


def _load(registry: Registry, ref: PluginRef) -> Technique[Any, Any] | None:
    if ref.kind is not None:
        return registry.load_ref(ref)
    load_observers([ref], strict=True)
    return None


def _failed(ref: PluginRef, error: PluginError) -> Verdict:
    cause = error.__cause__
    if isinstance(cause, ModuleNotFoundError) and cause.name and (command := how_to_get(cause.name)):
        return Verdict(status="unavailable", reason=f"needs {cause.name}: {command}")
    return Verdict(status="missing" if ref.status == "missing" else "broken", reason=str(error))
