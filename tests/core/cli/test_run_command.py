"""`edgefw run`: folders, stdout, exit codes. The chain itself is tested with the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefw import engine
from edgefw.cli.main import run as edgefw
from edgefw.errors import GateFailed

RECIPE = """
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
train: [{name: distil, losses: [{name: feature}], steps: 1}]
"""
RESULT = {
    "edgefw": "0",
    "recipe": "tiny.yaml",
    "status": "ok",
    "until": "train",
    "evaluation": [],
    "artefacts": [],
    "budget": [],
    "best": None,
    "stages": [{"name": "train", "seconds": 1.0, "skipped": False}],
    "provenance": {},
}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The command with an engine that only notes what it was asked for."""
    noted: list[dict[str, Any]] = []

    def run(recipe: Any, registry: Any, out: Path, until: str | None, resume: bool, strict: bool) -> dict[str, Any]:
        noted.append({"recipe": recipe.name, "out": out, "until": until, "resume": resume, "strict": strict})
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_text(json.dumps(RESULT))
        if until == "verify":
            raise GateFailed("The budget of verify was not met")
        return RESULT

    monkeypatch.setattr(engine, "run", run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return noted


def test_a_run_gets_a_new_numbered_folder(calls: list[dict[str, Any]]) -> None:
    assert [edgefw(["run", "tiny.yaml"]) for _ in range(2)] == [0, 0]
    (Path("runs") / "tiny-9").mkdir()
    (Path("runs") / "tiny-notes").mkdir()
    assert edgefw(["run", "tiny.yaml"]) == 0
    assert [call["out"] for call in calls] == [Path("runs/tiny-1"), Path("runs/tiny-2"), Path("runs/tiny-10")]


def test_resume_takes_the_latest_run(calls: list[dict[str, Any]]) -> None:
    for number in (2, 11, 9):
        (Path("runs") / f"tiny-{number}").mkdir(parents=True)
    assert edgefw(["run", "tiny.yaml", "--resume"]) == 0
    assert (calls[0]["out"], calls[0]["resume"]) == (Path("runs/tiny-11"), True)


def test_resume_without_a_run_is_one_message(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert edgefw(["run", "tiny.yaml", "--resume"]) == 2
    assert "there is no run of 'tiny'" in capsys.readouterr().err
    assert calls == []


def test_options_reach_the_engine(calls: list[dict[str, Any]]) -> None:
    assert edgefw(["run", "tiny.yaml", "seed=4", "--out", "here", "--until", "train", "--strict-plugins"]) == 0
    assert calls == [{"recipe": "tiny", "out": Path("here"), "until": "train", "resume": False, "strict": True}]


def test_json_is_all_there_is_on_stdout(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert edgefw(["run", "tiny.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RESULT


def test_a_missed_budget_prints_the_result_and_exits_with_1(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgefw(["run", "tiny.yaml", "--json", "--until", "verify"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == RESULT
    assert "The budget of verify was not met" in printed.err


def test_without_json_the_stages_and_the_result_file_are_named(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgefw(["run", "tiny.yaml"]) == 0
    printed = capsys.readouterr().out
    assert "train 1.0 s" in printed
    assert "runs/tiny-1/result.json" in printed


def test_an_unknown_stage_is_a_usage_error(calls: list[dict[str, Any]]) -> None:
    assert edgefw(["run", "tiny.yaml", "--until", "lunch"]) == 2


def test_a_wrong_recipe_makes_no_folder(calls: list[dict[str, Any]]) -> None:
    assert edgefw(["run", "tiny.yaml", "sed=4"]) == 2
    assert not Path("runs").exists()
