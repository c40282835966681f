"""The pages say what the code does: every hook, option, check, capability word and field of the record is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import pluggy
import pytest

from edgefw.cli.main import COMMANDS
from edgefw.registry.capabilities import CAPABILITIES
from edgefw.registry.kinds import Kind
from edgefw.registry.specs import ObserverHooks, RegistrationHooks
from edgefw.registry.technique import Technique
from edgefw.testing import checks_of, fakes

ROOT = Path(__file__).resolve().parent.parent
PLUGIN_PAGES = sorted((ROOT / "docs" / "plugins").glob("*.md"))
HOOKS = [name for specs in (RegistrationHooks, ObserverHooks) for name in vars(specs) if name.startswith("edgefw_")]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def sections(text: str, marks: str) -> dict[str, str]:
    """Heading -> the text below it, down to the next heading of that or a higher level."""
    level = len(marks)
    parts = re.split(rf"^#{{1,{level}}} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> Iterator[tuple[str, click.Command]]:
    """(words, command) of every command and subcommand whose module exists."""
    for name, (place, _) in COMMANDS.items():
        module, attribute = place.split(":")
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            continue
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", below) for sub, below in command.commands.items())


def test_every_hook_has_a_heading_with_an_example() -> None:
    found = sections(page("plugins/hooks.md"), "###")
    assert [heading for heading in found if heading.startswith("edgefw_")] == HOOKS
    for hook in HOOKS:
        (example,) = blocks(found[hook], "python")
        assert f"def {hook}(" in example


def test_every_argument_of_a_hook_stands_in_its_example() -> None:
    found = sections(page("plugins/hooks.md"), "###")
    for specs in (RegistrationHooks, ObserverHooks):
        for name, function in vars(specs).items():
            if name.startswith("edgefw_"):
                arguments = [
                    word for word in function.__code__.co_varnames[: function.__code__.co_argcount] if word != "self"
                ]
                assert f"def {name}({', '.join(arguments)})" in found[name], name


@pytest.mark.parametrize("hook", HOOKS)
def test_every_example_of_a_hook_registers(hook: str) -> None:
    (example,) = blocks(sections(page("plugins/hooks.md"), "###")[hook], "python")
    module = ModuleType("example")
    exec(compile(example, hook, "exec"), vars(module))  # noqa: S102 - the page's own example
    manager, handed = pluggy.PluginManager("edgefw"), []
    manager.add_hookspecs(RegistrationHooks)
    manager.add_hookspecs(ObserverHooks)
    manager.register(module)
    manager.check_pending()
    if hook.startswith("edgefw_register_"):
        getattr(module, hook)(handed.append)
        assert len(handed) == 1 and isinstance(handed[0], Technique)
        assert getattr(Kind, handed[0].name.removeprefix("acme-").upper()).hook == hook


@pytest.mark.parametrize("file", PLUGIN_PAGES, ids=lambda file: file.name)
def test_python_of_the_plugin_pages_parses(file: Path) -> None:
    for example in blocks(file.read_text(), "python"):
        ast.parse(example)


def test_the_example_of_the_writing_page_passes_the_kit() -> None:
    module = ModuleType("example")
    example = next(block for block in blocks(page("plugins/writing.md"), "python") if "Technique(" in block)
    exec(compile(example, "writing.md", "exec"), vars(module))  # noqa: S102 - the page's own example
    handed: list[Technique] = []
    module.edgefw_register_losses(handed.append)
    (technique,) = handed
    loss = technique.build(technique.config(), fakes.build_context(Kind.LOSS))
    inputs = fakes.loss_input()
    loss(inputs).backward()
    assert loss(inputs).item() > 0
    assert inputs.student.embedding.grad.abs().sum() > 0


def test_every_command_has_a_section() -> None:
    found = sections(page("cli.md"), "##")
    missing = {f"edgefw {name}" for name, _ in commands() if " " not in name} - found.keys()
    assert not missing, f"docs/cli.md has no section for {', '.join(sorted(missing))}"


@pytest.mark.parametrize("name, command", list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_option_stands_in_its_commands_section(name: str, command: click.Command) -> None:
    text = sections(page("cli.md"), "##").get(f"edgefw {name.split()[0]}", "")
    for option in command.params:
        if isinstance(option, click.Option):
            names = [word for word in (*option.opts, *option.secondary_opts) if word.startswith("--")]
            for word in names:
                assert re.search(rf"{re.escape(word)}(?![\w-])", text), (
                    f"docs/cli.md, section edgefw {name}: {word} is not there"
                )
    if " " in name:
        assert f"edgefw {name}" in text, f"docs/cli.md: 'edgefw {name}' is not there"


def test_no_section_describes_an_option_that_is_gone() -> None:
    found = sections(page("cli.md"), "##")
    options: dict[str, set[str]] = {}
    for name, command in commands():
        here = options.setdefault(f"edgefw {name.split()[0]}", {"--help"})
        here |= {word for option in command.params for word in (*option.opts, *option.secondary_opts)}
    for heading, known in options.items():
        rows = re.findall(r"^\| `(--[\w-]+)", found.get(heading, ""), flags=re.MULTILINE)
        assert set(rows) <= known, f"{heading}: {sorted(set(rows) - known)}"


def test_every_capability_word_stands_in_the_table() -> None:
    text = page("plugins/writing.md")
    for word, meaning in CAPABILITIES.items():
        assert f"| `{word}` | {meaning} |" in text, word


def test_every_field_of_the_record_stands_in_the_table() -> None:
    text = sections(page("plugins/writing.md"), "##")["The record"]
    for field in fields(Technique):
        assert f"`{field.name}`" in text, field.name


def test_every_check_of_the_kit_stands_in_the_table() -> None:
    text = page("plugins/testing.md")
    for kind in Kind:
        for name, promise in checks_of(kind).items():
            assert f"| `{name}` | {' '.join(promise.split())} |" in text, f"{kind}: {name}"


def test_every_kind_stands_on_the_page_about_new_plugin() -> None:
    for kind in Kind:
        assert f"`{kind}`" in page("plugins/writing.md")
        assert f"`{kind}`" in page("cli.md")


def test_links_between_pages_lead_somewhere() -> None:
    for file in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", file.read_text()):
            if "://" not in target:
                assert (file.parent / target).exists(), f"{file.relative_to(ROOT)}: {target}"
