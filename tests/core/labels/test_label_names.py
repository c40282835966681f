"""Label lists and prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefw.errors import RecipeError
from edgefw.labels.names import prompts, read_label_names, unique_names


def test_a_file_has_one_name_a_line_with_comments_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\ufeffliving  room\n\n# a comment\n  kitchen \r\n", encoding="utf-8")
    assert read_label_names("labels.txt", tmp_path, "curate.labels") == ["living room", "kitchen"]


def test_a_missing_file_is_named_with_the_recipe_path(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"curate\.labels: .*nowhere\.txt: cannot be read"):
        read_label_names("nowhere.txt", tmp_path, "curate.labels")


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("# only this\n")
    with pytest.raises(RecipeError, match="holds no label names"):
        read_label_names("labels.txt", tmp_path, "evaluate.labels")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00caf\xe9")
    with pytest.raises(RecipeError, match="no UTF-8 text"):
        read_label_names("labels.txt", tmp_path, "evaluate.labels")


def test_repeated_names_are_kept_once_and_reported_whatever_their_capitals() -> None:
    assert unique_names(["Classroom", "lab", "classroom", "CLASSROOM"]) == (["Classroom", "lab"], ["Classroom"])


@given(st.lists(st.text(min_size=1, max_size=4), max_size=12))
def test_unique_names_keeps_order_and_loses_no_name(names: list[str]) -> None:
    kept, repeated = unique_names(names)
    assert [name.casefold() for name in kept] == list(dict.fromkeys(name.casefold() for name in names))
    assert (len(kept) == len(names)) == (not repeated)


@given(st.text(alphabet="ab\n\t #", max_size=40))
def test_any_text_file_gives_clean_names_or_one_message(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "labels.txt").write_text(text, encoding="utf-8")
        try:
            names = read_label_names("labels.txt", Path(folder), "curate.labels")
        except RecipeError as error:
            assert str(error).startswith("curate.labels: ")
        else:
            assert all(name and name == " ".join(name.split()) for name in names)


def test_a_template_takes_names_with_braces() -> None:
    assert prompts(["cat", "{x}"], "a photo of a {}.") == ["a photo of a cat.", "a photo of a {x}."]


@pytest.mark.parametrize(
    ("label", "expected"),
    [("office", "an"), ("kitchen", "a"), ("Airport", "an"), ("école", "an"), ("hour", "a"), ("university", "an")],
)
def test_an_article_follows_the_first_letter_and_not_the_sound(label: str, expected: str) -> None:
    assert prompts([label], "a photo of {a} {}") == [f"a photo of {expected} {label}"]


def test_a_template_without_an_article_is_left_as_it_is() -> None:
    assert prompts(["office", "{a}"], "a photo of a {}") == ["a photo of a office", "a photo of a {a}"]


def test_a_template_without_a_place_for_the_label_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"has no \{\}"):
        prompts(["cat"], "a photo")
