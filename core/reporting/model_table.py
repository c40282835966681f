"""The table of a comparison as papers print it: one row per run and model, a column per modality, their mean, the cost.

Knows `RunData`; numbers stay numbers here, `texts` words them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgefw.contracts.scheme import is_together
from edgefw.reporting.model_rows import ModelRow, main_metric, metric_text, modalities_of, model_rows
from edgefw.reporting.numbers import ABSENT, known, megabytes, milliseconds
from edgefw.reporting.progress import format_seconds
from edgefw.reporting.run_data import RunData

EVERY_RUN = "every run"
"""Stands for a run where a teacher's row is the same in all of them."""

COST = ("average", "size", "latency, p50", "training")


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One model of one run.

    Attributes:
        run: the run's heading.
        model: "teacher", "student", or an artefact.
        metric: what `accuracy` holds.
        accuracy: modality -> main metric, 0..1.
        average: arithmetic mean over the table's modalities, each alone; None where one of them is missing.
        bytes: size of the file, for artefacts.
        latency_ms_p50: milliseconds at batch 1, for artefacts.
        train_seconds: what the run's training took; None for the teacher.
    """

    run: str
    model: str
    metric: str
    accuracy: Mapping[str, float]
    average: float | None
    bytes: float | None = None
    latency_ms_p50: float | None = None
    train_seconds: float | None = None


def modalities(runs: Sequence[RunData]) -> list[str]:
    """Modalities that any of the runs measured, in the order of the first that did."""
    return list(dict.fromkeys(name for run in runs for name in modalities_of(_evaluation(run))))


def table_rows(names: Sequence[str], runs: Sequence[RunData]) -> list[TableRow]:
    """Run by run, the models in the order in which a run prints them; an equal teacher of all runs once, on top."""
    columns = modalities(runs)
    rows = [row for name, run in zip(names, runs, strict=True) for row in _rows(name, run, columns)]
    teachers = [row for row in rows if row.model == "teacher"]
    alike = {repr(replace(row, run=EVERY_RUN)) for row in teachers}
    if len(teachers) == len(runs) and len(alike) == 1:
        return [replace(teachers[0], run=EVERY_RUN), *(row for row in rows if row.model != "teacher")]
    return rows


def texts(row: TableRow, columns: Sequence[str]) -> tuple[str, ...]:
    """A row in words: run, model, accuracies of the columns, then `COST`."""
    return (
        row.run,
        row.model,
        *(metric_text(row.metric, row.accuracy.get(name)) for name in columns),
        metric_text(row.metric, row.average),
        megabytes(row.bytes),
        milliseconds(row.latency_ms_p50),
        ABSENT if row.train_seconds is None else format_seconds(row.train_seconds),
    )


def _rows(name: str, run: RunData, columns: Sequence[str]) -> Iterator[TableRow]:
    metric = main_metric(_evaluation(run))
    for row in model_rows(run.stage("verify")):
        trained = row.model != "teacher"
        yield TableRow(
            run=name,
            model=row.model,
            metric=metric,
            accuracy=row.accuracy,
            average=_average(row, columns),
            bytes=row.number("bytes"),
            latency_ms_p50=row.number("latency_ms_p50"),
            train_seconds=known(run.seconds.get("train")) if trained else None,
        )


def _average(row: ModelRow, columns: Sequence[str]) -> float | None:
    values = [row.accuracy.get(name) for name in columns if not is_together(name)]
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found and len(found) == len(values) else None


def _evaluation(run: RunData) -> list[Mapping[str, Any]]:
    return list(run.stage("verify").get("evaluation") or [])
