"""Manifests of an older format become the newest; a newer one is refused as what it is."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from edgefw.errors import BundleError
from edgefw.runtime import manifest
from edgefw.runtime.manifest import Manifest, load_manifest
from edgefw.runtime.manifest_formats import FORMAT, in_newest_format

FIELDS = {
    "ArtefactEntry": "name backend precision options file bytes sha256 modalities inputs quality source",
    "MapEntry": "artefact grid mean_error",
    "ModalityEntry": "technique options preprocessing",
    "TeacherEntry": "technique options fingerprint templates",
    "Manifest": "format edgefw encoder artefacts default modalities labels reference teacher budget provenance maps folded",
}
"""The keys of format 2."""

OF_1 = {"format": 1, "edgefw": "0.1.0", "encoder": "e" * 64, "default": "a", "modalities": {"rgb": {"technique": "rgb", "preprocessing": {}}},
        "artefacts": [{"name": "a", "backend": "b", "precision": "fp32", "file": "m", "bytes": 1, "sha256": "0" * 64, "modalities": ["rgb"],
                       "inputs": {"image": [3, 8, 8]}}]}  # fmt: skip


def read(document: dict[str, Any]) -> Manifest:
    return load_manifest(json.dumps(document).encode(), "m.json")


def test_another_key_is_another_format() -> None:
    """Whoever adds one writes a step from format 2, a bundle for tests/compat, and the next table."""
    models = [part for part in vars(manifest).values() if isinstance(part, type) and issubclass(part, BaseModel)]
    found = {part.__name__: " ".join(part.model_fields) for part in models if part.model_fields}
    assert (FORMAT, found) == (2, FIELDS)


def test_the_first_format_has_nothing_that_came_later() -> None:
    made = read(OF_1)
    assert made.format == FORMAT and made.to_json()["format"] == FORMAT
    assert (made.reference, made.maps, made.folded, made.artefacts[0].source) == (None, [], [], None)
    assert read(made.to_json()) == made


def test_keys_of_bundles_made_between_two_formats_are_kept() -> None:
    artefact = OF_1["artefacts"][0]
    between = {**OF_1, "reference": "reference.json", "folded": [{**artefact, "name": "f", "source": "a"}]}
    made = read(between)
    assert made.reference == "reference.json" and made.folded[0].source == "a"


def test_the_document_itself_is_not_changed() -> None:
    before = json.dumps(OF_1)
    in_newest_format(OF_1, "m.json")
    assert json.dumps(OF_1) == before


def test_a_newer_format_is_told_before_its_keys() -> None:
    with pytest.raises(BundleError) as caught:
        read({**OF_1, "format": 3, "colours": 7})
    assert str(caught.value) == (
        "m.json: made by a newer edgefw (bundle format 3); this one reads 1 and 2. Upgrade: pip install --upgrade edgefw"
    )


@pytest.mark.parametrize("stated", [0, -1, None, "1", 1.0, True, [1], {"a": 1}])
def test_what_is_no_format_is_told(stated: object) -> None:
    with pytest.raises(BundleError, match="m.json: bundle format .*; this edgefw reads 1 and 2. Copy the bundle again"):
        read({**OF_1, "format": stated})
