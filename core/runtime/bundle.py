"""Open a bundle: a folder or an `.edgefw` file, every byte of it checked before anything is used.

    manifest.json        what is in it
    artefacts/<name>/    compiled files
    maps/<name>/         files that answer for every cell of an image, where there are any
    labels.json          the label pack
    SHA256SUMS           covers all of them

Anything else that the list covers, or that lies in the folder of a compiled file, is refused. It knows files and hashes. What decodes an image or runs a file is found by
`edgefw.runtime.opening`.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from edgefw.errors import BundleError
from edgefw.runtime.archive import check_archive, extract, write_archive
from edgefw.runtime.contents import LARGEST, MANIFEST, begins_pickle, is_pickle
from edgefw.runtime.hashes import SUMS, check_sums, read_sums
from edgefw.runtime.label_pack import LabelPack, read_pack
from edgefw.runtime.manifest import ArtefactEntry, Manifest, MapEntry, load_manifest
from edgefw.runtime.preprocessing import Preprocessing
from edgefw.runtime.whole_files import write_whole

__all__ = ["MANIFEST", "Bundle", "open_bundle", "pack", "read_bundle"]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened bundle; `source` is what the user named, `folder` where its files lie now."""

    source: Path
    folder: Path
    manifest: Manifest
    sums: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The hash of the manifest, which names the hash of every compiled file; another export has another one."""
        return self.sums[MANIFEST]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the sensors, in order."""
        return tuple(self.manifest.modalities)

    def artefact(self, name: str | None = None, modality: str | None = None) -> ArtefactEntry:
        """An artefact by name, else the default one, or the first of its precision that serves the modality.

        Args:
            name: of the artefact; None chooses.
            modality: a sensor, or several together ("rgb+depth"); None: any.

        Raises:
            BundleError: if there is no such artefact, or it does not serve the modality.
        """
        entries = self.manifest.artefacts
        chosen = next((entry for entry in entries if entry.name == (name or self.manifest.default)), None)
        if chosen is None:
            raise BundleError(f"{self.source}: no artefact '{name}'. It has: {_names(entries)}.")
        if modality is None or modality in chosen.roles:
            return chosen
        serving = [entry for entry in entries if modality in entry.roles]
        if name is not None and len(chosen.inputs) > 1:
            needed = " ".join(f"{sensor}=DIR" for sensor in chosen.modalities)
            raise BundleError(
                f"{self.source}: artefact '{name}' takes {' and '.join(chosen.modalities)} together, and this is "
                f"{modality} alone. `edgefw label` and `edgefw verify --data` take both: {needed}."
            )
        if name is not None or not serving:
            fits = _names(serving) or "none"
            raise BundleError(f"{self.source}: artefact '{chosen.name}' does not take {modality}. Fits: {fits}.")
        return next((entry for entry in serving if entry.precision == chosen.precision), serving[0])

    def serves(self, role: str) -> bool:
        """Whether any artefact takes a sensor alone, or several together."""
        return any(role in entry.roles for entry in self.manifest.artefacts)

    def map(self, modality: str) -> MapEntry:
        """The file that answers for every cell of an image of that sensor.

        Raises:
            BundleError: if there is none.
        """
        found = next((entry for entry in self.manifest.maps if modality in entry.artefact.roles), None)
        if found is None:
            raise BundleError(
                f"{self.source}: the bundle has no map of {modality} images, which heat maps are drawn from. Export it: "
                "edgefw run RECIPE export.heat=true --out RUN --resume (training is not done again)."
            )
        return found

    def preprocessing(self, role: str) -> Preprocessing:
        """The contract between that sensor and the student.

        Raises:
            BundleError: if it is none that this edgefw can execute.
        """
        try:
            return Preprocessing.from_json(self.manifest.modalities[role].preprocessing)
        except BundleError as error:
            raise BundleError(f"{self.source}: modalities.{role}: {error}") from error

    def named(self, message: str) -> str:
        """The message with the archive's name for the folder that its files are in for a while."""
        return message.replace(str(self.folder), str(self.source)) if self.source.is_file() else message

    def file(self, artefact: ArtefactEntry) -> Path:
        """Where an artefact's file lies."""
        return self.folder / artefact.file

    def label_pack(self) -> LabelPack:
        """The pack of the bundle.

        Raises:
            BundleError: if it has none.
        """
        if self.manifest.labels is None:
            raise BundleError(f"{self.source}: the bundle holds no label pack. Make one with `edgefw labels build`.")
        return self.fitting(read_pack(self.folder / self.manifest.labels), self.manifest.labels)

    def fitting(self, pack: LabelPack, where: str) -> LabelPack:
        """The pack itself, if it was made for this encoder.

        Raises:
            BundleError: if it was made for another one.
        """
        if pack.encoder != self.manifest.encoder:
            raise BundleError(
                f"{where}: this label pack was made for encoder {pack.encoder[:12]}, the bundle holds "
                f"{self.manifest.encoder[:12]}. Build one for this bundle with `edgefw labels build`."
            )
        return pack


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle folder, an `.edgefw` file, or a run folder that holds a bundle; every hash is checked.

    Raises:
        BundleError: if it is no bundle, or damaged.
    """
    if path.is_dir():
        inner = path / "bundle"
        within_run = not (path / MANIFEST).is_file() and (inner / MANIFEST).is_file()
        yield read_bundle(inner if within_run else path, path)
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="edgefw-") as folder:
            extract(path, Path(folder))
            yield _read_unpacked(Path(folder), path)
    else:
        raise BundleError(f"{path}: there is no such bundle.")


def _read_unpacked(folder: Path, archive: Path) -> Bundle:
    """The bundle of an archive; messages name the archive, not the folder that its files are in for a while."""
    try:
        return read_bundle(folder, archive)
    except BundleError as error:
        raise BundleError(str(error).replace(str(folder), str(archive))) from error


def read_bundle(folder: Path, source: Path) -> Bundle:
    """A bundle folder with all hashes checked; messages call it `source`.

    Raises:
        BundleError: if it is no bundle, or damaged, or holds a file that its manifest does not name, or a preprocessing
            that this edgefw cannot execute.
    """
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{source}: no bundle (there is no {MANIFEST}).")
    sums = read_sums(folder)
    if MANIFEST not in sums:
        raise BundleError(f"{source}: {SUMS} does not list {MANIFEST}. Copy the bundle again.")
    check_sums(folder, {MANIFEST: sums[MANIFEST]})
    manifest = _manifest(folder / MANIFEST)
    _check_named(sums, manifest, source)
    check_sums(folder, sums)
    for part in (manifest.labels, manifest.reference):
        if part is not None and part not in sums:
            raise BundleError(f"{source}: {SUMS} does not list {part}.")
    for entry in manifest.files:
        if sums.get(entry.file) != entry.sha256:
            raise BundleError(f"{source}: manifest and {SUMS} disagree about {entry.file}. Copy the bundle again.")
        if (size := (folder / entry.file).stat().st_size) != entry.bytes:
            raise BundleError(f"{source}: {entry.file} has {size} bytes; the manifest says {entry.bytes}.")
    _check_named(_beside_artefacts(folder, manifest), manifest, source)
    _check_named(_pickles(folder, manifest.contents), manifest, source)
    bundle = Bundle(source=source, folder=folder, manifest=manifest, sums=sums)
    for role in bundle.modalities:
        bundle.preprocessing(role)
    return bundle


def pack(folder: Path, archive: Path) -> None:
    """Write a bundle folder as one `.edgefw` file, compiled files as they are; equal bundles give equal bytes.

    Raises:
        BundleError: if the folder is no bundle, the place holds something else than an archive, or the file cannot be written
            or could not be opened again.
    """
    if archive.is_file() and archive.stat().st_size and not zipfile.is_zipfile(archive):
        raise BundleError(f"{archive}: is there already, and is no bundle. Name another file, or delete this one.")
    bundle = read_bundle(folder, folder)
    names, compiled = sorted([*bundle.sums, SUMS]), {entry.file for entry in bundle.manifest.files}

    def write(draft: Path) -> None:
        write_archive(folder, names, compiled, draft)
        check_archive(draft, names, f"{folder}: cannot be packed")

    write_whole(archive, write)


def _manifest(path: Path) -> Manifest:
    if path.stat().st_size > LARGEST[MANIFEST]:
        raise BundleError(f"{path}: {path.stat().st_size} bytes is too large for a manifest.")
    try:
        return load_manifest(path.read_bytes(), str(path))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _check_named(names: Iterable[str], manifest: Manifest, source: Path) -> None:
    known = manifest.contents
    for name in names:
        if name not in known:
            raise BundleError(
                f"{source}: holds {name[:80]!r}, which its manifest does not name. If it is yours, put it elsewhere; if a "
                "system left it there, delete it; else do not use this bundle."
            )


def _pickles(folder: Path, known: Collection[str]) -> Iterator[str]:
    """Names of pickles, beside what is known, anywhere in a folder, hidden ones too. No edgefw reads them, but who finds one in a bundle may."""
    for within, _, files in os.walk(folder, onerror=_unreadable):
        for path in (Path(within, name) for name in sorted(files)):
            name = path.relative_to(folder).as_posix()
            if name not in known and (is_pickle(name) or begins_pickle(_head(path))):
                yield name


def _head(path: Path) -> bytes:
    """The first two bytes; none of what is no plain file, or cannot be read by anybody."""
    try:
        with path.open("rb") if path.is_file() else io.BytesIO() as stream:
            return stream.read(2)
    except OSError:
        return b""


def _beside_artefacts(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Names of the files beside and below compiled ones, hidden ones and links to folders too.

    A runtime may read any of them on its own: an ONNX file names its weights. Nothing else in the folder is ever read.
    """
    for place in sorted({folder / Path(entry.file).parent for entry in manifest.files}):
        for within, inner, files in os.walk(place, onerror=_unreadable):
            links = [name for name in inner if Path(within, name).is_symlink()]
            yield from (Path(within, name).relative_to(folder).as_posix() for name in sorted([*files, *links]))


def _unreadable(error: OSError) -> NoReturn:
    raise BundleError(f"{error.filename}: cannot be read ({error.strerror or error}).") from error


def _names(entries: Sequence[ArtefactEntry]) -> str:
    return ", ".join(entry.name for entry in entries)
