"""The base of every technique's config: a frozen pydantic model that forbids extra keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class TechniqueConfig(BaseModel):
    """Options of one technique. Ranges and choices belong in the field types, one sentence in each description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class NoOptions(TechniqueConfig):
    """A technique without options."""
