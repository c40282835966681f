"""What a quantizer that chose part by part left in float, and why: a table in plain text, and the report's part.

Knows the rows of `QuantizationReport.details["choices"]` and `export/result.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgefw.reporting.numbers import milliseconds, percent
from edgefw.reporting.run_data import RunData

HEADINGS = ("group", "layers", "products", "in float", "in int8", "stays", "why")


def choice_lines(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """A heading and one line per group, in columns; nothing without groups."""
    rows = [HEADINGS, *map(_cells, choices)] if choices else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(map(_padded, row, widths, range(len(row)))).rstrip() for row in rows]


def choices(run: RunData) -> dict[str, Any]:
    """One table per quantised file that was chosen part by part, made or not."""
    exported = run.stage("export")
    records = [*(exported.get("artefacts") or []), *(exported.get("float_stays") or [])]
    tables = list(_tables(records))
    if not tables:
        return {"absent": "no quantizer of this run chose part by part."}
    return {"headings": HEADINGS, "tables": tables}


def _tables(records: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for record in records:
        details = record.get("details") or {}
        if details.get("choices"):
            yield {
                "name": record.get("name"),
                "sentence": _sentence(record, details.get("whole_file") or {}),
                "rows": [_cells(row) for row in details["choices"]],
            }


def _sentence(record: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """What came of the file as a whole."""
    timed = ""
    if whole:
        timed = (
            f" Beside its float source it took {whole['ratio']:.2f} times as long "
            f"(95 % interval {whole['ratio_low']:.2f} to {whole['ratio_high']:.2f})."
        )
    if "precision" in record:
        return f"Delivered.{timed}"
    return f"Not delivered, {record.get('source')} stays: {'; '.join(record.get('warnings') or ())}.{timed}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["group"]),
        str(row["nodes"]),
        percent(row["macs_share"]),
        milliseconds(row["float_ms"]),
        milliseconds(row["int8_ms"]),
        str(row["precision"]),
        str(row["why"]),
    )


def _padded(text: str, width: int, place: int) -> str:
    return text.rjust(width) if HEADINGS[place] in ("layers", "products", "in float", "in int8") else text.ljust(width)
