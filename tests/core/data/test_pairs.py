"""Pairs: keys of folders and patterns, against what Python's glob finds, and files that no pattern can use."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.contracts.dataset import SPLITS
from edgefw.data.file_trees import ENDINGS
from edgefw.data.pairs import find_pairs, glob_regex
from edgefw.errors import DataError


def files(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_files_of_two_folders_pair_by_their_path_without_the_ending(tmp_path: Path) -> None:
    files(tmp_path, "color/a/1.jpg", "color/a/2.jpg", "depth/a/1.png", "depth/b/3.png")
    pairs = find_pairs(tmp_path, {"rgb": "color", "depth": "depth/"}, ENDINGS)
    assert pairs.keys == ["a/1", "a/2", "b/3"]
    assert pairs.paths == {
        "rgb": ["color/a/1.jpg", "color/a/2.jpg", ""],
        "depth": ["depth/a/1.png", "", "depth/b/3.png"],
    }


def test_in_a_pattern_the_wildcards_are_what_pairs(tmp_path: Path) -> None:
    files(tmp_path, "s0/color/1.jpg", "s0/depth/1.png", "s1/color/1.jpg", "s1/depth/1.png", "s1/other/1.png")
    pairs = find_pairs(tmp_path, {"rgb": "*/color/*.jpg", "depth": "*/depth/*"}, ENDINGS)
    assert pairs.keys == ["s0/1", "s1/1"]
    assert pairs.paths == {
        "rgb": ["s0/color/1.jpg", "s1/color/1.jpg"],
        "depth": ["s0/depth/1.png", "s1/depth/1.png"],
    }


def test_names_that_differ_before_and_after_the_wildcard_pair(tmp_path: Path) -> None:
    files(tmp_path, "a/img_7_rgb.png", "a/img_7_depth.png", "b/c/img_8_rgb.png", "b/c/img_8_depth.png")
    pairs = find_pairs(tmp_path, {"rgb": "**/img_*_rgb.png", "depth": "**/img_*_depth.png"}, ENDINGS)
    assert pairs.keys == ["a/7", "b/c/8"]
    assert pairs.paths["depth"] == ["a/img_7_depth.png", "b/c/img_8_depth.png"]


def test_a_folder_below_the_split_folders_is_found(tmp_path: Path) -> None:
    files(tmp_path, "train/rgb/1.png", "val/rgb/2.png", "train/depth/1.png")
    pairs = find_pairs(tmp_path, {"rgb": "rgb", "depth": "depth"}, ENDINGS, SPLITS)
    assert pairs.keys == ["train/1", "val/2"] and pairs.paths["depth"] == ["train/depth/1.png", ""]


def test_what_no_sample_can_use_is_listed_with_its_reason(tmp_path: Path) -> None:
    files(tmp_path, "rgb/1.jpg", "rgb/1.png", "rgb/notes.txt", "rgb/.hidden.png")
    pairs = find_pairs(tmp_path, {"rgb": "rgb"}, ENDINGS)
    assert pairs.keys == ["1"] and pairs.paths["rgb"] == ["rgb/1.jpg"]
    assert dict(pairs.refused) == {
        "rgb/1.png": "'rgb/1.jpg' is the rgb image of '1' already",
        "rgb/notes.txt": "the ending '.txt' is none of extensions",
    }


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("nowhere", r"nowhere: there is no such folder\. Name a folder or a pattern, such as \*/nowhere/\*\.png"),
        ("rgb/*.tif", r"rgb: no image file matches 'rgb/\*\.tif' below "),
        ("[z-a]*.png", r"'\[z-a\]\*\.png' is no pattern"),
    ],
)
def test_a_pattern_without_files_is_one_message(tmp_path: Path, pattern: str, text: str) -> None:
    files(tmp_path, "rgb/1.png")
    with pytest.raises(DataError, match=text):
        find_pairs(tmp_path, {"rgb": pattern}, ENDINGS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["*", "?", "a", "b", "/", "**/", "[ab]", ".png"]), min_size=1, max_size=6))
def test_patterns_match_what_pythons_glob_matches(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    import re

    pattern = "".join(parts).strip("/").replace("//", "/")
    if not pattern or "//" in pattern or "***" in pattern or re.search(r"[^/]\*\*|\*\*[^/]|\*\*$", pattern):
        return
    root = tmp_path_factory.getbasetemp() / "glob"
    names = ["a", "b.png", "ab", "c/a.png", "c/b", "c/d/a", "c/d/b.png", "a.png"]
    if not root.exists():
        files(root, *(f"x/{name}" if name == "a" else name for name in names))
    everything = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    expected = {name for name in glob.glob(pattern, root_dir=root, recursive=True) if (root / name).is_file()}
    assert {name for name in everything if re.fullmatch(glob_regex(pattern), name)} == expected
