"""The bundle of a finished run: what a camera needs, and where all of it came from.

It gathers what stages left in the run folder, and lets `edgefw.runtime.bundle_write` write it as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefw import __version__
from edgefw.contracts.backend import session_threads
from edgefw.evaluation.batch_sizes import BATCH_1
from edgefw.portable_paths import portable
from edgefw.runtime.bundle_write import LABELS, REFERENCE
from edgefw.runtime.bundle_write import write_bundle as write_folder
from edgefw.runtime.label_pack import Label, LabelPack
from edgefw.runtime.manifest import Manifest
from edgefw.runtime.manifest_formats import FORMAT
from edgefw.runtime.reference import read_reference
from edgefw.stages.held_out import label_names
from edgefw.stages.probing import REFERENCE as VERIFIED
from edgefw.stages.verify import budget_limits

if TYPE_CHECKING:
    from edgefw.recipe.chosen import Chosen
    from edgefw.stages.context import StageContext

FOLDER = "bundle"
_MEASURED = (
    "precision",
    "latency_ms_p50",
    "latency_ms_p95",
    "slowdown",
    "int8_share",
    "memory_mib",
    "cosine_mean",
    "cosine_min",
    "relative_error_max",
    "length_error",
    BATCH_1,
    "top1_agreement",
    "drop",
)


def write_bundle(context: StageContext) -> Path:
    """Write `bundle/` at the top of the run folder; returns it."""
    export, verify = context.folder.result("export"), context.folder.result("verify")
    pack = label_pack(context, export["student_sha256"])
    measured = {row["name"]: row for row in verify["artefacts"]}
    records, maps, folded = (_with_threads(context, export.get(kind, [])) for kind in ("artefacts", "maps", "folded"))
    inside = {row["name"]: row for row in verify.get("folded", []) if "why" not in row}
    manifest = Manifest.model_validate(
        {
            "format": FORMAT,
            "edgefw": __version__,
            "encoder": export["student_sha256"],
            "artefacts": [_artefact(record, measured.get(name), verify) for name, record in records.items()],
            "default": verify["best"] or next(iter(records)),
            "modalities": _modalities(context),
            "labels": LABELS if pack else None,
            "reference": REFERENCE,
            "teacher": _teacher(context),
            "budget": budget_limits(context),
            "provenance": _provenance(context),
            "maps": [_map(record) for record in maps.values()],
            "folded": [
                {**_entry(record, "folded"), "quality": inside.get(name, {}), "source": record["source"]}
                for name, record in folded.items()
            ],
        }
    )
    folder = context.folder.stage("export")
    files = {name: folder / name / record["file"] for name, record in {**records, **maps, **folded}.items()}
    reference = read_reference(context.folder.stage("verify") / VERIFIED)
    return write_folder(context.folder.path / FOLDER, manifest, files, pack, reference=reference)


def label_pack(context: StageContext, encoder: str) -> LabelPack | None:
    """The evaluation labels as a pack; None where there are none, or the teacher cannot read."""
    names = label_names(context)
    if not names:
        return None
    template = context.recipe.config.evaluate.template
    vectors = context.pieces.text_embeddings(names, template)
    spec = context.pieces.teacher.spec
    return LabelPack(
        labels=[Label(name=name, vectors=row[None]) for name, row in zip(names, vectors)],
        logit_scale=spec.logit_scale,
        encoder=encoder,
        templates=(template,) if isinstance(template, str) else tuple(template),
        teacher=spec.fingerprint,
    )


def _artefact(
    record: Mapping[str, Any], measured: Mapping[str, Any] | None, verify: Mapping[str, Any]
) -> dict[str, Any]:
    accuracy = {
        row["modality"]: row["value"]
        for row in verify["evaluation"]
        if row["model"] == record["name"] and row["metric"] == "top1"
    }
    quality = _quality(measured, accuracy, verify["samples"]) if measured else {}
    return {**_entry(record, "artefacts"), "quality": quality, "source": record["source"]}


def _map(record: Mapping[str, Any]) -> dict[str, Any]:
    details = record["details"]
    return {"artefact": _entry(record, "maps"), "grid": details["grid"], "mean_error": details["mean_error"]}


def _with_threads(context: StageContext, records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Records by name; where their backend has an option `threads`, it says how many `verify` opened the file with."""
    compute = context.recipe.config.compute.threads
    found = {}
    for record in records:
        options = dict(record["options"])
        threads = {"threads": session_threads(options, compute)} if "threads" in options else {}
        found[record["name"]] = {**record, "options": {**options, **threads}}
    return found


def _entry(record: Mapping[str, Any], folder: str) -> dict[str, Any]:
    return {
        **{key: record[key] for key in ("name", "backend", "precision", "options", "bytes", "sha256", "inputs")},
        "file": f"{folder}/{record['name']}/{record['file']}",
        "modalities": record["signature"]["serves"],
    }


def _quality(measured: Mapping[str, Any], accuracy: Mapping[str, float], samples: int) -> dict[str, Any]:
    return {**{key: measured.get(key) for key in _MEASURED}, "top1": dict(accuracy), "samples": samples}


def _modalities(context: StageContext) -> dict[str, Any]:
    return {
        name: {
            "technique": context.composition.modalities[name].technique.name,
            "options": context.composition.modalities[name].config.model_dump(mode="json"),
            "preprocessing": context.pieces.preprocessing(name).to_json(),
        }
        for name in context.pieces.modalities
    }


def _teacher(context: StageContext) -> dict[str, Any] | None:
    chosen = context.composition.teacher
    if "teacher.text" not in chosen.provides:
        return None
    template = context.recipe.config.evaluate.template
    return {
        "technique": chosen.technique.name,
        "options": portable_options(chosen, context.recipe.base),
        "fingerprint": context.pieces.teacher.spec.fingerprint,
        "templates": [template] if isinstance(template, str) else list(template),
    }


def portable_options(chosen: Chosen, base: Path) -> dict[str, Any]:
    """Options that find their files from anywhere; the names of techniques in them are no files, whatever lies there."""
    options: dict[str, Any] = portable(chosen.config.model_dump(mode="json"), base)
    for inner in chosen.technique.inner(chosen.config) if chosen.technique.inner else ():
        place: Any = options
        for key in inner.keys:
            place = place[key]
        place["name"] = inner.name
    return options


def _provenance(context: StageContext) -> dict[str, Any]:
    """Hashes and licences, and the versions that made them."""
    stated = context.folder.read_json("result.json").get("provenance", {})
    environment = context.folder.read_json("environment.json")
    parts = {key: dict(stated.get(key) or {}) for key in ("teacher", "student", "data")}
    shown = ("recipe_sha256", "overrides", "seed", "weights_sha256", "samples")
    return {
        "recipe": context.recipe.name,
        **{key: stated.get(key) for key in shown},
        "sources": {
            key: {name: part[name] for name in ("technique", "source", "fingerprint") if part.get(name)}
            for key, part in parts.items()
        },
        "licences": {key: str(part.get("licence") or "unknown") for key, part in parts.items()},
        "packages": environment.get("packages", {}),
    }
