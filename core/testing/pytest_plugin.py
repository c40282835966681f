"""The kit without a test file: `pytest -p edgefw.testing.pytest_plugin --edgefw-plugin loss/acme-x`.

With `--edgefw-plugin`, pytest runs the checks of that technique, and of test files only those that are named. It
registers nothing by itself: without `-p` pytest never sees this module.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgefw.errors import EdgefwError
from edgefw.testing.parametrize import Check, make_checks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the kit."""
    group = parser.getgroup("edgefw")
    group.addoption("--edgefw-plugin", action="append", default=[], metavar="KIND/NAME", help="check this technique")
    group.addoption("--edgefw-config", default="{}", metavar="JSON", help="options to check it with")


def pytest_configure(config: pytest.Config) -> None:
    """Collect no test files unless some are named."""
    if config.getoption("--edgefw-plugin") and config.args_source is not config.ArgsSource.ARGS:
        config.args = []


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add one item per check."""
    for text in config.getoption("--edgefw-plugin"):
        items.extend(
            CheckItem.from_parent(session, name=f"{text}::{check.name}", check=check) for check in _checks(config, text)
        )


def _checks(config: pytest.Config, text: str) -> list[Check]:
    kind, slash, name = text.partition("/")
    if not slash:
        raise pytest.UsageError(f"--edgefw-plugin takes KIND/NAME, got '{text}'.")
    try:
        options = json.loads(config.getoption("--edgefw-config"))
        return make_checks(kind, name, options)
    except json.JSONDecodeError as error:
        raise pytest.UsageError(f"--edgefw-config is not JSON: {error}.") from error
    except EdgefwError as error:
        raise pytest.UsageError(str(error)) from error


class CheckItem(pytest.Item):
    """One check of one technique."""

    def __init__(self, *, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.check = check

    def runtest(self) -> None:
        """Run the check."""
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was promised and how it is broken; the traceback for anything else."""
        if excinfo.errisinstance((AssertionError, EdgefwError)):
            return f"{self.check.function.__doc__}\n\n{type(excinfo.value).__name__}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands in the report."""
        return self.path, None, self.name
