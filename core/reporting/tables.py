"""The table a run ends with, for a terminal: one row per model, its accuracy by modality, its cost, its verdict.

Knows `result.json` and rich; prints to stdout, without colours where that is no terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

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
from edgefw.reporting.numbers import ABSENT, megabytes, milliseconds, percent, plain

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 120
OF_FLOAT = "of float"
"""Heading of a quantised file's p50 as a multiple of that of float."""


def summary_table(result: Mapping[str, Any]) -> Table:
    """Models by modalities, with latency, size and agreement of the artefacts.

    `OF_FLOAT` is a column where a quantised file was timed beside a float one.
    """
    from rich import box
    from rich.table import Table

    evaluation = result.get("evaluation") or []
    modalities, metric, rows = modalities_of(evaluation), main_metric(evaluation), model_rows(result)
    table = Table(box=box.SIMPLE_HEAD, title=_title(metric, rows), title_justify="left", pad_edge=False)
    table.add_column("model", no_wrap=True)
    timed = [OF_FLOAT] if any(row.number("slowdown") is not None for row in rows) else []
    for heading in (*modalities, "p50", "p95", *timed, "size", "agreement", "cosine", "int8"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("budget", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, modalities, metric, result.get("best"), bool(timed)))
    return table


def side_by_side_table(title: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> Table:
    """One column per run; values are texts and wrap rather than being cut."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for heading, values in rows:
        table.add_row(heading, *values)
    return table


def rows_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> Table:
    """One row per item; the first `left` columns are names, the others numbers. Names are printed as they are: brackets are no markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="left" if at < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def failed_checks(result: Mapping[str, Any]) -> list[str]:
    """One sentence for each check of the budget that does not hold."""
    return [_failed(check) for check in result.get("budget") or [] if not check.get("ok")]


def _failed(check: Mapping[str, Any]) -> str:
    if check.get("why"):
        return f"{check.get('artefact')} does not run: {check['why']}"
    value, limit = plain(check.get("value")), plain(check.get("limit"))
    return f"{check.get('artefact')}: {check.get('check')} is {value}, the limit is {limit}"


def print_summary(result: Mapping[str, Any], stream: IO[str] | None = None) -> None:
    """Print the table and the checks that failed."""
    print_tables([summary_table(result)], stream)
    for sentence in failed_checks(result):
        print(f"budget not met: {sentence}", file=stream)
    for row in result.get("unjudged") or []:
        print(f"not judged: {row.get('name')}: {row.get('why')}", file=stream)


def print_tables(tables: Sequence[Table], stream: IO[str] | None = None) -> None:
    """Print tables; where the stream is no terminal they are plain, 120 columns wide, or wider if names or numbers were cut off else."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    for table in tables:
        if not console.is_terminal:
            console = Console(file=stream, highlight=False, width=max(_WIDTH, _least_width(table)), no_color=True)
        console.print(table)


def _least_width(table: Table) -> int:
    """Columns of text below which something of a table is cut off; 0 where everything wraps instead."""
    from rich.console import Console
    from rich.measure import Measurement

    if not all(column.no_wrap for column in table.columns):
        return 0
    console = Console(width=10 * _WIDTH)
    return Measurement.get(console, console.options, table).maximum


def _title(metric: str, rows: Sequence[ModelRow]) -> str:
    """The metric and on how many samples it was measured: "zero-shot top-1, 400 held-out samples"."""
    counts = sorted({count for row in rows for count in row.count.values()})
    return (
        f"{metric_name(metric)}, {' to '.join(map(str, counts[:1] + counts[1:][-1:]))} held-out samples"
        if counts
        else ""
    )


def _cells(row: ModelRow, modalities: Sequence[str], metric: str, best: object, timed: bool) -> list[str]:
    verdict = ABSENT if row.kept_budget is None else "ok" if row.kept_budget else "not met"
    return [
        f"{row.model} *" if row.model == best else row.model,
        *(metric_text(metric, row.accuracy.get(modality)) for modality in modalities),
        milliseconds(row.number("latency_ms_p50")),
        milliseconds(row.number("latency_ms_p95")),
        *([slowdown_text(row)] if timed else []),
        megabytes(row.number("bytes")),
        percent(row.number("top1_agreement")),
        ABSENT if row.number("cosine_mean") is None else f"{row.number('cosine_mean'):.4f}",
        int8_text(row),
        verdict if row.artefact else ABSENT,
    ]
