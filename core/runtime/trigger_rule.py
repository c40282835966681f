"""The trigger of a camera, as it stands in a label pack or comes from a command line: what makes a frame worth keeping.

It holds numbers and names and checks them; what happens frame by frame, `edgefw.camera.trigger` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgefw.errors import BundleError

Names = Annotated[tuple[str, ...], Field(max_length=1000)]
Score = Annotated[float, Field(ge=-1.0, le=1.0)]


class Rule(BaseModel):
    """When a frame is kept. Names are labels of the pack.

    Attributes:
        any: at least one of these holds (empty: no demand).
        all: every one of these holds.
        none: none of these holds.
        score: what is compared: the cosine to the label's text, or its probability among the pack's labels.
        begin: a label begins to hold when its score reaches this.
        end: it ends when its score falls below this; None: at `begin`. (YAML reads "on" and "off" as truth values.)
        frames: so many frames in a row must reach `begin` before a label begins to hold.
        cool_down: seconds after a kept frame in which none is kept.
        quota: frames kept for one label in `quota_hours` at most; None: no limit.
        quota_hours: length of the window of the quota.
        budget_mb: kept files take so many megabytes (10^6 bytes) at most; None: no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    any: Names = ()
    all: Names = ()
    none: Names = ()
    score: Literal["cosine", "probability"] = "probability"
    begin: Score = 0.5
    end: Score | None = None
    frames: Annotated[int, Field(ge=1)] = 1
    cool_down: Annotated[float, Field(ge=0.0)] = 0.0
    quota: Annotated[int, Field(ge=1)] | None = None
    quota_hours: Annotated[float, Field(gt=0.0)] = 24.0
    budget_mb: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Rule:
        if not self.any and not self.all:
            raise ValueError("a trigger needs labels under any or all")
        both = sorted({*self.any, *self.all} & set(self.none))
        if both:
            raise ValueError(f"{', '.join(both)}: asked for and forbidden at once")
        if self.end is not None and self.end > self.begin:
            raise ValueError(f"end ({self.end:g}) lies above begin ({self.begin:g}): a label would end as it begins")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Every label of the rule, each once."""
        return tuple(dict.fromkeys((*self.any, *self.all, *self.none)))


def parse_rule(values: object, where: str) -> Rule:
    """A rule from plain values.

    Raises:
        BundleError: naming the first thing that is wrong.
    """
    try:
        return Rule.model_validate(values)
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        said = detail["msg"].removeprefix("Value error, ")
        raise BundleError(f"{where}: {f'{key}: {said}' if key else said}.") from error


def check_names(rule: Rule, names: Sequence[str], where: str) -> None:
    """Refuse a rule over labels that a pack has not.

    Raises:
        BundleError: with the labels that there are.
    """
    missing = [name for name in rule.named if name not in names]
    if missing:
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise BundleError(
            f"{where}: the trigger names '{missing[0]}', which is no label of the pack. It has: {listed}."
        )
