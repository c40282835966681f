"""Distributions for tests of discovery and loading: a folder on `sys.path` with dist-info and modules in it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

LOSS = '''"""A loss for tests."""
import edgefw

def build(config, context):
    return object()

@edgefw.hookimpl
def edgefw_register_losses(register):
    register(edgefw.Technique(name="{name}", config=edgefw.NoOptions, build=build))
'''


class Site:
    """A folder that stands for an environment's site-packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        distribution: str,
        points: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str] | None = None,
        version: str = "0.2",
    ) -> None:
        """Add a distribution: {group: {name: module}}, and files by relative path."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = []
        for group, entries in points.items():
            lines += [f"[{group}]", *(f"{name} = {module}" for name, module in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for path, source in (modules or {}).items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        importlib.invalidate_caches()

    def loss(self, distribution: str, name: str, source: str, module: str = "") -> None:
        """Add a distribution with one loss, whose module has this source."""
        module = module or distribution.replace("-", "_")
        self.install(distribution, {"edgefw.losses": {name: module}}, {f"{module}.py": source})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty environment beside the real one; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.delenv("EDGEFW_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(folder)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def loss_source():
    """Source of a module that registers one loss of a given name."""
    return lambda name: LOSS.format(name=name)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, small_bundle):
    return small_bundle.write_small_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, small_bundle):
    return small_bundle.write_pictures(tmp_path_factory.mktemp("pictures"))
