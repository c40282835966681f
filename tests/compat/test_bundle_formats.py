"""Bundles of older formats are opened, labelled with, unpacked and packed by this edgefw."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edgefw.cli.main import run
from edgefw.runtime.bundle import open_bundle

OLD = sorted(Path(__file__).parent.glob("format-*.edgefw"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, small_bundle) -> Path:
    return small_bundle.write_pictures(tmp_path_factory.mktemp("pictures"), each=2)


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_there_is_one_of_each_older_format() -> None:
    stated = [json.loads(zipfile.ZipFile(path).read("manifest.json"))["format"] for path in OLD]
    assert stated == [1] and [path.name for path in OLD] == ["format-1.edgefw"]


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.stem)
def test_an_old_bundle_labels_as_it_did(old: Path, pictures: Path, capsys) -> None:
    for artefact in ("onnxruntime-fp32", "onnxruntime-int8-static"):
        lines = said(capsys, "label", old, pictures, "--artefact", artefact).splitlines()
        assert len(lines) == 6
        assert [line.split("\t")[1] for line in lines] == [line.split("\t")[0].split("/")[-2] for line in lines]


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.stem)
def test_an_old_bundle_is_unpacked_and_packed_unchanged(old: Path, tmp_path: Path, capsys) -> None:
    said(capsys, "bundle", "extract", old, tmp_path / "folder")
    said(capsys, "bundle", "pack", tmp_path / "folder", tmp_path / "new.edgefw")
    assert said(capsys, "bundle", "diff", old, tmp_path / "new.edgefw") == ""
    with open_bundle(tmp_path / "new.edgefw") as opened:
        assert opened.manifest.reference is None
    assert "red, green, blue" in said(capsys, "bundle", "show", old)
