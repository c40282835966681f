"""What exported files are called, and which entry of `export.backends` made one.

    <backend>[-<its label>]-<precision>[-<label of the quantizer>][-<graph>]

A recipe may name one technique several times, with a `label` each. An entry is therefore a name and a label, which is empty
where the recipe gives none, and in the records of an older edgefw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgefw.recipe.chosen import Chosen

Entry = tuple[str, str]
"""Name and label of a backend."""


def artefact_name(backend: Entry, precision: str, label: str = "", graph: str = "") -> str:
    """The name of a file: "onnxruntime-int8-static", "openvino-half-bf16", "onnxruntime-int8-static-percentile".

    Args:
        backend: that compiles it.
        precision: of the file.
        label: of the quantizer's entry; empty for a float file.
        graph: name of the graph, of a scheme's second and later ones.
    """
    return "-".join(part for part in (*backend, precision, label, graph) if part)


def entry_of(chosen: Chosen) -> Entry:
    """The entry that a recipe chose."""
    return chosen.technique.name, chosen.label


def recorded_entry(record: Mapping[str, Any]) -> Entry:
    """The entry that made a file, by its record."""
    return str(record["backend"]), str(record.get("label", ""))
