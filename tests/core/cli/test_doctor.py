"""`edgefw doctor` says what is there, what is missing, and how to get it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefw import __version__
from edgefw.cli import doctor
from edgefw.cli.main import run
from edgefw.registry import requirements


def examined(capsys: pytest.CaptureFixture[str]) -> dict:
    assert run(["doctor", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_names_versions_devices_plugins_and_folders(capsys) -> None:
    found = examined(capsys)
    assert found["edgefw"] == __version__ and found["plugin_api"] == 1
    assert found["devices"][0] == "cpu" and found["cores"] >= 1
    assert all(found["packages"].values())
    (plugin,) = [plugin for plugin in found["plugins"] if plugin["distribution"] == "edgefw"]
    assert plugin["techniques"] > 20
    assert all(state["writable"] and state["free_gb"] > 0 for state in found["folders"].values())


def test_a_missing_extra_names_the_install_command(capsys, monkeypatch) -> None:
    monkeypatch.setitem(requirements.EXTRAS, "acme", {"nowhere": "nowhere-dist", "numpy": "numpy"})
    assert examined(capsys)["extras"]["acme"]["missing"] == ["nowhere"]
    assert run(["doctor"]) == 0
    assert 'missing: nowhere. Install: pip install "edgefw[acme]"' in capsys.readouterr().out


def test_text_names_what_is_wrong_with_plugins_and_folders(site, capsys, monkeypatch, tmp_path: Path) -> None:
    site.install("edgefw-apple", {"edgefw.backends": {"coreml": "edgefw_apple.coreml"}}, version="1.0")
    monkeypatch.setenv("EDGEFW_CACHE", str(tmp_path / "not" / "yet"))
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "edgefw-apple 1.0: 1 techniques; look at coreml" in out
    assert f"{tmp_path / 'not' / 'yet'} (cache, EDGEFW_CACHE): writable" in out
    assert not (tmp_path / "not").exists()


def test_the_allow_list_is_mentioned(capsys, monkeypatch) -> None:
    monkeypatch.setenv("EDGEFW_PLUGINS", "acme")
    assert run(["doctor"]) == 0
    assert "EDGEFW_PLUGINS='acme' limits what is seen" in capsys.readouterr().out


def test_without_torch_the_cpu_is_what_there_is(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "is_importable", lambda name: False)
    assert doctor.devices() == ["cpu"]


def test_every_extra_of_the_project_file_is_known_by_its_import_names() -> None:
    import re
    import tomllib

    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    names = {extra: [re.split(r"[<>=!~ \[]", line)[0] for line in lines] for extra, lines in extras.items()}
    known = {extra: list(packages.values()) for extra, packages in requirements.EXTRAS.items()}
    assert {extra: sorted(lines) for extra, lines in names.items()} == {k: sorted(v) for k, v in known.items()}


def test_the_cpp_compiler_is_named_and_a_missing_one_with_what_to_do(capsys, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert examined(capsys)["compiler"] == {"program": "no-such-compiler", "path": None}
    assert run(["doctor"]) == 0
    assert "compiler no 'no-such-compiler': backends of native code cannot compile. Install" in " ".join(
        capsys.readouterr().out.split()
    )


def test_no_name_runs_into_what_is_said_of_it(capsys, monkeypatch) -> None:
    monkeypatch.setitem(requirements.EXTRAS, "an-extra-of-a-long-name", {"numpy": "numpy"})
    assert run(["doctor"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    starts = {len(row) - len(row[row.index("  ") :].lstrip()) for row in rows if not row.startswith(" ")}
    assert starts == {len("an-extra-of-a-long-name") + 2}
