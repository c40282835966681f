"""How a plugin that cannot be loaded is reported: who it is, why, and what to do. Writes texts; imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefw.errors import PluginError, PluginLoadError
from edgefw.registry.discovery import FIRST_PARTY, PluginRef, canonical, kind_word
from edgefw.registry.requirements import how_to_get

if TYPE_CHECKING:
    from types import ModuleType

    import pluggy


def load_error(ref: PluginRef, cause: BaseException) -> PluginLoadError:
    """The error for a plugin that was asked for and failed: kind, name, distribution, module, cause, remedy."""
    who = f"{kind_word(ref.kind)} '{ref.name}' ({ref.source}, module {ref.module}) cannot be loaded"
    return PluginLoadError(f"{who}: {last_line(cause)} {remedy(ref, cause)}")


def last_line(cause: BaseException) -> str:
    """The cause as the last line of its traceback would read; the message alone for errors of our own."""
    lines = [line for line in str(cause).splitlines() if line.strip()]
    text = lines[-1].strip() if lines else ""
    if isinstance(cause, PluginError):
        return text
    return f"{type(cause).__name__}: {text or 'no message'}".rstrip(".") + "."


def remedy(ref: PluginRef, cause: BaseException) -> str:
    """What to do: install what is missing, else remove the plugin."""
    missing = (cause.name or "") if isinstance(cause, ModuleNotFoundError) else ""
    package = missing.split(".")[0]
    own = package == ref.module.split(".")[0]
    if package and not own:
        return f"Install what it needs: {how_to_get(package) or f'pip install {package}'}"
    if canonical(ref.distribution) == FIRST_PARTY:
        return "Reinstall edgefw: pip install --force-reinstall --no-deps edgefw"
    return f"Update it or remove it: pip uninstall {ref.distribution}"


def unknown_hooks(manager: pluggy.PluginManager, module: ModuleType) -> str:
    """A sentence about the hooks a registered module implements and the manager does not know; "" without any."""
    callers = manager.get_hookcallers(module) or []
    unknown = sorted(caller.name for caller in callers if not caller.has_spec())
    if not unknown:
        return ""
    valid = sorted(
        name for name, caller in vars(manager.hook).items() if not name.startswith("_") and caller.has_spec()
    )
    return f"it implements unknown hooks: {', '.join(unknown)}. Valid hooks here: {', '.join(valid)}."
