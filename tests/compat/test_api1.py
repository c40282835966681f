"""A plugin package frozen at API 1 works with this edgefw as it did with the first one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from edgefw import API_VERSION
from edgefw.contracts.run import RunInfo
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.testing.parametrize import make_checks


@pytest.fixture(scope="module")
def frozen(installed_plugins: Any) -> Iterator[None]:
    """The frozen package in the environment, and nothing else besides edgefw."""
    with installed_plugins("edgefw-api1"):
        yield


@pytest.mark.parametrize("kind, name", [(Kind.LOSS, "api1-loss"), (Kind.VIEW, "api1-view")])
def test_its_techniques_load_and_keep_their_promises(frozen, kind: Kind, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error" if API_VERSION == 1 else "ignore", DeprecationWarning)
        technique = Registry().load(kind, name)
    assert technique.api == 1
    slow = {"import_has_no_side_effects"}
    for check in make_checks(kind, name):
        if check.name not in slow:
            check()


def test_its_observer_hears_everything(frozen, tmp_path: Path) -> None:
    observers = Registry().observers(strict=True)
    run = RunInfo(folder=tmp_path, recipe="quickstart", config={"seed": 1})
    observers.call("edgefw_run_started", run=run)
    observers.call("edgefw_stage_started", run=run, stage="train")
    observers.call("edgefw_step_finished", run=run, phase="distil", step=3, metrics={"loss": 0.5})
    observers.call("edgefw_stage_finished", run=run, stage="train", result={"steps": 3}, skipped=False)
    observers.call("edgefw_run_finished", run=run, error=None)
    (sections,) = observers.call("edgefw_report_sections", run=run)
    assert [section.title for section in sections] == ["API 1"]
    assert import_module("edgefw_api1.observer").calls == [
        ("run_started", tmp_path, "quickstart", {"seed": 1}),
        ("stage_started", "train"),
        ("step_finished", "distil", 3, {"loss": 0.5}),
        ("stage_finished", "train", {"steps": 3}, False),
        ("run_finished", None),
    ]
