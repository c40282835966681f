"""Folders that are there whole or not at all, and places that are no empty folders."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgefw.errors import BundleError
from edgefw.runtime.whole_folders import write_whole_folder


def two_files(draft: Path) -> None:
    (draft / "a").mkdir()
    (draft / "a" / "1").write_text("1")
    (draft / "b").write_text("2")


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_appears_with_its_parents_and_leaves_no_draft(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "new" / "folder"
    if there:
        target.mkdir(parents=True)
    write_whole_folder(target, two_files)
    assert names(tmp_path / "new") == ["folder", "folder/a", "folder/a/1", "folder/b"]


def test_an_empty_folder_where_the_user_stands_is_filled_and_stays_the_same_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    write_whole_folder(Path("."), two_files)
    assert names(tmp_path) == ["a", "a/1", "b"] and tmp_path.stat().st_ino == before


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_midway_leaves_what_was_there(tmp_path: Path, there: bool) -> None:
    (tmp_path / "large").write_bytes(bytes(10_000))
    (tmp_path / "home").mkdir()
    if there:
        (tmp_path / "home" / "out").mkdir()

    def copied(draft: Path) -> None:
        two_files(draft)
        shutil.copyfile(tmp_path / "large", draft / "large")

    with files_of_at_most(5_000), pytest.raises(BundleError, match=r"home/out: cannot be written \(File too large\)"):
        write_whole_folder(tmp_path / "home" / "out", copied)
    assert names(tmp_path / "home") == (["out"] if there else [])


@pytest.mark.parametrize("kind", ["file", "full", "dangling"])
def test_a_place_that_is_taken_is_left_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("old")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    before = names(tmp_path)
    with pytest.raises(BundleError, match=f"{kind}: exists and is not an empty folder. Choose another one"):
        write_whole_folder(tmp_path / kind, two_files)
    assert names(tmp_path) == before


def test_a_place_below_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=r"file/out: cannot be written \((Not a directory|File exists)\)"):
        write_whole_folder(tmp_path / "file" / "out", two_files)


def test_what_cannot_move_up_takes_back_what_did(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()

    def fill(draft: Path) -> None:
        for name in ("a", "b"):
            (draft / name).mkdir()
            (draft / name / "file").write_text(name)
        (target / "b").mkdir()
        (target / "b" / "theirs").write_text("came meanwhile")

    with pytest.raises(BundleError, match="cannot be written"):
        write_whole_folder(target, fill)
    assert [path.relative_to(target).as_posix() for path in sorted(target.rglob("*"))] == ["b", "b/theirs"]
