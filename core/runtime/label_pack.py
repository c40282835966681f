"""A label pack: what turns embeddings into label names, as one small JSON file.

    logit_k = s * max_j cos(e, v_kj) / temperature_k + bias_k        p = softmax(logit)

over the labels and the negatives k of the pack, each with one vector v_kj or several; s is the teacher's logit scale.
The label of the largest p is said where its p reaches its threshold and none of its negatives has a larger logit; a
negative is never said. A pack fits one encoder, whose hash it carries: vectors of another embedding
space would give answers, and wrong ones. New labels reach a device as a new pack; the encoder stays.
It knows numbers and names; how text becomes vectors, it does not know. It never imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.errors import BundleError
from edgefw.runtime import contents
from edgefw.runtime.pack_document import COMPACT, PackDocument, parse_document
from edgefw.runtime.pack_labels import Label, Negative, check_entries
from edgefw.runtime.pack_scores import Scores
from edgefw.runtime.pack_vectors import Dtype, decoded, encoded
from edgefw.runtime.trigger_rule import Rule, check_names, parse_rule
from edgefw.runtime.whole_files import write_whole

__all__ = ["Dtype", "Label", "LabelPack", "Negative", "no_constant", "read_pack", "write_pack"]

WITH_TRIGGER = 2
READABLE = (1, WITH_TRIGGER, COMPACT)
"""Format 2 brought the trigger, 3 negatives and int8 vectors; a pack is written as the oldest that can hold it."""
LARGEST = contents.LARGEST[contents.LABELS]
"""A file beyond so many bytes is no label pack."""


@dataclass(frozen=True, kw_only=True)
class LabelPack:
    """Labels for one encoder.

    Attributes:
        labels: in order; names are unique.
        logit_scale: s, the teacher's factor on cosines, > 0.
        encoder: sha256 (hex) of the student weights that the pack fits.
        templates: prompts that the vectors were made with, for the record.
        teacher: fingerprint of the teacher whose text tower made the vectors.
        trigger: which frames a camera keeps, or None; its labels stand in the pack.
        negatives: what competes with the labels and is never said.

    Raises:
        BundleError: if labels are missing, repeated or do not fit together.
    """

    labels: Sequence[Label]
    logit_scale: float
    encoder: str
    templates: Sequence[str] = ()
    teacher: str = ""
    trigger: Rule | None = None
    negatives: Sequence[Negative] = ()
    _matrix: np.ndarray = field(init=False, repr=False)
    _starts: np.ndarray = field(init=False, repr=False)
    _rivals: np.ndarray = field(init=False, repr=False)
    _read_as: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        if not (np.isfinite(self.logit_scale) and self.logit_scale > 0):
            raise BundleError(f"logit_scale must be above 0, got {self.logit_scale}.")
        check_entries(self.labels, self.negatives)
        if self.trigger is not None:
            check_names(self.trigger, self.names, "label pack")
        entries: list[Label | Negative] = [*self.labels, *self.negatives]
        rows = np.concatenate([entry.vectors for entry in entries]).astype(np.float64)
        counts = [len(entry.vectors) for entry in entries]
        object.__setattr__(self, "_matrix", (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
        object.__setattr__(self, "_starts", np.cumsum([0, *counts[:-1]]))
        object.__setattr__(self, "_rivals", _rivals(self.labels, self.negatives))

    @property
    def names(self) -> tuple[str, ...]:
        """Label names, in order."""
        return tuple(label.name for label in self.labels)

    @property
    def sha256(self) -> str:
        """The hash that stands in the file the pack was read from; of a pack made here, that of its float16 form."""
        return self._read_as or str(self.to_json()["sha256"])

    @property
    def width(self) -> int:
        """D, numbers per embedding."""
        return int(self._matrix.shape[1])

    @property
    def thresholds(self) -> np.ndarray:
        """(K,) float64."""
        return np.array([label.threshold for label in self.labels])

    def cosines(self, embeddings: np.ndarray) -> np.ndarray:
        """Cosine to the nearest vector of each label, (N, K) float32, of embeddings (N, D) of any length.

        Raises:
            BundleError: if the embeddings are of another width.
        """
        return self.all_cosines(embeddings)[:, : len(self.labels)]

    def all_cosines(self, embeddings: np.ndarray) -> np.ndarray:
        """The same with the M negatives behind the labels, (N, K + M) float32.

        Raises:
            BundleError: if the embeddings are of another width.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.width:
            raise BundleError(f"embeddings are {embeddings.shape[1:]} wide, the label pack {self.width}.")
        length = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit = np.divide(embeddings, length, out=np.zeros_like(embeddings, np.float32), where=length != 0)
        nearest: np.ndarray = np.maximum.reduceat(unit @ self._matrix.T, self._starts, axis=1)
        return nearest

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """Probability of each label, (N, K) float64; NaN rows where an embedding is not finite.

        Rows sum to 1, negatives taken in.
        """
        return self.scores(embeddings).probabilities

    def scores(self, embeddings: np.ndarray) -> Scores:
        """All that is said about embeddings (N, D) of any length.

        Raises:
            BundleError: if the embeddings are of another width.
        """
        cosines, count = self.all_cosines(embeddings), len(self.labels)
        logits = self.logits(cosines)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        larger = logits[:, None, count:] > logits[:, :count, None]  # (N, K, M)
        return Scores(
            cosines=cosines[:, :count],
            probabilities=shares[:, :count],
            beaten=(larger & self._rivals).any(axis=2),
        )

    def logits(self, cosines: np.ndarray) -> np.ndarray:
        """(N, K + M) float64 of the cosines of labels and negatives."""
        temperature = np.array(
            [*(label.temperature for label in self.labels), *(negative.temperature for negative in self.negatives)]
        )
        bias = np.array([*(label.bias for label in self.labels), *(0.0 for _ in self.negatives)])
        result: np.ndarray = self.logit_scale * cosines.astype(np.float64) / temperature + bias
        return result

    def said(self, probabilities: np.ndarray, beaten: np.ndarray) -> str | None:
        """The label that is said of one image, or None, from its probabilities (K,) and what negatives beat (K,)."""
        best = int(probabilities.argmax())
        label = self.labels[best]
        return label.name if probabilities[best] >= label.threshold and not beaten[best] else None

    def to_json(self, dtype: Dtype = "float16") -> dict[str, Any]:
        """Plain JSON values. A cosine moves by about 1e-4 with "float16", and by about 5e-4 with "int8"."""
        document = {
            "format": self._format(dtype),
            "encoder": self.encoder,
            "teacher": self.teacher,
            "templates": list(self.templates),
            "logit_scale": self.logit_scale,
            "width": self.width,
            "dtype": dtype,
            "labels": [_label_row(label) for label in self.labels],
            "vectors": encoded(self._matrix, dtype),
        }
        if self.negatives:
            document["negatives"] = [_negative_row(negative) for negative in self.negatives]
        if self.trigger is not None:
            document["trigger"] = self.trigger.model_dump(mode="json", exclude_defaults=True)
        return {**document, "sha256": _digest(document)}

    def _format(self, dtype: Dtype) -> int:
        if self.negatives or dtype == "int8":
            return COMPACT
        return 1 if self.trigger is None else WITH_TRIGGER

    @classmethod
    def from_json(cls, document: Any, where: str) -> LabelPack:
        """The pack that `to_json` wrote.

        Args:
            document: parsed JSON.
            where: file name, for messages.

        Raises:
            BundleError: if it is something else, damaged, or of another format.
        """
        pack = parse_document(document, where, READABLE)
        if _digest({key: value for key, value in document.items() if key != "sha256"}) != pack.sha256:
            raise BundleError(f"{where}: the label pack is damaged (its hash differs). Copy it again.")
        try:
            labels, negatives = _entries(pack)
            read = cls(
                labels=labels,
                negatives=negatives,
                logit_scale=pack.logit_scale,
                encoder=pack.encoder,
                templates=tuple(pack.templates),
                teacher=pack.teacher,
                trigger=None if pack.trigger is None else parse_rule(pack.trigger, "trigger"),
            )
        except BundleError as error:
            raise BundleError(f"{where}: {error}") from error
        object.__setattr__(read, "_read_as", pack.sha256)
        return read


