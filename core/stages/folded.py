"""Artefacts with the preprocessing inside: made after the others of a run, and measured against them.

    export/folded-<modality>-<artefact>/model.onnx

Every ONNX artefact that takes one image of a modality of `export.folded` gets one. It is checked on drawn pictures when it
is made; `verify` shows it held-out pictures as they were decoded, one by one, and compares its embeddings with those of the
artefact that it was made from, which saw the same pictures through the bundle's preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import OnnxCompiler, session_threads
from edgefw.data.loading import read_image
from edgefw.errors import BundleError, ExportError, RecipeError
from edgefw.evaluation import agreement, predictions, zero_shot_scores
from edgefw.evaluation.budget import Measured, broken, checks
from edgefw.evaluation.comparison import length_ratios, relative_errors, row_cosines, summary
from edgefw.runtime.integer_products import exact_session
from edgefw.stages.folding import INPUT, fold, unfoldable

if TYPE_CHECKING:
    from edgefw.contracts.backend import Backend, Runner
    from edgefw.contracts.student import InputSpec
    from edgefw.pieces import Pieces
    from edgefw.runtime.preprocessing import Preprocessing
    from edgefw.stages.context import StageContext
    from edgefw.stages.held_out import HeldOut
    from edgefw.stages.opened import Opened

SHAPE = (0, 0, 3)
"""Of the input in records and manifests: any height, any width, three channels last."""
SAMPLES = 64
"""So many held-out pictures per artefact are looked at."""
LEAST_COSINE = {"fp32": 0.999}
"""By precision, on drawn pictures: of noise and stripes, where a pixel that is off by one step counts most."""
LEAST_ROUNDED = 0.9
"""Of files that round: a value on the edge of two steps may go either way."""
_TALLER, _WIDER = 1.37, 1.83


def writes_onnx(backend: Backend) -> bool:
    """Whether a backend's own files are ONNX."""
    return "onnx" in backend.accepts and not isinstance(backend, OnnxCompiler)


def refuse_unfoldable(pieces: Pieces, input: InputSpec) -> None:
    """Refuse, before anything is trained, a modality whose preprocessing cannot be part of a graph.

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
        if reason := unfoldable(sensor.preprocessing(input), sensor.colour):
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
    size = context.pieces.student_spec.input
    contract = context.pieces.modalities[role].preprocessing(size)
    fold(file, contract, target)
    (input,) = source["inputs"]
    pictures = drawn(round(size.size * _TALLER), round(size.size * _WIDER))
    try:
        ask = _opened(target, threads)
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


def _opened(file: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """The file in ONNX Runtime: (B, H, W, 3) uint8 to (B, D).

    Raises:
        BundleError: if it does not open, or, when called, does not run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads or 0, 3
    try:
        session = exact_session(str(file), options)
    except Exception as error:  # whatever the runtime raises
        raise BundleError(f"does not open ({_reason(error)})") from error

    def ask(pictures: np.ndarray) -> np.ndarray:
        try:
            rows: np.ndarray = session.run(None, {INPUT: pictures})[0]
        except Exception as error:  # whatever the runtime raises
            raise BundleError(f"fails on a picture of {pictures.shape[1:]} ({_reason(error)})") from error
        return rows

    return ask


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


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


def budget(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """The checks of folded artefacts: cosine, agreement, length, finite numbers, that it runs."""
    numbers = [
        Measured(
            name=row["name"],
            quantised=True,
            values={
                "min_cosine": row["cosine_mean"],
                "min_agreement": row["top1_agreement"],
                "max_length_error": row["length_error"],
                "max_not_finite": float(row["not_finite"]),
            },
        )
        for row in rows
        if "why" not in row
    ]
    return [*(broken(row["name"], row["why"]) for row in rows if "why" in row), *checks(numbers, limits)]


def _row(context: StageContext, record: Mapping[str, Any], source: Runner, held: HeldOut) -> dict[str, Any]:
    (role,) = record["signature"]["serves"]
    sensor, size = context.pieces.modalities[role], context.pieces.student_spec.input
    file = context.folder.stage("export") / record["name"] / record["file"]
    ask = _opened(file, session_threads(record["options"], context.recipe.config.compute.threads))
    fitting = [sample for sample in held.samples if role in sample.images]
    places = np.unique(np.linspace(0, len(fitting) - 1, min(SAMPLES, len(fitting))).round().astype(int))
    pictures = (read_image(fitting[int(at)], role, sensor) for at in places)
    pairs = list(_pairs(pictures, sensor.preprocessing(size), ask, source))
    found, expected = (np.concatenate(rows) for rows in zip(*pairs))
    said = {"name": record["name"], "source": record["source"], "modality": role, "n": len(found)}
    asked = (
        None if held.text is None else [predictions(zero_shot_scores(rows, held.text)) for rows in (found, expected)]
    )
    return {
        **said,
        **summary(row_cosines(found, expected), relative_errors(found, expected), length_ratios(found, expected)),
        "top1_agreement": None if asked is None else agreement(*asked),
        "not_finite": int((~np.isfinite(found).all(axis=1)).sum()),
    }


def _pairs(
    pictures: Iterator[np.ndarray], contract: Preprocessing, ask: Callable[[np.ndarray], np.ndarray], source: Runner
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(1, D) of a picture through the folded graph, and through preprocessing and the artefact."""
    (name,) = source.inputs
    for picture in pictures:
        found, expected = ask(picture[None]), source.run({name: contract(picture)[None]})
        if found.shape != expected.shape:
            raise BundleError(f"gives shape {found.shape}, its source {expected.shape}")
        yield found, expected
