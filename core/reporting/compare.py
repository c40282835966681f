"""Runs side by side: which values of the recipe differ, and what came of it.

Knows run folders through `read_run`; every run keeps its own column, whatever models and modalities it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefw.errors import RunFolderError
from edgefw.reporting.html import render, write_page
from edgefw.reporting.model_rows import main_metric, metric_name, model_rows
from edgefw.reporting.model_table import COST, TableRow, modalities, table_rows, texts
from edgefw.reporting.numbers import ABSENT, known, megabytes, milliseconds, percent, plain
from edgefw.reporting.part_models import best_of
from edgefw.reporting.progress import format_seconds
from edgefw.reporting.run_data import RunData, read_run
from edgefw.reporting.status import status_of

Row = tuple[str, tuple[str, ...]]
"""A heading, and one text per run."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two or more runs, one column each.

    Attributes:
        names: heading of each run: the shortest end of its path that no other run has.
        differences: (recipe key, value per run) of every key whose values differ.
        modalities: columns of the table.
        table: one row per run and model: accuracies, their average, size, latency, training time.
        results: (what, value per run): verdict, the best artefact with its cost, seconds of each stage.
        values: the same as plain data, one record per run, for scripts.
    """

    names: tuple[str, ...]
    differences: tuple[Row, ...]
    modalities: tuple[str, ...]
    table: tuple[TableRow, ...]
    results: tuple[Row, ...]
    values: tuple[Mapping[str, Any], ...]


def compare(folders: Sequence[Path]) -> Comparison:
    """Read runs and set them side by side.

    Raises:
        RunFolderError: if there are fewer than two, or one is no run.
    """
    if len(folders) < 2:
        raise RunFolderError(f"a comparison needs at least two run folders, got {len(folders)}.")
    runs = [read_run(folder) for folder in folders]
    names = _names([run.folder for run in runs])
    return Comparison(
        names=tuple(names),
        differences=tuple(_differences([dict(_leaves(run.config)) for run in runs])),
        modalities=tuple(modalities(runs)),
        table=tuple(table_rows(names, runs)),
        results=tuple(_results(runs)),
        values=tuple(_values(run) for run in runs),
    )


def table_texts(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of the table, in words."""
    headings = ("run", "model", *comparison.modalities, *COST)
    return headings, [texts(row, comparison.modalities) for row in comparison.table]


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write the comparison as one static HTML file, like the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_page(path, render("compare.html.jinja", comparison=comparison, table=table_texts(comparison)))


def _names(folders: Sequence[Path]) -> list[str]:
    for length in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [f"{folder} ({at})" for at, folder in enumerate(folders, start=1)]


def _differences(configs: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    for key in dict.fromkeys(key for config in configs for key in config):
        values = tuple(config.get(key, ABSENT) for config in configs)
        if len(set(values)) > 1:
            yield key, values


def _results(runs: Sequence[RunData]) -> Iterator[Row]:
    yield "status", tuple(status_of(run) for run in runs)
    yield from _metrics(runs)
    bests = [_best(run) for run in runs]
    yield "best artefact", tuple(best_of(run) or ABSENT for run in runs)
    yield "latency, p50", tuple(milliseconds(best.get("latency_ms_p50")) for best in bests)
    yield "size", tuple(megabytes(best.get("bytes")) for best in bests)
    yield "agreement", tuple(percent(best.get("top1_agreement")) for best in bests)
    yield "cosine, mean", tuple(plain(known(best.get("cosine_mean"))) for best in bests)
    for name in ("curate", "train", "export", "verify"):
        seconds = [run.seconds.get(name) for run in runs]
        if any(value is not None for value in seconds):
            yield f"time of {name}", tuple(ABSENT if value is None else format_seconds(value) for value in seconds)


def _metrics(runs: Sequence[RunData]) -> Iterator[Row]:
    """The metric of each run, where runs differ in it."""
    metrics = [main_metric(run.stage("verify").get("evaluation") or []) for run in runs]
    if len(set(filter(None, metrics))) > 1:
        yield "metric", tuple(metric_name(metric) or ABSENT for metric in metrics)


def _best(run: RunData) -> Mapping[str, Any]:
    found = {row.model: row.artefact for row in model_rows(run.stage("verify"))}
    return found.get(best_of(run), {})


def _values(run: RunData) -> dict[str, Any]:
    verified = run.stage("verify")
    return {
        "folder": str(run.folder),
        "recipe": run.name,
        "status": status_of(run),
        "best": best_of(run) or None,
        "evaluation": list(verified.get("evaluation") or []),
        "artefacts": list(verified.get("artefacts") or []),
        "seconds": dict(run.seconds),
    }


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(recipe key, text) of every plain value, with list positions as in messages: `train[0].losses[1].weight`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for at, item in enumerate(value):
            yield from _leaves(item, f"{path}[{at}]")
    else:
        yield path, "null" if value is None else str(value)
