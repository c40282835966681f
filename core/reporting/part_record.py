"""The report's record: stages and seconds, the plan as it was run, provenance, licences, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgefw.reporting import part_near_duplicates
from edgefw.reporting.figure_bars import share_figure
from edgefw.reporting.model_rows import artefact_name
from edgefw.reporting.numbers import plain
from edgefw.reporting.progress import format_seconds
from edgefw.reporting.run_data import STAGE_ORDER, RunData

Part = dict[str, Any]


def stages(run: RunData) -> Part:
    """How long each stage took when it was last run."""
    timed = [(name, run.seconds[name]) for name in STAGE_ORDER if name in run.seconds]
    if not timed:
        return {"absent": "no stage is complete."}
    names, seconds = [name for name, _ in timed], [value for _, value in timed]
    labels = [format_seconds(value) for value in seconds]
    return {
        "figure": share_figure(names, seconds, labels, "Seconds of each stage"),
        "total": format_seconds(sum(seconds)),
    }


def plan(run: RunData) -> Part:
    """The resolved recipe, one row per section, and the text as the user wrote it."""
    if not run.config:
        return {"absent": "resolved.yaml is missing or damaged."}
    sections = [(name, list(_leaves(value))) for name, value in run.config.items() if value is not None]
    return {"sections": sections, "text": run.recipe}


def facts(run: RunData) -> Part:
    """Environment, numbers of teacher and student, and what else the run says of its inputs, as pairs."""
    environment, inputs = run.environment, _inputs(run)
    groups = [
        ("Software", {"edgefw": environment.get("edgefw"), "python": environment.get("python"),
                      **dict(environment.get("packages") or {})}),
        ("Machine", dict(environment.get("hardware") or {})),
        ("Teacher", inputs["teacher"]),
        ("Student", inputs["student"]),
        ("Data", inputs["data"]),
        ("Provenance", _provenance(run)),
    ]  # fmt: skip
    shown = [(title, [_worded(*leaf) for leaf in _leaves(values)]) for title, values in groups]
    shown = [(title, [row for row in rows if row[1]]) for title, rows in shown]
    shown = [(title, rows) for title, rows in shown if rows]
    return {"groups": shown} if shown else {"absent": "environment.json is missing or damaged."}


def _inputs(run: RunData) -> dict[str, dict[str, Any]]:
    """Teacher, student and data: what result.json says, where a licence may be newer than the training; else the training."""
    train, stated = run.stage("train"), dict(run.finished.get("provenance") or {})
    return {name: dict(stated.get(name) or train.get(name) or {}) for name in ("teacher", "student", "data")}


def _provenance(run: RunData) -> dict[str, Any]:
    """What result.json says of the run's inputs, less what has a place of its own."""
    elsewhere = ("teacher", "student", "data", "environment", "samples")
    stated = dict(run.finished.get("provenance") or {})
    return {key: value for key, value in stated.items() if key not in elsewhere and not key.endswith("sha256")}


def hashes(run: RunData) -> list[tuple[str, str]]:
    """(what, sha256) of the recipe, the weights, and each artefact of the bundle."""
    stated = dict(run.finished.get("provenance") or {})
    found = [(key.removesuffix("_sha256"), str(value)) for key, value in stated.items() if key.endswith("_sha256")]
    artefacts = run.manifest.get("artefacts") or run.stage("verify").get("artefacts") or []
    found += [(artefact_name(row), str(row["sha256"])) for row in artefacts if row.get("sha256")]
    return [(name, digest) for name, digest in found if digest != "None"]


def plugins(run: RunData) -> list[Mapping[str, Any]]:
    """The techniques the run used: kind, name, distribution and version."""
    return [row for row in run.environment.get("plugins") or [] if isinstance(row, Mapping)]


def licences(run: RunData) -> list[tuple[str, str]]:
    """What the run's data and weights are licensed under, as far as it is stated."""
    found: dict[str, str] = {}
    for source in (_inputs(run), run.manifest.get("provenance") or {}):
        for name, value in _leaves(source):
            if name.split(".")[-1] in ("licence", "license") and value:
                found[name.rsplit(".", 1)[0].replace(".", " ")] = value
        for name, value in dict(source.get("licences") or {}).items():
            found[str(name)] = plain(value)
    return sorted(found.items())


def warnings(run: RunData) -> list[tuple[str, str]]:
    """(where, what) of everything a stage wants read."""
    found: list[tuple[str, str]] = []
    for stage, result in run.stages.items():
        found += [(stage, str(text)) for text in result.get("warnings") or []]
        for artefact in result.get("artefacts") or []:
            if isinstance(artefact, Mapping):
                found += [(artefact_name(artefact) or stage, str(text)) for text in artefact.get("warnings") or []]
        if stage != "curate" and (count := result.get("skipped")) and isinstance(count, int):
            found.append((stage, f"{count} samples are left out as unreadable"))
    skipped = run.stage("curate").get("skipped")
    if skipped:
        found.append(("curate", f"{skipped} training samples are left out as unreadable; see Curation"))
    found += [("curate", text) for text in part_near_duplicates.warnings(run)]
    return list(dict.fromkeys(found))


def _worded(path: str, value: str) -> tuple[str, str]:
    """A fact as a person reads it: no underscores, bytes as gigabytes."""
    if path.endswith("_bytes") and value.replace(",", "").isdigit():
        return path.removesuffix("_bytes"), f"{int(value.replace(',', '')) / 1e9:.1f} GB"
    return path.replace("_", " "), value


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, text) of every plain value; lists of plain values on one line."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        if all(not isinstance(item, (Mapping, list, tuple)) for item in value):
            shown = ", ".join(plain(item) for item in value[:40]) + (" …" if len(value) > 40 else "")
            yield path, shown or "none"
        else:
            for at, item in enumerate(value):
                yield from _leaves(item, f"{path}[{at}]")
    elif value is not None:
        yield path, plain(value)
