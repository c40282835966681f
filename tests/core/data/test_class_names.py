"""What a written label means, with and without a list of classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefw.data.class_names import UnknownLabel, class_of, found_classes, read_classes
from edgefw.errors import RecipeError

CLASSES = ("cat", "potted plant", "7")


@pytest.mark.parametrize(
    ("label", "name"),
    [("cat", "cat"), (1, "potted plant"), (" 0\n", "cat"), ("potted  plant", "potted plant"), ("7", "7")],
)
def test_names_and_numbers_are_understood(label: object, name: str) -> None:
    assert class_of(label, CLASSES) == name


@pytest.mark.parametrize(
    ("label", "reason"),
    [("dog", "'dog' is none of the 3 classes"), (3, "3 is beyond the 3 classes"), ("-1", "'-1' is none"), ("", "empty"),
     (True, "'True' is none"), ("²", "'²' is none")],
)  # fmt: skip
def test_other_labels_have_a_reason(label: object, reason: str) -> None:
    with pytest.raises(UnknownLabel, match=reason):
        class_of(label, CLASSES)


def test_without_classes_a_label_is_its_own_name() -> None:
    assert class_of("dog", ()) == "dog" and class_of(12, ()) == "12"
    assert found_classes(["10", "2", "cat", "Ant", "2"]) == ("2", "10", "Ant", "cat")


def test_classes_come_from_a_file_or_a_list(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\npotted plant\n\n")
    assert read_classes("classes.txt", tmp_path, "data.classes") == ("cat", "potted plant")
    assert read_classes(["a", "b"], tmp_path, "data.classes") == ("a", "b")
    with pytest.raises(RecipeError, match=r"data\.classes: class 'a' is listed more than once"):
        read_classes(["a", "b", "a"], tmp_path, "data.classes")
