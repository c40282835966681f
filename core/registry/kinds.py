"""The kinds of technique, their plural names, entry-point groups and registration hooks.

One idea: a kind is a word; everything else about it (folder, group, hook) follows from its plural.
"""

from __future__ import annotations

from enum import StrEnum

from edgefw.errors import PluginError


class Kind(StrEnum):
    """What a technique can be. The value is the singular word used in recipes, tables and messages."""

    TEACHER = "teacher"
    STUDENT = "student"
    PROJECTOR = "projector"
    LOSS = "loss"
    SCHEME = "scheme"
    SAMPLER = "sampler"
    VIEW = "view"
    QUANTIZER = "quantizer"
    MODALITY = "modality"
    DATASET = "dataset"
    BACKEND = "backend"

    @property
    def plural(self) -> str:
        """The folder under `plugins/` and the last part of the group and the hook: `losses`, `modalities`."""
        return _PLURALS.get(self.value, f"{self.value}s")

    @property
    def group(self) -> str:
        """Entry-point group, `edgefw.losses`."""
        return f"edgefw.{self.plural}"

    @property
    def hook(self) -> str:
        """Name of the registration hook, `edgefw_register_losses`."""
        return f"edgefw_register_{self.plural}"


_PLURALS = {"loss": "losses", "modality": "modalities"}

OBSERVER_GROUP = "edgefw.hooks"


def kind_of(word: str) -> Kind:
    """The kind named by its singular or plural.

    Raises:
        PluginError: if there is no such kind; the message lists all of them.
    """
    for kind in Kind:
        if word in (kind.value, kind.plural):
            return kind
    raise PluginError(f"unknown kind '{word}'. Kinds: {', '.join(Kind)}.")
