"""File patterns against the braceexpand library and the shell's globs."""

from __future__ import annotations

from pathlib import Path

import pytest
from braceexpand import UnbalancedBracesError, braceexpand
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.data.file_patterns import expand_braces, matching_files
from edgefw.errors import DataError, RecipeError

PIECES = st.sampled_from(["{", "}", ",", "a", "b-", "..", "0", "1", "03", "12", "-2", "/", "*"])


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=10).map("".join))
def test_braces_mean_what_the_braceexpand_library_says(pattern: str) -> None:
    opened = [pattern[:end].count("{") - pattern[:end].count("}") for end in range(len(pattern) + 1)]
    try:
        expected = list(braceexpand(pattern, escape=False))
        if min(opened) < 0:  # the library lets "}{" pass; here it is an error as well
            raise UnbalancedBracesError(pattern)
    except UnbalancedBracesError:
        with pytest.raises(RecipeError, match="do not match"):
            expand_braces(pattern)
        return
    assert expand_braces(pattern) == expected


@pytest.mark.parametrize(
    "pattern",
    ["x-{000000..000011}.tar", "{a,b{1..3},c}.tar", "{9..1..3}", "a{,.bak}", "{{1,2},{3,4}}{x,y}", "{x}", "{-1..-03}"],
)
def test_known_patterns_agree(pattern: str) -> None:
    assert expand_braces(pattern) == list(braceexpand(pattern, escape=False))


def test_a_pattern_without_end_is_refused() -> None:
    with pytest.raises(RecipeError, match="more than 100000 names"):
        expand_braces("{0..99999999999}.tar")
    with pytest.raises(RecipeError, match="do not match"):
        expand_braces("}x{")


def test_files_come_in_the_patterns_order_and_once(tmp_path: Path) -> None:
    folder = tmp_path / "odd [name]"
    folder.mkdir()
    for name in ("t-2.tar", "t-0.tar", "t-1.tar", "v.tar"):
        (folder / name).touch()
    assert [path.name for path in matching_files("t-*.tar", folder)] == ["t-0.tar", "t-1.tar", "t-2.tar"]
    assert [path.name for path in matching_files("t-{2,0}.tar", folder)] == ["t-2.tar", "t-0.tar"]
    assert matching_files(("v.tar", "*.tar"), folder)[0].name == "v.tar"
    assert len(matching_files(("v.tar", "*.tar", str(folder / "v.tar")), folder)) == 4


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t-0.tar").touch()
    with pytest.raises(DataError, match=r"t-1\.tar: there is no such file"):
        matching_files("t-{0..1}.tar", tmp_path)
    with pytest.raises(DataError, match=r"v-\*\.tar: no file matches"):
        matching_files("v-*.tar", tmp_path)
