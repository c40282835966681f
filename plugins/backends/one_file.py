"""Several files of one compiled model as one artefact: a zip of text, packed, and of weights, stored as they are.

An artefact is one file with one hash. Runtimes that write a graph and its weights side by side get them back as bytes;
`unzip` gives a user the runtime's own files. What a member unpacks to is bounded before it is read. It knows no runtime.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import error as DeflateError

from edgefw.errors import BundleError

TEXTS = (".xml", ".param")
"""Graphs are text that repeats itself; weights hardly shrink, and reading them should cost nothing."""
_LARGEST_TEXT = 256 * 2**20
_DATE = (1980, 1, 1, 0, 0, 0)


def join_files(target: Path, parts: Mapping[str, Path]) -> Path:
    """Write `target` from files by member name; equal parts give equal bytes."""
    with zipfile.ZipFile(target, "w") as archive:
        for name, part in parts.items():
            info = zipfile.ZipInfo(name, date_time=_DATE)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(TEXTS) else zipfile.ZIP_STORED
            with part.open("rb") as source, archive.open(info, "w", force_zip64=True) as member:
                while block := source.read(1 << 20):
                    member.write(block)
    return target


def read_parts(file: Path, names: Sequence[str]) -> list[bytes]:
    """The members of those names, checked against their sums.

    Raises:
        BundleError: if the file is missing or damaged, or holds anything else.
    """
    if not file.is_file():
        raise BundleError(f"{file}: there is no such file.")
    try:
        with zipfile.ZipFile(file) as archive:
            found = {info.filename: info for info in archive.infolist()}
            if sorted(found) != sorted(names):
                raise BundleError(f"{file}: holds {', '.join(sorted(found)) or 'nothing'}, not {', '.join(names)}.")
            for info in found.values():
                _check_size(file, info)
            return [archive.read(name) for name in names]
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
        DeflateError,
    ) as error:
        raise BundleError(f"{file}: damaged ({error}). Copy it again.") from error


def _check_size(file: Path, info: zipfile.ZipInfo) -> None:
    largest = _LARGEST_TEXT if info.filename.endswith(TEXTS) else info.compress_size
    if info.file_size > largest:
        raise BundleError(
            f"{file}: {info.filename} would unpack to {info.file_size} bytes; {largest} are allowed. Do not use it."
        )
