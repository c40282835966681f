"""docs/cli.md has a heading for every command, and names every option of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgefw.cli.main import COMMANDS, cli
from edgefw.registry.specs import ObserverHooks

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "cli.md").read_text()


def sections() -> dict[str, str]:
    """Command name -> the text below its heading `## edgefw <command>`."""
    parts = re.split(r"^## edgefw ", PAGE, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].strip("` "): part for part in parts}


def options_of(command: click.Command) -> Iterator[str]:
    """The longest spelling of every option, of subcommands too."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield max(parameter.opts, key=len)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from options_of(inner)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_that_names_its_options(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    section = sections().get(name)
    assert section, f"docs/cli.md has no heading '## edgefw {name}'"
    missing = [option for option in options_of(command) if not re.search(rf"{re.escape(option)}\b", section)]
    assert missing == [], f"docs/cli.md, edgefw {name}: these options are not named"


def test_no_section_describes_a_command_that_is_gone() -> None:
    assert set(sections()) <= set(COMMANDS)


def test_every_observer_hook_has_a_heading() -> None:
    page = (ROOT / "docs" / "plugins" / "hooks.md").read_text()
    hooks = [name for name in vars(ObserverHooks) if name.startswith("edgefw_")]
    assert hooks
    assert [name for name in hooks if not re.search(rf"^#+ .*{name}", page, flags=re.MULTILINE)] == []
