"""The edgefw command: a table of commands, loaded when named, and the one place where errors become exit codes.

It knows command names and their one-line helps, and refuses to know what a command does: `edgefw --help` imports
click and nothing else. A command is a file of this folder with a `command` in it. It returns None or an exit code, and
raises `EdgefwError` for what the user can put right.

    0    done
    1    a gate was not met
    2    the input is wrong, or the system says that the disk is full: one message, without a traceback
    70   an internal error: the traceback, and where to report it
    130  interrupted
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, cast

import click

from edgefw import __version__
from edgefw.errors import EdgefwError, EdgefwWarning, GateFailed

if TYPE_CHECKING:
    from typing import TextIO

COMMANDS: dict[str, tuple[str, str]] = {
    "list-plugins": ("edgefw.cli.list_plugins:command", "List the installed techniques, from every distribution."),
    "plugins": ("edgefw.cli.plugins:command", "Show one technique: paper, needs, options as YAML."),
    "new-plugin": ("edgefw.cli.new_plugin:command", "Write a plugin package that works as it is."),
    "recipes": ("edgefw.cli.recipes:command", "List the recipes that ship with edgefw."),
    "init": ("edgefw.cli.init:command", "Write a recipe for your own data."),
    "prepare": ("edgefw.cli.prepare:command", "Check a known download and write it as data for a recipe."),
    "check": ("edgefw.cli.check:command", "Print the plan of a recipe; train nothing."),
    "schema": ("edgefw.cli.schema:command", "Print the JSON schema of recipes."),
    "run": ("edgefw.cli.run:command", "Run a recipe: curate, train, export, verify, report."),
    "verify": ("edgefw.cli.verify:command", "Hold compiled files against their budget, on real samples."),
    "bench": ("edgefw.cli.bench:command", "Measure latency, throughput and memory of a bundle."),
    "label": ("edgefw.cli.label:command", "Label images with a bundle."),
    "labels": ("edgefw.cli.labels:command", "Build, show, evaluate and refine label packs."),
    "bundle": ("edgefw.cli.bundle:command", "Show, pack, unpack and compare bundles."),
    "report": ("edgefw.cli.report:command", "Write the HTML report of a run."),
    "compare": ("edgefw.cli.compare:command", "Compare runs side by side."),
    "doctor": ("edgefw.cli.doctor:command", "Say what is installed, what is missing, and how to get it."),
}
"""Command name -> where it lives, and what `edgefw --help` prints about it."""

_CHATTY = ("torch.utils._pytree",)
"""Loggers that warn of what no user can change: torchao registers enums in a way that torch calls deprecated."""

REPORT = "This is a bug in edgefw. Please report it with the text above and the output of `edgefw doctor`."


class CommandTable(click.Group):
    """A group that imports a command's module only when that command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return cast(click.Command, getattr(import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The helps of the table, so that help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The named command, or a usage error with the nearest names."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"unknown command '{name}'.{_nearest(name)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="edgefw", message="%(prog)s %(version)s")
def cli() -> None:
    """Distil a vision-language teacher into a small image encoder for the edge, and prove that it works."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line (default: this process's) and exit with its code."""
    code = run(arguments)
    _drop_unsaid()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and give its exit code; every message goes to stderr."""
    plain = warnings.showwarning
    warnings.showwarning = _show_warning
    _calm_libraries()
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="edgefw", standalone_mode=False
        )
        return result if isinstance(result, int) else 0
    except Exception as error:  # noqa: BLE001 - the one place where every error ends
        return _exit_code(error)
    except KeyboardInterrupt:
        return _say("Interrupted.", 130)
    finally:
        warnings.showwarning = plain


def _calm_libraries() -> None:
    """Keep what libraries tell their own developers out of our output; nothing is imported for it."""
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _exit_code(error: Exception) -> int:
    """Say what went wrong, and give the code for it."""
    if isinstance(error, GateFailed):
        return _say(str(error), error.exit_code)
    if isinstance(error, EdgefwError):
        return _say(f"Error: {error}", error.exit_code)
    if isinstance(error, click.Abort):
        return _say("Interrupted.", 130)
    if isinstance(error, click.ClickException):
        with contextlib.suppress(OSError):  # the code stays where the message finds no room
            error.show()
        return 2
    if isinstance(error, OSError) and (full := _no_room(error)):
        return _say(f"Error: {full}", 2)
    if isinstance(error, ModuleNotFoundError) and (hint := _install_hint(error)):
        return _say(f"Error: {hint}", 2)
    return _internal(error)


def _no_room(error: OSError) -> str | None:
    """What to say of a full disk, which is no bug. A write names no file; it may have been the standard output's."""
    from edgefw.cli.output import FULL, drop_stuck

    if error.errno not in FULL:
        return None
    drop_stuck(sys.stdout)
    name = error.filename2 or error.filename  # what is copied or renamed comes first, where to comes second
    place = f"{name}:" if name else "a file"
    return (
        f"{place} cannot be written because the disk is full ({error.strerror}). Make room, or write to another disk."
    )


def _internal(error: Exception) -> int:
    import traceback

    return _say("".join(traceback.format_exception(error)) + "\n" + REPORT, 70)


def _install_hint(error: ModuleNotFoundError) -> str | None:
    """What to install, if an optional package is what is missing."""
    from edgefw.registry.requirements import how_to_get

    command = how_to_get(error.name or "")
    return f"this needs the package '{error.name}', which is not installed. Install it: {command}" if command else None


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name.replace("_", "-"), COMMANDS, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else " See `edgefw --help`."


def _drop_unsaid() -> None:
    """Messages that found no room are tried once more, then let go: Python would end with 120 for them."""
    from edgefw.cli.output import drop_stuck

    drop_stuck(sys.stderr)


def _say(message: str, code: int) -> int:
    from edgefw.cli.output import tell

    tell(message)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings are one plain line; all others look as Python prints them. None fails the work that it is about."""
    from edgefw.cli.output import tell

    if issubclass(category, EdgefwWarning):
        tell(f"warning: {message}")
    else:
        tell(warnings.formatwarning(message, category, filename, lineno, line).removesuffix("\n"))
