"""How much disk a run will take: teacher answers, checkpoints and weights, artefacts and their copy in the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgefw.contracts.teacher import TeacherSpec
    from edgefw.recipe.schema import Phase, RunConfig

_BYTES = {"float32": 4, "float16": 2}


def disk_use(
    config: RunConfig,
    teacher: TeacherSpec,
    counts: Mapping[str, int],
    phases: Sequence[Mapping[str, Any]],
    artefacts: Sequence[Mapping[str, Any]],
) -> dict[str, int]:
    """Bytes by what takes them, and in all.

    Args:
        counts: "scored" samples of curation, "val" ones of validation.
        phases: the planned phases, with their memory.
        artefacts: the planned artefacts.
    """
    cache = 4 * teacher.width * (counts["val"] + (counts["scored"] if config.curate else 0))
    for phase, planned in zip(config.train, phases):
        cache += _cached(phase, planned, teacher)
    checkpoints = sum(_checkpoint(planned["memory"]) for planned in phases)
    made = 2 * sum(artefact["bytes"] for artefact in artefacts)
    parts = {"teacher_cache": cache, "checkpoints": checkpoints, "artefacts": made}
    return {**parts, "total": sum(parts.values())}


def _cached(phase: Phase, planned: Mapping[str, Any], teacher: TeacherSpec) -> int:
    """Bytes of a phase's stored answers: one per sample where the teacher sees clean images, else one per view."""
    if phase.cache is None:
        return 0
    want, numbers = planned["want"], teacher.width
    if teacher.tokens is not None:
        rows, columns = teacher.tokens.grid
        numbers += rows * columns * teacher.tokens.width * (("tokens" in want) + 3 * ("qkv" in want))
    answers: int = planned["samples"] * planned["answers"]
    return answers * numbers * _BYTES[phase.cache.dtype]


def _checkpoint(memory: Mapping[str, int]) -> int:
    """The checkpoint (weights, optimiser, average, and the best weights so far) and the weights at the end."""
    return 3 * memory["weights"] + memory["optimiser"] + memory["average"]
