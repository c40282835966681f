"""The report's part about answers: how near each artefact is to the model it was compiled from, per modality, in batches and image by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgefw.evaluation.batch_sizes import BATCH_1
from edgefw.reporting.model_rows import artefact_name
from edgefw.reporting.numbers import ABSENT, known, percent, plain
from edgefw.reporting.run_data import RunData

_COSINES = ("cosine_mean", "cosine_p1", "cosine_min")
_ERRORS = ("relative_error_mean", "relative_error_max")


def nearness(run: RunData) -> dict[str, Any]:
    """Two rows per artefact and modality, or why there is none."""
    rows = [row for artefact in run.stage("verify").get("artefacts") or [] for row in _rows(artefact)]
    return {"rows": rows} if rows else {"absent": "no artefact was compared with its source."}


def _rows(artefact: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for modality, found in (artefact.get("modalities") or {}).items():
        for way, distances in (("in batches", found), ("one by one", found.get(BATCH_1))):
            if distances and known(distances.get("cosine_mean")) is not None:
                yield {"artefact": artefact_name(artefact), "modality": modality, "way": way, **_texts(distances)}


def _texts(distances: Mapping[str, Any]) -> dict[str, Any]:
    cosines = {key: known(distances.get(key)) for key in _COSINES}
    return {
        "cosines": [ABSENT if value is None else f"{value:.4f}" for value in cosines.values()],
        "errors": [plain(known(distances.get(key))) for key in _ERRORS],
        "agreement": percent(distances.get("top1_agreement")),
        "n": distances.get("n"),
    }
