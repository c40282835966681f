"""The JSON of a label pack, field by field: types and ranges, and one message for what does not fit.

It knows the format; what the numbers mean, `edgefw.runtime.label_pack` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgefw.errors import BundleError

COMPACT = 3
"""The format that brought negatives and int8 vectors."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class LabelRow(_Part):
    """One label without its vectors."""

    name: str = Field(min_length=1)
    vectors: int = Field(ge=1)
    bias: float
    threshold: float = Field(ge=0.0, le=1.0)
    temperature: float = Field(gt=0.0)


class NegativeRow(_Part):
    """One negative without its vectors; `of` names its labels, and is empty for all."""

    name: str = Field(min_length=1)
    vectors: int = Field(ge=1)
    of: list[str]
    temperature: float = Field(gt=0.0)


class PackDocument(_Part):
    """A label pack as it stands in the file."""

    format: int
    encoder: Sha256
    teacher: str
    templates: list[str]
    logit_scale: float = Field(gt=0.0)
    width: int = Field(ge=1, le=65_536)
    dtype: Literal["int8", "float16", "float32"]
    labels: list[LabelRow] = Field(min_length=1)
    negatives: list[NegativeRow] = []
    vectors: str
    trigger: dict[str, Any] | None = None
    sha256: Sha256


def parse_document(document: Any, where: str, known: Sequence[int]) -> PackDocument:
    """The document with its types checked.

    Raises:
        BundleError: naming the first thing that is wrong.
    """
    if not isinstance(document, dict) or "labels" not in document:
        raise BundleError(f"{where}: no label pack. Make one with `edgefw labels build`.")
    if document.get("format") not in known:
        formats = f"{', '.join(map(str, known[:-1]))} and {known[-1]}"
        raise BundleError(f"{where}: label pack format {document.get('format')!r}; this edgefw reads {formats}.")
    try:
        pack = PackDocument.model_validate(document)
    except ValidationError as error:
        raise BundleError(f"{where}: {first_problem(error)}") from error
    if pack.format < COMPACT and (pack.negatives or pack.dtype == "int8"):
        what = "negatives" if pack.negatives else "int8 vectors"
        raise BundleError(f"{where}: a label pack of format {pack.format} has no {what}. Build it anew.")
    return pack


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's findings as one sentence: key, what is wrong, the value."""
    detail = error.errors()[0]
    key = ".".join(str(part) for part in detail["loc"]) or "document"
    value = repr(detail["input"])
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    return f"{key}: {detail['msg']}, got {shown}."
