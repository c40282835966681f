"""The house rules that a machine can hold: length of files and functions, types, docstrings, names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(file for root in ("core", "plugins", "recipes") for file in (ROOT / root).rglob("*.py"))
MOST_LINES = 400
LONGEST_FUNCTION = 60
BANNED_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "base.py", "common.py", "tools.py"}
BANNED_WORDS = ("TODO", "FIXME", "XXX", "raise NotImplementedError")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def functions(file: Path) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree(file)) if isinstance(node, Function))


def public(body: list[ast.stmt], outer: str = "") -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Public classes and functions of a module, and public methods of public classes."""
    for node in body:
        if not isinstance(node, (ast.ClassDef, *Function.__args__)) or node.name.startswith("_"):
            continue
        yield f"{outer}{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{node.name}.")


def each(files: list[Path] = FILES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=lambda file: str(file.relative_to(ROOT)))


@each()
def test_a_file_is_one_idea_of_at_most_400_lines(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES, f"{len(lines)} lines"
    assert file.name not in BANNED_NAMES, "a name that says nothing"


@each()
def test_a_function_has_at_most_60_lines_and_says_what_it_returns(file: Path) -> None:
    for function in functions(file):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= LONGEST_FUNCTION, f"{function.name} has {length} lines"
        assert function.returns is not None, f"{function.name} does not say what it returns"
        arguments = function.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            assert argument.annotation or argument.arg in ("self", "cls"), (
                f"{function.name}: {argument.arg} has no type"
            )


@each()
def test_modules_and_public_names_have_a_docstring(file: Path) -> None:
    assert ast.get_docstring(tree(file)), "the module has none"
    promised = {name for name, node in protocol_methods(file) if ast.get_docstring(node)}
    for name, node in public(tree(file).body):
        said = ast.get_docstring(node) or name.rpartition(".")[2] in promised
        assert said, f"{name} has none, and no Protocol of this file has one for it"


def protocol_methods(file: Path) -> Iterator[tuple[str, Function]]:
    """Methods that a Protocol of this file promises; who keeps the promise here need not repeat it."""
    for node in tree(file).body:
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Protocol" for base in node.bases):
            yield from ((method.name, method) for method in node.body if isinstance(method, Function))


@each()
def test_nothing_is_left_for_later(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for word in BANNED_WORDS:
        assert word not in text, f"{word} in a finished file"


def test_most_functions_are_short() -> None:
    lengths = sorted((function.end_lineno or 0) - function.lineno + 1 for file in FILES for function in functions(file))
    assert lengths[len(lengths) // 2] <= 12, f"median {lengths[len(lengths) // 2]} lines"


def test_tests_are_packages_nowhere() -> None:
    assert not list((ROOT / "tests").glob("**/__init__.py")) or all(
        "fixtures" in path.parts or "compat" in path.parts for path in (ROOT / "tests").glob("**/__init__.py")
    )
