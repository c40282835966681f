"""Splits that a data set does not bring: each sample's split follows from its name and a seed.

A sample stays in its split when others are added or removed, in any order and on any machine; that is why the split
is a hash and not a shuffle. The shares are met on average, not exactly. It knows names and fractions, nothing else.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field, model_validator

from edgefw.contracts.dataset import SPLITS
from edgefw.registry.config import TechniqueConfig

Share = Annotated[float, Field(ge=0, le=1)]


class Fractions(TechniqueConfig):
    """Share of the samples in each split; they sum to 1."""

    train: Share = Field(default=0.8, description="share of the train split")
    val: Share = Field(default=0.1, description="share of the val split")
    test: Share = Field(default=0.1, description="share of the test split")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Fractions:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, val and test must sum to 1, they sum to {total:g}")
        return self


def drawn_split(name: str, fractions: Fractions, seed: int) -> str:
    """The split of a sample: "train", "val" or "test", a pure function of the arguments."""
    place = hashed_place(name, seed)
    for split in SPLITS[:-1]:
        place -= getattr(fractions, split)
        if place < 0:
            return split
    return "test" if fractions.test > 0 else "train"


def hashed_place(name: str, seed: int) -> float:
    """A number in [0, 1) that follows from the name and the seed: the first 53 bits of their SHA-256."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
