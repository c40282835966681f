"""One row per model: its accuracy on each modality, and what its file costs. Tables and figures are made from these.

Knows the rows of `verify/result.json` and `result.json`; which metric is the main one is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgefw.reporting.numbers import ABSENT, known, percent

METRIC_NAMES = {
    "top1": "zero-shot top-1",
    "balanced_top1": "balanced top-1",
    "auc": "AUC, one against the rest",
    "agreement": "top-1 agreement with the teacher",
    "teacher_agreement": "top-1 agreement with the teacher",
    "cosine": "cosine to the teacher",
    "knn_top1": "nearest-neighbour top-1",
    "text_to_image_r1": "text to image, R@1",
    "text_to_image_r5": "text to image, R@5",
    "image_to_text_r1": "image to text, R@1",
    "image_to_text_r5": "image to text, R@5",
    "ece": "expected calibration error",
}
_MAIN = ("top1", "balanced_top1", "agreement", "teacher_agreement", "cosine")
_FIRST = ("teacher", "student")
_NO_SHARES = ("cosine", "ece")


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """A model of a run.

    Attributes:
        model: "teacher", "student", or "<backend>-<precision>" for an artefact.
        accuracy: modality -> main metric, 0..1.
        count: modality -> number of samples behind it.
        artefact: the artefact's own record (bytes, latency, cosines); empty for teacher and student.
        kept_budget: whether every check of the budget holds; None where nothing was judged.
    """

    model: str
    accuracy: Mapping[str, float] = field(default_factory=dict)
    count: Mapping[str, int] = field(default_factory=dict)
    artefact: Mapping[str, Any] = field(default_factory=dict)
    kept_budget: bool | None = None

    def number(self, key: str) -> float | None:
        """A number of the artefact's record, or None."""
        return known(self.artefact.get(key))


def main_metric(evaluation: Sequence[Mapping[str, Any]]) -> str:
    """The metric that tables and figures lead with: top-1 where it was measured; empty without any."""
    names = [str(row.get("metric")) for row in evaluation]
    return next((name for name in _MAIN if name in names), names[0] if names else "")


def metric_name(metric: str) -> str:
    """A metric as a person calls it."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def metric_text(metric: str, value: object) -> str:
    """A value of a metric: shares in percent, cosines and errors as plain numbers."""
    if metric in _NO_SHARES:
        return ABSENT if known(value) is None else f"{known(value):.4f}"
    return percent(value)


def int8_text(row: ModelRow) -> str:
    """The share of an artefact's multiply-accumulates in int8: `87.5 %`; "fp32" for a file that is called int8 and has none."""
    share = row.number("int8_share")
    return "fp32" if share == 0 and row.artefact.get("precision") == "fp32" else percent(share)


def slowdown_text(row: ModelRow) -> str:
    """A quantised file's p50 as a multiple of its float artefact's: `x 0.70`."""
    slowdown = row.number("slowdown")
    return ABSENT if slowdown is None else f"x {slowdown:.2f}"


def artefact_name(artefact: Mapping[str, Any]) -> str:
    """The model name of an artefact's record: its own `name`, else "<backend>-<precision>[-<signature>]"."""
    if artefact.get("name"):
        return str(artefact["name"])
    parts = (artefact.get("backend"), artefact.get("precision"), artefact.get("signature"))
    return "-".join(str(part) for part in parts if part)


def modalities_of(evaluation: Sequence[Mapping[str, Any]]) -> list[str]:
    """Modalities in the order in which they were first measured."""
    return list(dict.fromkeys(str(row["modality"]) for row in evaluation if "modality" in row))


def model_rows(verified: Mapping[str, Any]) -> list[ModelRow]:
    """The teacher, the student, and the artefacts in the order in which they were measured, of a verify or run result."""
    evaluation, artefacts = verified.get("evaluation") or [], verified.get("artefacts") or []
    metric = main_metric(evaluation)
    records = {artefact_name(artefact): artefact for artefact in artefacts}
    measured = dict.fromkeys([str(row["model"]) for row in evaluation if "model" in row] + list(records))
    names = sorted(measured, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    return [_row(name, evaluation, metric, records.get(name, {}), verified.get("budget") or []) for name in names]


def _row(
    name: str,
    evaluation: Sequence[Mapping[str, Any]],
    metric: str,
    artefact: Mapping[str, Any],
    budget: Sequence[Mapping[str, Any]],
) -> ModelRow:
    own = [row for row in evaluation if row.get("model") == name and row.get("metric") == metric]
    accuracy = {str(row["modality"]): known(row.get("value")) for row in own if "modality" in row}
    checks = [bool(check.get("ok")) for check in budget if check.get("artefact") == name]
    return ModelRow(
        model=name,
        accuracy={modality: value for modality, value in accuracy.items() if value is not None},
        count={str(row["modality"]): int(row["n"]) for row in own if known(row.get("n")) is not None},
        artefact=artefact,
        kept_budget=all(checks) if checks else None,
    )
