"""Parts of a manifest that hold what an edgefw found worth telling: any keys, of which those that are shown have types.

They stay plain mappings, as another edgefw may write other keys into them. It knows the types; what the numbers mean,
`edgefw.stages.verify` knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from edgefw.runtime.pack_document import first_problem


class _Open(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)


class _Drop(_Open):
    points: float
    low: float | None
    high: float | None

    @model_validator(mode="after")
    def _both_ends(self) -> _Drop:
        if (self.low is None) is not (self.high is None):
            raise ValueError("low and high must both be numbers, or both null")
        return self


class _Alone(_Open):
    cosine_mean: float | None = None
    cosine_min: float | None = None
    top1_agreement: float | None = None
    drop: _Drop | None = None


class _Quality(_Open):
    precision: str | None = None
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    slowdown: float | None = None
    int8_share: float | None = None
    memory_mib: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    relative_error_max: float | None = None
    length_error: float | None = None
    batch_1: _Alone | None = None
    top1_agreement: float | None = None
    top1: dict[str, float] | None = None
    drop: _Drop | None = None


class _Provenance(_Open):
    licences: dict[str, str] | None = None


def _as(part: type[_Open]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        try:
            part.model_validate(value)
        except ValidationError as error:
            raise ValueError(first_problem(error).removesuffix(".")) from error
        return value

    return check


Quality = Annotated[dict[str, Any], AfterValidator(_as(_Quality))]
"""What `verify` measured of a file."""
Provenance = Annotated[dict[str, Any], AfterValidator(_as(_Provenance))]
"""Where a bundle came from."""
