"""Observers of a run: each is called on its own, and one that fails is switched off while the run goes on.

Knows the observer hooks; refuses to know what a run is. `strict` turns a failing observer into an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pluggy

from edgefw.errors import EdgefwWarning, PluginError
from edgefw.registry.discovery import PluginRef
from edgefw.registry.failures import last_line, load_error
from edgefw.registry.specs import ObserverHooks


class Observers:
    """The observers of one run.

    Args:
        manager: a plugin manager that knows the observer hooks, with the observers registered.
        strict: raise what an observer raises, instead of switching it off.
    """

    def __init__(self, manager: pluggy.PluginManager, strict: bool = False) -> None:
        self._manager = manager
        self._strict = strict

    @property
    def names(self) -> list[str]:
        """Modules of the observers that are still on."""
        return [name for name, _ in self._manager.list_name_plugin()]

    def call(self, hook: str, **kwargs: Any) -> list[Any]:
        """What the observers return for a hook, None left out; a failing one is switched off with one warning.

        Raises:
            PluginError: if there is no such hook, or if an observer fails and `strict` is set.
        """
        caller = getattr(self._manager.hook, hook, None)
        if caller is None:
            raise PluginError(f"there is no observer hook '{hook}'.")
        plugins = [implementation.plugin for implementation in caller.get_hookimpls()]
        return [result for plugin in plugins for result in self._call_one(hook, plugin, kwargs)]

    def _call_one(self, hook: str, plugin: object, kwargs: dict[str, Any]) -> list[Any]:
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
        try:
            return list(caller(**kwargs))
        except (Exception, SystemExit) as error:
            name = self._manager.get_name(plugin)
            message = f"observer {name} failed in {hook}: {last_line(error)}"
            if self._strict:
                raise PluginError(message) from error
            self._manager.unregister(plugin)
            warnings.warn(f"{message} It is switched off; the run goes on.", EdgefwWarning, stacklevel=3)
            return []


def load_observers(refs: Sequence[PluginRef], strict: bool = False) -> Observers:
    """Import and register observers; one that fails is left out with a warning, or is an error when `strict`."""
    from edgefw.registry.loading import import_plugin, register

    manager = pluggy.PluginManager("edgefw")
    manager.add_hookspecs(ObserverHooks)
    for ref in {ref.module: ref for ref in refs}.values():
        try:
            register(manager, import_plugin(ref))
        except (Exception, SystemExit) as cause:
            error = load_error(ref, cause)
            if strict:
                raise error from cause
            warnings.warn(f"{error} It is left out; the run goes on.", EdgefwWarning, stacklevel=3)
    return Observers(manager, strict)
