"""A label pack: what turns embeddings into label names, as one small JSON file.

    logit_k = s * max_j cos(e, v_kj) / temperature_k + bias_k        p = softmax(logit)

over the labels k of the pack, each with one vector v_kj or several; s is the teacher's logit scale. A label is said
only where its p reaches its threshold. A pack fits one encoder, whose hash it carries: vectors of another embedding
space would give answers, and wrong ones. New labels reach a device as a new pack; the encoder stays.
It knows numbers and names; how text becomes vectors, it does not know. It never imports torch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgefw.errors import BundleError
from edgefw.runtime.pack_document import PackDocument, parse_document
from edgefw.runtime.trigger_rule import Rule, check_names, parse_rule

FORMAT = 2
"""Format 1 has no trigger; a pack without one is still written as format 1, which older readers know."""
READABLE = (1, FORMAT)
LARGEST = 256 * 2**20
"""A file beyond so many bytes is no label pack."""

Dtype = Literal["float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label.

    Attributes:
        name: what is printed.
        vectors: (n, D) float32, n of at least 1; normalised when the pack is made.
        bias: added to the logit.
        threshold: smallest probability at which the label is said, 0..1.
        temperature: divides the scaled cosine, > 0.
    """

    name: str
    vectors: np.ndarray
    bias: float = 0.0
    threshold: float = 0.0
    temperature: float = 1.0


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

    Raises:
        BundleError: if labels are missing, repeated or do not fit together.
    """

    labels: Sequence[Label]
    logit_scale: float
    encoder: str
    templates: Sequence[str] = ()
    teacher: str = ""
    trigger: Rule | None = None
    _matrix: np.ndarray = field(init=False, repr=False)
    _starts: np.ndarray = field(init=False, repr=False)
    _read_as: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        _check(self.labels, self.logit_scale)
        if self.trigger is not None:
            check_names(self.trigger, self.names, "label pack")
        rows = np.concatenate([label.vectors for label in self.labels]).astype(np.float64)
        counts = [len(label.vectors) for label in self.labels]
        object.__setattr__(self, "_matrix", (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
        object.__setattr__(self, "_starts", np.cumsum([0, *counts[:-1]]))

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
        if embeddings.ndim != 2 or embeddings.shape[1] != self.width:
            raise BundleError(f"embeddings are {embeddings.shape[1:]} wide, the label pack {self.width}.")
        length = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit = np.divide(embeddings, length, out=np.zeros_like(embeddings, np.float32), where=length != 0)
        nearest: np.ndarray = np.maximum.reduceat(unit @ self._matrix.T, self._starts, axis=1)
        return nearest

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """Probability of each label, (N, K) float64, rows summing to 1; NaN rows where an embedding is not finite."""
        temperature = np.array([label.temperature for label in self.labels])
        bias = np.array([label.bias for label in self.labels])
        logits = self.logit_scale * self.cosines(embeddings).astype(np.float64) / temperature + bias  # (N, K)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return result

    def to_json(self, dtype: Dtype = "float16") -> dict[str, Any]:
        """Plain JSON values. "float16" halves the file; a cosine moves by about 1e-4."""
        stored = self._matrix.astype(np.dtype(dtype).newbyteorder("<"))
        rows = [
            {
                "name": label.name,
                "vectors": len(label.vectors),
                "bias": label.bias,
                "threshold": label.threshold,
                "temperature": label.temperature,
            }
            for label in self.labels
        ]
        document = {
            "format": 1 if self.trigger is None else FORMAT,
            "encoder": self.encoder,
            "teacher": self.teacher,
            "templates": list(self.templates),
            "logit_scale": self.logit_scale,
            "width": self.width,
            "dtype": dtype,
            "labels": rows,
            "vectors": base64.b64encode(stored.tobytes()).decode(),
        }
        if self.trigger is not None:
            document["trigger"] = self.trigger.model_dump(mode="json", exclude_defaults=True)
        return {**document, "sha256": _digest(document)}

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
            read = cls(
                labels=_labels(pack, where),
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
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(pack.to_json(dtype), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror or error}).") from error


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


def _labels(pack: PackDocument, where: str) -> list[Label]:
    try:
        data = base64.b64decode(pack.vectors, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"the vectors are not base64 ({error}).") from error
    dtype = np.dtype(pack.dtype).newbyteorder("<")
    rows = sum(label.vectors for label in pack.labels)
    if len(data) != rows * pack.width * dtype.itemsize:
        raise BundleError(f"{len(data)} bytes of vectors do not make {rows} rows of {pack.width} {pack.dtype}.")
    matrix = np.frombuffer(data, dtype).reshape(rows, pack.width).astype(np.float32)
    ends = np.cumsum([label.vectors for label in pack.labels])
    return [
        Label(
            name=label.name,
            vectors=vectors,
            bias=label.bias,
            threshold=label.threshold,
            temperature=label.temperature,
        )
        for label, vectors in zip(pack.labels, np.split(matrix, ends[:-1]))
    ]


def _check(labels: Sequence[Label], logit_scale: float) -> None:
    if not labels:
        raise BundleError("a label pack needs at least one label.")
    if not (np.isfinite(logit_scale) and logit_scale > 0):
        raise BundleError(f"logit_scale must be above 0, got {logit_scale}.")
    seen: set[str] = set()
    widths = {label.vectors.shape[1:] for label in labels}
    if len(widths) != 1 or len(next(iter(widths))) != 1 or next(iter(widths)) == (0,):
        raise BundleError(f"vectors of a label pack must be (n, D) of one width, got {sorted(widths)}.")
    for label in labels:
        _check_label(label)
        if label.name in seen:
            raise BundleError(f"label '{label.name}' stands in the pack twice.")
        seen.add(label.name)


def _check_label(label: Label) -> None:
    lengths = np.linalg.norm(np.asarray(label.vectors, np.float64), axis=1)
    if not label.name.strip():
        raise BundleError("a label without a name.")
    if not len(lengths) or not np.isfinite(lengths).all() or (lengths == 0).any():
        raise BundleError(f"label '{label.name}': needs vectors that are finite and not zero.")
    if not 0.0 <= label.threshold <= 1.0:
        raise BundleError(f"label '{label.name}': threshold must be 0..1, got {label.threshold}.")
    if not (np.isfinite(label.temperature) and label.temperature > 0):
        raise BundleError(f"label '{label.name}': temperature must be above 0, got {label.temperature}.")
    if not np.isfinite(label.bias):
        raise BundleError(f"label '{label.name}': bias must be finite, got {label.bias}.")


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
