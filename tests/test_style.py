"""The house rules that a machine can hold: length of files and functions, types, docstrings, names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(file for root in ("core", "plugins", "recipes") for file in (ROOT / root).rglob("*.py"))
MOST_LINES = 400
LONGEST_FUNCTION = 60
BANNED_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "base.py", "common.py", "tools.py"}
BANNED_WORDS = ("TODO", "FIXME", "XXX", "raise NotImplementedError")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def functions(file: Path) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree(file)) if isinstance(node, Function))


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def public(body: list[ast.stmt], outer: str = "") -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Public classes and functions of a module, and public methods of public classes."""
    for node in body:
        if not isinstance(node, (ast.ClassDef, *Function.__args__)) or node.name.startswith("_"):
            continue
        yield f"{outer}{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{node.name}.")


def report(problems: Iterator[tuple[Path, str]]) -> None:
    """Fail with every problem, one a line."""
    lines = [f"{file.relative_to(ROOT)}: {problem}" for file, problem in problems]
    assert not lines, "\n" + "\n".join(lines)


def test_a_file_is_one_idea_of_at_most_400_lines() -> None:
    def problems() -> Iterator[tuple[Path, str]]:
        for file in FILES:
            lines = len(file.read_text(encoding="utf-8").splitlines())
            if lines > MOST_LINES:
                yield file, f"{lines} lines"
            if file.name in BANNED_NAMES:
                yield file, "a name that says nothing"

    report(problems())


def test_a_function_has_at_most_60_lines_and_every_signature_is_typed() -> None:
    def problems() -> Iterator[tuple[Path, str]]:
        for file in FILES:
            for function in functions(file):
                if length(function) > LONGEST_FUNCTION:
                    yield file, f"{function.name} has {length(function)} lines"
                if function.returns is None:
                    yield file, f"{function.name} does not say what it returns"
                signature = function.args
                for argument in [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]:
                    if not argument.annotation and argument.arg not in ("self", "cls"):
                        yield file, f"{function.name}: {argument.arg} has no type"

    report(problems())


def test_modules_and_public_names_have_a_docstring() -> None:
    def problems() -> Iterator[tuple[Path, str]]:
        for file in FILES:
            if not ast.get_docstring(tree(file)):
                yield file, "the module has none"
            promised = {name for name, node in protocol_methods(file) if ast.get_docstring(node)}
            for name, node in public(tree(file).body):
                if not ast.get_docstring(node) and name.rpartition(".")[2] not in promised:
                    yield file, f"{name} has none, and no Protocol of this file has one for it"

    report(problems())


def protocol_methods(file: Path) -> Iterator[tuple[str, Function]]:
    """Methods that a Protocol of this file promises; who keeps the promise here need not repeat it."""
    for node in tree(file).body:
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Protocol" for base in node.bases):
            yield from ((method.name, method) for method in node.body if isinstance(method, Function))


def test_nothing_is_left_for_later() -> None:
    found = ((file, word) for file in FILES for word in BANNED_WORDS if word in file.read_text(encoding="utf-8"))
    report((file, f"{word} in a finished file") for file, word in found)


def test_most_functions_are_short() -> None:
    lengths = sorted(length(function) for file in FILES for function in functions(file))
    assert lengths[len(lengths) // 2] <= 12, f"median {lengths[len(lengths) // 2]} lines"


def test_folders_of_tests_are_no_packages() -> None:
    packages = [
        path for path in (ROOT / "tests").glob("**/__init__.py") if not {"fixtures", "compat"} & set(path.parts)
    ]
    assert not packages
