"""The rows of speed.json as a page of Markdown: per network its backends, fastest first, and who wins. It measures nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HEAD = (
    "| network | backend | p50 ms | p95 ms | images/s | MB | peak MB | start s | smallest cosine | of the best by hand |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def page(found: Mapping[str, Any], limit: float) -> str:
    """The table, the winners, what was left out, and the verdict.

    Args:
        found: speed.json.
        limit: largest ratio to the best use by hand.
    """
    networks: Mapping[str, Mapping[str, Any]] = found["networks"]
    parts = [HEAD]
    for model in networks:
        parts += [_line(row, limit) for row in _of(found["rows"], model)]
    parts += ["", *_winners(networks, found["rows"]), "", *_left_out(networks), _verdict(found["rows"], limit)]
    return "\n".join(parts) + "\n"


def _of(rows: Sequence[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    return sorted((row for row in rows if row["model"] == model), key=lambda row: row["p50_ms"])


def _line(row: Mapping[str, Any], limit: float) -> str:
    cells = [f"`{row['model']}`", f"`{row['artefact']}`", f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}"]
    cells += [f"{row['images_per_second']:.1f}", f"{row['megabytes']:.1f}", f"{row['peak_mb']:.0f}"]
    cells += [f"{row['startup_s']:.2f}", f"{row['cosine_min']:.6f}", _ratio(row, limit)]
    return f"| {' | '.join(cells)} |"


def _ratio(row: Mapping[str, Any], limit: float) -> str:
    if row["of_best_by_hand"] is None:
        return "not used by hand"
    way = min(row["by_hand"], key=lambda name: row["by_hand"][name]["p50_ms"])
    text = f"{row['of_best_by_hand']:.2f}"
    ends = " to ".join(f"{end:.2f}" for end in row["interval"]) if "interval" in row else "no interval"
    again = f"; first look {row['first_look']:.2f}" if "first_look" in row else ""
    return f"{f'**{text}**' if row['of_best_by_hand'] > limit else text} ({ends}; {way}{again})"


def _winners(networks: Mapping[str, Mapping[str, Any]], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| network | fastest | p50 ms | the next | times slower | rounds |"
    yield "|---|---|---|---|---|---|"
    for model, about in networks.items():
        first, *rest = sorted(_of(rows, model), key=_side_by_side)
        second = f"`{rest[0]['artefact']}` | {_side_by_side(rest[0]) / _side_by_side(first):.2f}" if rest else "|"
        yield f"| `{model}` | `{first['artefact']}` | {_side_by_side(first):.2f} | {second} | {about['rounds']} |"


def _side_by_side(row: Mapping[str, Any]) -> float:
    """Milliseconds of the look in which all backends took turns: a second one is of one backend, at another time."""
    return float(row.get("first_look_ms", row["p50_ms"]))


def _left_out(networks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for model, about in networks.items():
        yield from (f"- `{model}` without {name}: {reason}" for name, reason in about["left_out"].items())


def _verdict(rows: Sequence[dict[str, Any]], limit: float) -> str:
    judged = [row for row in rows if row["of_best_by_hand"] is not None]
    behind = [row for row in judged if row["of_best_by_hand"] > limit]
    names = ", ".join(f"`{row['model']}` in {row['backend']} ({row['of_best_by_hand']:.2f})" for row in behind)
    percent = round((limit - 1) * 100)
    return f"{len(judged) - len(behind)} of {len(judged)} are at most {percent} % behind the best use by hand" + (
        f"; behind: {names}." if behind else "."
    )
