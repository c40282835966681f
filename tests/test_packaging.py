"""What the wheel holds, and which part of edgefw may import which."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOTS = {"core": "edgefw", "plugins": "edgefw.plugins", "recipes": "edgefw.recipes"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

ABOVE: dict[str, set[str]] = {
    "cli": set(),
    "engine": {"cli"},
    "stages": {"cli", "engine"},
    "training": {"cli", "engine", "stages", "reporting"},
    "data": {"cli", "engine", "stages", "training", "reporting", "evaluation"},
    "recipe": {"cli", "engine", "stages", "training", "data", "reporting", "evaluation"},
    "registry": {
        "cli",
        "engine",
        "stages",
        "training",
        "data",
        "recipe",
        "reporting",
        "evaluation",
        "testing",
        "scaffold",
    },
    "scaffold": {"cli", "engine", "stages", "training", "data", "recipe", "reporting", "evaluation", "testing"},
    "testing": {"cli", "engine", "stages", "recipe", "reporting", "evaluation"},
}
"""Folder of core -> folders it must not import: no arrow runs back up. `TYPE_CHECKING` imports count as well."""

GROUND = {
    "evaluation": {"evaluation", "errors"},
    "reporting": {"reporting", "errors", "evaluation", "contracts"},
    "runtime": {"runtime", "errors", "contracts", "registry"},
    "contracts": {"contracts", "errors", "runtime"},
    "errors": set(),
}
"""Ground-floor rooms: folder of core -> the only parts of edgefw it may import."""


def module_files() -> dict[str, Path]:
    """Dotted name -> file of every module of the three roots."""
    found = {}
    for root, package in ROOTS.items():
        for file in (ROOT / root).rglob("*.py"):
            parts = file.relative_to(ROOT / root).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = file
    return found


MODULES = module_files()


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path, top_only: bool = False) -> Iterator[str]:
    """Every absolute module name that a file imports, `from edgefw.x import y` as edgefw.x and edgefw.x.y."""
    tree = parsed(file)
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """The part of core that a module belongs to: edgefw.training.loop -> training, edgefw.engine -> engine."""
    return module.split(".")[1] if "." in module else ""


def rooms_imported(file: Path) -> dict[str, str]:
    """Part of core -> a module of it that the file imports."""
    return {
        room(name): name for name in imports(file) if name.startswith("edgefw.") and not name.startswith("edgefw.__")
    }


def core_modules(folder: str) -> list[tuple[str, Path]]:
    return [(name, file) for name, file in MODULES.items() if room(name) == folder]


def test_the_package_list_is_the_tree() -> None:
    tree = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(tree), (
        "pyproject.toml [tool.setuptools] packages is not the set of folders with __init__.py"
    )


def test_every_folder_with_modules_is_a_package() -> None:
    for file in MODULES.values():
        assert (file.parent / "__init__.py").is_file(), f"{file.parent} has no __init__.py: it would miss in the wheel"


def test_every_data_file_is_in_the_package_data() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    homes = {package: ROOT / root for root, package in ROOTS.items()}
    for package, globs in patterns.items():
        base = max((home for home in homes if package == home or package.startswith(f"{home}.")), key=len)
        folder = (
            homes[base].joinpath(*package.removeprefix(base).strip(".").split(".")) if package != base else homes[base]
        )
        homes[package] = folder
        kept = {file for pattern in globs for file in folder.glob(pattern) if file.is_file()}
        below = {file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
        if package != "edgefw":
            assert below <= kept, f"{package}: not shipped: {sorted(str(file) for file in below - kept)}"


def test_entry_points_are_those_of_pyproject() -> None:
    points = [point for point in distribution("edgefw").entry_points if point.group.startswith("edgefw.")]
    found: dict[str, dict[str, str]] = {}
    for point in points:
        found.setdefault(point.group, {})[point.name] = point.value
    assert found == PROJECT["project"]["entry-points"], "run `make dev`: the metadata is written at install"


def test_every_entry_point_names_a_module_of_its_kinds_folder() -> None:
    for group, entries in PROJECT["project"]["entry-points"].items():
        folder = "observers" if group == "edgefw.hooks" else group.removeprefix("edgefw.")
        for name, module in entries.items():
            assert module == f"edgefw.plugins.{folder}.{name.replace('-', '_')}", f"{group}: {name} = {module}"
            assert module in MODULES, f"{name}: there is no module {module}"


def test_core_imports_no_plugin() -> None:
    for name, file in MODULES.items():
        if not name.startswith(("edgefw.plugins", "edgefw.recipes")):
            own = [found for found in imports(file) if found.startswith("edgefw.plugins")]
            assert not own, f"{name} imports {own}: core knows kinds, never techniques"


def test_runtime_imports_no_torch_not_even_lazily() -> None:
    for name, file in core_modules("runtime"):
        heavy = {found.split(".")[0] for found in imports(file)} & {
            "torch",
            "torchvision",
            "timm",
            "transformers",
            "open_clip",
        }
        assert not heavy, f"{name} imports {heavy}"


@pytest.mark.parametrize("folder", ABOVE)
def test_no_arrow_runs_back_up(folder: str) -> None:
    for name, file in core_modules(folder):
        back = {room_: found for room_, found in rooms_imported(file).items() if room_ in ABOVE[folder]}
        assert not back, f"{name} imports {sorted(back.values())}"


@pytest.mark.parametrize("folder", GROUND)
def test_ground_floor_rooms_know_nothing_above_them(folder: str) -> None:
    for name, file in core_modules(folder):
        known = {room_: found for room_, found in rooms_imported(file).items() if room_ not in GROUND[folder] | {""}}
        assert not known, f"{name} imports {sorted(known.values())}"


def test_errors_kinds_and_the_record_import_nothing_heavy() -> None:
    for name in (
        "edgefw",
        "edgefw.errors",
        "edgefw.registry.kinds",
        "edgefw.registry.technique",
        "edgefw.registry.discovery",
    ):
        heavy = {found.split(".")[0] for found in imports(MODULES[name], top_only=True)}
        assert not heavy & {"pydantic", "omegaconf", "rich", "numpy", "pluggy", "torch"}, f"{name} imports {heavy}"


def test_modality_dataset_and_backend_modules_import_no_torch_at_their_top() -> None:
    for name, file in MODULES.items():
        if name.split(".")[1:3] in (["plugins", "modalities"], ["plugins", "datasets"]):
            assert "torch" not in {found.split(".")[0] for found in imports(file, top_only=True)}, name
    for module in PROJECT["project"]["entry-points"]["edgefw.backends"].values():
        assert "torch" not in {found.split(".")[0] for found in imports(MODULES[module], top_only=True)}, module


def test_no_import_is_relative() -> None:
    for name, file in MODULES.items():
        for node in ast.walk(parsed(file)):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{name}: a relative import"
