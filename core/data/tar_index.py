"""Where each member of an uncompressed tar file lies, so that any one of them can be read without the others.

The first look at a shard walks its headers and checks that it is whole; the result is kept in a cache folder and used
again as long as the shard's size and modification time stay the same. It knows tar headers and positions; it knows
nothing of samples, labels or images, and reads no member's content.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefw.data.atomic_files import write_file
from edgefw.errors import DataError

_BLOCK = 512
_FORMAT = 1
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class TarIndex:
    """The M regular members of a shard, in the file's order: names, and (M,) int64 `offset` and `size` in bytes."""

    shard: Path
    names: list[str]
    offset: np.ndarray
    size: np.ndarray


def index_tar(shard: Path, cache: Path) -> TarIndex:
    """The index of a shard, from the cache where it is still true.

    Raises:
        DataError: if the file is no whole, uncompressed tar.
    """
    try:
        status = shard.stat()
        stamp = np.array([_FORMAT, status.st_size, status.st_mtime_ns], np.int64)
        stored = cache / "tar-index" / f"{hashlib.sha256(str(shard.absolute()).encode()).hexdigest()[:32]}.npz"
        index = _load(stored, stamp, shard)
        if index is None:
            index = _walk(shard, status.st_size)
            _store(index, stored, stamp)
        return index
    except OSError as error:
        raise DataError(f"{shard}: cannot be read ({error.strerror or error}).") from error


def _walk(shard: Path, length: int) -> TarIndex:
    _refuse_compressed(shard)
    names: list[str] = []
    places: list[tuple[int, int]] = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in _members(tar):
                if member.isreg():
                    if member.sparse is not None:
                        raise DataError(f"{shard}: member '{member.name}' is stored sparsely. Pack the shard anew.")
                    names.append(member.name)
                    places.append((member.offset_data, member.size))
            _refuse_incomplete(shard, tar.offset, length)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"{shard}: is no whole tar file ({error}). Copy or pack it again.") from error
    array = np.array(places, np.int64).reshape(-1, 2)
    return TarIndex(shard, names, array[:, 0].copy(), array[:, 1].copy())


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()  # type: ignore[attr-defined]  # the library keeps all of them


def _refuse_compressed(shard: Path) -> None:
    with shard.open("rb") as file:
        start = file.read(8)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise DataError(
                f"{shard}: is compressed with {name}; its members cannot be read one by one. Unpack it to a plain .tar."
            )


def _refuse_incomplete(shard: Path, end: int, length: int) -> None:
    """The reader stops quietly at a damaged header: only zeros may follow, and at least one block of them."""
    with shard.open("rb") as file:
        file.seek(end)
        tail = file.read(_BLOCK)
        while tail and not tail.strip(b"\0"):
            tail = file.read(1 << 20)
    if tail:
        raise DataError(f"{shard}: the tar file is damaged, or has more data, after byte {end}. Pack it again.")
    if length - end < _BLOCK:
        raise DataError(f"{shard}: the tar file is cut off at byte {length}: its end mark is missing. Copy it again.")


def _store(index: TarIndex, target: Path, stamp: np.ndarray) -> None:
    encoded = [name.encode("utf-8", "surrogateescape") for name in index.names]
    lengths = np.array([len(name) for name in encoded], np.int64)
    names = np.frombuffer(b"".join(encoded), np.uint8)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, stamp=stamp, lengths=lengths, names=names, offset=index.offset, size=index.size)

    write_file(target, write)


def _load(source: Path, stamp: np.ndarray, shard: Path) -> TarIndex | None:
    try:
        with np.load(source, allow_pickle=False) as stored:
            if not np.array_equal(stored["stamp"], stamp):
                return None
            blob, lengths = stored["names"].tobytes(), stored["lengths"]
            ends = np.cumsum(lengths)
            bounds = zip((ends - lengths).tolist(), ends.tolist())
            names = [blob[start:end].decode("utf-8", "surrogateescape") for start, end in bounds]
            return TarIndex(shard, names, stored["offset"], stored["size"])
    except Exception:  # noqa: BLE001 - a missing or damaged cache file is made again, whatever is wrong with it
        return None
