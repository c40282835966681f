"""From answers to the rows of `verify/result.json`: accuracies, distances, and what the budget is held against.

Arithmetic on arrays that are already there; it opens no file and runs no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgefw.evaluation import (
    Drop,
    agreement,
    auc_one_vs_rest,
    balanced_top1,
    expected_calibration_error,
    softmax,
    top1,
    worst_drop,
)
from edgefw.evaluation.batch_sizes import largest_error, largest_length_error, least_cosine
from edgefw.evaluation.budget import LIMITS, Measured
from edgefw.evaluation.comparison import summary, worst
from edgefw.runtime.benchmark import slower_notes
from edgefw.stages.answers import Answers
from edgefw.stages.searched import search_metrics

Gathering = Mapping[tuple[str, str], Answers]
FLOAT = "fp32"
NO_TEXTS = "no label texts"


def evaluation_rows(
    answers: Gathering, labels: np.ndarray, teacher: tuple[str, str], logit_scale: float
) -> list[dict[str, Any]]:
    """Rows of {model, modality, metric, value, n}, model by model.

    Args:
        answers: of every model on every modality it was shown.
        labels: (N,) true labels, -1 without one.
        teacher: key of the teacher's answers on photographs, which agreement is measured against.
        logit_scale: factor on cosines, for calibration.
    """
    rows: list[dict[str, Any]] = []
    for (model, modality), own in answers.items():
        values = _metrics(own, labels, answers.get(teacher), logit_scale, (model, modality) == teacher)
        rows += [
            {"model": model, "modality": modality, "metric": metric, "value": value, "n": count}
            for metric, (value, count) in values.items()
            if count and np.isfinite(value)
        ]
    return rows


def _metrics(
    own: Answers, labels: np.ndarray, teacher: Answers | None, logit_scale: float, is_teacher: bool
) -> dict[str, tuple[float, int]]:
    truth = np.where(own.seen, labels, -1)
    known, values = int((truth >= 0).sum()), {}
    if known and own.questions.text is not None:
        values["top1"] = (top1(own.prediction, truth), known)
        values["balanced_top1"] = (balanced_top1(own.prediction, truth), known)
        if own.scores is not None and np.isfinite(own.scores[truth >= 0]).all():
            scores, right = own.scores[truth >= 0], truth[truth >= 0]
            values["auc"] = (auc_one_vs_rest(scores, right), known)
            values["ece"] = (expected_calibration_error(softmax(scores, logit_scale), right), known)
    values |= search_metrics(own)
    if teacher is not None and not is_teacher:
        both = own.seen & teacher.seen
        if own.questions.text is not None and both.any():
            values["agreement"] = (agreement(own.prediction[both], teacher.prediction[both]), int(both.sum()))
        if both.any():
            cosines = own.teacher_cosine[both]
            values["cosine"] = (float(np.where(np.isnan(cosines), -1.0, cosines).mean()), int(both.sum()))
    return values


def distances(answers: Gathering, name: str, modalities: Sequence[str], source: str) -> dict[str, Any]:
    """How far an artefact is from its source model: the worst modality's numbers, and each modality's under its name.

    Keys: cosine_mean, cosine_p1, cosine_min, relative_error_mean, relative_error_max, length_error, top1_agreement, modalities.
    """
    each: dict[str, dict[str, Any]] = {}
    for modality in modalities:
        own, other = answers.get((name, modality)), answers.get((source, modality))
        if own is None or other is None:
            continue
        seen = own.seen & other.seen
        each[modality] = summary(own.cosine[seen], own.error[seen], own.length[seen])
        asked = own.questions.text is not None and bool(seen.any())
        each[modality]["top1_agreement"] = agreement(own.prediction[seen], other.prediction[seen]) if asked else None
        each[modality]["n"] = int(seen.sum())
    return {**worst(list(each.values())), "modalities": each}


def drop(answers: Gathering, labels: np.ndarray, teacher: tuple[str, str], name: str, source: str) -> Drop | None:
    """Points of the main metric (top-1; without labels, agreement with the teacher) lost against the source model.

    Of the modality that loses most, sample by sample where both were asked; None if there is nothing to compare.

    Args:
        answers: of every model on every modality it was shown.
        labels: (N,) true labels, -1 without one.
        teacher: key of the teacher's answers on photographs.
        name: the artefact.
        source: the model that it is held against.
    """
    roles = [role for model, role in answers if model == name and (source, role) in answers]
    pairs = {role: (answers[source, role], answers[name, role]) for role in roles}
    asked = {role: pair for role, pair in pairs.items() if pair[1].questions.text is not None}
    truths = {"top1": (labels, labels >= 0)}
    if own := answers.get(teacher):
        truths["agreement"] = (own.prediction, own.seen)
    for metric, (truth, known) in truths.items():
        found = worst_drop(metric, {role: _right(pair, truth, known) for role, pair in asked.items()})
        if found is not None:
            return found
    return None


def _right(pair: tuple[Answers, Answers], truth: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether two models were right about the samples that both saw and whose truth is known; what is no answer never is."""
    rows = known & pair[0].seen & pair[1].seen
    one, other = ((own.prediction[rows] == truth[rows]) & (own.prediction[rows] >= 0) for own in pair)
    return one, other


