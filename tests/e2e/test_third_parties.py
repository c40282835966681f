"""A living third-party package works; a broken one beside it hurts nobody who does not ask for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefw.cli.main import run
from edgefw.contracts.run import RunInfo
from edgefw.errors import EdgefwWarning, PluginClash, PluginLoadError
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.testing.parametrize import make_checks

FRESH_INTERPRETER = {"import_has_no_side_effects", "imports_no_torch"}
BROKEN = {
    "broken-import": "No module named 'a_package_that_does_not_exist'. Install what it needs: pip install",
    "broken-syntax": "SyntaxError",
    "broken-exit": "SystemExit: good bye",
    "broken-hook": "it implements unknown hooks: edgefw_register_loses. Valid hooks here: edgefw_register_backends",
    "broken-name": "registered no loss called 'broken-name'; it registered: loss 'something-else'",
    "broken-register": "ValueError: too late. Update it or remove it: pip uninstall edgefw-broken",
    "broken-future": "it needs plugin API 99; this edgefw",
    "broken-object": "must name a module, not an object in one: 'edgefw_broken.other_name:build'",
    "broken-gone": "there is no module 'edgefw_broken.no_such_module'",
}


@pytest.fixture
def both(installed_plugins: Any) -> Iterator[None]:
    with installed_plugins("edgefw-acme", "edgefw-broken"):
        yield


def listed(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> list[dict[str, Any]]:
    assert run(["list-plugins", "--json", *options]) == code
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_techniques_of_three_kinds_and_an_observer_are_listed(both, capsys) -> None:
    rows = {(row["kind"], row["name"]): row for row in listed(capsys) if row["distribution"] == "edgefw-acme"}
    assert {key: row["status"] for key, row in rows.items()} == {
        ("loss", "acme-angle"): "ok",
        ("loss", "feature"): "clash",
        ("sampler", "acme-halves"): "ok",
        ("modality", "acme_thermal"): "ok",
        ("observer", "acme-diary"): "ok",
    }
    assert rows["loss", "acme-angle"]["version"] == "0.2.0"
    assert rows["loss", "acme-angle"]["summary"] == "Angle between student and teacher embeddings, in radians."


def test_a_broken_package_changes_only_its_own_rows(installed_plugins, capsys) -> None:
    with installed_plugins("edgefw-acme"):
        without = listed(capsys)
    with installed_plugins("edgefw-acme", "edgefw-broken"):
        beside = listed(capsys)
    assert [row for row in beside if row["distribution"] != "edgefw-broken"] == without
    assert len(beside) == len(without) + len(BROKEN) + 1


@pytest.mark.parametrize("name", BROKEN)
def test_asking_for_a_broken_technique_is_one_message_and_the_next_one_works(both, name: str) -> None:
    registry = Registry()
    with pytest.raises(PluginLoadError) as caught:
        registry.load(Kind.LOSS, name)
    message = str(caught.value)
    assert message.startswith(f"loss '{name}' (edgefw-broken 6.6.6, module edgefw_broken.") and "\n" not in message
    assert BROKEN[name] in message
    assert registry.load(Kind.LOSS, "acme-angle").name == "acme-angle"


def test_a_load_test_of_all_names_every_reason_and_exits_1(both, capsys) -> None:
    rows = {row["name"]: row for row in listed(capsys, "--check", "--kind", "loss", code=1)}
    for name, reason in BROKEN.items():
        assert rows[name]["status"] in ("broken", "missing") and reason in rows[name]["reason"]
    assert rows["acme-angle"]["status"] == "ok" and rows["infonce"]["status"] == "ok"


def test_a_name_of_edgefws_own_clashes_and_both_have_a_spelling(both) -> None:
    registry = Registry()
    with pytest.raises(PluginClash, match="Write edgefw:feature or acme:feature|Write acme:feature or edgefw:feature"):
        registry.load(Kind.LOSS, "feature")
    assert registry.load(Kind.LOSS, "acme:feature").paper == "Acme, internal report 8"
    assert registry.load(Kind.LOSS, "edgefw:feature").paper.startswith("arXiv")


@pytest.mark.parametrize(
    "kind, name", [("loss", "acme-angle"), ("sampler", "acme-halves"), ("modality", "acme-thermal")]
)
def test_the_kit_passes(both, kind: str, name: str) -> None:
    for check in make_checks(kind, name):
        if check.name not in FRESH_INTERPRETER:
            check()


def test_a_failing_observer_is_switched_off_and_the_other_one_goes_on(both, tmp_path: Path) -> None:
    info = RunInfo(folder=tmp_path, recipe="quickstart", config={})
    observers = Registry([ref for ref in Registry().refs() if ref.distribution != "edgefw"]).observers()
    with pytest.warns(EdgefwWarning, match="tracker not reachable. It is switched off; the run goes on"):
        observers.call("edgefw_run_started", run=info)
    observers.call("edgefw_stage_finished", run=info, stage="train", result={}, skipped=False)
    observers.call("edgefw_run_finished", run=info, error=None)
    assert (tmp_path / "diary.txt").read_text().splitlines() == ["run quickstart", "stage train", "end None"]


def test_new_plugin_refuses_a_name_that_a_third_party_has(both, tmp_path: Path, capsys) -> None:
    assert run(["new-plugin", "loss", "acme-angle", "--out", str(tmp_path)]) == 2
    assert "is offered by edgefw-acme 0.2.0 already" in capsys.readouterr().err
