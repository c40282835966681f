"""Does a bundle answer as it was measured? Drawn images go through its own preprocessing, files and label pack.

Hashes say that nothing changed since the bundle was written; this says that what was written is what was verified. It
needs the base installation, and no picture. It compares; the command line prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import BundleError, EdgefwError, MissingDependency
from edgefw.evaluation.budget import broken
from edgefw.evaluation.comparison import relative_errors
from edgefw.runtime.asking import ask, ask_both_ways
from edgefw.runtime.drawn import prepared
from edgefw.runtime.input_print import input_print
from edgefw.runtime.opening import Opener
from edgefw.runtime.probes import pattern_images
from edgefw.runtime.reference import read_reference
from edgefw.verifying.sheets import feeds

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.registry.loading import Registry
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.reference import Reference

FLOAT_ERROR, ROUNDED_ERROR = 0.01, 0.1
"""Largest relative error of an embedding: sums in another order, and what int8 makes of them on another processor."""
INPUT_ERROR = 0.001
"""Largest relative error of a prepared image: what other versions of the libraries that resize make of it, and a margin."""
LABEL_ERROR = 0.02
"""Largest difference of a probability: what storing a label pack in float16 makes of it, and a margin."""
ANSWER, INPUT, LABELS = "max_reference_error", "max_input_error", "max_label_error"
FLOATS = ("fp32", "fp16", "bf16")
"""What float files compute in; every other precision is a quantizer's."""
_WORST = 1e6


def own_reference(bundle: Bundle) -> Reference | None:
    """The answers that a bundle carries; None for one of an older edgefw.

    Raises:
        BundleError: if they are none, or not of this bundle's files and sensors.
    """
    stated = bundle.manifest.reference
    if stated is None:
        return None
    try:
        reference = read_reference(bundle.folder / stated)
    except BundleError as error:
        raise BundleError(bundle.named(str(error))) from error
    if problem := next(_misfits(bundle, reference), None):
        raise BundleError(f"{bundle.source}: {stated}: {problem}. Do not use this bundle.")
    return reference


def _misfits(bundle: Bundle, reference: Reference) -> Iterator[str]:
    """Answers to images that cannot be drawn here."""
    for entry in bundle.manifest.artefacts:
        for role in _expected(entry, reference):
            for name in _sensors(entry, role):
                if name not in bundle.modalities:
                    yield f"answers of '{entry.name}' to '{role}', and the sensors are {', '.join(bundle.modalities)}"
                elif name not in reference.probes:
                    yield f"answers of '{entry.name}' to '{role}', and no probe of '{name}'"
    for name in reference.inputs:
        if name not in bundle.modalities or name not in reference.probes:
            yield f"inputs of '{name}', and no such sensor or no probe of it"


def reference_rows(
    bundle: Bundle,
    reference: Reference,
    runners: Mapping[str, Runner] | None = None,
    registry: Registry | None = None,
) -> list[dict[str, Any]]:
    """One row per artefact, one per sensor's preprocessing, and one for the label pack, as rows of a budget.

    Args:
        bundle: opened.
        reference: its own, or a fresh one of the run that made it.
        runners: opened artefacts by name; None opens all whose runtime is here.
        registry: where techniques come from; None reads what is installed.
    """
    opener = Opener(bundle, registry)
    entries = bundle.manifest.artefacts
    rows: list[dict[str, Any]] = []
    for entry in entries:
        try:
            runner = opener.runner(entry) if runners is None else runners.get(entry.name)
            if runner is not None:
                rows += _artefact_row(opener, entry, runner, reference)
        except MissingDependency:
            continue
        except EdgefwError as error:
            rows.append(broken(entry.name, str(error)))
    return [*rows, *_input_rows(opener, reference), *_label_row(bundle, reference)]


