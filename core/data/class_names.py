"""The classes of a data set: a fixed list of names, and which of them a written label means.

It knows texts and numbers; it reads no image and knows no data set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from edgefw.errors import RecipeError
from edgefw.labels.names import read_label_names


class UnknownLabel(ValueError):
    """A label that is none of the classes; the text is the reason to list."""


def read_classes(value: str | Sequence[str], base: Path, path: str) -> tuple[str, ...]:
    """Class names of a recipe value: a list, or a text file with one name a line (line 0 is class 0).

    Raises:
        RecipeError: if the file cannot be read, there is no name, or a name comes twice.
    """
    names = read_label_names(value, base, path)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"{path}: class '{twice[0]}' is listed more than once. Each class needs a name of its own.")
    return tuple(names)


def class_of(label: object, classes: Sequence[str]) -> str:
    """The class that a written label means: a name, or a number that counts the classes from 0.

    Without classes a label is its own name.

    Raises:
        UnknownLabel: if it is neither.
    """
    text = " ".join(str(label).split())
    if text in classes or (not classes and text):
        return text
    if isinstance(label, bool) or not text.isascii() or not text.isdigit():
        raise UnknownLabel(f"label '{text[:60]}' is none of the {len(classes)} classes" if text else "label is empty")
    if int(text) >= len(classes):
        raise UnknownLabel(f"label {text} is beyond the {len(classes)} classes, which count from 0")
    return classes[int(text)]


def found_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Classes of a data set that lists none: the labels that occur, numbers by value, then names by alphabet."""
    return tuple(sorted(set(labels), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)))
