"""The report's worst disagreements as pictures, embedded in the page.

Knows `disagreements` of verify/result.json; a picture outside the run folder, or none at all, is shown as absent.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgefw.reporting.part_models import NOT_VERIFIED, best_of
from edgefw.reporting.run_data import RunData

Part = dict[str, Any]
_MOST = 12
_MOST_BYTES = 400_000
_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def disagreements(run: RunData) -> Part:
    """Cards by modality: the picture, its label, and what teacher, student and artefact take it for."""
    verified = run.stage("verify")
    rows = verified.get("disagreements") or []
    if not rows:
        return {
            "absent": "the best artefact gets no held-out sample wrong, or there are no label texts to ask for."
            if verified
            else NOT_VERIFIED
        }
    cards = [_card(run, row) for row in rows]
    modalities = dict.fromkeys(card["modality"] for card in cards)
    return {
        "artefact": best_of(run),
        "groups": [(name, [card for card in cards if card["modality"] == name][:_MOST]) for name in modalities],
    }


def data_uri(folder: Path, relative: str) -> str | None:
    """A PNG or JPEG file of the run as a data URI; None when it is absent, foreign, too large or no picture."""
    file = next((path for path in (folder / relative, folder / "verify" / relative) if path.is_file()), None)
    if file is None or not file.resolve().is_relative_to(folder.resolve()) or file.stat().st_size > _MOST_BYTES:
        return None
    data = file.read_bytes()
    kind = next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), None)
    return f"data:{kind};base64,{base64.b64encode(data).decode()}" if kind else None


def _card(run: RunData, row: Mapping[str, Any]) -> Part:
    label = row.get("label")
    said = [
        {"who": who, "what": str(row[who]), "right": None if label is None else str(row[who]) == str(label)}
        for who in ("teacher", "student", "artefact")
        if row.get(who) is not None
    ]
    return {
        "id": str(row.get("id")),
        "modality": str(row.get("modality")),
        "label": label,
        "said": said,
        "picture": data_uri(run.folder, str(row["picture"])) if row.get("picture") else None,
    }
