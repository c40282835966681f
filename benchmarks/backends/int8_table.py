"""The rows of int8.json as a page of Markdown: per student its files, then the verdict. It measures nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HEAD = (
    "| student | file | called | p50 ms | p95 ms | of its fp32 | top-1 | points lost | int8 share | MB |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def page(found: Mapping[str, Any]) -> str:
    """The table, what was left out and what stayed float, and the verdict.

    Args:
        found: int8.json.
    """
    rows: Sequence[Mapping[str, Any]] = found["rows"]
    parts = [HEAD]
    for row in rows:
        parts += [_line(row["network"], name, file) for name, file in row["files"].items()]
    return "\n".join([*parts, "", *_notes(rows), verdict(rows, found["limits"])]) + "\n"


def verdict(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> str:
    """How many students keep the limits, and what the others miss."""
    judged = [row for row in rows if row["failings"] is not None]
    missed = [f"{row['network']} ({' and '.join(row['failings'])})" for row in judged if row["failings"]]
    said = f"int8-latency-aware takes at most {limits['slowdown']:g} times as long as fp32 and loses at most {limits['drop']:g} points for "
    return f"{said}{len(judged) - len(missed)} of {len(judged)} students" + (
        f"; not for {', '.join(missed)}." if missed else "."
    )


def _line(network: str, name: str, file: Mapping[str, Any]) -> str:
    drop = file["drop"]
    cells = [network, f"`{name}`", file["called"], f"{file['p50_ms']:.2f}", f"{file['p95_ms']:.2f}"]
    cells += [
        f"{file['ratio']:.2f} ({file['ratio_low']:.2f} to {file['ratio_high']:.2f})",
        f"{100 * file['top1']:.1f} %",
    ]
    cells += [f"{drop['points']:.2f} ({drop['low']:.2f} to {drop['high']:.2f})", _share(file)]
    cells += [f"{file['bytes'] / 1e6:.1f}"]
    return f"| {' | '.join(cells)} |"


def _share(file: Mapping[str, Any]) -> str:
    if file["layers"] is not None:
        rounded = sum(count for kind, count in file["layers"].items() if kind in ("i8", "u8"))
        return f"{rounded} of {sum(file['layers'].values())} layers"
    return "unknown" if file["int8_share"] is None else f"{file['int8_share']:.1%}"


def _notes(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield from (f"- {row['network']}: {text}." for text in row["search"].get("said", ()))
        for name, file in row["files"].items():
            if "exact_drop" in file:
                yield f"- {row['network']}: `{name}` loses {file['exact_drop']['points']:.2f} points with exact products."
        yield from (f"- {row['network']} without `{name}`: {reason}" for name, reason in row["missing"].items())
    yield ""
