"""The report's parts about models: verdict, key numbers, accuracy, budget, cost, classes, confusion.

Each function returns what its place in templates/report.html.jinja shows, or {"absent": why there is nothing}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgefw.evaluation import drop_text
from edgefw.evaluation.budget import interval_text
from edgefw.reporting.figure_accuracy import accuracy_figure
from edgefw.reporting.figure_confusion import confusion_figure, worst_pairs
from edgefw.reporting.figure_cost import cost_figure
from edgefw.reporting.model_rows import (
    ModelRow,
    int8_text,
    main_metric,
    metric_name,
    metric_text,
    modalities_of,
    model_rows,
    slowdown_text,
)
from edgefw.reporting.numbers import known, mebibytes, megabytes, milliseconds, percent, plain, points
from edgefw.reporting.predicted import Predicted
from edgefw.reporting.run_data import RunData
from edgefw.reporting.status import status_of

Part = dict[str, Any]
NOT_VERIFIED = "the stage verify is not complete, so nothing was measured yet."
_MOST_CLASSES = 60
_CHECKS = {
    "max_drop": "points lost against the float artefact, at most",
    "min_cosine": "mean cosine to the source model, at least",
    "min_agreement": "top-1 agreement with the source model, at least",
    "max_slowdown": "latency p50 against that of the float artefact, at most",
    "max_ms": "latency p50 in ms, at most",
    "max_mb": "size in MB, at most",
    "max_memory_mib": "memory of opening and running in MiB, at most",
    "max_error": "relative error of a float file on the worst sample, at most",
    "max_length_error": "median length of the embeddings of a rounded file, off by this share of the source model's, at most",
    "max_folded_error": "mean relative error of a float file with the preprocessing inside, at most",
    "max_batch_error": "relative error between an image alone and in a batch, at most",
    "max_not_finite": "embeddings that are not finite, at most",
    "max_reference_error": "relative error of the bundle's answers to drawn images, at most",
    "max_input_error": "relative error of drawn images as the bundle's preprocessing gives them to the student, at most",
    "max_label_error": "difference of the label pack's probabilities, at most",
    "runs": "opens, and takes real images",
}


def best_of(run: RunData) -> str:
    """The artefact the report shows: the one `verify` names, else the last one measured; empty without any."""
    verified = run.stage("verify")
    rows = [row.model for row in model_rows(verified) if row.artefact]
    return str(verified.get("best") or (rows[-1] if rows else ""))


def verdict(run: RunData) -> Part:
    """One word on the run and a sentence on why."""
    status = status_of(run)
    if status == "incomplete":
        done = ", ".join(run.stages) or "none"
        return {"status": status, "word": "Not finished", "sentence": f"Stages that are complete: {done}."}
    checks = run.stage("verify").get("budget") or []
    failed = [check for check in checks if not check.get("ok")]
    if failed:
        names = ", ".join(dict.fromkeys(f"{check.get('artefact')} ({check.get('check')})" for check in failed))
        return {
            "status": status,
            "word": "Budget not met",
            "sentence": f"{len(failed)} of {len(checks)} checks fail: {names}.{_unjudged(run)}",
        }
    if _unjudged(run):
        return {"status": status, "word": "Not everything judged", "sentence": _unjudged(run).strip()}
    if not checks:
        return {"status": status, "word": "Measured", "sentence": "The recipe sets no budget, so nothing was judged."}
    return {"status": status, "word": "Budget met", "sentence": f"All {len(checks)} checks hold on held-out samples."}


def _unjudged(run: RunData) -> str:
    rows = run.stage("verify").get("unjudged") or []
    return "".join(f" Not judged: {row.get('name')} ({row.get('why')})." for row in rows)


def tiles(run: RunData) -> list[Part]:
    """Key numbers of the best artefact, each with what to compare it to."""
    rows = {row.model: row for row in model_rows(run.stage("verify"))}
    best, teacher = rows.get(best_of(run)), rows.get("teacher", ModelRow(model="teacher"))
    if best is None:
        return []
    metric = main_metric(run.stage("verify").get("evaluation") or [])
    found = [_accuracy_tile(metric, modality, value, teacher) for modality, value in best.accuracy.items()]
    if best.number("latency_ms_p50") is not None:
        p95 = best.number("latency_ms_p95")
        note = f"p95 {milliseconds(p95)}" if p95 is not None else "batch 1"
        found.append({"name": "latency, p50", "value": milliseconds(best.number("latency_ms_p50")), "note": note})
    if best.number("bytes") is not None:
        found.append({"name": "size", "value": megabytes(best.number("bytes")), "note": "file of the artefact"})
    return found


def accuracy(run: RunData, predicted: Predicted) -> Part:
    """The bar figure and the table of all models."""
    verified = run.stage("verify")
    evaluation, rows = verified.get("evaluation") or [], model_rows(verified)
    if not any(row.accuracy for row in rows):
        return {"absent": NOT_VERIFIED if not verified else "verify measured no accuracy: the data has no labels."}
    modalities, metric = modalities_of(evaluation), main_metric(evaluation)
    exact = metric == "top1" and predicted.judged
    intervals = predicted.intervals() if exact else {}
    chance = 1.0 / len(predicted.names) if exact and len(predicted.names) > 1 else None
    return {
        "figure": accuracy_figure(rows, modalities, metric_name(metric), intervals, chance),
        "metric": metric_name(metric),
        "whiskers": bool(intervals),
        "modalities": modalities,
        "rows": [_table_row(row, modalities, metric, best_of(run)) for row in rows],
        "others": _other_metrics(evaluation, metric),
        "split": (run.config.get("verify") or {}).get("split", "test"),
    }


def budget(run: RunData) -> Part:
    """The checks of every artefact."""
    checks = run.stage("verify").get("budget") or []
    if not checks:
        return {"absent": "the recipe sets no budget." if run.stage("verify") else NOT_VERIFIED}
    return {
        "rows": [
            {
                "artefact": check.get("artefact"),
                "check": _CHECKS.get(str(check.get("check")), str(check.get("check")).replace("_", " ")),
                "limit": plain(check.get("limit")),
                "value": plain(check.get("value")) + (f" ({text})" if (text := interval_text(check)) else ""),
                "ok": bool(check.get("ok")),
            }
            for check in checks
        ]
    }


def cost(run: RunData) -> Part:
    """The figure of accuracy against latency and size."""
    verified = run.stage("verify")
    drawn = cost_figure(model_rows(verified), modalities_of(verified.get("evaluation") or []))
    if drawn:
        return {"figure": drawn}
    return {"absent": NOT_VERIFIED if not verified else "no artefact has both a latency and an accuracy."}


def classes(run: RunData, predicted: Predicted) -> Part:
    """Accuracy of each class: teacher, student and best artefact on each modality."""
    if not predicted.judged:
        return {"absent": "there are no labelled predictions (verify/predictions.npz)."}
    if len(predicted.names) > _MOST_CLASSES:
        return {"absent": f"{len(predicted.names)} classes are too many for a table; see verify/predictions.npz."}
    columns = _shown(run, predicted, ("teacher", "student", best_of(run)))
    values = [predicted.per_class(model, modality) for model, modality in columns]
    counts = np.bincount(predicted.labels[predicted.labels >= 0], minlength=len(predicted.names))
    return {
        "columns": columns,
        "rows": [
            {"name": name, "n": int(counts[at]), "cells": [_cell(column[at]) for column in values]}
            for at, name in enumerate(predicted.names)
            if counts[at]
        ],
    }


def confusions(run: RunData, predicted: Predicted) -> Part:
    """Heat maps of the student and the best artefact on each modality."""
    if not predicted.judged:
        return {"absent": "there are no labelled predictions (verify/predictions.npz)."}
    shown = []
    for model, modality in _shown(run, predicted, ("student", best_of(run))):
        counts = predicted.confusion(model, modality)
        title = f"{model}, {modality}"
        pairs = [
            {"label": label, "taken": taken, "n": n, "share": percent(share, 0)}
            for label, taken, n, share in worst_pairs(counts, predicted.names)
        ]
        shown.append({"title": title, "figure": confusion_figure(counts, predicted.names, title), "pairs": pairs})
    return {"maps": shown} if shown else {"absent": "neither the student nor an artefact has predictions."}


def _shown(run: RunData, predicted: Predicted, models: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (model, modality) for model in dict.fromkeys(models) for name, modality in predicted.choices if name == model
    ]


def _accuracy_tile(metric: str, modality: str, value: float, teacher: ModelRow) -> Part:
    note = ""
    if modality in teacher.accuracy and metric == "top1":
        note = f"{points(value - teacher.accuracy[modality])} points to the teacher"
    name = "accuracy" if metric == "top1" else metric_name(metric)
    return {"name": f"{name}, {modality}", "value": metric_text(metric, value), "note": note}


def _table_row(row: ModelRow, modalities: Sequence[str], metric: str, best: str) -> Part:
    cosine = row.number("cosine_mean")
    return {
        "model": row.model,
        "best": row.model == best,
        "accuracies": [metric_text(metric, row.accuracy.get(modality)) for modality in modalities],
        "n": max(row.count.values(), default=None),
        "p50": milliseconds(row.number("latency_ms_p50")),
        "p95": milliseconds(row.number("latency_ms_p95")),
        "slowdown": slowdown_text(row),
        "size": megabytes(row.number("bytes")),
        "memory": mebibytes(row.number("memory_mib")),
        "agreement": percent(row.number("top1_agreement")),
        "drop": drop_text(row.artefact.get("drop")) or plain(None),
        "cosine": plain(None) if cosine is None else f"{cosine:.4f}",
        "int8": int8_text(row),
        "kept_budget": row.kept_budget,
    }


def _other_metrics(evaluation: Sequence[Mapping[str, Any]], main: str) -> list[Part]:
    return [
        {
            "model": row.get("model"),
            "modality": row.get("modality"),
            "metric": metric_name(str(row.get("metric"))),
            "value": plain(known(row.get("value"))),
            "n": plain(row.get("n")),
        }
        for row in evaluation
        if row.get("metric") != main
    ]


def _cell(value: float) -> Part:
    if np.isnan(value):
        return {"text": plain(None), "shade": "transparent"}
    return {"text": percent(value, 0), "shade": f"rgba(37, 99, 168, {0.04 + 0.4 * float(value):.2f})"}
