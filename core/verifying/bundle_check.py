"""Verify a bundle on folders of images, with nothing but its own files: no torch, no recipe, no teacher.

Each artefact is held against a float artefact of the bundle, an fp32 file against the first fp32 file, and all of them
against the budget that the bundle carries. What has nothing to be held against, and what a bundle cannot tell, is named in
`warnings`; accuracy is measured where folders are named after labels. It measures; the command line prints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from edgefw import __version__
from edgefw.evaluation.batch_sizes import batch_error, with_batch_1
from edgefw.evaluation.budget import ALWAYS, LIMITS, Measured, best, best_notes, broken, checks, not_judged
from edgefw.evaluation.folded_numbers import folded_checks
from edgefw.runtime.benchmark import slowdown, slower_notes, time_interleaved
from edgefw.runtime.bundle_bench import memory_numbers
from edgefw.runtime.opening import Opener
from edgefw.verifying.bundle_blame import blame
from edgefw.verifying.bundle_numbers import alone, distance, lost, measured, not_finite
from edgefw.verifying.drawn_check import not_finite_when_drawn, undrawn
from edgefw.verifying.folded_check import FoldedCheck
from edgefw.verifying.reference_check import FLOATS, failing, own_reference, reference_rows
from edgefw.verifying.sheets import Sheet, evaluation_rows, held_against, reference_of
from edgefw.verifying.shown import Candidates, Shown, show_folders

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.labels.folders import LabelledFolder
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.opening import OpenedFiles
    from edgefw.runtime.reference import Reference

_LISTED = 20
_TIMED = 8
"""So many images of a file take turns when it is timed."""
_NO_MEMORY = {"memory_mib": None, "memory_why": "it was not asked for"}


def verify_bundle(
    bundle: Bundle,
    folders: Sequence[LabelledFolder],
    pack: LabelPack | None,
    *,
    registry: Registry | None = None,
    batch: int = 16,
    threads: int | None = None,
    seconds: float = 1.0,
    without: Collection[str] = (),
    memory: bool = True,
) -> dict[str, Any]:
    """Measure every artefact on every folder.

    Args:
        bundle: opened.
        folders: at least one; each of one modality. An artefact that takes several modalities together is measured
            where there is a folder of each, on the files that have the same name in all of them.
        pack: labels to predict; without one, embeddings are compared and nothing is labelled.
        registry: where techniques come from; None reads what is installed.
        batch: images in memory at a time.
        threads: CPU threads of each session; None: the artefact's own option.
        seconds: timing per artefact.
        without: artefacts to leave out; the verdict does not wait for them.
        memory: start a fresh process per artefact to see what it takes.

    Returns:
        JSON-able: samples, evaluation, artefacts, folded where the bundle has such files, unjudged, budget, blame, best, ok, unreadable, warnings.

    Raises:
        DataError: if a folder has no readable image.
        BundleError: if there is nothing to say of any artefact, as no runtime is here.
    """
    opener, reference = Opener(bundle, registry), own_reference(bundle)
    opened = opener.runners(threads, without)
    candidates, drawn = _tried(opener, bundle, opened, reference, batch)
    shown = show_folders(opener, candidates, folders, pack, batch)
    entries, sheets, runners = shown.entries, shown.sheets, candidates.runners
    records = _records(shown, runners, drawn, seconds, bundle.manifest.budget.get("max_slowdown"), pack)
    for row in records if memory else ():
        row |= memory_numbers(bundle, entries[row["name"]], 1, threads)
    numbers = [measured(row, _copied(row["name"], entries)) for row in records]
    inside = FoldedCheck(opener, bundle, candidates, pack, threads).judged(folders)
    limits = {**bundle.manifest.budget, **ALWAYS}
    rows = _rows(candidates.failed, numbers, _drawn_alone(runners, records, drawn), limits)
    rows += reference_rows(bundle, reference, runners, registry) if reference else []
    rows += folded_checks(inside.rows, limits)
    chosen, keeps_all = best(_preferred(numbers, entries), rows, limits)
    notes = [*inside.notes, *shown.left_out, *best_notes(chosen, keeps_all)]
    return {
        **_seen(sheets, pack),
        "artefacts": records,
        **({"folded": inside.rows} if inside.rows else {}),
        "unjudged": [*shown.unjudged, *inside.unjudged],
        "budget": rows,
        "blame": blame(opener, bundle, entries, sheets, rows),
        "best": chosen,
        "ok": all(row["ok"] for row in rows) and not (shown.unjudged or inside.unjudged),
        "warnings": [*_open_checks(numbers, bundle), *_unsaid(bundle, entries, records, reference), *notes],
    }


def _seen(sheets: Sequence[Sheet], pack: LabelPack | None) -> dict[str, Any]:
    """What the folders hold, and what was said of it."""
    files = [item.to_json() for sheet in sheets for item in sheet.unreadable]
    return {
        "samples": {sheet.role: sum(map(len, sheet.labels)) for sheet in sheets},
        "unreadable": {"count": len(files), "files": files[:_LISTED]},
        "evaluation": [row for sheet in sheets for row in evaluation_rows(sheet, pack)],
    }


def _rows(
    failed: Mapping[str, str],
    numbers: Sequence[Measured],
    drawn: Sequence[Measured],
    limits: Mapping[str, float | None],
) -> list[dict[str, Any]]:
    """Of the budget: files that fail, those that folders were shown to, and those that saw drawn images alone."""
    return [*(broken(name, why) for name, why in failed.items()), *checks(numbers, limits), *checks(drawn, ALWAYS)]


def _tried(
    opener: Opener, bundle: Bundle, opened: OpenedFiles, reference: Reference | None, batch: int
) -> tuple[Candidates, dict[str, int]]:
    """Files that do not fail on a batch of zeros or on a drawn image; by name, how many answers to the latter are not finite."""
    candidates = Candidates(bundle, opened.runners, opened.missing, opened.refused)
    candidates.drop(failing(bundle, candidates.runners, batch))
    if reference is None:
        return candidates, {}
    found, failed = not_finite_when_drawn(opener, bundle.manifest.artefacts, candidates.runners, reference)
    candidates.drop(failed)
    return candidates, found


def _drawn_alone(
    runners: Mapping[str, Runner], records: Sequence[Mapping[str, Any]], drawn: Mapping[str, int]
) -> list[Measured]:
    """Of files that no folder was shown to: what is known without one."""
    told = {record["name"] for record in records}
    return [
        Measured(name=name, quantised=False, values={"max_not_finite": float(bad)})
        for name, bad in drawn.items()
        if name in runners and name not in told
    ]


def _records(
    shown: Shown,
    runners: Mapping[str, Runner],
    drawn: Mapping[str, int],
    seconds: float,
    limit: float | None,
    pack: LabelPack | None,
) -> list[dict[str, Any]]:
    entries, sheets = shown.entries, shown.sheets
    used = {name: entry for name, entry in entries.items() if any(name in sheet.columns for sheet in sheets)}
    feeds = {}
    for name, entry in used.items():
        first = next(sheet for role in entry.roles for sheet in sheets if sheet.role == role)
        feeds[name] = list(islice(first.alone(entry), _TIMED))
    latency = time_interleaved({name: runners[name] for name in used}, feeds, seconds * len(used))
    sources = {name: _float_source(entry, entries) for name, entry in used.items()}
    ratios = {
        name: slowdown(name, source, runners, feeds, latency, limit) if source in latency else None
        for name, source in sources.items()
    }
    return [
        {
            "name": name,
            "backend": entry.backend,
            "precision": str(entry.quality.get("precision") or entry.precision),
            "int8_share": entry.quality.get("int8_share"),
            "reference": held_against(entry, entries).name,
            "bytes": entry.bytes,
            "latency_ms_p50": latency[name].p50_ms,
            "latency_ms_p95": latency[name].p95_ms,
            "slowdown": ratios[name],
            "not_finite": drawn.get(name, 0) + not_finite(name, sheets),
            "batch_relative_error": batch_error(shown.said[name].values()),
            **_compared(name, held_against(entry, entries).name, shown, pack),
            **_NO_MEMORY,
            "warnings": slower_notes(ratios[name], latency[name].p50_ms, latency[sources[name]].p50_ms)
            if sources[name] in latency
            else [],
        }
        for name, entry in used.items()
    ]


def _compared(name: str, source: str, shown: Shown, pack: LabelPack | None) -> dict[str, Any]:
    """How far an artefact is from another one, in batches and at batch 1, and what is lost; None of what has no other."""
    drop = lost(name, source, shown.sheets)
    return {
        **with_batch_1(distance(name, source, shown.sheets), *alone(name, source, shown.said, shown.sheets, pack)),
        "drop": drop.to_json() if drop else None,
    }


def _float_source(entry: ArtefactEntry, entries: Mapping[str, ArtefactEntry]) -> str:
    """The float artefact that an artefact was made from; of an older bundle that of the same backend; empty for what is none's copy.

    A file of the same backend with other options is another entry of the recipe.
    """
    if entry.source is not None:
        return entry.source
    source = reference_of(entry, entries)
    alike = (source.backend, source.options) == (entry.backend, entry.options) and entry.precision != "fp32"
    return source.name if source.name != entry.name and alike else ""


def _untimed(bundle: Bundle, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Quantised files whose time has no float file's beside it, although the budget limits their ratio."""
    if bundle.manifest.budget.get("max_slowdown") is None:
        return []
    entries = {entry.name: entry for entry in bundle.manifest.artefacts}
    return [
        f"max_slowdown is not judged for {name}: {_without_source(entries[name], entries)}"
        for name, slowed in ((record["name"], record["slowdown"]) for record in records)
        if slowed is None and _was_quantised(entries[name])
    ]


