"""A label pack that is replaced while it is watched: what is taken, and when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefw.camera.pack_file import PackFile
from edgefw.errors import BundleError
from edgefw.runtime.label_pack import Label, LabelPack, write_pack


def pack(*names: str, width: int = 4) -> LabelPack:
    labels = [Label(name=name, vectors=np.eye(width, dtype=np.float32)[at][None]) for at, name in enumerate(names)]
    return LabelPack(labels=labels, logit_scale=10.0, encoder="e" * 64)


def test_a_pack_that_comes_while_the_first_is_read_is_taken_at_the_next_look(tmp_path: Path):
    path = tmp_path / "pack.json"
    write_pack(pack("red"), path)

    def slow(read: LabelPack) -> LabelPack:
        if read.names == ("red",):
            write_pack(pack("red", "blue"), path)
        return read

    watched = PackFile(path, slow)
    assert watched.first.names == ("red",)
    assert watched.look(0.5) is None
    new = watched.look(1.5)
    assert new is not None and new.names == ("red", "blue")
    watched.took(new)
    assert watched.look(3.0) is None


def test_the_same_pack_copied_again_changes_nothing(tmp_path: Path):
    path = tmp_path / "pack.json"
    write_pack(pack("red"), path)
    watched = PackFile(path, lambda read: read)
    write_pack(pack("red"), path)
    assert watched.look(2.0) is None


def test_vectors_of_another_width_are_refused_once_and_the_pack_in_use_stays(tmp_path: Path):
    path = tmp_path / "pack.json"
    write_pack(pack("red"), path)
    watched = PackFile(path, lambda read: read)
    write_pack(pack("red", width=8), path)
    with pytest.raises(BundleError, match=r"pack.json: its vectors are 8 wide, those of the pack in use 4\."):
        watched.look(2.0)
    assert watched.look(4.0) is None


def test_a_file_that_two_looks_miss_is_said_once_and_is_taken_when_it_is_back(tmp_path: Path):
    path = tmp_path / "pack.json"
    write_pack(pack("red"), path)
    watched = PackFile(path, lambda read: read)
    path.unlink()
    assert watched.look(2.0) is None  # it may be replaced just now
    with pytest.raises(BundleError, match=r"pack.json: is gone, or cannot be reached\."):
        watched.look(4.0)
    assert watched.look(6.0) is None
    write_pack(pack("red", "blue"), path)
    new = watched.look(8.0)
    assert new is not None and new.names == ("red", "blue")


def test_the_pack_in_use_put_back_after_one_that_was_not_taken_changes_nothing(tmp_path: Path):
    path = tmp_path / "pack.json"
    write_pack(pack("red"), path)
    watched = PackFile(path, lambda read: read)
    write_pack(pack("blue"), path)
    assert watched.look(2.0) is not None  # the session refuses it, say, and `took` is not called
    write_pack(pack("red"), path)
    assert watched.look(4.0) is None


def test_a_pack_that_may_be_read_only_later_is_looked_at_again(tmp_path: Path):
    path = tmp_path / "pack.json"
    write_pack(pack("red"), path)
    allowed = False

    def strict(read: LabelPack) -> LabelPack:
        if read.names == ("blue",) and not allowed:
            raise BundleError("not yet")
        return read

    watched = PackFile(path, strict)
    write_pack(pack("blue"), path)
    with pytest.raises(BundleError, match="not yet"):
        watched.look(2.0)
    allowed = True
    path.chmod(path.stat().st_mode ^ 0o100)
    new = watched.look(4.0)
    assert new is not None and new.names == ("blue",)