def failing(bundle: Bundle, runners: Mapping[str, Runner], batch: int) -> dict[str, str]:
    """Why, by name, of opened artefacts that do not take one image, or a batch of `batch` (and of two at least), or
    whose embeddings are not of the width of the first one's."""
    found: dict[str, str] = {}
    widths: dict[str, tuple[int, ...]] = {}
    for entry in bundle.manifest.artefacts:
        if entry.name not in runners:
            continue
        try:
            for count in (1, max(2, batch)):
                zeros = {name: np.zeros((count, *shape), np.float32) for name, shape in entry.inputs.items()}
                widths[entry.name] = ask(runners[entry.name], zeros).shape[1:]
        except BundleError as error:
            found[entry.name] = str(error)
            widths.pop(entry.name, None)
    first = next(iter(widths), "")
    told = {name: f"gives embeddings of shape {own}, {first} of {widths[first]}" for name, own in widths.items()}
    return {**found, **{name: why for name, why in told.items() if widths[name] != widths[first]}}


def _artefact_row(
    opener: Opener, entry: ArtefactEntry, runner: Runner, reference: Reference
) -> Iterator[dict[str, Any]]:
    """The worst answer on any sensor; nothing if there is no answer to compare with.

    A float file that gave none when the bundle was written, because its runtime was elsewhere, is held against the student.
    """
    errors = []
    for role, text in _expected(entry, reference).items():
        images = {
            name: prepared(pattern_images(reference.probes[name]), opener.preprocessing(name))
            for name in _sensors(entry, role)
        }
        expected = reference.rows(text)
        for said in _said(entry, runner, feeds(entry, images)):
            errors.append(relative_errors(said, expected).max() if said.shape == expected.shape else np.inf)
    if errors:
        limit = FLOAT_ERROR if entry.precision == "fp32" else ROUNDED_ERROR
        yield _row(entry.name, ANSWER, limit, max(map(_finite, errors)))


def _sensors(entry: ArtefactEntry, role: str) -> tuple[str, ...]:
    """The sensors of a role: itself, or those that the file takes together."""
    return tuple(entry.modalities) if len(entry.inputs) > 1 else (role,)


def _said(entry: ArtefactEntry, runner: Runner, images: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Embeddings (B, D) of drawn images in one batch; of an fp32 file, which has no rounding that may differ, of each alone too."""
    if entry.precision != "fp32":
        return (ask(runner, images),)
    count = len(next(iter(images.values())))
    return ask_both_ways(runner, [{name: own[at : at + 1] for name, own in images.items()} for at in range(count)])


def _expected(entry: ArtefactEntry, reference: Reference) -> Mapping[str, str]:
    """By role, what an artefact answered itself; else, of a file that no quantizer made, what the student did."""
    own = reference.answers.get(entry.name, {})
    if own or entry.precision not in FLOATS:
        return own
    return {role: reference.student[role] for role in entry.roles if role in reference.student}


def _input_rows(opener: Opener, reference: Reference) -> Iterator[dict[str, Any]]:
    """What each sensor's preprocessing makes of the patterns, whatever the files behind it would round away."""
    for sensor, expected in reference.prints().items():
        name = f"preprocessing.{sensor}"
        try:
            said = input_print(prepared(pattern_images(reference.probes[sensor]), opener.preprocessing(sensor)))
        except EdgefwError as error:
            yield broken(name, str(error))
            continue
        furthest = relative_errors(said, expected).max() if said.shape == expected.shape else np.inf
        yield _row(name, INPUT, INPUT_ERROR, _finite(furthest))


def _label_row(bundle: Bundle, reference: Reference) -> Iterator[dict[str, Any]]:
    where = bundle.manifest.labels
    if where is None or not reference.probabilities:
        return
    try:
        pack = bundle.label_pack()
    except BundleError as error:
        yield broken(where, str(error))
        return
    worst = 0.0
    for role, expected in reference.probabilities.items():
        rows = reference.rows(reference.student[role])
        if sorted(pack.names) != sorted(reference.labels) or rows.shape[1] != pack.width:
            worst = 1.0
            continue
        order = [list(pack.names).index(name) for name in reference.labels]
        worst = max(worst, _finite(np.abs(pack.probabilities(rows)[:, order] - np.array(expected)).max()))
    yield _row(where, LABELS, LABEL_ERROR, worst)


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else _WORST


def _row(name: str, check: str, limit: float, value: float) -> dict[str, Any]:
    return {"artefact": name, "check": check, "limit": limit, "value": value, "ok": bool(value <= limit)}
