"""The manifest of a bundle: which files there are, what they take, how images are prepared, where all came from.

It knows the format and checks types and paths; opening files and comparing hashes is `edgefw.runtime.bundle`.
"""

from __future__ import annotations

import json
from math import prod
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgefw.contracts.scheme import together
from edgefw.errors import BundleError
from edgefw.runtime.contents import LABELS, LARGEST, MANIFEST, REFERENCE, SUMS, inside
from edgefw.runtime.label_pack import no_constant
from edgefw.runtime.manifest_formats import in_newest_format
from edgefw.runtime.manifest_open_parts import Provenance, Quality
from edgefw.runtime.pack_document import Sha256, first_problem

Relative = Annotated[str, AfterValidator(inside)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")]

_LARGEST_INPUT = 2**28
"""Numbers of one image, a GiB of float32."""

_DEEPEST = 64
"""Levels of values in values; what writes JSON gives up at a few hundred."""


def _of_an_image(shape: list[int]) -> list[int]:
    if prod(shape) > _LARGEST_INPUT:
        raise ValueError(f"an image of so many numbers is none; {_LARGEST_INPUT} are allowed")
    return shape


Shape = Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(_of_an_image)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class ArtefactEntry(_Part):
    """One compiled file.

    Attributes:
        name: "onnxruntime-int8-static"; what `--artefact` takes.
        backend: technique that opens it; `options` are that technique's.
        file: where it lies in the bundle, with `bytes` and `sha256`.
        modalities: sensors that it labels; for one of several inputs, those that it takes together, in order.
        inputs: graph input -> (C, H, W); one of several inputs names them after its sensors.
        quality: what `verify` measured on held-out samples, for `edgefw bundle show`.
        source: float artefact that a quantised one was made from after training, or artefact that a file with its preprocessing
            inside was made from; null of others, and in bundles of an older edgefw.
    """

    name: Name
    backend: str
    precision: str
    options: dict[str, Any] = {}
    file: Relative
    bytes: int = Field(ge=0)
    sha256: Sha256
    modalities: list[str] = Field(min_length=1)
    inputs: dict[str, Shape] = Field(min_length=1)
    quality: Quality = {}
    source: Name | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """What its answers are told under: each sensor alone, or all of them together ("rgb+depth")."""
        return tuple(self.modalities) if len(self.inputs) == 1 else (together(self.modalities),)


class MapEntry(_Part):
    """A file that answers for every cell of the student's last map beside the whole image.

    Its rows hold (1 + rows * columns) embeddings: the image's, then each cell's, row by row of the grid.

    Attributes:
        artefact: the file, as any other; it is none of `Manifest.artefacts`.
        grid: [rows, columns] of the map.
        mean_error: relative difference between an image's embedding and the mean of its cells', on real images.
    """

    artefact: ArtefactEntry
    grid: list[Annotated[int, Field(ge=1)]] = Field(min_length=2, max_length=2)
    mean_error: float


class ModalityEntry(_Part):
    """One sensor: the technique that decodes its files, and the preprocessing contract (`Preprocessing.to_json`)."""

    technique: str
    options: dict[str, Any] = {}
    preprocessing: dict[str, Any]


class TeacherEntry(_Part):
    """What `--labels` builds to embed text: technique, options and the fingerprint the label pack was made with."""

    technique: str
    options: dict[str, Any] = {}
    fingerprint: str = ""
    templates: list[str] = []


class Manifest(_Part):
    """A whole manifest; another key is another format, see `edgefw.runtime.manifest_formats`.

    Attributes:
        format: of this file.
        edgefw: version that wrote the bundle.
        encoder: sha256 of the student weights; label packs carry it.
        artefacts: in the order of the recipe; float files come before their quantised ones.
        default: artefact that `label` takes, measured to be the best on the machine that verified.
        modalities: role -> sensor, in the recipe's order.
        labels: the label pack, or null.
        reference: what the files answered to drawn images when they were verified, or null.
        budget: the recipe's `verify` limits; `edgefw verify BUNDLE` holds them.
        provenance: hashes, versions, licences.
        maps: files behind `label --show heat`; a manifest without any does not mention them.
        folded: files with the preprocessing inside, whose input is a picture (H, W, 3) of any size, stated as [0, 0, 3];
            `quality` is their distance to the artefact that they were made from. Not mentioned where there are none.
    """

    format: int
    edgefw: str
    encoder: Sha256
    artefacts: list[ArtefactEntry] = Field(min_length=1)
    default: Name
    modalities: dict[str, ModalityEntry] = Field(min_length=1)
    labels: Relative | None = None
    reference: Relative | None = None
    teacher: TeacherEntry | None = None
    budget: dict[str, Annotated[float, Field(ge=0.0)] | None] = {}
    provenance: Provenance = {}
    maps: list[MapEntry] = []
    folded: list[ArtefactEntry] = []

    @property
    def files(self) -> tuple[ArtefactEntry, ...]:
        """All compiled files, those of maps and those with the preprocessing inside last."""
        return (*self.artefacts, *(entry.artefact for entry in self.maps), *self.folded)

    @property
    def contents(self) -> dict[str, int]:
        """Every file that the bundle may hold -> the most bytes that it may have."""
        stated = {entry.file: entry.bytes for entry in self.files}
        named = {self.labels: LARGEST[LABELS], self.reference: LARGEST[REFERENCE]}
        parts = {name: size for name, size in named.items() if name is not None}
        return {MANIFEST: LARGEST[MANIFEST], SUMS: LARGEST[SUMS], **parts, **stated}

    @model_validator(mode="after")
    def _names_fit(self) -> Manifest:
        names = [artefact.name for artefact in self.artefacts]
        if len({artefact.name for artefact in self.files}) != len(self.files):
            raise ValueError("two artefacts share a name")
        if self.default not in names:
            raise ValueError(f"default '{self.default}' is none of the artefacts {', '.join(names)}")
        for artefact in self.files:
            if artefact.source not in (None, *names):
                raise ValueError(f"artefact '{artefact.name}' was made from unknown artefact '{artefact.source}'")
            if unknown := sorted(set(artefact.modalities) - self.modalities.keys()):
                raise ValueError(f"artefact '{artefact.name}' names unknown modalities {', '.join(unknown)}")
            if len(artefact.inputs) > 1 and list(artefact.inputs) != artefact.modalities:
                raise ValueError(
                    f"artefact '{artefact.name}' takes {', '.join(artefact.inputs)} together, and its modalities are "
                    f"{', '.join(artefact.modalities)}; they must be the same"
                )
        return self

    @model_validator(mode="after")
    def _sources_fit(self) -> Manifest:
        known = {artefact.name: artefact for artefact in self.artefacts}
        for artefact in (artefact for artefact in self.artefacts if artefact.source is not None):
            source = known[str(artefact.source)]
            if source is artefact or source.roles != artefact.roles:
                raise ValueError(
                    f"artefact '{artefact.name}' was made from '{source.name}', which must be another one of the same modalities"
                )
        return self

    @model_validator(mode="after")
    def _folded_fit(self) -> Manifest:
        roles = {artefact.name: artefact.roles for artefact in self.artefacts}
        for entry in self.folded:
            role, *others = entry.modalities
            if others or role not in roles.get(str(entry.source), (role,)):
                raise ValueError(
                    f"file '{entry.name}' with its preprocessing inside takes {', '.join(entry.modalities)}; it must take one "
                    f"modality, which the artefact that it was made from takes alone"
                )
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.model_dump(mode="json", exclude={name for name in ("maps", "folded") if not getattr(self, name)})


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(_DEEPEST):
        held = (own.values() if isinstance(own, dict) else own for own in level if isinstance(own, (dict, list)))
        level = [inner for values in held for inner in values]
    return bool(level)


def load_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in the bytes of its file.

    Raises:
        BundleError: if they are no JSON, or naming the first thing that is wrong.
    """
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=no_constant)
        json.dumps(document, ensure_ascii=False).encode(
            "utf-8"
        )  # half a surrogate pair is no text that could be printed
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: cannot be read ({error}).") from error
    return parse_manifest(document, where)


def parse_manifest(document: Any, where: str) -> Manifest:
    """The manifest with its types checked, of any format that is read; it becomes the newest.

    Raises:
        BundleError: naming the first thing that is wrong.
    """
    if not isinstance(document, dict) or "artefacts" not in document:
        raise BundleError(f"{where}: no manifest of a bundle.")
    if _is_deep(document):
        raise BundleError(
            f"{where}: values in values, {_DEEPEST} deep and deeper; no manifest has them. Do not use it."
        )
    newest = in_newest_format(document, where)
    try:
        return Manifest.model_validate(newest)
    except ValidationError as error:
        raise BundleError(f"{where}: {first_problem(error)}") from error
