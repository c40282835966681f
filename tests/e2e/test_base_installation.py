"""The device side with nothing but the base dependencies: an environment that holds them, edgefw, and no more.

The environment is made from what is installed here: every distribution that pyproject's base dependencies ask for, and
theirs, is linked into a fresh one. No network, no torch.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def closure(names: list[str]) -> set[str]:
    """The distributions that these need, with what they need themselves; extras are left out."""
    requirements = pytest.importorskip("packaging.requirements")
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        requirement = requirements.Requirement(waiting.pop())
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name not in found:
            found.add(name)
            waiting += metadata.distribution(requirement.name).requires or []
    return found


def link(name: str, target: Path) -> None:
    """Link every top-level file and folder of an installed distribution into `target`."""
    distribution = metadata.distribution(name)
    for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        source = Path(str(distribution.locate_file(top)))
        if source.exists() and not (target / top).exists():
            (target / top).symlink_to(source, target_is_directory=source.is_dir())


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of the environment."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    site = next((folder / "env").glob("lib/python*/site-packages"))
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = closure(names)
    assert "torch" not in needed and "onnxruntime" in needed
    for name in sorted(needed):
        link(name, site)
    copy = folder / "source"
    for name in ("core", "plugins", "recipes", "pyproject.toml", "README.md", "LICENSE"):
        path = ROOT / name
        shutil.copytree(path, copy / name) if path.is_dir() else shutil.copy(path, copy / name)
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, *install, str(copy)], check=True, capture_output=True)
    return folder / "env" / "bin" / "python"


def edgefw(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), "-I", "-m", "edgefw", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, small_bundle) -> Path:
    teacher = {"technique": "openclip", "options": {"model": "ViT-B-32"}, "fingerprint": "", "templates": []}
    return small_bundle.write_small_bundle(tmp_path_factory.mktemp("b") / "bundle", teacher=teacher)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, small_bundle) -> Path:
    return small_bundle.write_pictures(tmp_path_factory.mktemp("p"))


def test_torch_is_not_there(python):
    result = subprocess.run([str(python), "-I", "-c", "import torch"], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in result.stderr


def test_every_command_of_the_device_works(python, bundle, pictures, tmp_path):
    label = edgefw(python, "label", str(bundle), str(pictures), "--json")
    assert label.returncode == 0, label.stderr
    assert json.loads(label.stdout)["counts"] == {"blue": 4, "green": 4, "red": 4}
    for arguments in (
        ["verify", str(bundle), "--data", str(pictures)],
        ["bench", str(bundle), "--seconds", "0.1"],
        ["bundle", "show", str(bundle)],
        ["bundle", "pack", str(bundle), str(tmp_path / "b.edgefw")],
        ["bundle", "diff", str(bundle), str(bundle)],
        ["labels", "show", str(bundle)],
        ["labels", "eval", str(bundle), str(pictures)],
        ["list-plugins"],
    ):
        result = edgefw(python, *arguments)
        assert result.returncode == 0, (arguments, result.stderr)


def test_what_needs_torch_says_how_to_get_it(python, bundle, pictures, tmp_path):
    out = str(tmp_path / "p.json")
    for arguments in (["label", str(bundle), str(pictures), "--labels", "a cat,a dog"],
                      ["labels", "build", str(bundle), "--labels", "a cat,a dog", "--out", out]):  # fmt: skip
        result = edgefw(python, *arguments)
        assert result.returncode == 2
        assert 'pip install "edgefw[train]"' in result.stderr
        assert "Traceback" not in result.stderr
