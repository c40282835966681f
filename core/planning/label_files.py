"""The lists of label names that a recipe names: read before anything is built, so that a bad file is one early message.

The list of the curation belongs to the recipe and must be there. The list of the evaluation may lie with data that is on
another machine: it is read where it is there, and whoever needs it says when it is not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgefw.labels.names import read_label_names

if TYPE_CHECKING:
    from edgefw.recipe.read import Recipe


def check_label_files(recipe: Recipe) -> None:
    """Refuse lists of label names that cannot be used.

    Raises:
        RecipeError: if a list is missing, a folder, no UTF-8 text, or holds no names.
    """
    curate, evaluated = recipe.config.curate, recipe.config.evaluate.labels
    if curate is not None:
        read_label_names(curate.labels, recipe.base, "curate.labels")
    if isinstance(evaluated, str) and os.path.exists(recipe.base / os.path.expanduser(evaluated)):
        read_label_names(evaluated, recipe.base, "evaluate.labels")
