"""Image files of what a user names."""

import os

import pytest

from edgefw.errors import DataError
from edgefw.runtime.sources import check_sources, find_images


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.npy", "sub/.git/d.png", "sub/deep/e.tif"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "images"


def names(folder, *sources):
    return [path.relative_to(folder).as_posix() for path in find_images([str(source) for source in sources])]


def test_a_folder_is_searched_through_all_levels_in_order(folder):
    assert names(folder, folder) == ["a.JPG", "b.png", "sub/c.npy", "sub/deep/e.tif"]


def test_a_named_file_is_tried_whatever_its_name(folder):
    assert names(folder, folder / "notes.txt") == ["notes.txt"]


def test_patterns_match_images_only_and_sorted(folder):
    assert names(folder, f"{folder}/*") == ["a.JPG", "b.png"]
    assert names(folder, f"{folder}/**/*.tif") == ["sub/deep/e.tif"]


def test_a_file_of_two_sources_comes_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert names(folder, folder / "sub", f"{folder}/**/*.tif", folder / "sub/c.npy", folder / "a.JPG") == [
        "sub/c.npy", "sub/deep/e.tif", "a.JPG",
    ]  # fmt: skip
    assert [str(path) for path in find_images(["a.JPG", str(folder / "a.JPG")])] == ["a.JPG"]


def test_sources_come_in_the_order_given(folder):
    assert names(folder, folder / "sub", folder / "a.JPG") == ["sub/c.npy", "sub/deep/e.tif", "a.JPG"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    (tmp_path / "scene[1].png").write_bytes(b"x")
    assert names(tmp_path, tmp_path / "scene[1].png") == ["scene[1].png"]


def test_a_loop_of_links_ends(folder):
    os.symlink(folder, folder / "sub" / "loop")
    assert len(names(folder, folder)) == 4


@pytest.mark.parametrize("source", ["absent.png", "absent/*.png", "bad\0name", "x" * 5000])
def test_what_is_not_there_is_refused_before_any_work(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is no such|matches no image"):
        check_sources([source])
    with pytest.raises(DataError):
        list(find_images([source]))


def test_an_empty_folder_is_told_with_the_names_that_count(tmp_path):
    with pytest.raises(DataError, match="no image here. Names that count: .bmp"):
        list(find_images([str(tmp_path)]))
