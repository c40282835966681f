"""The device side with nothing but the base dependencies: an environment that holds them, edgefw, and no more.

All `bash` fences of docs/devices.md are executed in it, and the command of the page's systemd unit.

The environment is made from what is installed here: every distribution that pyproject's base dependencies ask for, and
theirs, is linked into a fresh one. No network, no torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from edgefw.camera.store import read_lines
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.label_pack import write_pack

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


def test_a_packed_bundle_labels_and_a_changed_one_is_refused_by_every_command(python, bundle, pictures, tmp_path):
    packed, pickled, flipped = (tmp_path / f"{name}.edgefw" for name in ("right", "pickled", "flipped"))
    assert edgefw(python, "bundle", "pack", str(bundle), str(packed)).returncode == 0
    label = edgefw(python, "label", str(packed), str(pictures), "--json")
    assert json.loads(label.stdout)["counts"] == {"blue": 4, "green": 4, "red": 4}
    with zipfile.ZipFile(packed) as right, zipfile.ZipFile(pickled, "w") as one, zipfile.ZipFile(flipped, "w") as other:
        for name in right.namelist():
            data = right.read(name)
            one.writestr(name, data)
            other.writestr(name, data[:-1] + bytes([data[-1] ^ 1]) if name.endswith("model.onnx") else data)
        one.writestr("artefacts/w.pkl", pickle.dumps([1]))
    for wrong, word in ((pickled, "pickle"), (flipped, "SHA-256")):
        for command in (["label", wrong, pictures], ["bundle", "show", wrong], ["bundle", "extract", wrong, tmp_path / "x"],
                        ["verify", wrong, "--data", pictures]):  # fmt: skip
            result = edgefw(python, *map(str, command))
            assert result.returncode == 2 and word in result.stderr, (command, result.stderr)
            assert "Traceback" not in result.stderr and not (tmp_path / "x").exists()


def test_what_needs_torch_says_how_to_get_it(python, bundle, pictures, tmp_path):
    out = str(tmp_path / "p.json")
    for arguments in (["label", str(bundle), str(pictures), "--labels", "a cat,a dog"],
                      ["labels", "build", str(bundle), "--labels", "a cat,a dog", "--out", out]):  # fmt: skip
        result = edgefw(python, *arguments)
        assert result.returncode == 2
        assert 'pip install "edgefw[train]"' in result.stderr
        assert "Traceback" not in result.stderr


def test_a_watched_folder_is_labelled_and_stored(python, bundle, pictures, tmp_path):
    shutil.copytree(pictures / "red", tmp_path / "frames")
    command = ["label", str(bundle), str(tmp_path / "frames"), "--watch", "--frames", "4", "--jsonl"]
    result = edgefw(python, *command, "--keep", "red", "--store", str(tmp_path / "kept"))
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["trigger"] for line in result.stdout.splitlines()] == ["kept"] * 4
    lines = read_lines(tmp_path / "kept")
    assert [line["label"] for line in lines] == ["red"] * 4
    assert all((tmp_path / "kept" / line["file"]).is_file() for line in lines)


def test_a_pack_is_fitted_on_the_device(python, bundle, pictures, tmp_path):
    refined, final = str(tmp_path / "refined.json"), str(tmp_path / "final.json")
    for arguments in (
        ["labels", "refine", str(bundle), str(pictures), "--out", refined],
        ["labels", "thresholds", str(bundle), str(pictures), "--pack", refined, "--precision", "0.9", "--out", final],
        ["label", str(bundle), str(pictures), "--pack", final],
    ):
        result = edgefw(python, *arguments)
        assert result.returncode == 0, (arguments, result.stderr)


def test_video_says_how_to_get_opencv(python, bundle, tmp_path):
    (tmp_path / "drive.mp4").write_bytes(b"")
    result = edgefw(python, "label", str(bundle), str(tmp_path / "drive.mp4"))
    assert result.returncode == 2
    assert 'pip install "edgefw[video]"' in result.stderr
    assert "Traceback" not in result.stderr


PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
NAMES = {"red": "road works", "green": "an empty road", "blue": "rain"}
"""Labels of the small bundle -> labels of the page."""


def rename_labels(bundle: Path, small_bundle) -> None:
    with open_bundle(bundle) as opened:
        pack = opened.label_pack()
    labels = [dataclasses.replace(label, name=NAMES[label.name]) for label in pack.labels]
    write_pack(dataclasses.replace(pack, labels=labels), bundle / "labels.json")
    small_bundle.change_manifest(bundle, lambda manifest: None)


@pytest.fixture
def device(python, small_bundle, tmp_path) -> Path:
    """The folder in which the reader of docs/devices.md works, with `edgefw` in `bin/`."""
    rename_labels(small_bundle.write_small_bundle(tmp_path / "runs" / "my-recipe-1"), small_bundle)
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    for folder in ("photos", "held-out", "examples"):
        for colour, name in NAMES.items():
            shutil.copytree(pictures / colour, tmp_path / folder / name)
    (tmp_path / "frames").mkdir()
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        shutil.copy(path, tmp_path / "frames" / f"{number:02d}.png")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "edgefw"
    program.write_text(f'#!/bin/sh\nexec "{python}" -I -m edgefw "$@"\n')
    program.chmod(0o755)
    return tmp_path


def typed(script: str, device: Path) -> None:
    """Run lines of a shell as the reader does, and end at the first that fails."""
    path = f"{device / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(device), "EDGEFW_PLUGINS": ""}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=device, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page is for a shell")
def test_the_page_for_devices_can_be_typed_with_the_base_installation(device):
    for fence in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE):
        typed(fence, device)
    assert {line["holding"][0] for line in read_lines(device / "kept")} == {"road works"}
    (start,) = re.findall(r"^ExecStart=/opt/edgefw/bin/(.*)$", PAGE, flags=re.MULTILINE)
    before = len(read_lines(device / "kept"))
    typed(f"{start} --frames 12", device)
    assert len(read_lines(device / "kept")) == before + 4
    assert shlex.split(start)[:2] == ["edgefw", "label"]
