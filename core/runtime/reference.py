"""What a bundle's files answered to drawn images when they were verified, so that any device can ask again.

    inputs[sensor]                  (P, 32) of the student's inputs, seen through random signs (`edgefw.runtime.input_print`)
    answers[artefact][sensor]       (P, D) embeddings of the P patterns of `edgefw.runtime.probes`
    student[sensor]                 (P, D) of the trained network, which the label pack is asked about
    probabilities[sensor]           (P, K) of the labels, from the teacher's own text embeddings

A bundle whose preprocessing, file or label pack is not what was verified answers otherwise, however well its hashes
fit. No picture of the user's is stored. It knows the document; who asks is `edgefw.verifying.reference_check`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgefw.errors import BundleError
from edgefw.runtime import contents
from edgefw.runtime.input_print import WIDTH
from edgefw.runtime.label_pack import no_constant
from edgefw.runtime.pack_document import first_problem
from edgefw.runtime.probes import ProbeSpec

LARGEST = contents.LARGEST[contents.REFERENCE]
"""A file beyond so many bytes is no reference."""


class Reference(BaseModel):
    """The document; arrays are base64 of little-endian float32."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    format: Literal[1] = 1
    width: Annotated[int, Field(ge=1)]
    probes: dict[str, ProbeSpec]
    answers: dict[str, dict[str, str]]
    student: dict[str, str]
    labels: list[str] = []
    probabilities: dict[str, list[list[float]]] = {}
    inputs: dict[str, str] = {}

    @model_validator(mode="after")
    def _tables_fit(self) -> Reference:
        for own in (self.student, *self.answers.values()):
            for text in own.values():
                _table(text, self.width)
        for text in self.inputs.values():
            _table(text, WIDTH)
        for role, table in self.probabilities.items():
            if role not in self.student:
                raise ValueError(f"probabilities: of '{role}', of which student has no embeddings")
            patterns, labels = len(_table(self.student[role], self.width)), len(self.labels)
            if not table or len(table) != patterns or {len(row) for row in table} != {labels}:
                raise ValueError(
                    f"probabilities.{role}: must be a row per pattern ({patterns}) of a number per label ({labels})"
                )
        return self

    def prints(self) -> dict[str, np.ndarray]:
        """(P, 32) float32 of what the student was given, by sensor."""
        return {sensor: _table(text, WIDTH) for sensor, text in self.inputs.items()}

    def rows(self, text: str) -> np.ndarray:
        """(P, D) float32 of one entry.

        Raises:
            BundleError: if it is no such array.
        """
        try:
            return _table(text, self.width)
        except ValueError as error:
            raise BundleError(f"reference answers: {error}.") from error


def _table(text: str, width: int) -> np.ndarray:
    """(P, width) float32; a ValueError if it is no such array."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4").reshape(-1, width)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"an entry is no table of width {width} ({error})") from error


def encoded(rows: np.ndarray) -> str:
    """An array of embeddings as it stands in the document."""
    return base64.b64encode(np.ascontiguousarray(rows, "<f4").tobytes()).decode("ascii")


def write_reference(reference: Reference, file: Path) -> None:
    """Write the document."""
    document: Mapping[str, Any] = reference.model_dump(mode="json")
    file.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


def read_reference(file: Path) -> Reference:
    """The document in a file.

    Raises:
        BundleError: if it is none.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise BundleError(f"{file}: {file.stat().st_size} bytes is too large for reference answers.")
        return Reference.model_validate(json.loads(file.read_text(encoding="utf-8"), parse_constant=no_constant))
    except ValidationError as error:
        raise BundleError(f"{file}: {first_problem(error)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{file}: cannot be read ({error}).") from error
