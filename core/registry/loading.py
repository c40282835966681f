"""From a name in a recipe to the technique: imports just that module, and rolls back when it fails.

One registry holds one plugin manager whose registration hooks are historic, so that registering a module asks it at
once. It knows names, modules and their records, and refuses to know what a technique builds. Nothing is global: two
registries do not see each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

from edgefw.errors import PluginError, PluginLoadError
from edgefw.registry.discovery import PluginRef, canonical, installed
from edgefw.registry.failures import load_error, unknown_hooks
from edgefw.registry.intake import check_name, check_technique
from edgefw.registry.kinds import Kind
from edgefw.registry.resolve import resolve
from edgefw.registry.specs import RegistrationHooks
from edgefw.registry.technique import API_VERSION, Technique

if TYPE_CHECKING:
    from types import ModuleType

    from edgefw.registry.observers import Observers

Record = tuple[Kind, Technique[Any, Any]]


class Registry:
    """The techniques that are installed, loaded one by one as they are named.

    Args:
        refs: what is installed; None reads the metadata of this environment.
        api_version: the plugin API that is offered.
    """

    def __init__(self, refs: Sequence[PluginRef] | None = None, api_version: int = API_VERSION) -> None:
        self._refs = tuple(installed() if refs is None else refs)
        self._api_version = api_version
        self._records: dict[str, tuple[Record, ...]] = {}
        self._incoming: list[Record] = []
        self._manager = pluggy.PluginManager("edgefw")
        self._manager.add_hookspecs(RegistrationHooks)
        for kind in Kind:
            hook = getattr(self._manager.hook, kind.hook)
            hook.call_historic(kwargs={"register": partial(self._accept, kind)})

    def refs(self, kind: Kind | None = None) -> list[PluginRef]:
        """What is installed, of one kind or of all; nothing is imported."""
        return [ref for ref in self._refs if kind in (None, ref.kind)]

    def find(self, kind: Kind, name: str) -> PluginRef:
        """The entry point that a name means: "cosine", or qualified, "acme:cosine".

        Raises:
            PluginNotFound: if nobody offers it; the message holds close names.
            PluginClash: if more than one distribution does.
        """
        return resolve(self._refs, kind, name)

    def load(self, kind: Kind, name: str) -> Technique[Any, Any]:
        """The technique of that name; its module is imported now, and no other.

        Raises:
            PluginNotFound: if nobody offers it.
            PluginClash: if more than one distribution does.
            PluginLoadError: if its module cannot be imported or registered, or registers another name.
        """
        return self.load_ref(self.find(kind, name))

    def load_ref(self, ref: PluginRef) -> Technique[Any, Any]:
        """The technique of an entry point.

        Raises:
            PluginLoadError: as in `load`.
        """
        if ref.kind is None:
            raise PluginError(f"'{ref.name}' of {ref.source} observes runs; it is not a technique.")
        with _blaming(ref):
            check_name(ref.name)
            return _of_name(self._register(ref), ref.kind, ref.name)

    def observers(self, strict: bool = False) -> Observers:
        """The observers of runs, loaded now; one that fails is left out with a warning.

        Raises:
            PluginLoadError: if one fails and `strict` is True.
        """
        from edgefw.registry.observers import load_observers

        return load_observers([ref for ref in self._refs if ref.kind is None], strict)

    def _register(self, ref: PluginRef) -> tuple[Record, ...]:
        """What the module of an entry point registers; a module is asked once, however many names it serves."""
        module = import_plugin(ref)
        if module.__name__ not in self._records:
            self._incoming = []
            register(self._manager, module)
            self._records[module.__name__] = tuple(self._incoming)
        return self._records[module.__name__]

    def _accept(self, kind: Kind, record: object) -> None:
        """What a hook implementation calls as `register`."""
        technique = check_technique(kind, record, self._api_version)
        if any((kind, technique.name) == (known, other.name) for known, other in self._incoming):
            raise PluginError(f"it registers {kind} '{technique.name}' twice.")
        self._incoming.append((kind, technique))


def import_plugin(ref: PluginRef) -> ModuleType:
    """Import the module of an entry point.

    Raises:
        PluginError: if the entry point does not name a module that exists.
    """
    if ":" in ref.module:
        raise PluginError(f"entry point '{ref.name}' must name a module, not an object in one: '{ref.module}'.")
    if ref.status == "missing":
        raise PluginError(f"there is no module '{ref.module}'.")
    return import_module(ref.module)


def register(manager: pluggy.PluginManager, module: ModuleType) -> None:
    """Register a module, and take it out again if anything about it is wrong.

    pluggy keeps a plugin whose historic call raises, and accepts hooks it has never heard of: both end here.
    """
    try:
        manager.register(module, name=module.__name__)
        manager.check_pending()
    except BaseException as error:
        pending = unknown_hooks(manager, module)
        if manager.is_registered(module):
            manager.unregister(module)
        if not isinstance(error, pluggy.PluginValidationError):
            raise
        newer = f"it is written for a newer edgefw API: {str(error).splitlines()[-1].strip()}."
        raise PluginError(pending or newer) from error


@contextmanager
def _blaming(ref: PluginRef) -> Iterator[None]:
    """Whatever a plugin's own code raises becomes a `PluginLoadError` that names the plugin."""
    try:
        yield
    except PluginLoadError:
        raise
    except (Exception, SystemExit) as error:
        raise load_error(ref, error) from error


def _of_name(records: Sequence[Record], kind: Kind, name: str) -> Technique[Any, Any]:
    for known, technique in records:
        if known is kind and canonical(technique.name) == canonical(name):
            return technique
    registered = ", ".join(f"{known} '{technique.name}'" for known, technique in records) or "nothing"
    raise PluginError(f"entry point '{name}' registered no {kind} called '{name}'; it registered: {registered}.")
