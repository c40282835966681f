"""Open a bundle: a folder or an `.edgefw` file, every byte of it checked before anything is used.

    manifest.json        what is in it
    artefacts/<name>/    compiled files
    maps/<name>/         files that answer for every cell of an image, where there are any
    labels.json          the label pack
    SHA256SUMS           covers all of them

It knows files and hashes. What decodes an image or runs a file is found by `edgefw.runtime.opening`.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgefw.errors import BundleError
from edgefw.runtime.hashes import SUMS, check_sums, read_sums
from edgefw.runtime.label_pack import LabelPack, no_constant, read_pack
from edgefw.runtime.manifest import ArtefactEntry, Manifest, MapEntry, parse_manifest
from edgefw.runtime.whole_files import write_whole

MANIFEST = "manifest.json"
SUFFIX = ".edgefw"
_LARGEST_MANIFEST = 16 * 2**20
_LARGEST_TOTAL = 8 * 2**30


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
            yield read_bundle(Path(folder), path)
    else:
        raise BundleError(f"{path}: there is no such bundle.")


def read_bundle(folder: Path, source: Path) -> Bundle:
    """A bundle folder with all hashes checked; messages call it `source`."""
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{source}: no bundle (there is no {MANIFEST}).")
    sums = read_sums(folder)
    if MANIFEST not in sums:
        raise BundleError(f"{source}: {SUMS} does not list {MANIFEST}. Copy the bundle again.")
    check_sums(folder, sums)
    manifest = _manifest(folder / MANIFEST)
    listed = {entry.file: entry for entry in manifest.files}
    for part in (manifest.labels, manifest.reference):
        if part is not None and part not in sums:
            raise BundleError(f"{source}: {SUMS} does not list {part}.")
    for name, entry in listed.items():
        if sums.get(name) != entry.sha256:
            raise BundleError(f"{source}: manifest and {SUMS} disagree about {name}. Copy the bundle again.")
    return Bundle(source=source, folder=folder, manifest=manifest, sums=sums)


def extract(archive: Path, folder: Path) -> None:
    """Unpack an `.edgefw` file into an existing, empty folder.

    Raises:
        BundleError: if it is damaged, holds a path that leads out of the folder, or is absurdly large.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            if sum(member.file_size for member in members) > _LARGEST_TOTAL:
                raise BundleError(f"{archive}: holds more than {_LARGEST_TOTAL // 2**30} GiB.")
            for member in members:
                _check_member(member.filename, archive, folder)
            zipped.extractall(folder)
    except BundleError:
        raise
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise BundleError(f"{archive}: no bundle, or a damaged one ({error}).") from error
    except OSError as error:
        raise BundleError(f"{archive}: cannot be unpacked ({error.strerror or error}).") from error
    except Exception as error:
        raise BundleError(f"{archive}: damaged ({error}).") from error


def pack(folder: Path, archive: Path) -> None:
    """Write a bundle folder as one `.edgefw` file; equal bundles give equal bytes.

    Raises:
        BundleError: if the folder is no bundle, or the file cannot be written.
    """
    bundle = read_bundle(folder, folder)
    write_whole(archive, lambda draft: _zip(folder, sorted([*bundle.sums, SUMS]), draft))


def _zip(folder: Path, names: Sequence[str], archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in names:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(info, (folder / name).read_bytes())


def _check_member(name: str, archive: Path, folder: Path) -> None:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()) or "\\" in name:
        raise BundleError(f"{archive}: holds the path '{name}', which leads out of the bundle. Do not use it.")


def _manifest(path: Path) -> Manifest:
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise BundleError(f"{path}: {path.stat().st_size} bytes is too large for a manifest.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read ({error}).") from error
    return parse_manifest(document, str(path))


def _names(entries: Sequence[ArtefactEntry]) -> str:
    return ", ".join(entry.name for entry in entries)
