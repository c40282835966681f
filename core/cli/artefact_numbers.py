"""The numbers of one verified artefact on one line, for `edgefw verify`. What is not known is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgefw.evaluation import drop_text
from edgefw.runtime.bundle_text import int8_work


def numbers_of(artefact: Mapping[str, Any]) -> str:
    """How far it is from what it is compared with, and what it costs: a row of `artefacts` in words."""
    return (
        distance(artefact)
        + _answers(artefact)
        + f", {artefact['latency_ms_p50']:.2f} ms{_beside_float(artefact)}, {artefact['bytes'] / 1e6:.2f} MB"
        + f"{_memory(artefact)}{_work(artefact)}"
    )


def _answers(artefact: Mapping[str, Any]) -> str:
    """Agreement and drop, in batches and alone."""
    alone: Mapping[str, Any] = artefact.get("batch_1") or {}
    agreed, others = (own.get("top1_agreement") for own in (artefact, alone))
    lost, less = (drop_text(own.get("drop")) for own in (artefact, alone))
    return (
        ""
        if agreed is None
        else f", agreement {100 * agreed:.1f} %" + _and_alone(others, lambda own: f"{100 * own:.1f} %")
    ) + (f", drop {lost}" + _and_alone(less or None, str) if lost else "")


def _and_alone(value: Any, said: Callable[[Any], str]) -> str:
    return "" if value is None else f", alone {said(value)}"


def distance(artefact: Mapping[str, Any]) -> str:
    """How far a file is from what it is compared with, in batches and alone; a bundle's first float file has nothing to be compared with."""
    if artefact["cosine_mean"] is None:
        return "no reference" if artefact.get("reference") == artefact["name"] else "no sample to compare it on"
    alone = artefact.get("batch_1")
    return (
        f"cosine {artefact['cosine_mean']:.4f} (p1 {artefact['cosine_p1']:.4f}, min {artefact['cosine_min']:.4f})"
        f", relative error {artefact['relative_error_mean']:.2g}"
        + (f", alone {alone['cosine_mean']:.4f} (min {alone['cosine_min']:.4f})" if alone else "")
    )


def _beside_float(artefact: Mapping[str, Any]) -> str:
    """A quantised file's time as a multiple of that of its float artefact."""
    slowdown = artefact["slowdown"]
    return "" if slowdown is None else f", x {slowdown:.2f} of float"


def _memory(artefact: Mapping[str, Any]) -> str:
    """What opening and running takes at the highest; why that is not known stands in the JSON document."""
    return "" if artefact.get("memory_mib") is None else f", memory {artefact['memory_mib']:.1f} MiB"


def _work(artefact: Mapping[str, Any]) -> str:
    work = int8_work(artefact["int8_share"], artefact["precision"])
    return f", {work}" if work else ""