def _without_source(entry: ArtefactEntry, entries: Mapping[str, ArtefactEntry]) -> str:
    if entry.source is None and all(other.precision not in FLOATS for other in entries.values()):
        known = entry.quality.get("slowdown")
        then = "" if known is None else f"; where it was made, it took {known:.2f} times as long as in float"
        return f"its student learned to round, so the bundle has no float file{then}"
    if entry.source is None:
        return "the bundle does not say which float file it was made from; an older edgefw wrote it"
    return f"its float file {entry.source} was not timed"


def _was_quantised(entry: ArtefactEntry) -> bool:
    """Whether a float file should be as slow, be it in the bundle or not."""
    return entry.source is not None or entry.precision not in FLOATS


def _preferred(numbers: Sequence[Measured], entries: Mapping[str, ArtefactEntry]) -> list[Measured]:
    """The best is sought among files that take one image, where there are any: they label every image."""
    return [entry for entry in numbers if len(entries[entry.name].inputs) == 1] or list(numbers)


def _open_checks(numbers: Sequence[Measured], bundle: Bundle) -> list[str]:
    limits = bundle.manifest.budget
    unknown = [check for check, limit in limits.items() if limit is not None and check not in LIMITS]
    unsaid = [check for check in LIMITS if check not in limits and check not in ALWAYS]
    return [
        *([f"the bundle sets no limit for {', '.join(unsaid)}"] if unsaid else []),
        *not_judged(numbers, limits),
        *(f"{check} is not judged: this edgefw ({__version__}) does not know it" for check in unknown),
    ]


def _unsaid(
    bundle: Bundle,
    entries: Mapping[str, ArtefactEntry],
    records: Sequence[Mapping[str, Any]],
    reference: Reference | None,
) -> list[str]:
    """What the verdict does not speak of: files without their source's time, files without images, whole checks."""
    old = "the bundle carries no reference answers, so no image was drawn; an older edgefw wrote it"
    unanswered = [old] if reference is None else undrawn(entries.values(), reference)
    return [*_untimed(bundle, records), *_unmeasured(entries, records), *unanswered]


def _unmeasured(entries: Mapping[str, ArtefactEntry], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Artefacts of one sensor that no folder was given for."""
    told = {record["name"] for record in records}
    return [
        f"{name} is not measured: give --data {' or --data '.join(f'{role}=DIR' for role in entry.modalities)} too"
        for name, entry in entries.items()
        if name not in told and len(entry.inputs) == 1
    ]


def _copied(name: str, entries: Mapping[str, ArtefactEntry]) -> bool:
    """Whether an artefact was made from a float artefact of the bundle; its cost is judged, that one's is not."""
    return entries[name].precision != "fp32" and reference_of(entries[name], entries).name != name
