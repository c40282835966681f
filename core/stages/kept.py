"""`curate/kept.parquet`: which training samples are kept, and what the teacher takes them for.

Columns: `id` (text), `label` (int64, index into the label superset, -1 without one), `confidence` (double, null where
nothing was scored), `kept` (bool); one row per readable training sample, in the order of the listing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = "kept.parquet"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """N training samples after curation.

    Attributes:
        ids: N sample ids.
        label: (N,) int64, -1 without one.
        confidence: (N,) float64, NaN where nothing was scored.
        kept: (N,) bool.
    """

    ids: Sequence[str]
    label: np.ndarray
    confidence: np.ndarray
    kept: np.ndarray


def write_kept(folder: Path, rows: Kept) -> None:
    """Write the table into a folder."""
    import pyarrow
    from pyarrow import parquet

    confidence = pyarrow.array(rows.confidence, type=pyarrow.float64(), mask=np.isnan(rows.confidence))
    columns: dict[str, Any] = {
        "id": pyarrow.array(list(rows.ids), type=pyarrow.string()),
        "label": pyarrow.array(rows.label, type=pyarrow.int64()),
        "confidence": confidence,
        "kept": pyarrow.array(rows.kept, type=pyarrow.bool_()),
    }
    parquet.write_table(pyarrow.table(columns), folder / FILE)


def read_kept(folder: Path) -> Kept:
    """Read the table of a folder."""
    from pyarrow import parquet

    table = parquet.read_table(folder / FILE).to_pydict()
    return Kept(
        ids=table["id"],
        label=np.array(table["label"], dtype=np.int64),
        confidence=np.array(table["confidence"], dtype=np.float64),
        kept=np.array(table["kept"], dtype=bool),
    )
