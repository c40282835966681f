"""The index of a tar file: every member where tarfile finds it, and no silent loss in damaged shards."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.data.tar_index import index_tar
from edgefw.errors import DataError


def pack(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


MEMBERS = {"a.jpg": b"x" * 700, "a.cls": b"1", "deep/folder/b.JPG": b"", "long" * 60 + ".jpg": b"y", "ümlaut.jpg": b"z"}


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_lie_where_the_index_says(tmp_path: Path, format: int) -> None:
    shard = pack(tmp_path / "s.tar", MEMBERS, format)
    data = shard.read_bytes()
    for _ in range(2):  # the second time from the cache
        index = index_tar(shard, tmp_path)
        found = {name: data[at : at + size] for name, at, size in zip(index.names, index.offset, index.size)}
        assert found == MEMBERS


def test_folders_and_links_are_no_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    assert index_tar(tmp_path / "s.tar", tmp_path).names == []


def test_a_changed_shard_is_indexed_again(tmp_path: Path) -> None:
    shard = pack(tmp_path / "s.tar", {"a.jpg": b"1"})
    assert index_tar(shard, tmp_path).names == ["a.jpg"]
    pack(shard, {"b.jpg": b"2"})  # of the same size
    os.utime(shard, ns=(1, 1))
    assert index_tar(shard, tmp_path).names == ["b.jpg"]


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    shard = pack(tmp_path / "s.tar", MEMBERS)
    index_tar(shard, tmp_path)
    [stored] = (tmp_path / "tar-index").iterdir()
    for damage in (b"", b"junk", stored.read_bytes()[:-40]):
        stored.write_bytes(damage)
        assert index_tar(shard, tmp_path).names == list(MEMBERS)


def test_names_that_are_not_utf8_survive_the_cache(tmp_path: Path) -> None:
    shard = pack(tmp_path / "s.tar", {"caf\udce9.jpg": b"1"}, tarfile.GNU_FORMAT)
    assert index_tar(shard, tmp_path).names == index_tar(shard, tmp_path).names == ["caf\udce9.jpg"]


WHOLE = {f"{index}.jpg": bytes([index]) * 900 for index in range(4)}


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1))
def test_a_shard_that_is_cut_off_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, part: float) -> None:
    folder = tmp_path_factory.mktemp("cut")
    data = pack(folder / "s.tar", WHOLE).read_bytes()
    end = 4 * (512 + 1024) + 512  # all members and one block of zeros
    cut = int(part * (end - 1))
    (folder / "s.tar").write_bytes(data[:cut])
    with pytest.raises(DataError, match=r"s\.tar: "):
        index_tar(folder / "s.tar", folder)


@pytest.mark.parametrize("at", [3 * 1536 + 10, 1536 + 150])
def test_a_damaged_header_is_refused(tmp_path: Path, at: int) -> None:
    shard = pack(tmp_path / "s.tar", WHOLE)
    data = bytearray(shard.read_bytes())
    data[at : at + 8] = b"\xff" * 8
    shard.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        index_tar(shard, tmp_path)


def test_joined_archives_are_refused(tmp_path: Path) -> None:
    data = pack(tmp_path / "s.tar", WHOLE).read_bytes()
    (tmp_path / "s.tar").write_bytes(data + data)
    with pytest.raises(DataError, match="has more data, after byte 6144"):
        index_tar(tmp_path / "s.tar", tmp_path)


def test_compressed_and_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(gzip.compress(pack(tmp_path / "s.tar", WHOLE).read_bytes()))
    with pytest.raises(DataError, match="compressed with gzip.*Unpack it to a plain"):
        index_tar(tmp_path / "s.tar", tmp_path)
    (tmp_path / "t.tar").write_text("not a tar")
    with pytest.raises(DataError, match="no whole tar file"):
        index_tar(tmp_path / "t.tar", tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        index_tar(tmp_path / "missing.tar", tmp_path)


def test_thousands_of_members_are_walked_in_order(tmp_path: Path) -> None:
    members = {f"{index:05}.txt": b"%d" % index for index in range(3000)}
    index = index_tar(pack(tmp_path / "s.tar", members, tarfile.GNU_FORMAT), tmp_path)
    assert index.names == list(members) and (np.diff(index.offset) == 1024).all()
