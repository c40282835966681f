"""What holds the house together: package list, entry points, layers, sizes, docstrings.

Each test is a rule of CONTRIBUTING.md; a failing one names the file and what to do.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"core": "edgefw", "plugins": "edgefw.plugins", "recipes": "edgefw.recipes"}
MOST_LINES, MOST_TEST_LINES, MOST_FUNCTION_LINES = 400, 500, 60
GROUND_FLOOR = ("evaluation", "reporting", "runtime")
ABOVE = ("cli", "engine", "stages", "training", "pieces", "planning")


def sources(*folders: str) -> list[Path]:
    """Python files below folders of the repository; templates are not Python."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """`edgefw.data.loading` of core/data/loading.py."""
    first, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[first], *(part for part in rest if part != "__init__")])


@cache
def tree(path: Path) -> ast.Module:
    """A file as Python reads it."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions; not what only a type checker reads."""
    hidden = {
        id(node)
        for block in ast.walk(tree(path))
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for part in block.body
        for node in ast.walk(part)
    }
    for node in ast.walk(tree(path)):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_package_list_equals_the_tree() -> None:
    found = {module_name(path) for path in sources(*FOLDERS) if path.name == "__init__.py"}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(found), "put the folder into [tool.setuptools] packages, then `make dev`"


def test_every_folder_with_python_is_a_package() -> None:
    folders = {path.parent for path in sources(*FOLDERS)}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_installed_entry_points_equal_the_project_file() -> None:
    installed = {
        (point.group, point.name, point.value)
        for point in metadata.distribution("edgefw").entry_points
        if point.group != "console_scripts"
    }
    written = {
        (group, name, value)
        for group, points in PROJECT["project"]["entry-points"].items()
        for name, value in points.items()
    }
    assert installed == written, "the metadata is written at install: `make dev`"


def test_every_entry_point_has_its_file_named_like_it() -> None:
    for group, points in PROJECT["project"]["entry-points"].items():
        for name, value in points.items():
            assert value.rsplit(".", 1)[1] == name.replace("-", "_"), f"{group}: {name}"
            assert (ROOT / f"{value.removeprefix('edgefw.').replace('.', '/')}.py").is_file(), value


def test_core_imports_no_technique() -> None:
    guilty = [
        str(path) for path in sources("core") if any(name.startswith("edgefw.plugins") for name in imported(path))
    ]
    assert guilty == []


@pytest.mark.parametrize("room", GROUND_FLOOR)
def test_a_ground_floor_room_knows_nothing_above_it(room: str) -> None:
    for path in sources(f"core/{room}"):
        parts = [name.split(".")[1] for name in imported(path) if name.startswith("edgefw.")]
        assert not set(parts) & set(ABOVE), f"{path.relative_to(ROOT)} imports {sorted(set(parts) & set(ABOVE))}"


def test_the_device_side_names_torch_nowhere() -> None:
    heavy = {"torch", "torchvision", "timm", "open_clip", "transformers", "torchao", "accelerate"}
    for path in sources("core/runtime", "core/evaluation"):
        assert not {name.split(".")[0] for name in imported(path)} & heavy, path.relative_to(ROOT)


def test_device_modules_can_be_imported_without_torch() -> None:
    modules = [module_name(p) for p in sources("core/runtime", "core/evaluation")]
    groups = [PROJECT["project"]["entry-points"][f"edgefw.{kind}"] for kind in ("modalities", "datasets", "backends")]
    modules += [value for group in groups for value in group.values()]
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'torchvision', 'timm', 'open_clip', 'transformers'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"for name in {modules!r}:\n"
        "    __import__(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("folder", ["core", "plugins", "tests", "scripts", "benchmarks"])
def test_no_file_is_too_long(folder: str) -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(folder)}
    most = MOST_TEST_LINES if folder == "tests" else MOST_LINES
    assert {name: lines for name, lines in long.items() if lines > most} == {}


@pytest.mark.parametrize("folder", ["core", "plugins"])
def test_no_function_is_too_long(folder: str) -> None:
    for path in sources(folder):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= MOST_FUNCTION_LINES, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


@pytest.mark.parametrize("folder", ["core", "plugins"])
def test_every_public_name_says_what_it_gives(folder: str) -> None:
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in sources(folder)
        for node in tree(path).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not any("hookimpl" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    silent += [str(path.relative_to(ROOT)) for path in sources(folder) if not ast.get_docstring(tree(path))]
    assert silent == []


@pytest.mark.parametrize("folder", ["core", "plugins"])
def test_nothing_is_left_for_later(folder: str) -> None:
    for path in sources(folder):
        text = path.read_text()
        assert not any(word in text for word in ("TODO", "FIXME", "XXX", "raise NotImplementedError")), path


def test_no_file_is_named_after_nothing() -> None:
    nameless = {"utils.py", "helpers.py", "misc.py", "common.py", "base.py"}
    assert [str(path) for path in sources("core", "plugins") if path.name in nameless] == []
