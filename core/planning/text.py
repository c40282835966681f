"""A plan as text for a person: pieces with their origin, then numbers, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgefw.reporting.numbers import megabytes
from edgefw.reporting.part_advice import advice_line


def as_text(plan: Mapping[str, Any]) -> str:
    """The plan in lines of at most about 120 characters."""
    lines = [f"recipe {plan['recipe']} ({plan['source']})", *_pieces(plan["pieces"])]
    if not plan["static"]:
        lines += [*_data(plan), *_models(plan), *_phases(plan), *_export(plan), *_totals(plan)]
    return "\n".join(lines)


def _pieces(pieces: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "\npieces"
    yield from _aligned(
        [(row["path"], row["name"], f"{row['distribution']} {row['version']}", _options(row)) for row in pieces]
    )


def _options(row: Mapping[str, Any]) -> str:
    shown = [f"{key}={_short(value)}" for key, value in row["options"].items() if value is not None]
    text = " ".join(shown)
    return text if len(text) <= 70 else text[:69] + "…"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{…}"
    return f"[{len(value)}]" if isinstance(value, (list, tuple)) and len(value) > 3 else str(value)


def _data(plan: Mapping[str, Any]) -> Iterator[str]:
    data = plan["data"]
    yield f"\ndata: {data['classes']} classes, licence: {data['licence']}"
    rows = [("", "samples", "labelled", "skipped", *next(iter(data["splits"].values()))["modalities"])]
    for name, split in data["splits"].items():
        numbers = [split["samples"], split["labelled"], split["skipped"], *split["modalities"].values()]
        rows.append((name, *(f"{number:,}" for number in numbers)))
    yield from _aligned(rows)
    if plan["curate"]:
        curate = plan["curate"]
        about = "at most " if curate["at_most"] else ""
        yield f"  curation keeps {about}{curate['kept']:,} by {curate['labels']:,} label names: {curate['rule']}"


def _models(plan: Mapping[str, Any]) -> Iterator[str]:
    teacher, student = plan["teacher"], plan["student"]
    height, width = teacher["image_size"]
    tokens = f", {_by(teacher['tokens']['grid'])} tokens of {teacher['tokens']['width']}" if teacher["tokens"] else ""
    yield f"\nteacher: {teacher['sees']} at {height} x {width} -> {teacher['width']} numbers{tokens}"
    yield f"  {_origin(teacher)}"
    input, head = student["input"], student["head"]
    feature_map = f", map {student['map']['channels']} x {_by(student['map']['grid'])}" if student["map"] else ""
    yield f"student: {input['channels']} x {input['size']} x {input['size']} -> {student['width']} numbers{feature_map}"
    yield f"  {_origin(student)}"
    yield f"  head {head['in']} -> {head['out']}, {head['parameters']:,} parameters"
    if student["operators"]:
        yield f"  calls {', '.join(f'{count} x {name}' for name, count in student['operators'].items())}"


def _origin(model: Mapping[str, Any]) -> str:
    parts = [f"{model['parameters']:,} parameters", model["source"], f"licence: {model['licence']}"]
    return "; ".join(part for part in parts if part)


def _phases(plan: Mapping[str, Any]) -> Iterator[str]:
    for phase in plan["phases"]:
        epochs = f"{phase['epochs']} epochs of {phase['steps_per_epoch']:,}, " if phase["epochs"] else ""
        accumulate = f" x {phase['accumulate']}" if phase["accumulate"] > 1 else ""
        about = "at most " if phase["at_most"] else ""
        yield (
            f"\nphase {phase['name']}: {epochs}{phase['steps']:,} steps of {phase['batch']}{accumulate} "
            f"of {about}{phase['samples']:,} samples, {phase['size']} pixels"
        )
        parts = [f"{name} {megabytes(size)}" for name, size in phase["memory"].items() if name != "peak" and size]
        yield f"  memory about {megabytes(phase['memory']['peak'])}: {', '.join(parts)}"


def _export(plan: Mapping[str, Any]) -> Iterator[str]:
    yield "\nexport"
    rows = []
    for artefact in plan["export"]:
        inputs = ", ".join(f"{name} {_by(shape)}" for name, shape in artefact["inputs"].items())
        serves = ", ".join(artefact["serves"])
        rows.append((artefact["name"], f"in: {inputs}", f"labels: {serves}", f"about {megabytes(artefact['bytes'])}"))
    yield from _aligned(rows)
    verify = plan["verify"]
    yield f"  verified on {verify['samples']:,} {verify['split']} samples, {verify['labels']:,} label names"


def _totals(plan: Mapping[str, Any]) -> Iterator[str]:
    memory, disk = plan["memory"], plan["disk"]
    yield f"\nmemory: about {megabytes(memory['peak'])} at the peak, in phase {memory['where']}"
    parts = ", ".join(f"{name.replace('_', ' ')} {megabytes(size)}" for name, size in disk.items() if name != "total")
    yield f"disk:   about {megabytes(disk['total'])} ({parts})"
    for row in plan["advice"]:
        yield f"advice: student: {advice_line(row)}"
    for warning in plan["warnings"]:
        yield f"warning: {warning}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(max(map(len, rows)))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
