"""Export: the trained student compiled by every backend, then every post-training quantizer on top of what it fits.

    export/<backend>-<precision>[-<signature>]/        the file, and artefact.json; with labels see `artefact_names.py`
    export/map-<backend>-<precision>[-<signature>]/    with `heat`: what is said of every cell (`maps.py`), by the first backend
    export/folded-<modality>-<artefact>/               with `folded`: pictures in, embeddings out (`folded.py`)

A quantizer that times its files may find that nothing is faster in int8: there is then no file of it, and `float_stays` in the
result says so. Alignment projectors, schemes' training parts and teachers stay behind. Each file is opened in its own runtime before it
counts; one whose runtime is on another machine says so in its record. How good a file is, `verify` measures.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.backend import CompileRequest, OnnxCompiler, absence, float_precision, session_threads
from edgefw.contracts.quantizer import TimedQuantizer, fits
from edgefw.errors import EdgefwError, ExportError, RecipeError
from edgefw.reporting.part_advice import advice_line
from edgefw.reporting.part_choices import choice_lines
from edgefw.run_folder import write_json
from edgefw.runtime.hashes import sha256_of
from edgefw.stages.artefact_names import recorded_entry
from edgefw.stages.calibration import spread
from edgefw.stages.export_targets import Target, targets
from edgefw.stages.fingerprints import piece
from edgefw.stages.licences import warn_of_unknown
from edgefw.stages.phase_pieces import TrainingInputs
from edgefw.stages.trained import Trained, load_student, weights_file

if TYPE_CHECKING:
    from torch import nn

    from edgefw.contracts.backend import Artefact, Backend
    from edgefw.contracts.quantizer import OnnxQuantizer, ProgramQuantizer, QuantizationReport
    from edgefw.contracts.scheme import Signature
    from edgefw.recipe.compose import Chosen
    from edgefw.stages.context import StageContext

RECORD = "artefact.json"


def fingerprint(context: StageContext) -> dict[str, Any]:
    """Weights, backends, quantizers, how many samples they calibrate on, and threads, where a quantizer times files."""
    composition, base = context.composition, context.recipe.base
    config = context.recipe.config.export
    return {
        "weights": sha256_of(weights_file(context)),
        "backends": [piece(chosen, base) for chosen in composition.backends],
        "quantizers": [piece(chosen, base) for chosen in composition.quantizers],
        "calibration": config.calibration,
        **({"threads": context.recipe.config.compute.threads} if timed(composition.quantizers) else {}),
        **({"heat": True} if config.heat else {}),
        **({"folded": config.folded} if config.folded else {}),
    }


def timed(quantizers: Sequence[Chosen]) -> bool:
    """Whether what is made depends on how fast this machine is."""
    return any("quantizer.timed" in chosen.provides for chosen in quantizers)


def run(context: StageContext) -> dict[str, Any]:
    """Compile, quantise, record."""
    trained = load_student(context)
    warn_of_unknown(context)
    samples = spread(TrainingInputs(context).samples, context.recipe.config.export.calibration)
    exporter = _Exporter(context, trained)
    for target in targets(context, trained, samples):
        exporter.export(target)
    exporter.refuse_idle_quantizers()
    made: dict[str, Any] = {
        "artefacts": exporter.records,
        "student_sha256": trained.sha256,
        "calibration_samples": len(samples),
        "float_stays": exporter.float_stays,
        "advice": _advice(context, trained),
    }
    config = context.recipe.config.export
    if config.folded:
        exporter.fold_all(config.folded)
        made["folded"] = exporter.folded
    if not config.heat:
        return made
    for target in targets(context, trained, samples):
        if target.backend is context.pieces.backends[0] and len(target.signature.inputs) == 1:
            exporter.export_map(target)
    return {**made, "maps": exporter.maps}


def _advice(context: StageContext, trained: Trained) -> list[dict[str, Any]]:
    """What backends say of the student's operators, told as well; of the student as it starts, which no quantizer has captured."""
    from edgefw.stages.advice import advice
    from edgefw.training.operators import operators

    student = context.pieces.student_network()
    rows = advice(context.pieces, student, operators(student, student.spec.input), trained.quantizer)
    for row in rows:
        context.progress.say(f"export: advice: {advice_line(row)}")
    return rows


