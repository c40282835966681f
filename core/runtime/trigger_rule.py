"""The trigger of a camera, as it stands in a label pack or comes from a command line: what makes a frame worth keeping.

It holds numbers and names and checks them; what happens frame by frame, `edgefw.camera.trigger` knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from edgefw.errors import BundleError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

LONGEST_HOURS = 87_600.0
"""Ten years: a longer window would begin before there were dates."""
MOST_MEGABYTES = 1e12
"""An exabyte: no disk is larger, and larger numbers have no whole number of bytes."""

DEFAULT_BEGIN = 0.5
"""Where a label begins to hold of which nothing else is said."""

Names = Annotated[tuple[str, ...], Field(max_length=1000)]
Number = Annotated[float, Strict()]  # YAML's `on` and `yes` are no numbers
Whole = Annotated[int, Strict(), Field(ge=1)]
Score = Annotated[Number, Field(ge=-1.0, le=1.0)]


class Rule(BaseModel):
    """When a frame is kept. Names are labels of the pack.

    Attributes:
        any: at least one of these holds (empty: no demand).
        all: every one of these holds.
        none: none of these holds.
        score: what is compared: the cosine to the label's text, or its probability among the pack's labels.
        begin: a label begins to hold when its score reaches this; 0 to 1 for a probability, -1 to 1 for a cosine; "own": see
            `begins`.
        end: it ends when its score falls below this; None: where it began. (YAML reads "on" and "off" as truth values.)
        frames: so many frames in a row must reach `begin` before a label begins to hold.
        cool_down: seconds after a kept frame in which none is kept.
        quota: frames kept for one label in `quota_hours` at most; None: no limit.
        quota_hours: length of the window of the quota, ten years at most.
        budget_mb: kept files take so many megabytes (10^6 bytes) at most, 10^12 of them; None: no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    any: Names = ()
    all: Names = ()
    none: Names = ()
    score: Literal["cosine", "probability"] = "probability"
    begin: Score | Literal["own"] = DEFAULT_BEGIN
    end: Score | None = None
    frames: Whole = 1
    cool_down: Annotated[Number, Field(ge=0.0)] = 0.0
    quota: Whole | None = None
    quota_hours: Annotated[Number, Field(gt=0.0, le=LONGEST_HOURS)] = 24.0
    budget_mb: Annotated[Number, Field(gt=0.0, le=MOST_MEGABYTES)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Rule:
        if not self.any and not self.all:
            raise ValueError("a trigger needs labels under any or all")
        both = sorted({*self.any, *self.all} & set(self.none))
        if both:
            raise ValueError(f"{', '.join(both)}: asked for and forbidden at once")
        if self.begin == "own" and (self.score == "cosine" or self.end is not None):
            raise ValueError("begin: own is of probabilities, and each label ends where it begins; state a number")
        for name, value in (("begin", self.begin), ("end", self.end)):
            if not isinstance(value, str) and self.score == "probability" and value is not None and value < 0:
                raise ValueError(
                    f"{name} ({value:g}) is no probability, and would hold whatever is seen; say score: cosine"
                )
        if self.begin != "own" and self.end is not None and self.end > self.begin:
            raise ValueError(f"end ({self.end:g}) lies above begin ({self.begin:g}): a label would end as it begins")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Every label of the rule, each once."""
        return tuple(dict.fromkeys((*self.any, *self.all, *self.none)))

    def begins(self, thresholds: Mapping[str, float]) -> dict[str, float]:
        """Where each label of the rule begins to hold: at `begin`, or at its own threshold, and at 0.5 without one.

        Args:
            thresholds: probability from which a pack says each of its labels; 0 where it has none.
        """
        if self.begin != "own":
            return dict.fromkeys(self.named, self.begin)
        return {name: thresholds.get(name) or DEFAULT_BEGIN for name in self.named}


def parse_rule(values: object, where: str) -> Rule:
    """A rule from plain values.

    Raises:
        BundleError: naming the first thing that is wrong.
    """
    if not isinstance(values, Mapping):
        raise BundleError(f"{where}: a trigger is a mapping such as 'any: [rain]', got {_shown(values)}.")
    unknown = [key for key in values if key not in Rule.model_fields]
    if unknown:
        raise BundleError(f"{where}: {unknown[0]}: unknown key. It may be one of {', '.join(Rule.model_fields)}.")
    try:
        return Rule.model_validate(values)
    except ValidationError as error:
        raise BundleError(f"{where}: {_worded(error.errors()[0])}.") from error


def _worded(detail: ErrorDetails) -> str:
    """Key, what is wrong with it, and the value; a rule that makes no sense as a whole says so itself."""
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    known = {"tuple_type": "must be a list of labels", "string_type": "must be text; put it in quotes"}
    said = known.get(detail["type"], detail["msg"].replace("Input should be", "must be"))
    place = detail["loc"][:1] if detail["loc"][0] == "begin" else detail["loc"]  # the rest says which of its two forms
    return f"{'.'.join(map(str, place))}: {said}, got {_shown(detail['input'])}"


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


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


def keeps_everything(rule: Rule, names: Sequence[str], negatives: int) -> str | None:
    """Why a rule of probabilities would keep every frame, where it would: its label is all that the pack holds.

    Args:
        names: labels of the pack.
        negatives: how many of them the pack has.
    """
    if rule.score == "cosine" or len(names) > 1 or negatives or rule.none:
        return None
    return (
        f"'{names[0]}' is all that the label pack holds, so its probability is 1 whatever is seen, and every frame would be "
        "kept. Compare cosines (--score cosine; score: cosine in a trigger), or build the pack with negatives."
    )
