"""What a stranger does: write a plugin, install it, test it, and run the quickstart with it. Minutes; run with -m slow.

Everything happens through the command line and pip, in folders of its own, without a network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgefw.registry.kinds import Kind

pytestmark = pytest.mark.slow


class Stranger:
    """A working directory, and an environment beside the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.target = folder / "work", folder / "target"
        self.folder.mkdir()
        paths = [str(self.target), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
        self.environment.pop("EDGEFW_PLUGINS", None)

    def run(self, *words: str, code: int = 0) -> str:
        """`python -m ...` in the working directory; gives stdout."""
        command = [sys.executable, "-m", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (
            f"{' '.join(words)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.stdout

    def install(self, *packages: str) -> None:
        """`pip install ./edgefw-acme-x`, into the target folder."""
        options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(self.target)]
        self.run("pip", "install", *options, *packages)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """Somebody with a package of each kind, as `edgefw new-plugin` writes them, installed with pip."""
    person = Stranger(tmp_path_factory.mktemp("stranger"))
    names = {kind: "acme-x" if kind is Kind.LOSS else f"acme-{kind}" for kind in Kind}
    for kind, name in names.items():
        person.run("edgefw", "new-plugin", kind, name)
    person.install(*(f"./edgefw-{name}" for name in names.values()))
    return person


@pytest.mark.parametrize("kind", Kind)
def test_a_new_plugin_of_every_kind_installs_lists_loads_and_passes_its_tests(stranger: Stranger, kind: Kind) -> None:
    name = "acme-x" if kind is Kind.LOSS else f"acme-{kind}"
    rows = {
        row["name"]: row
        for row in json.loads(stranger.run("edgefw", "list-plugins", "--kind", kind, "--json", "--check"))
    }
    assert rows[name]["status"] == "ok" and rows[name]["distribution"] == f"edgefw-{name}"
    assert f"name: {name}" in stranger.run("edgefw", "plugins", "show", f"{kind}/{name}")
    out = stranger.run("pytest", "-q", "-p", "no:cacheprovider", f"./edgefw-{name}")
    assert "passed" in out and "failed" not in out and "skipped" not in out


def test_the_kit_runs_without_a_test_file(stranger: Stranger) -> None:
    out = stranger.run("pytest", "-q", "-p", "edgefw.testing.pytest_plugin", "--edgefw-plugin", "loss/acme-x")
    assert "passed" in out and "failed" not in out


def test_the_quickstart_runs_with_the_strangers_loss(stranger: Stranger, quick_quickstart: tuple[str, ...]) -> None:
    loss = "train.0.losses=[{name: acme-x, power: 1}]"
    out = stranger.run("edgefw", "run", "quickstart", loss, *quick_quickstart, "--out", "run", "--json")
    result: dict[str, Any] = json.loads(out)
    assert result["status"] == "ok"
    steps = [json.loads(line) for line in (stranger.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("acme-x" in line.get("losses", {}) for line in steps)
    assert {row["model"] for row in result["evaluation"]} >= {"teacher", "student", "onnxruntime-int8-static"}
    assert (stranger.folder / "run" / "report.html").is_file()


def test_an_option_that_the_strangers_loss_lacks_is_one_message(stranger: Stranger) -> None:
    command = [sys.executable, "-m", "edgefw", "check", "quickstart", "train.0.losses=[{name: acme-x, powr: 2}]"]
    done = subprocess.run(
        command, cwd=stranger.folder, env=stranger.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "powr" in done.stderr and "power" in done.stderr
