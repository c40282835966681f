"""Every command in the documents exists as written, and the quick ones are run.

Fences marked `bash` hold commands and nothing else. A command of edgefw must have the options it is shown with; those
that need no run, no weights and no minutes are executed in an empty folder; recipes named with overrides are read. Those that
need a trained run are executed on a shortened one by e2e/test_docs_executed.py.
What a command prints belongs in a `text` fence.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from edgefw.cli.main import cli
from edgefw.cli.main import run as command_line

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").rglob("*.md"))
QUICK = ("list-plugins", "plugins", "recipes", "schema", "doctor")
"""Commands that are executed: they need nothing but the installation."""
FREE = (
    "cd",
    "git",
    "ls",
    "cat",
    "cp",
    "export",
    "unzip",
    "mkdir",
    "mv",
    "docker",
    "apt-get",
    "source",
    "open",
    "du",
    "scp",
    "jq",
)
"""Commands of other programs that a reader may be told to run."""


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it."""

    page: Path
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {shlex.join(self.words)}"


def fences(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of the fenced blocks of a language."""
    for match in re.finditer(rf"^( *)```{language}\n(.*?)^\1```", page.read_text(), flags=re.DOTALL | re.MULTILINE):
        yield page.read_text()[: match.start()].count("\n") + 2, match[2]


def shown_commands() -> Iterator[Shown]:
    """All commands, pipes cut into their parts, environment variables in front of them left out."""
    for page in PAGES:
        for start, block in fences(page, "bash"):
            joined = re.sub(r"\\\n\s*", " ", block)
            for offset, line in enumerate(joined.splitlines()):
                for part in re.split(r" (?:\||&&|;) ", line.split(" # ")[0]):
                    words = shlex.split(part.split(" > ")[0], comments=True)
                    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                        words = words[1:]
                    if words:
                        yield Shown(page, start + offset, tuple(words))


COMMANDS = list(shown_commands())
EDGEFW = [
    Shown(shown.page, shown.line, shown.words[shown.words.index("edgefw") + 1 :])
    for shown in COMMANDS
    if shown.words[0] == "edgefw" or ("-m" in shown.words and "edgefw" in shown.words)
]


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 5 and len(EDGEFW) > 2


@pytest.mark.parametrize("shown", EDGEFW, ids=str)
def test_every_command_of_edgefw_has_the_options_it_is_shown_with(shown: Shown) -> None:
    context = click.Context(cli, info_name="edgefw")
    context.allow_interspersed_args = True  # a group stops at the first argument, its commands do not
    words, command = list(shown.words), cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{shown}: there is no command '{words[0]}'"
        command, words = found, words[1:]  # type: ignore[assignment]
    _, left, _ = command.make_parser(context).parse_args(args=words)
    assert isinstance(command, click.Group) or not left, f"{shown}: {left} is left over"


@pytest.mark.parametrize("shown", [s for s in EDGEFW if s.words and s.words[0] in ("run", "check")], ids=str)
def test_every_recipe_that_is_run_can_be_read(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefw.recipe.read import read_recipe
    from edgefw.recipe.shipped import shipped_names

    monkeypatch.chdir(tmp_path)
    recipe, overrides = shown.words[1], [word for word in shown.words[2:] if re.match(r"[a-z][\w.\[\]-]*=", word)]
    if recipe.endswith((".yaml", ".yml")):
        pytest.skip("a file of the reader's")
    assert recipe in shipped_names()
    read_recipe(recipe, overrides)


def quick() -> list[Shown]:
    return [shown for shown in EDGEFW if shown.words and (shown.words[0] in QUICK or "--help" in shown.words)]


@pytest.mark.parametrize("shown", quick(), ids=str)
def test_quick_commands_run(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "acme" in str(shown):
        pytest.skip("needs the reader's own plugin")
    monkeypatch.chdir(tmp_path)
    assert command_line(shown.words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.strip()


OTHERS = [shown for shown in COMMANDS if "edgefw" not in shown.words]


@pytest.mark.parametrize("shown", OTHERS, ids=str)
def test_every_other_command_names_what_exists(shown: Shown) -> None:
    program, *words = shown.words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert set(words) - {word for word in words if "=" in word} <= set(targets), shown
    elif program == "pip":
        assert words[0] in ("install", "uninstall", "list"), shown
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for extra in re.findall(r"(?:edgefw|\.)\[([\w,-]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= set(known), shown
    elif program in ("python", "python3", "pytest") or program.startswith(".venv/"):
        for file in (word for word in words if word.endswith(".py") and not word.startswith("edgefw-")):
            assert (ROOT / file).is_file(), shown
    else:
        assert program in FREE or program.startswith((".ci/", "scripts/", "benchmarks/")), (
            f"{shown}: what program is this? Add it to FREE, or mark the fence `text`"
        )
