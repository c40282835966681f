"""`edgefw list-plugins`: rows, JSON, load-tests and exit codes."""

from __future__ import annotations

import json
import sys

import pytest

from edgefw.cli.main import run

COLUMNS = {"kind", "name", "distribution", "version", "module", "summary", "status"}


def listed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[dict]:
    assert run(["list-plugins", "--json", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_json_has_the_documented_columns(capsys) -> None:
    rows = listed(capsys)
    assert rows and all(set(row) == COLUMNS for row in rows)
    student = next(row for row in rows if row["kind"] == "student" and row["name"] == "timm")
    assert student["distribution"] == "edgefw" and student["module"] == "edgefw.plugins.students.timm"


@pytest.mark.parametrize("word", ["loss", "losses"])
def test_kind_limits_the_list(capsys, word) -> None:
    assert {row["kind"] for row in listed(capsys, "--kind", word)} == {"loss"}


def test_observers_are_a_kind_of_their_own(capsys) -> None:
    assert {row["kind"] for row in listed(capsys, "--kind", "observer")} == {"observer"}


def test_an_unknown_kind_names_the_kinds(capsys) -> None:
    assert run(["list-plugins", "--kind", "lossy"]) == 2
    assert "unknown kind 'lossy'. Kinds: teacher, student" in capsys.readouterr().err


def test_the_table_shows_clash_and_missing_in_their_rows_only(site, capsys) -> None:
    site.loss("edgefw-acme", "twin", '"""One."""')
    site.loss("edgefw-other", "twin", '"""Two."""')
    site.install("edgefw-apple", {"edgefw.backends": {"coreml": "edgefw_apple.coreml"}}, version="1.0")
    assert run(["list-plugins"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["KIND", "NAME", "FROM", "SUMMARY"]
    assert out.count("! clash: use acme:twin or other:twin") == 2
    assert "! module edgefw_apple.coreml not found" in out
    assert "from 4 distributions. Details: edgefw plugins show [KIND/]NAME" in out


def test_check_loads_each_and_exits_1_when_one_is_broken(site, capsys, loss_source) -> None:
    site.loss("edgefw-acme", "good", loss_source("good"))
    site.loss("edgefw-bomb", "bomb", '"""Bomb."""\nraise SystemExit(4)\n')
    rows = {row["name"]: row for row in listed(capsys, "--kind", "loss", "--check", code=1)}
    assert rows["good"]["status"] == "ok" and rows["good"]["reason"] == ""
    assert rows["bomb"]["status"] == "broken" and "SystemExit: 4" in rows["bomb"]["reason"]


def test_check_prints_reasons(site, capsys, loss_source) -> None:
    site.loss("edgefw-bomb", "bomb", '"""Bomb."""\nraise SystemExit(4)\n')
    assert run(["list-plugins", "--kind", "loss", "--check"]) == 1
    out = capsys.readouterr().out
    assert "! broken: loss 'bomb' (edgefw-bomb 0.2, module edgefw_bomb) cannot be loaded: SystemExit: 4." in out
    assert out.splitlines()[-1].endswith("1 broken.")


def test_check_calls_a_plugin_unavailable_whose_extra_is_not_installed(site, capsys, loss_source) -> None:
    requires = loss_source("needy").replace(
        "build=build", 'build=build, requires=("nowhere",), install="pip install n"'
    )
    site.loss("edgefw-needy", "needy", requires)
    late = '"""Late."""\nraise ModuleNotFoundError("No module named \'timm\'", name="timm")\n'
    site.loss("edgefw-late", "late", late)
    rows = {row["name"]: row for row in listed(capsys, "--kind", "loss", "--check")}
    assert (rows["needy"]["status"], rows["needy"]["reason"]) == ("unavailable", "needs nowhere: pip install n")
    assert (rows["late"]["status"], rows["late"]["reason"]) == (
        "unavailable",
        'needs timm: pip install "edgefw[train]"',
    )


def test_check_load_tests_observers(site, capsys) -> None:
    site.install("edgefw-seer", {"edgefw.hooks": {"seer": "edgefw_seer"}}, {"edgefw_seer.py": '"""Sees."""\n1 / 0\n'})
    rows = {row["name"]: row for row in listed(capsys, "--kind", "hooks", "--check", code=1)}
    assert "ZeroDivisionError" in rows["seer"]["reason"]


def test_listing_imports_no_plugin(site, capsys) -> None:
    site.loss("edgefw-bomb", "bomb", '"""Bomb."""\nraise SystemExit(4)\n')
    assert "Bomb." in [row["summary"] for row in listed(capsys)]
    assert "edgefw_bomb" not in sys.modules
