"""The report's part about layers: where an artefact that failed first departs from its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefw.reporting.figure_layers import layer_figure
from edgefw.reporting.numbers import plain
from edgefw.reporting.run_data import RunData

_WORST = 12
"""So many layers stand in the table, by what is their own."""


def blame(run: RunData) -> dict[str, Any]:
    """A figure and a table per artefact that was looked into, or why there is none."""
    rows = run.stage("verify").get("blame") or []
    if not rows:
        return {"absent": "no artefact failed a check of its answers, so no layer was looked for."}
    return {"artefacts": [_artefact(row) for row in rows]}


def layer_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a row of `blame`, the layers with the largest errors of their own, in the order of the graph; `blamed` is the first that departs."""
    layers, blamed = row.get("layers") or [], _blamed(row)
    worst = sorted(range(len(layers)), key=lambda at: -layers[at]["own"])[:_WORST]
    return [
        {
            "layer": layers[at]["layer"],
            "operator": layers[at]["operator"],
            "error": plain(layers[at]["error"]),
            "own": plain(layers[at]["own"]),
            "cosine": f"{layers[at]['cosine']:.5f}",
            "blamed": at == blamed,
        }
        for at in sorted(worst if blamed is None or blamed in worst else [blamed, *worst[:-1]])
    ]


def _blamed(row: Mapping[str, Any]) -> int | None:
    """Where the layer that departs first stands."""
    first = row.get("first")
    places = [at for at, layer in enumerate(row.get("layers") or []) if first and layer["tensor"] == first["tensor"]]
    return places[0] if places else None


def _artefact(row: dict[str, Any]) -> dict[str, Any]:
    name = str(row.get("artefact"))
    if row.get("absent"):
        return {"artefact": name, "absent": row["absent"]}
    layers, first = row.get("layers") or [], row.get("first")
    return {
        "artefact": name,
        "limit": plain(row.get("limit")),
        "first": first and {**first, "own": plain(first["own"]), "inserted": ", ".join(first.get("inserted") or ())},
        "figure": layer_figure(
            [str(layer["layer"]) for layer in layers],
            [float(layer["error"]) for layer in layers],
            _blamed(row),
            f"Layers of {name}",
        ),
        "rows": layer_rows(row),
    }
