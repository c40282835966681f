"""A bundle in words, as a JSON document, and in what it differs from another one. It prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from edgefw.runtime.bundle import Bundle
from edgefw.runtime.manifest import ArtefactEntry

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
"""Control characters, which a terminal would obey: somebody else wrote the names and licences."""


def document(bundle: Bundle) -> dict[str, Any]:
    """The manifest, the hashes of all files, and the label pack without its vectors."""
    return {
        "manifest": bundle.manifest.to_json(),
        "sha256": dict(sorted(bundle.sums.items())),
        "labels": _labels(bundle),
    }


def describe(bundle: Bundle) -> list[str]:
    """Lines for a person."""
    manifest = bundle.manifest
    lines = [
        f"bundle   {bundle.source}",
        f"sha256   {bundle.sha256}",
        f"encoder  {manifest.encoder}",
        f"made by  edgefw {manifest.edgefw}",
    ]
    lines += ["", "artefacts"]
    wide = max(30, *(len(entry.name) for entry in manifest.artefacts))
    for entry in manifest.artefacts:
        mark = "*" if entry.name == manifest.default else " "
        lines.append(f"{mark} {entry.name:<{wide}} {entry.bytes / 1e6:8.2f} MB  {', '.join(entry.roles)}")
        lines += [f"      {text}" for text in _quality(entry)]
        lines.append(f"      sha256 {entry.sha256}")
    lines += [
        f"  {entry.artefact.name:<{wide}} {entry.artefact.bytes / 1e6:8.2f} MB  map of {entry.grid[0]} x {entry.grid[1]} cells: "
        f"{', '.join(entry.artefact.roles)}"
        for entry in manifest.maps
    ]
    lines += [
        f"  {entry.name:<{wide}} {entry.bytes / 1e6:8.2f} MB  {entry.modalities[0]} pictures of any size, preprocessing inside"
        f"{_apart(entry)}"
        for entry in manifest.folded
    ]
    lines += ["", "sensors"]
    for role, sensor in manifest.modalities.items():
        steps = ", ".join(step["name"] for step in sensor.preprocessing.get("steps", []))
        lines.append(f"  {role:<10} decoded by {sensor.technique}; {steps}")
    labels = _labels(bundle)
    lines += ["", "labels", *(_wrapped(labels["names"]) if labels else ["  none"])]
    lines += ["", "licences", *(f"  {name:<10} {value}" for name, value in _licences(manifest.provenance))]
    return [line.translate(_ESCAPED) for line in lines]


def int8_work(share: float | None, precision: str) -> str:
    """How much of a quantised file is int8; empty where that is not known.

    Args:
        share: of its multiply-accumulates.
        precision: that `verify` found: "fp32" for a file that is called int8 and has no product in int8.
    """
    if share is None:
        return ""
    if share:
        return f"{100 * share:.1f} % of its products in int8"
    return "called fp32: none of its products in int8" if precision == "fp32" else "none of its products in int8"


def differences(first: Bundle, second: Bundle) -> list[dict[str, Any]]:
    """Rows of {key, first, second}: what stands in the two manifests and label packs, None where it is absent.

    Files are compared by their hashes; of entries that both have in another order there is a row with the order.
    """
    one, other = dict(_leaves(document(first))), dict(_leaves(document(second)))
    keys = [*one, *(key for key in other if key not in one)]
    rows = [{"key": key, "first": one.get(key), "second": other.get(key)} for key in keys]
    return [row for row in rows if row["first"] != row["second"] and not _other_entries(row)]


def _labels(bundle: Bundle) -> dict[str, Any] | None:
    if bundle.manifest.labels is None:
        return None
    pack = bundle.label_pack()
    return {
        "names": list(pack.names),
        "templates": list(pack.templates),
        "logit_scale": pack.logit_scale,
        "width": pack.width,
        "sha256": pack.sha256,
        **({"negatives": [negative.name for negative in pack.negatives]} if pack.negatives else {}),
        "thresholds": {label.name: label.threshold for label in pack.labels if label.threshold > 0},
    }


def _quality(entry: ArtefactEntry) -> Iterator[str]:
    quality = entry.quality
    if quality.get("latency_ms_p50") is not None:
        slowdown = quality.get("slowdown")
        beside = "" if slowdown is None else f", x {slowdown:.2f} of float"
        yield f"{quality['latency_ms_p50']:.2f} ms at batch 1 where it was verified{beside}"
    if work := int8_work(quality.get("int8_share"), str(quality.get("precision") or entry.precision)):
        yield work
    yield from _near(quality)
    accuracy = quality.get("top1") or {}
    if accuracy:
        yield "top-1 " + ", ".join(f"{role} {100 * value:.1f} %" for role, value in accuracy.items())
    if lost := quality.get("drop"):
        interval = "" if lost["low"] is None else f" ({lost['low']:.1f} to {lost['high']:.1f})"
        yield f"drop {lost['points']:.1f} points{interval}"


def _near(quality: Mapping[str, Any]) -> Iterator[str]:
    """Cosines to the student, in batches and one by one; nothing of a bundle that was not verified, or that does not say."""
    alone = quality.get("batch_1") or {}
    told = (("in batches", quality.get("cosine_mean")), ("one by one", alone.get("cosine_mean")))
    if texts := [f"{value:.4f} {way}" for way, value in told if value is not None]:
        yield f"cosine {', '.join(texts)}"


def _apart(entry: ArtefactEntry) -> str:
    quality = entry.quality
    return f"; cosine {quality['cosine_min']:.4f} at least" if quality.get("cosine_min") is not None else ""


def _licences(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    stated = provenance.get("licences") or {}
    return [(str(name), str(value)) for name, value in stated.items()] or [("all", "unknown")]


def _wrapped(names: list[str], width: int = 100) -> list[str]:
    import textwrap

    return textwrap.wrap(", ".join(names), width, initial_indent="  ", subsequent_indent="  ")


_ORDER = " (order)"


def _other_entries(row: Mapping[str, Any]) -> bool:
    """Whether a row of an order has other entries too, which rows of their own tell."""
    if not row["key"].endswith(_ORDER):
        return False
    return row["first"] is None or row["second"] is None or sorted(row["first"]) != sorted(row["second"])


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that holds no other under a key of its own, and before them the order of what is held."""
    if isinstance(value, Mapping) and value:
        held = {str(name): (f"{key}.{name}" if key else str(name), entry) for name, entry in value.items()}
    elif isinstance(value, list) and any(isinstance(entry, (dict, list)) for entry in value):
        held = {name: (f"{key}[{name}]", entry) for name, entry in zip(_counted(value), value)}
    else:
        yield key, value
        return
    yield f"{key}{_ORDER}", list(held)
    for inner, entry in held.values():
        yield from _leaves(entry, inner)


def _counted(entries: list[Any]) -> Iterator[str]:
    """The entries' names, else their places; of one name the later ones are counted: `resize`, `resize 2`."""
    seen: Counter[str] = Counter()
    for number, entry in enumerate(entries):
        name = str(entry.get("name", number) if isinstance(entry, dict) else number)
        seen[name] += 1
        yield f"{name} {seen[name]}" if seen[name] > 1 else name
