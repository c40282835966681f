"""Turns the checks of a kind into parameters of one test, with known failures as strict xfails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import pytest

from edgefw.errors import PluginError
from edgefw.registry.kinds import Kind, kind_of
from edgefw.testing.subject import Options, Subject

CheckFunction = Callable[[Subject], None]


@dataclass(frozen=True)
class Check:
    """One promise about one technique; call it to find out whether it holds."""

    subject: Subject
    function: CheckFunction

    @property
    def name(self) -> str:
        """The promise: the check function's name."""
        return self.function.__name__

    def __call__(self) -> None:
        """Run the check.

        Raises:
            AssertionError: if the promise is broken; the message says how.
        """
        self.function(self.subject)


def checks_of(kind: str) -> dict[str, str]:
    """The checks of a kind: name -> what is promised."""
    return {function.__name__: (function.__doc__ or "").strip() for function in _functions(kind_of(kind))}


def parametrize_with_checks(
    kind: str,
    name: str,
    config: Options = None,
    expected_failures: Mapping[str, str] | None = None,
    modalities: Sequence[str] = ("rgb", "depth"),
) -> pytest.MarkDecorator:
    """Run a test, which takes `check` and calls it, once for each check of a kind.

    Args:
        kind: "loss", "teacher", ...
        name: the technique's name, as a recipe would write it.
        config: options to test it with; or a function that is given an empty folder, may write files there, and returns
            the options. Relative paths in options start from that folder.
        expected_failures: check name -> why it fails. Such a check must fail: once it passes, the test fails.
        modalities: names of the modalities of the imagined recipe.

    Raises:
        PluginError: if `expected_failures` names a check that does not exist, or gives no reason.
    """
    checks = make_checks(kind, name, config, modalities)
    failures = dict(expected_failures or {})
    unknown = sorted(failures.keys() - {check.name for check in checks})
    if unknown:
        names = ", ".join(check.name for check in checks)
        raise PluginError(f"expected_failures names unknown checks: {', '.join(unknown)}. Checks: {names}.")
    for check, reason in failures.items():
        if not reason.strip():
            raise PluginError(f"expected_failures: '{check}' needs a reason.")
    return pytest.mark.parametrize("check", [_parameter(check, failures.get(check.name)) for check in checks])


def make_checks(
    kind: str, name: str, config: Options = None, modalities: Sequence[str] = ("rgb", "depth")
) -> list[Check]:
    """All checks of one technique, not run yet; the technique is loaded by the first one that runs."""
    subject = Subject(kind_of(kind), name, config, tuple(modalities))
    return [Check(subject, function) for function in _functions(subject.kind)]


def _parameter(check: Check, reason: str | None) -> object:
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(check, id=check.name, marks=marks)


@cache
def _functions(kind: Kind) -> tuple[CheckFunction, ...]:
    modules = [import_module(f"edgefw.testing.{name}") for name in ("checks_common", f"checks_{kind}")]
    return tuple(function for module in modules for function in module.CHECKS)
