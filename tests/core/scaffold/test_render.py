"""`new_plugin` and `edgefw new-plugin`: the files of a package, and names that cannot be."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from edgefw.cli.main import run
from edgefw.errors import PluginError
from edgefw.registry.kinds import Kind
from edgefw.scaffold.render import module_name, new_plugin


@pytest.mark.parametrize("kind", Kind)
def test_a_package_has_these_files_and_every_one_parses(kind: Kind, tmp_path: Path) -> None:
    folder = new_plugin(kind, "acme-x", tmp_path)
    assert folder == tmp_path / "edgefw-acme-x"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        ".gitignore",
        ".github/workflows/test.yml",
        "src/edgefw_acme_x/__init__.py",
        f"src/edgefw_acme_x/{kind}.py",
        "tests/test_conformance.py",
        "tests/test_behaviour.py",
    }
    for file in folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree), file
        assert all(len(line) <= 120 for line in file.read_text().splitlines()), file
    for file in files:
        text = (folder / file).read_text()
        assert "$" not in text, file
        assert text.endswith("\n") and not text.endswith("\n\n"), file


@pytest.mark.parametrize("kind", Kind)
def test_the_project_file_names_the_module_and_a_floor_only(kind: Kind, tmp_path: Path) -> None:
    project = tomllib.loads((new_plugin(kind, "acme-x", tmp_path) / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {kind.group: {"acme-x": module_name(kind, "acme-x")}}
    assert project["name"] == "edgefw-acme-x"
    assert project["dependencies"] == ["edgefw>=0.1"]


@pytest.mark.parametrize(
    "name", ["Acme", "acme_x", "2x", "-x", "x-", "a--b", "a b", "a/b", "..", "", "edgefw-x", "x" * 61]
)
def test_a_bad_name_is_one_message_and_writes_nothing(name: str, tmp_path: Path, capsys) -> None:
    assert run(["new-plugin", "--out", str(tmp_path / "new"), "--", "loss", name]) == 2
    assert capsys.readouterr().err.startswith("Error: name '")
    assert not (tmp_path / "new").exists()


def test_an_existing_folder_is_left_alone(tmp_path: Path, capsys) -> None:
    (tmp_path / "edgefw-acme-x").mkdir()
    assert run(["new-plugin", "loss", "acme-x", "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["edgefw-acme-x"]


def test_a_name_that_is_taken_is_refused_with_a_better_one(tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match="'feature' is offered by edgefw .* Put a word of your own in front: acme-feature"
    ):
        new_plugin(Kind.LOSS, "feature", tmp_path)


def test_a_name_taken_by_another_kind_is_free(tmp_path: Path) -> None:
    assert new_plugin(Kind.VIEW, "feature", tmp_path).is_dir()


def test_an_unknown_kind_names_the_kinds(tmp_path: Path, capsys) -> None:
    assert run(["new-plugin", "lossy", "x", "--out", str(tmp_path)]) == 2
    assert "unknown kind 'lossy'. Kinds: teacher" in capsys.readouterr().err


def test_nothing_is_left_when_writing_fails(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        new_plugin(Kind.LOSS, "acme-x", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("x")
    assert run(["new-plugin", "loss", "acme-x", "--out", str(tmp_path / "file" / "deep")]) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_the_command_prints_the_files_and_what_to_do_next(tmp_path: Path, capsys) -> None:
    assert run(["new-plugin", "loss", "acme-x", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "src/edgefw_acme_x/loss.py" in out
    assert f"pip install -e {tmp_path / 'edgefw-acme-x'}" in out


@pytest.mark.parametrize("name", ["class", "import", "loss", "acme-loss"])
def test_a_name_may_be_a_keyword_or_end_in_its_kind(name: str, tmp_path: Path) -> None:
    folder = new_plugin(Kind.LOSS, name, tmp_path)
    source = next(folder.glob("src/*/loss.py")).read_text()
    classes = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert (
        classes[1] == {"class": "ClassLoss", "import": "ImportLoss", "loss": "LossLoss", "acme-loss": "AcmeLoss"}[name]
    )
