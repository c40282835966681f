"""The number of CPU threads that files are judged with is the one that their bundle opens them with."""

from __future__ import annotations

import shutil

import pytest

from edgefw import engine
from edgefw.plugins.backends import onnxruntime
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.opening import Opener

SILENT = (
    "export={backends: [{name: onnxruntime, exporter: legacy}], quantizers: [], folded: [rgb], heat: true}",
    "verify.max_slowdown=null",
)


@pytest.fixture
def opened_with(monkeypatch):
    """Threads of every session that the backend opens in this process."""
    found, really = [], onnxruntime.open_session

    def spied(file, threads, batch=None):
        found.append(threads)
        return really(file, threads, batch)

    monkeypatch.setattr(onnxruntime, "open_session", spied)
    return found


def again(project, run, *overrides):
    engine.run(read_recipe(str(project / "tiny.yaml"), overrides), Registry(), run, resume=True)
    with open_bundle(run) as opened:
        return {entry.name: entry.options["threads"] for entry in opened.manifest.files}


def test_a_backend_without_threads_of_its_own_has_those_of_compute_in_the_bundle_too(project, copy, opened_with):
    stated = again(project, copy, *SILENT, "compute.threads=3")
    assert len(stated) == 3  # the file, its map, and the one with the preprocessing inside
    assert set(stated.values()) == {3}
    assert set(opened_with) == {3, None}  # None: compiling checks a file by the backend's own options
    opened_with.clear()
    with open_bundle(copy) as opened:
        Opener(opened).runners()
    assert opened_with == [3]
    assert again(project, copy, *SILENT, "compute.threads=2") == dict.fromkeys(stated, 2)


def test_threads_of_a_backend_go_before_those_of_compute(project, copy, opened_with):
    assert set(again(project, copy, "compute.threads=3").values()) == {1}
    assert set(opened_with) == {1}


def test_without_either_the_runtime_chooses(project, tmp_path):
    copy = shutil.copytree(project / "run", tmp_path / "silent")
    assert set(again(project, copy, *SILENT).values()) == {None}
