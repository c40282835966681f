"""One small real run, made once, for all tests that look at what a run leaves."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny_project() -> Any:
    """The names of tests/fixtures/tiny_project.py."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "fixtures" / "tiny_project.py")))


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory, tiny_project):
    return tiny_project.write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def environment(tiny_project):
    with tiny_project.tiny_plugins():
        yield


@pytest.fixture(scope="module")
def project(environment, finished_project):
    """A folder with data, recipe and a finished run."""
    return finished_project


@pytest.fixture(scope="module")
def run(project):
    return project / "run"


@pytest.fixture
def copy(project, tmp_path):
    """The run, to be changed; its recipe still finds the data."""
    return Path(shutil.copytree(project / "run", tmp_path / "run"))


@pytest.fixture(scope="session")
def result():
    """`result(run, stage)`: what a stage wrote."""
    return lambda run, stage: json.loads((run / stage / "result.json").read_text())
