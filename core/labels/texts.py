"""New labels for a bundle: its teacher's text tower, built from the manifest, turns words into a label pack.

The only thing on the device side that needs torch; a finished label pack needs nothing. It knows teachers by contract.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from edgefw.errors import BundleError, MissingDependency
from edgefw.labels.names import prompts, unique_names
from edgefw.labels.prompt_list import PromptLabel, PromptList
from edgefw.portable_paths import resolved
from edgefw.recipe.chosen import Chosen
from edgefw.recipe.compose import build
from edgefw.recipe.inner import inner_techniques
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.registry.requirements import install_command, is_importable
from edgefw.registry.technique import BuildContext
from edgefw.runtime.label_pack import Label, LabelPack, Negative
from edgefw.runtime.pack_document import first_problem

if TYPE_CHECKING:
    from edgefw.contracts.teacher import Teacher
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.manifest import TeacherEntry


def pack_from_names(
    bundle: Bundle,
    names: Sequence[str],
    templates: Sequence[str] = (),
    threshold: float = 0.0,
    registry: Registry | None = None,
) -> LabelPack:
    """A label pack for a bundle's encoder.

    Args:
        bundle: opened.
        names: label names.
        templates: prompts with `{}`; the bundle's own where there are none.
        threshold: smallest probability at which a label is said, 0..1.
        registry: where the teacher's technique comes from; None reads what is installed.

    Raises:
        BundleError: if the bundle names no teacher that reads, the teacher's weights are not those the bundle was made
            with, or a name is given twice.
        MissingDependency: if torch is not installed; the message holds the install command.
    """
    kept, repeated = unique_names([" ".join(name.split()) for name in names if name.strip()])
    if repeated or not kept:
        raise BundleError(f"labels given twice: {', '.join(repeated)}." if repeated else "no label names were given.")
    labels = [PromptLabel(name=name) for name in kept]
    return pack_from_prompts(bundle, PromptList(labels=labels, templates=templates, threshold=threshold), registry)


def pack_from_prompts(bundle: Bundle, words: PromptList, registry: Registry | None = None) -> LabelPack:
    """A label pack for a bundle's encoder: a vector for each name, synonym and negative.

    Args:
        bundle: opened.
        words: what the pack says.
        registry: where the teacher's technique comes from; None reads what is installed.

    Raises:
        BundleError: if the bundle names no teacher that reads, or the teacher's weights are not those the bundle was
            made with.
        MissingDependency: if torch is not installed; the message holds the install command.
    """
    entry = _teacher_entry(bundle)
    templates = tuple(words.templates) or tuple(entry.templates) or ("a photo of a {}",)
    groups = [*(label.texts for label in words.labels), *((negative.text,) for negative in words.negatives)]
    teacher = build_teacher(bundle, entry, registry or Registry())
    rows = embed_names(teacher, [text for group in groups for text in group], templates)
    tables = np.split(rows, np.cumsum([len(group) for group in groups])[:-1])
    common = words.threshold or 0.0
    return LabelPack(
        labels=[
            Label(name=label.name, vectors=table, threshold=common if label.threshold is None else label.threshold)
            for label, table in zip(words.labels, tables)
        ],
        negatives=[
            Negative(name=negative.text, vectors=table, of=tuple(negative.of))
            for negative, table in zip(words.negatives, tables[len(words.labels) :])
        ],
        logit_scale=teacher.spec.logit_scale,
        encoder=bundle.manifest.encoder,
        templates=templates,
        teacher=teacher.spec.fingerprint,
    )


def embed_names(teacher: Teacher, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """Unit text embeddings (K, D) float32; with several templates the normalised mean of unit embeddings.

    Source: prompt ensembling, Radford et al. 2021, CLIP, arXiv:2103.00020, section 3.1.4.
    """
    import torch

    with torch.no_grad():
        tables = [teacher.encode_text(prompts(names, template)).float().cpu().numpy() for template in templates]
    mean = np.mean(tables, axis=0, dtype=np.float64)
    unit: np.ndarray = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    return unit


def build_teacher(bundle: Bundle, entry: TeacherEntry, registry: Registry) -> Teacher:
    """The teacher that the bundle was distilled from.

    Raises:
        BundleError: if its options do not fit the installed technique, or its fingerprint is another one.
    """
    place = f"{bundle.source}: teacher"
    technique = registry.load(Kind.TEACHER, entry.technique)
    try:
        config = technique.config.model_validate_json(json.dumps(resolved(entry.options)))
    except ValidationError as error:
        raise BundleError(f"{place} '{entry.technique}': {first_problem(error)}") from error
    context = BuildContext(path=place, base=Path.cwd(), modalities=bundle.modalities)
    inner = inner_techniques(technique, config, place, registry)
    teacher: Teacher = build(Chosen(Kind.TEACHER, technique, config, place, inner=inner), context)
    if entry.fingerprint and teacher.spec.fingerprint != entry.fingerprint:
        raise BundleError(
            f"{place} '{entry.technique}': its weights are not those the bundle was made with (fingerprint "
            f"{teacher.spec.fingerprint[:12]} instead of {entry.fingerprint[:12]}); its texts would not fit."
        )
    return teacher


def _teacher_entry(bundle: Bundle) -> TeacherEntry:
    entry = bundle.manifest.teacher
    if entry is None:
        raise BundleError(
            f"{bundle.source}: the bundle names no teacher that reads text, so it takes label packs only."
        )
    if not is_importable("torch"):
        raise MissingDependency(
            f"new label names need the text tower of teacher '{entry.technique}', and the package 'torch' is not "
            f"installed. Install it: {install_command('train')}. Or make a label pack elsewhere with "
            "`edgefw labels build` and use it with --pack."
        )
    return entry
