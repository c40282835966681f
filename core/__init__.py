"""edgefw: distil a vision-language teacher into a small image encoder for a camera without a GPU.

What a plugin author needs is here, loaded on first use so that `import edgefw` costs nothing:

    hookimpl            marks a hook implementation
    Technique           the record a plugin hands over
    TechniqueConfig     base of a technique's options
    NoOptions           a config without options
    BuildContext        what a build function is given
    Inner               a technique that the options of another one name
    Kind                the kinds of technique
    API_VERSION         the plugin API of this edgefw
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgefw.registry.config import NoOptions, TechniqueConfig
    from edgefw.registry.kinds import Kind
    from edgefw.registry.specs import hookimpl
    from edgefw.registry.technique import API_VERSION, BuildContext, Inner, Technique

__version__ = "0.1.0"

_HOMES = {
    "API_VERSION": "edgefw.registry.technique",
    "BuildContext": "edgefw.registry.technique",
    "Inner": "edgefw.registry.technique",
    "Kind": "edgefw.registry.kinds",
    "NoOptions": "edgefw.registry.config",
    "Technique": "edgefw.registry.technique",
    "TechniqueConfig": "edgefw.registry.config",
    "hookimpl": "edgefw.registry.specs",
}

__all__ = ["API_VERSION", "BuildContext", "Inner", "Kind", "NoOptions", "Technique", "TechniqueConfig", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgefw' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