@dataclass
class _Exporter:
    """Writes artefact after artefact; remembers their records, which quantizers found work, and which found none worth it."""

    context: StageContext
    trained: Trained
    records: list[dict[str, Any]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    folded: list[dict[str, Any]] = field(default_factory=list)
    float_stays: list[dict[str, Any]] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)

    def export(self, target: Target) -> None:
        """The float file, and every quantised one."""
        precision = self.trained.precision if self.trained.quantizer else float_precision(target.backend)
        name, folder = self._new_folder(target.named(precision))
        request = CompileRequest(
            network=self._graph(target.signature),
            inputs={key: values.shape[1:] for key, values in target.examples.items()},
            folder=folder,
            examples=target.examples,
            quantised=self.trained.quantizer is not None,
            keep_onnx=self._wants_onnx(target.backend),
        )
        artefact = target.backend.compile(request)
        self._check(target, artefact.file, name)
        self.records.append(self._record(target, name, artefact.file, precision, None, artefact))
        self._say_what_cannot_be_timed(target)
        source = artefact.file if artefact.level == "onnx" else artefact.onnx
        for quantizer, chosen in self._fitting(target.backend):
            if quantizer.level == "program":
                self.busy.add(chosen.path)
                self._round(target, quantizer, chosen, name, request)
            elif source is not None:
                self.busy.add(chosen.path)
                self._quantise(target, quantizer, chosen, name, source, request)
        if artefact.onnx is not None:
            artefact.onnx.unlink()

    def _fitting(self, backend: Backend) -> list[tuple[Any, Chosen]]:
        """The quantizers that work on a level of this backend; none after a training with one of its own."""
        if self.trained.quantizer is not None:
            return []
        pairs = zip(self.context.pieces.quantizers, self.context.composition.quantizers)
        return [pair for pair in pairs if fits(pair[0], backend)]

    def _say_what_cannot_be_timed(self, target: Target) -> None:
        """A backend that compiles ONNX files does not run them, so a quantizer that times them makes none for it."""
        backend = target.backend
        if not isinstance(backend, OnnxCompiler) or self.trained.quantizer is not None:
            return
        for quantizer, chosen in zip(self.context.pieces.quantizers, self.context.composition.quantizers):
            if isinstance(quantizer, TimedQuantizer):
                self.context.progress.say(
                    f"export: no {target.named(quantizer.precision, chosen)}: it times ONNX files, and '{backend.name}' compiles them"
                )

    def export_map(self, target: Target) -> None:
        """What the student says of every cell beside the image; no quantizer goes on from it."""
        from edgefw.stages.maps import compile_map, map_graph

        precision = self.trained.precision if self.trained.quantizer else float_precision(target.backend)
        graph = map_graph(self._network(), self.trained.scheme, target.signature, target.examples)
        name, folder = self._new_folder(f"map-{target.named(precision)}")
        artefact = compile_map(graph, target.backend, target.examples, folder, self.trained.quantizer is not None)
        self._check(target, artefact.file, name)
        self.maps.append(self._record(target, name, artefact.file, precision, None, artefact))

    def fold_all(self, roles: Sequence[str]) -> None:
        """For each ONNX artefact and each of these modalities that it takes alone: a file with the preprocessing inside."""
        from edgefw.stages.folded import make_folded, refuse_idle, writes_onnx

        entries = zip(self.context.composition.backends, self.context.pieces.backends)
        backends = {(own.name, chosen.label): own for chosen, own in entries if writes_onnx(own)}
        for source in self.records:
            signature, entry = source["signature"], recorded_entry(source)
            for role in roles if entry in backends and len(signature["inputs"]) == 1 else ():
                if role not in signature["serves"]:
                    continue
                name, folder = self._new_folder(f"folded-{role}-{source['name']}")
                file = folder / source["file"]
                own = folder.parent / source["name"] / source["file"]
                said = make_folded(source, own, role, file, backends[entry], self.context)
                record = {**source, "name": name, **said, **_file_facts(name, file)}
                write_json(folder / RECORD, record)
                self.folded.append(record)
        refuse_idle(roles, {role for record in self.folded for role in record["signature"]["serves"]})

    def _wants_onnx(self, backend: Backend) -> bool:
        """Whether a quantizer goes on from the float file of a backend."""
        return any(quantizer.level == "onnx" for quantizer, _ in self._fitting(backend))

    def refuse_idle_quantizers(self) -> None:
        """A quantizer that fits no artefact would be accepted and ignored.

        Raises:
            RecipeError: naming it.
        """
        for chosen in self.context.composition.quantizers:
            if chosen.path not in self.busy:
                raise RecipeError(
                    f"{chosen.path}: '{chosen.technique.name}' fits no compiled file. It needs a backend of its level, "
                    "and a training without a quantizer of its own."
                )

    def _quantise(
        self,
        target: Target,
        quantizer: OnnxQuantizer | TimedQuantizer,
        chosen: Chosen,
        source: str,
        file: Path,
        request: CompileRequest,
    ) -> None:
        name, folder = self._new_folder(target.named(quantizer.precision, chosen))
        quantised = folder / file.name
        try:
            report = self._quantised(target, quantizer, file, quantised)
            self._say_choices(report)
            if report.stays_float:
                shutil.rmtree(folder)  # also of what the quantizer left behind
                self.float_stays.append(_unmade(name, target, source, report))
                return
            made, written = _made(target.backend, quantised, report, replace(request, folder=folder))
            self._check(target, written, name)
        except EdgefwError as error:
            if str(error).startswith(chosen.path):
                raise
            raise type(error)(f"{chosen.path}: {error}") from error
        self.records.append(self._record(target, name, written, quantizer.precision, source, made))

    def _quantised(
        self, target: Target, quantizer: OnnxQuantizer | TimedQuantizer, source: Path, file: Path
    ) -> QuantizationReport:
        calibration = target.images.calibration()
        if not isinstance(quantizer, TimedQuantizer):
            return quantizer.quantize(source, file, calibration)
        threads = self._threads(target)
        return quantizer.quantize_timed(source, file, calibration, lambda path: target.backend.open(path, threads))

    def _say_choices(self, report: QuantizationReport) -> None:
        for line in choice_lines(report.details.get("choices", ())):
            self.context.progress.say(line)
        for text in report.warnings if report.stays_float else ():
            self.context.progress.say(f"export: {text}")

    def _round(
        self, target: Target, quantizer: ProgramQuantizer, chosen: Chosen, source: str, request: CompileRequest
    ) -> None:
        name, folder = self._new_folder(target.named(quantizer.precision, chosen))
        try:
            network, report = quantizer.quantize_program(request.network, target.images.calibration())
            rounded = replace(request, network=network, folder=folder, quantised=True, level="program", keep_onnx=False)
            artefact = target.backend.compile(rounded)
            self._check(target, artefact.file, name)
        except EdgefwError as error:
            if str(error).startswith(chosen.path):
                raise
            raise type(error)(f"{chosen.path}: {error}") from error
        details = {**report.details, "compiled": dict(artefact.details)}
        made = replace(artefact, details=details, warnings=(*report.warnings, *artefact.warnings))
        self.records.append(self._record(target, name, artefact.file, quantizer.precision, source, made))

    def _graph(self, signature: Signature) -> nn.Module:
        from edgefw.stages.graphs import graph_of

        return graph_of(self._network(), self.trained.scheme, signature)

    def _network(self) -> nn.Module:
        quantizer = self.trained.quantizer
        return self.trained.network if quantizer is None else quantizer.convert(self.trained.network)

    def _new_folder(self, wanted: str) -> tuple[str, Path]:
        """A new folder; a second artefact of one name gets a number."""
        taken = {record["name"] for record in (*self.records, *self.maps, *self.folded)}
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        folder = self.context.folder.stage("export") / name
        folder.mkdir()
        self.context.progress.say(f"export: {name}")
        return name, folder

    def _check(self, target: Target, file: Path, name: str) -> None:
        """The file opens in its own runtime, if that is here, and gives finite numbers at batch 1 and more."""
        if absence(target.backend):
            return
        runner = target.backend.open(file, self._threads(target))
        for batch in (1, len(next(iter(target.examples.values())))):
            rows = runner.run({key: values[:batch] for key, values in target.examples.items()})
            if len(rows) != batch or not np.isfinite(rows).all():
                raise ExportError(f"artefact '{name}' does not give {batch} finite embeddings of {batch} images.")

    def _threads(self, target: Target) -> int | None:
        return session_threads(target.chosen.config.model_dump(), self.context.recipe.config.compute.threads)

    def _record(
        self,
        target: Target,
        name: str,
        file: Path,
        precision: str,
        source: str | None,
        made: Artefact | QuantizationReport,
    ) -> dict[str, Any]:
        signature, elsewhere = target.signature, absence(target.backend)
        record = {
            "name": name,
            "backend": target.backend.name,
            **({"label": target.chosen.label} if target.chosen.label else {}),
            "options": target.chosen.config.model_dump(mode="json"),
            "precision": precision,
            "source": source,
            **_file_facts(name, file),
            "signature": {"name": signature.name, "inputs": [*signature.inputs], "serves": [*signature.serves]},
            "inputs": {key: list(values.shape[1:]) for key, values in target.examples.items()},
            "details": dict(made.details),
            "warnings": list(made.warnings),
            **({"unopened": elsewhere} if elsewhere else {}),
        }
        write_json(file.parent / RECORD, record)
        return record


def _file_facts(name: str, file: Path) -> dict[str, Any]:
    return {
        "path": f"export/{name}/{file.name}",
        "file": file.name,
        "bytes": file.stat().st_size,
        "sha256": sha256_of(file),
    }


def _unmade(name: str, target: Target, source: str, report: QuantizationReport) -> dict[str, Any]:
    """The record of a quantised file that was not worth making: its name, and the float file that stays."""
    return {
        "name": name,
        "backend": target.backend.name,
        "source": source,
        "details": dict(report.details),
        "warnings": list(report.warnings),
    }


def _made(
    backend: Backend, quantised: Path, report: QuantizationReport, request: CompileRequest
) -> tuple[Artefact | QuantizationReport, Path]:
    """A quantizer's file as the backend opens it: as it is, or compiled, in which case the ONNX file goes away."""
    if not isinstance(backend, OnnxCompiler):
        return report, quantised
    artefact = backend.compile_onnx(quantised, request)
    quantised.unlink()
    details = {**report.details, "compiled": dict(artefact.details)}
    return replace(artefact, details=details, warnings=(*report.warnings, *artefact.warnings)), artefact.file
