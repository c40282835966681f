"""Label names and prompts: reads a list of names from a recipe value or a file, and puts names into templates.

One place decides what a label file looks like (one name a line, blank lines and lines that start with # left out).
It knows neither teachers nor data sets.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from edgefw.errors import RecipeError


def read_label_names(value: str | Sequence[str], base: Path, path: str) -> list[str]:
    """The names, in order, duplicates included; surrounding and repeated blanks are dropped.

    Args:
        value: a list of names, or a text file (UTF-8) with one name a line.
        base: folder that a relative file name starts from.
        path: where the value stands in the recipe, for messages.

    Raises:
        RecipeError: if the file cannot be read or there is no name at all.
    """
    lines = _read_lines(value, base, path) if isinstance(value, str) else list(value)
    names = [" ".join(line.split()) for line in lines]
    names = [name for name in names if name]
    if not names:
        source = f"'{value}' holds" if isinstance(value, str) else "there are"
        raise RecipeError(f"{path}: {source} no label names. Write one name a line, or give a list.")
    return names


def unique_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names without repetitions, and what was repeated; capitals do not tell two names apart."""
    kept: dict[str, str] = {}
    repeated: dict[str, str] = {}
    for name in names:
        key = name.casefold()
        if key in kept:
            repeated.setdefault(key, kept[key])
        kept.setdefault(key, name)
    return list(kept.values()), list(repeated.values())


def prompts(labels: Sequence[str], template: str) -> list[str]:
    """One sentence per label: the template with `{}` replaced by the label, and `{a}` by its article.

    Raises:
        RecipeError: if the template has no `{}`: all labels would read the same.
    """
    if "{}" not in template:
        raise RecipeError(f"template: '{template}' has no {{}}, where the label goes. Write 'a photo of a {{}}'.")
    return [template.replace("{a}", article(label)).replace("{}", label) for label in labels]


def article(label: str) -> str:
    """`an` before a first letter a, e, i, o or u with or without accents, else `a`: a rule of spelling, not of sound."""
    first = unicodedata.normalize("NFKD", label.lstrip())[:1].casefold()
    return "an" if first and first in "aeiou" else "a"


def _read_lines(value: str, base: Path, path: str) -> list[str]:
    file = base / os.path.expanduser(value)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        hint = "Give the path of a text file with one name a line, or a list of names."
        raise RecipeError(f"{path}: {file}: cannot be read ({error.strerror or error}). {hint}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: {file} is no UTF-8 text. Save it as UTF-8.") from error
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]
