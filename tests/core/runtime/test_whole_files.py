"""Files that are there whole or not at all, and places that are no files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgefw.errors import BundleError
from edgefw.runtime.whole_files import write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_folder_and_leaves_no_draft(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.json", lambda draft: draft.write_text("1"))
    write_whole(tmp_path / "new" / "a.json", lambda draft: draft.write_text("2"))
    assert names(tmp_path / "new") == ["a.json"] and (tmp_path / "new/a.json").read_text() == "2"


def test_a_write_that_fails_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")

    def full(draft: Path) -> None:
        draft.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match=r"a.json: cannot be written \(No space left on device\)"):
        write_whole(file, full)
    assert names(tmp_path) == ["a.json"] and file.read_text() == "old"


@pytest.mark.parametrize("place", ["", ".", "folder"])
def test_a_folder_is_no_place_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="this is a folder. Name a file in it"):
        write_whole(Path(place), lambda draft: draft.write_text("1"))
    assert names(tmp_path) == ["folder"]


def test_a_place_that_cannot_be_written_to_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="file/a.json: cannot be written"):
        write_whole(tmp_path / "file" / "a.json", lambda draft: draft.write_text("1"))


@pytest.mark.parametrize("name", ["a" * 300, "a" * 252])  # the second one has no room for its draft's name
def test_a_name_that_is_too_long_is_one_message(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="a: cannot be written"):
        write_whole(tmp_path / name, lambda draft: draft.write_text("1"))
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_looked_into_is_one_message(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    try:
        with pytest.raises(BundleError, match="a.json: cannot be written"):
            write_whole(closed / "a.json", lambda draft: draft.write_text("1"))
    finally:
        closed.chmod(0o700)
