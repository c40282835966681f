"""Observers of a run: called one by one; a failing one is switched off, and hurts nobody unless asked to."""

from __future__ import annotations

import warnings

import pytest

from edgefw.errors import EdgefwWarning, PluginError, PluginLoadError
from edgefw.registry.discovery import installed
from edgefw.registry.loading import Registry

GOOD = '''"""Counts."""
import edgefw
calls = []

@edgefw.hookimpl
def edgefw_stage_started(stage):
    calls.append(stage)
    return stage
'''
BAD = GOOD.replace("calls.append(stage)", "raise SystemExit('no disk')")


def install(site, distribution: str, source: str) -> None:
    module = distribution.replace("-", "_")
    site.install(distribution, {"edgefw.hooks": {module.replace("_", "-"): module}}, {f"{module}.py": source})


def registry() -> Registry:
    return Registry([ref for ref in installed() if ref.kind is None and ref.distribution != "edgefw"])


def test_every_observer_is_called_and_results_are_collected(site) -> None:
    install(site, "edgefw-one", GOOD)
    install(site, "edgefw-two", GOOD.replace("return stage", "return None"))
    observers = registry().observers()
    assert sorted(observers.names) == ["edgefw_one", "edgefw_two"]
    assert observers.call("edgefw_stage_started", run=None, stage="train") == ["train"]
    assert observers.call("edgefw_run_started", run=None) == []


def test_a_failing_observer_is_switched_off_with_one_warning(site) -> None:
    install(site, "edgefw-one", GOOD)
    install(site, "edgefw-two", BAD)
    observers = registry().observers()
    expected = "observer edgefw_two failed in edgefw_stage_started: SystemExit: no disk. It is switched off"
    with pytest.warns(EdgefwWarning, match=expected):
        assert observers.call("edgefw_stage_started", run=None, stage="train") == ["train"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert observers.call("edgefw_stage_started", run=None, stage="export") == ["export"]
    assert observers.names == ["edgefw_one"]


def test_strict_makes_a_failing_observer_an_error(site) -> None:
    install(site, "edgefw-two", BAD)
    with pytest.raises(PluginError, match="observer edgefw_two failed in edgefw_stage_started"):
        registry().observers(strict=True).call("edgefw_stage_started", run=None, stage="train")


@pytest.mark.parametrize(
    "source, reason",
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        (GOOD.replace("edgefw_stage_started", "edgefw_stage_begun"), "unknown hooks: edgefw_stage_begun"),
        (GOOD.replace("(stage)", "(stage, colour)", 1), "newer edgefw API"),
    ],
)
def test_an_observer_that_cannot_be_loaded_is_left_out_and_strict_refuses_it(site, source, reason) -> None:
    install(site, "edgefw-one", GOOD)
    install(site, "edgefw-two", source)
    with pytest.warns(EdgefwWarning, match=reason):
        assert registry().observers().names == ["edgefw_one"]
    with pytest.raises(PluginLoadError, match=reason):
        registry().observers(strict=True)


def test_a_hook_that_does_not_exist_is_a_mistake_of_the_caller(site) -> None:
    with pytest.raises(PluginError, match="there is no observer hook 'edgefw_coffee'"):
        registry().observers().call("edgefw_coffee")


def test_one_module_under_two_names_is_one_observer(site) -> None:
    site.install("edgefw-one", {"edgefw.hooks": {"a": "edgefw_one", "b": "edgefw_one"}}, {"edgefw_one.py": GOOD})
    observers = registry().observers()
    assert observers.call("edgefw_stage_started", run=None, stage="train") == ["train"]


def test_an_interrupt_in_an_observer_is_an_interrupt(site) -> None:
    install(site, "edgefw-one", GOOD.replace("calls.append(stage)", "raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        registry().observers().call("edgefw_stage_started", run=None, stage="train")
