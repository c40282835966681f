"""Artefacts with the preprocessing inside: made after the others of a run, and measured against them.

    export/folded-<modality>-<artefact>/model.onnx

Every ONNX artefact that takes one image of a modality of `export.folded` gets one. It is checked on drawn pictures when it
is made; `verify` shows it held-out pictures as they were decoded, one by one, and compares its embeddings with those of the
artefact that it was made from, which saw the same pictures through the bundle's preprocessing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import OnnxCompiler, session_threads
from edgefw.data.loading import read_image
from edgefw.errors import BundleError, ExportError, RecipeError
from edgefw.evaluation import predictions, zero_shot_scores
from edgefw.evaluation.comparison import row_cosines
from edgefw.evaluation.folded_numbers import folded_row, places
from edgefw.runtime.folded_file import INPUT, answers, open_folded
from edgefw.stages.folding import fold, unfoldable

if TYPE_CHECKING:
    from edgefw.contracts.backend import Backend, Runner
    from edgefw.contracts.student import InputSpec
    from edgefw.pieces import Pieces
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut
    from edgefw.stages.opened import Opened

SHAPE = (0, 0, 3)
"""Of the input in records and manifests: any height, any width, three channels last."""
LEAST_COSINE = {"fp32": 0.999}
"""By precision, on drawn pictures: of noise and stripes, where a pixel that is off by one step counts most."""
LEAST_ROUNDED = 0.9
"""Of files that round: a value on the edge of two steps may go either way."""
_TALLER, _WIDER = 1.37, 1.83


def writes_onnx(backend: Backend) -> bool:
    """Whether a backend's own files are ONNX."""
    return "onnx" in backend.accepts and not isinstance(backend, OnnxCompiler)


def refuse_unfoldable(pieces: Pieces, inputs: Mapping[str, InputSpec]) -> None:
    """Refuse, before anything is trained, a modality whose preprocessing to its input cannot be part of a graph.

    Raises:
        RecipeError: naming it, and why.
    """
    wanted = pieces.config.export.folded
    for name in wanted:
        if wanted.count(name) > 1:
            raise RecipeError(f"export.folded: '{name}' stands there {wanted.count(name)} times. Leave it there once.")
        if name not in pieces.modalities:
            raise RecipeError(
                f"export.folded: there is no modality '{name}'. There are: {', '.join(pieces.modalities)}."
            )
        sensor = pieces.modalities[name]
        if reason := unfoldable(sensor.preprocessing(inputs[name]), sensor.colour):
            raise RecipeError(
                f"export.folded: the preprocessing of '{name}' cannot be part of a graph: {reason}. Leave it out."
            )
    if wanted and not any(writes_onnx(backend) for backend in pieces.backends):
        raise RecipeError(
            "export.folded: no backend of the recipe writes ONNX. Add {name: onnxruntime} to export.backends."
        )


def refuse_idle(wanted: Sequence[str], made: Collection[str]) -> None:
    """Refuse a modality that no file is made of: the option would be accepted and ignored.

    Raises:
        RecipeError: naming it.
    """
    for name in wanted:
        if name not in made:
            raise RecipeError(
                f"export.folded: no ONNX artefact takes '{name}' alone. Leave it out, or use a scheme that has a graph "
                "of its own for it."
            )


def make_folded(
    source: Mapping[str, Any], file: Path, role: str, target: Path, backend: Backend, context: StageContext
) -> dict[str, Any]:
    """Write `target`; what its record says beside `source`, the record of the artefact that it is made from.

    Args:
        source: an artefact's record.
        file: that artefact's file.
        role: the modality.
        target: the file to write.
        backend: opens both.
        context: of the run.

    Raises:
        ExportError: if the graph is not what the preprocessing and the artefact do.
    """
    threads = session_threads(source["options"], context.recipe.config.compute.threads)
    size, contract = context.pieces.student_spec.input.size, context.pieces.preprocessing(role)
    fold(file, contract, target)
    (input,) = source["inputs"]
    pictures = drawn(round(size * _TALLER), round(size * _WIDER))
    try:
        ask = open_folded(target, threads)
        whole, alone = ask(pictures), np.concatenate([ask(picture[None]) for picture in pictures])
    except BundleError as error:
        raise ExportError(f"export.folded: the graph of {role} {error}.") from error
    expected = backend.open(file, threads).run({input: np.stack([contract(picture) for picture in pictures])})
    if not whole.shape == alone.shape == expected.shape:
        raise ExportError(f"export.folded: the graph of {role} gives shape {whole.shape}, its source {expected.shape}.")
    least = min(float(row_cosines(found, expected).min()) for found in (whole, alone))
    limit = LEAST_COSINE.get(source["precision"], LEAST_ROUNDED)
    if not least >= limit:
        raise ExportError(
            f"export.folded: the graph of {role} gives other embeddings (cosine {least:.4f}, least {limit})."
        )
    return {
        "source": source["name"],
        "signature": {"name": source["signature"]["name"], "inputs": [role], "serves": [role]},
        "inputs": {INPUT: list(SHAPE)},
        "details": {"drawn_cosine_min": least},
        "warnings": [],
    }


def drawn(height: int, width: int) -> np.ndarray:
    """(3, height, width, 3) uint8: waves, noise, stripes."""
    rows, columns = np.mgrid[:height, :width]
    waves = 127.5 + 127.5 * np.sin(rows / 9 + columns / 13)
    noise = np.random.default_rng(0).integers(0, 256, (height, width))
    stripes = 255 * ((rows + columns) // 5 % 2)
    planes = np.stack([waves, noise, stripes])
    return np.stack([np.roll(planes, turn, axis=0).transpose(1, 2, 0) for turn in range(3)]).astype(np.uint8)


def verified(context: StageContext, opened: Opened, held: HeldOut) -> list[dict[str, Any]]:
    """A row per folded artefact: how far it is from the artefact that it was made from, on held-out pictures.

    One that fails has a row {name, why}; one whose source failed has none. One whose modality no sample has is named in
    `opened.unjudged`.
    """
    sources = {artefact.name: artefact.runner for artefact in opened.artefacts}
    rows: list[dict[str, Any]] = []
    for record in context.folder.result("export").get("folded", []):
        (role,) = record["signature"]["serves"]
        if not any(role in sample.images for sample in held.samples):
            unjudged = {key: record[key] for key in ("name", "backend", "precision")}
            opened.unjudged.append({**unjudged, "why": f"no held-out sample has '{role}'"})
        elif record["source"] in sources:
            try:
                rows.append(_row(context, record, sources[record["source"]], held))
            except BundleError as error:
                rows.append({"name": record["name"], "why": str(error)})
    return rows


def _row(context: StageContext, record: Mapping[str, Any], source: Runner, held: HeldOut) -> dict[str, Any]:
    (role,) = record["signature"]["serves"]
    sensor = context.pieces.modalities[role]
    file = context.folder.stage("export") / record["name"] / record["file"]
    ask = open_folded(file, session_threads(record["options"], context.recipe.config.compute.threads))
    fitting = [sample for sample in held.samples if role in sample.images]
    pictures = (read_image(fitting[at], role, sensor) for at in places(len(fitting)))
    said_of = answers(pictures, context.pieces.preprocessing(role), ask, source)
    said = {"name": record["name"], "source": record["source"], "modality": role, "precision": record["precision"]}
    if held.text is None:
        return folded_row(said, *said_of, None)
    found, expected = (predictions(zero_shot_scores(rows, held.text)) for rows in said_of[:2])
    return folded_row(said, *said_of, (found, expected))