def not_finite(answers: Gathering, record: Mapping[str, Any], drawn: Mapping[str, int]) -> int:
    """Images, held-out and drawn, for which an artefact's embedding is not finite."""
    asked = [own for (model, _), own in answers.items() if model == record["name"]]
    return drawn.get(record["name"], 0) + sum(int(np.isnan(own.cosine[own.seen]).sum()) for own in asked)


def measured(record: Mapping[str, Any], bad: int) -> Measured:
    """What the budget is held against, from an artefact's finished record.

    A float file is a translation: how far it is from the network on the worst sample, in a batch or alone, is judged. What
    rounds has its mean cosine instead, and the length of its embeddings, which no cosine sees.
    """
    exact = record["precision"] == FLOAT and record["int8_share"] is None
    timed = record["source"] is not None or record["slowdown"] is not None
    absent = {"max_length_error" if exact else "max_error", *(() if timed else ("max_slowdown",))}
    lost = record["drop"] or {"points": None, "low": None}
    values = {
        "max_drop": lost["points"],
        "min_cosine": least_cosine(record),
        "min_agreement": record["top1_agreement"],
        "max_slowdown": record["slowdown"],
        "max_ms": record["latency_ms_p50"],
        "max_mb": record["bytes"] / 1e6,
        "max_memory_mib": record["memory_mib"],
        "max_error": largest_error(record),
        "max_length_error": largest_length_error(record),
        "max_batch_error": record["batch_relative_error"],
        "max_not_finite": float(bad),
    }
    return Measured(
        name=str(record["name"]),
        quantised=record["source"] is not None,
        values={check: value for check, value in values.items() if check not in absent},
        intervals={} if lost["low"] is None else {"max_drop": (lost["low"], lost["high"])},
        reasons=_reasons(record),
    )


def _reasons(record: Mapping[str, Any]) -> dict[str, str]:
    """By limit, why an artefact's number is None, if it is."""
    memory = {"max_memory_mib": str(record["memory_why"])}
    if record["cosine_mean"] is None:
        return {**dict.fromkeys(LIMITS, f"no held-out sample has {' or '.join(record['serves'])}"), **memory}
    asked = record["top1_agreement"] is not None
    return {
        "max_drop": "neither labels nor answers of the teacher" if asked else NO_TEXTS,
        "min_agreement": NO_TEXTS,
        "max_slowdown": f"its float file {record['source']} was not timed",
        "max_batch_error": "no two held-out samples to make a batch of",
        **memory,
    }


def cost_notes(record: Mapping[str, Any]) -> list[str]:
    """What a user should know about an artefact's speed and batches."""
    notes = []
    if record["slowdown"] is not None:
        other = "its float source" if record["source"] else "its network without rounding"
        notes += slower_notes(record["slowdown"], record["latency_ms_p50"], record["float_ms_p50"], other)
    if record["int8_share"] == 0 and record["precision"] == FLOAT:
        notes.append("none of its multiply-accumulates runs in int8, so it is called fp32")
    if (record["batch_relative_error"] or 0.0) > 1e-2:
        notes.append(
            f"an image's embedding depends on the others in its batch (relative error "
            f"{record['batch_relative_error']:.2g}); accuracy was measured in batches"
        )
    return notes
