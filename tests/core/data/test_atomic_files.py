"""Files and folders are whole or absent."""

from __future__ import annotations

import pytest

from edgefw.data.atomic_files import remove_unfinished, write_file, write_folder


def test_a_file_is_replaced_at_once(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_file(target, lambda path: path.write_text("one"))
    write_file(target, lambda path: path.write_text("two"))
    assert target.read_text() == "two" and [path.name for path in target.parent.iterdir()] == ["file.txt"]


def half(path):
    (path / "part" if path.is_dir() else path).write_text("half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_an_interrupted_write_leaves_the_target_alone_and_nothing_beside_it(tmp_path, write):
    target = tmp_path / "target"
    if write is write_file:
        target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write(target, half)
    assert target.read_text() == "old" if write is write_file else not target.exists()
    assert not list(tmp_path.glob(".*"))


def test_what_killed_processes_left_is_removed(tmp_path):
    (tmp_path / ".target.17.unfinished").write_text("half")
    (tmp_path / ".folder.17.unfinished").mkdir()
    (tmp_path / ".other").write_text("")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".other"]


def test_a_folder_appears_with_everything_in_it(tmp_path):
    write_folder(tmp_path / "made", lambda folder: [(folder / name).write_text(name) for name in "abc"])
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["a", "b", "c"]
