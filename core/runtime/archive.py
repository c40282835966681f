"""A bundle as one `.edgefw` file: a zip, of which nothing is unpacked before all that it says of its members is checked.

First their names, then the manifest, then that there is nothing else than what it names, and no member larger than it may
be. Compiled files lie in it as they are, so that opening it is a copy; JSON is deflated. It knows members, no hashes.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from edgefw.errors import BundleError
from edgefw.runtime.contents import LARGEST, MANIFEST, inside, is_pickle
from edgefw.runtime.manifest import load_manifest

_LARGEST_TOTAL = 8 * 2**30
_UNQUESTIONED, _RATIO = 16 * 2**20, 100
"""Real bundles shrink to a half or so; what grows a hundredfold to more than so many bytes is made to fill a disk."""
_DATE = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20


def extract(archive: Path, folder: Path) -> None:
    """Unpack an `.edgefw` file into an existing, empty folder.

    Raises:
        BundleError: if it is damaged, or holds what no bundle holds: paths that lead out of it, links, one name twice, a file
            that its manifest does not name, a member larger than stated, or absurdly much.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            for member in _checked(zipped, archive):
                _unpack(zipped, member, folder / member.filename)
    except BundleError:
        raise
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise BundleError(f"{archive}: no bundle, or a damaged one ({error}).") from error
    except OSError as error:
        raise BundleError(f"{archive}: cannot be unpacked ({error.strerror or error}).") from error
    except Exception as error:
        raise BundleError(f"{archive}: damaged ({error}).") from error


def write_archive(folder: Path, names: Sequence[str], stored: Collection[str], archive: Path) -> None:
    """Write files of a folder as one zip; equal files give equal bytes.

    Args:
        folder: where they lie.
        names: of the members, in order.
        stored: those that are not deflated.
        archive: the file to write.
    """
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in names:
            info = zipfile.ZipInfo(name, date_time=_DATE)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            info.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, zipped.open(info, "w") as member:
                shutil.copyfileobj(source, member, _BLOCK)


def check_archive(archive: Path, names: Sequence[str], where: str) -> None:
    """Read back what `write_archive` wrote, without unpacking it: would all of it be unpacked again?

    Args:
        archive: the file.
        names: of the members that there should be.
        where: begins the message.

    Raises:
        BundleError: naming the first member that would not, or saying what is wrong with the whole.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            unpacked = {member.filename for member in _checked(zipped, archive)}
    except BundleError as error:
        raise BundleError(f"{where}: {str(error).removeprefix(f'{archive}: ')}") from error
    for name in names:
        if name not in unpacked:
            raise BundleError(f"{where}: {_shown(name)} has a hidden name, which is not unpacked again. Rename it.")


def _checked(zipped: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """The members to unpack."""
    _check_names(zipped.infolist(), archive)
    members = [one for one in zipped.infolist() if is_pickle(one.filename) or not _hidden(one.filename)]
    files = {member.filename: member for member in members if not member.is_dir()}
    if MANIFEST not in files:
        raise BundleError(f"{archive}: no bundle (there is no {MANIFEST}).")
    _check_size(files[MANIFEST], LARGEST[MANIFEST], archive)
    largest = load_manifest(zipped.read(MANIFEST), f"{archive}: {MANIFEST}").contents
    for name, member in files.items():
        if name not in largest:
            raise BundleError(f"{archive}: holds {_shown(name)}, which its manifest does not name. Do not use it.")
        _check_size(member, largest[name], archive)
    _check_total(sum(member.file_size for member in files.values()), archive)
    return list(files.values())


def _hidden(name: str) -> bool:
    """What systems leave in a zip that was made by hand; it is not unpacked."""
    return name.startswith("__MACOSX/") or any(part.startswith(".") for part in name.split("/"))


def _check_names(members: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.filename.removesuffix("/")
        try:
            inside(name)
        except ValueError as error:
            raise BundleError(f"{archive}: holds {_shown(name)}; a name {error}. Do not use it.") from error
        if name in seen:
            raise BundleError(f"{archive}: holds {_shown(name)} twice. Do not use it.")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BundleError(f"{archive}: holds {_shown(name)} as a link, not as a file. Do not use it.")
        seen.add(name)


def _check_size(member: zipfile.ZipInfo, largest: int, archive: Path) -> None:
    if member.file_size > largest:
        raise BundleError(
            f"{archive}: {_shown(member.filename)} would unpack to {member.file_size} bytes; {largest} are allowed. Do not use it."
        )


def _check_total(size: int, archive: Path) -> None:
    packed = archive.stat().st_size
    if size > _LARGEST_TOTAL or size > max(_UNQUESTIONED, _RATIO * packed):
        raise BundleError(f"{archive}: {packed} bytes would unpack to {size}; no bundle does that. Do not use it.")


def _unpack(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """A member never gives more bytes than its `file_size`, whatever its compressed data hold."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipped.open(member) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, _BLOCK)


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
