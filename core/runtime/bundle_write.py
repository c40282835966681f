"""Write a bundle folder: artefacts copied, manifest and label pack beside them, hashes over everything.

The folder appears by one rename when it is complete; an earlier bundle in its place goes away at that moment. It knows
the format of a bundle; what a run is, it does not know.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgefw.errors import BundleError
from edgefw.runtime.contents import LABELS, MANIFEST, REFERENCE
from edgefw.runtime.hashes import sha256_of, write_sums
from edgefw.runtime.label_pack import Dtype, LabelPack, write_pack
from edgefw.runtime.manifest import Manifest
from edgefw.runtime.reference import Reference, write_reference

__all__ = ["LABELS", "REFERENCE", "write_bundle"]


def write_bundle(
    target: Path,
    manifest: Manifest,
    files: Mapping[str, Path],
    pack: LabelPack | None = None,
    dtype: Dtype = "float16",
    reference: Reference | None = None,
) -> Path:
    """Write `target` from the parts; returns it.

    Args:
        target: the bundle's folder; replaced as a whole if there is one.
        manifest: its `labels` must be `LABELS` where there is a pack, and None where there is none.
        files: artefact name -> file to copy to the artefact's place.
        pack: the label pack that goes with it.
        dtype: how the pack's vectors are stored.
        reference: answers to drawn images; the manifest's `reference` must be `REFERENCE` where there are any.

    Raises:
        BundleError: if a file is missing, is not the one that the manifest describes, or cannot be written.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for entry in manifest.files:
            place = draft / entry.file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files[entry.name], place)
            if sha256_of(place) != entry.sha256:
                raise BundleError(f"{files[entry.name]}: changed while the bundle was written. Run again.")
        if pack is not None:
            write_pack(pack, draft / LABELS, dtype)
        if reference is not None:
            write_reference(reference, draft / REFERENCE)
        text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
        write_sums(draft)
        _replace(draft, target)
    except OSError as error:
        raise BundleError(f"{target}: the bundle cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _replace(draft: Path, target: Path) -> None:
    """Put the draft in the place of an earlier bundle; a kill in between leaves one of the two, or none, whole."""
    gone = target.with_name(f".{target.name}.{os.getpid()}.old.unfinished")
    if target.exists():
        target.rename(gone)
    draft.rename(target)
    shutil.rmtree(gone, ignore_errors=True)