def write_pack(pack: LabelPack, path: Path, dtype: Dtype = "float16") -> None:
    """Write a pack, whole or not at all.

    Raises:
        BundleError: if the file cannot be written.
    """
    text = json.dumps(pack.to_json(dtype), ensure_ascii=False, indent=1) + "\n"
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def read_pack(path: Path) -> LabelPack:
    """Read a pack.

    Raises:
        BundleError: if there is no such file, or it is no undamaged label pack.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise BundleError(f"{path}: {path.stat().st_size} bytes is too large for a label pack.")
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=no_constant)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: no label pack (not JSON: {error}).") from error
    return LabelPack.from_json(document, str(path))


def no_constant(name: str) -> float:
    """For `json.loads`: refuse NaN and Infinity, which are no JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no JSON number")


def _rivals(labels: Sequence[Label], negatives: Sequence[Negative]) -> np.ndarray:
    """(K, M) bool: does the negative go for the label?"""
    rows = [[not one.of or label.name in one.of for one in negatives] for label in labels]
    return np.array(rows, bool).reshape(len(labels), len(negatives))


def _label_row(label: Label) -> dict[str, Any]:
    return {
        "name": label.name,
        "vectors": len(label.vectors),
        "bias": label.bias,
        "threshold": label.threshold,
        "temperature": label.temperature,
    }


def _negative_row(negative: Negative) -> dict[str, Any]:
    return {
        "name": negative.name,
        "vectors": len(negative.vectors),
        "of": list(negative.of),
        "temperature": negative.temperature,
    }


def _entries(pack: PackDocument) -> tuple[list[Label], list[Negative]]:
    counts = [row.vectors for row in pack.labels] + [row.vectors for row in pack.negatives]
    matrix = decoded(pack.vectors, sum(counts), pack.width, pack.dtype)
    tables = np.split(matrix, np.cumsum(counts)[:-1])
    labels = [Label(**{**dict(row), "vectors": table}) for row, table in zip(pack.labels, tables)]
    left = tables[len(labels) :]
    return labels, [Negative(**{**dict(row), "vectors": table}) for row, table in zip(pack.negatives, left)]


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
