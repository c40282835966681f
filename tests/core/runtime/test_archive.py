"""`.edgefw` files: what goes in comes out, and nothing else is ever unpacked."""

from __future__ import annotations

import json
import os
import pickle
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.errors import BundleError
from edgefw.runtime.archive import extract
from edgefw.runtime.bundle import open_bundle, pack

FP32 = "artefacts/onnxruntime-fp32/model.onnx"
Members = list[tuple[zipfile.ZipInfo, bytes]]


@pytest.fixture(scope="module")
def packed(tmp_path_factory, small_bundle) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    pack(small_bundle.write_small_bundle(folder / "bundle"), folder / "bundle.edgefw")
    return folder / "bundle.edgefw"


def members(archive: Path) -> Members:
    with zipfile.ZipFile(archive) as zipped:
        return [(info, zipped.read(info)) for info in zipped.infolist()]


def written(target: Path, parts: Members) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w") as zipped:
        warnings.simplefilter("ignore", UserWarning)  # two members of one name
        for info, data in parts:
            fresh = zipfile.ZipInfo(info.filename)
            fresh.external_attr, fresh.compress_type = info.external_attr, info.compress_type
            zipped.writestr(fresh, data)
    return target


def member(name: str, data: bytes = b"x", mode: int = 0o644) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    return info, data


def refused(archive: Path, folder: Path) -> str:
    """The message; nothing was unpacked, there or beside."""
    (folder / "within" / "out").mkdir(parents=True)
    with pytest.raises(BundleError) as caught:
        extract(archive, folder / "within" / "out")
    assert [path for path in folder.rglob("*") if path.is_file() and path != archive] == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_compiled_files_are_stored_and_json_is_deflated(packed: Path) -> None:
    kinds = {info.filename: info.compress_type for info, _ in members(packed)}
    assert {name for name, kind in kinds.items() if kind == zipfile.ZIP_STORED} == {
        FP32,
        "artefacts/onnxruntime-int8-static/model.onnx",
    }
    assert kinds["labels.json"] == kinds["manifest.json"] == zipfile.ZIP_DEFLATED


def test_an_archive_that_deflates_all_or_lists_folders_opens_too(packed: Path, tmp_path: Path) -> None:
    """As an older edgefw and `zip -r` write them."""
    parts = [member(info.filename, data) for info, data in members(packed)]
    parts.insert(0, member("artefacts/", b"", stat.S_IFDIR | 0o755))
    with open_bundle(written(tmp_path / "b.edgefw", parts)) as opened, open_bundle(packed) as whole:
        assert opened.manifest == whole.manifest


OUTSIDE = "a name must be a relative path inside the bundle, with forward slashes. Do not use it."
UNNAMED = "which its manifest does not name. Do not use it."


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (member("../payload"), f"holds '../payload'; {OUTSIDE}"),
        (member("artefacts/../../payload"), OUTSIDE),
        (member("/tmp/payload"), OUTSIDE),
        (member("C:/payload"), OUTSIDE),
        (member("..\\payload"), OUTSIDE),
        (member("../folder/"), OUTSIDE),
        (member("./labels.json"), OUTSIDE),
        (member("\x1b[2J\n../x"), r"holds '\x1b[2J\n../x'"),
        (member("labels.json"), "holds 'labels.json' twice. Do not use it."),
        (member("manifest.json"), "holds 'manifest.json' twice. Do not use it."),
        (member("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "holds 'link' as a link, not as a file. Do not use it."),
        (member("pipe", b"", stat.S_IFIFO | 0o644), "holds 'pipe' as a link, not as a file."),
        (member("evil.pkl", pickle.dumps("boom")), f"holds 'evil.pkl', {UNNAMED}"),
        (member(".evil.pkl", pickle.dumps("boom")), f"holds '.evil.pkl', {UNNAMED}"),
        (member("__MACOSX/evil.pth", pickle.dumps("boom")), f"holds '__MACOSX/evil.pth', {UNNAMED}"),
        (member(FP32 + ".data"), UNNAMED),
        (member("zeros", bytes(64 * 2**20)), f"holds 'zeros', {UNNAMED}"),
    ],
)
def test_a_member_too_many_is_refused_before_anything_is_unpacked(packed, tmp_path, extra, message) -> None:
    for place in (0, len(members(packed))):
        parts = members(packed)
        parts.insert(place, extra)
        folder = tmp_path / str(place)
        folder.mkdir()
        assert message in refused(written(folder / "b.edgefw", parts), folder)


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o644])
def test_a_named_file_as_a_link_is_refused(packed: Path, tmp_path: Path, mode: int) -> None:
    parts = [member(i.filename, b"/etc/passwd", mode) if i.filename == FP32 else (i, d) for i, d in members(packed)]
    assert f"holds '{FP32}' as a link" in refused(written(tmp_path / "b.edgefw", parts), tmp_path)


def test_what_a_system_leaves_in_a_zip_made_by_hand_is_not_unpacked(packed: Path, tmp_path: Path) -> None:
    extra = [member("__MACOSX/._labels.json"), member(".DS_Store"), member("artefacts/.DS_Store")]
    (tmp_path / "out").mkdir()
    extract(written(tmp_path / "b.edgefw", [*members(packed), *extra]), tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {info.filename for info, _ in members(packed)}


def changed(packed: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    return written(
        target, [member(i.filename, change(data) if i.filename == name else data) for i, data in members(packed)]
    )


def test_a_member_larger_than_the_manifest_says_is_refused(packed: Path, tmp_path: Path) -> None:
    data = {info.filename: data for info, data in members(packed)}[FP32]
    bomb = changed(packed, tmp_path / "b.edgefw", FP32, lambda data: data + bytes(2**20))
    expected = f"'{FP32}' would unpack to {len(data) + 2**20} bytes; {len(data)} are allowed. Do not use it."
    assert expected in refused(bomb, tmp_path)


def test_a_manifest_larger_than_any_is_refused_unread(packed: Path, tmp_path: Path) -> None:
    bomb = changed(packed, tmp_path / "b.edgefw", "manifest.json", lambda data: b" " * (16 * 2**20 + 1))
    assert "'manifest.json' would unpack to 16777217 bytes; 16777216 are allowed" in refused(bomb, tmp_path)


@pytest.mark.parametrize("stated", [False, True])
def test_a_bomb_inside_the_limits_of_its_member_is_refused(packed: Path, tmp_path: Path, stated: bool) -> None:
    """Zeros as a label pack, and as an artefact whose manifest states their size."""

    def claim(data: bytes) -> bytes:
        manifest = json.loads(data)
        manifest["artefacts"][0]["bytes"] = 40 * 2**20
        return json.dumps(manifest).encode()

    source = changed(packed, tmp_path / "claim", "manifest.json", claim) if stated else packed
    name = FP32 if stated else "labels.json"
    bomb = changed(source, tmp_path / "b.edgefw", name, lambda data: bytes(40 * 2**20))
    (tmp_path / "claim").unlink(missing_ok=True)
    assert "; no bundle does that. Do not use it." in refused(bomb, tmp_path)


def test_a_member_whose_data_are_longer_than_it_says_gives_no_more(packed: Path, tmp_path: Path) -> None:
    """The size in both headers of the zip is a lie; `zipfile` stops there, and the check sum does not fit."""
    data = {info.filename: data for info, data in members(packed)}["labels.json"]
    bomb = changed(packed, tmp_path / "b.edgefw", "labels.json", lambda _: b"\x07" * (2**20 + 1))
    raw, lie = bomb.read_bytes(), len(data).to_bytes(4, "little")
    size = (2**20 + 1).to_bytes(4, "little")
    assert raw.count(size) == 2
    bomb.write_bytes(raw.replace(size, lie))
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match="damaged"):
        extract(bomb, tmp_path / "out")
    assert (tmp_path / "out" / "labels.json").stat().st_size <= len(data)


def test_an_archive_without_a_manifest_is_none(tmp_path: Path) -> None:
    assert "no bundle (there is no manifest.json)" in refused(written(tmp_path / "b", [member("x")]), tmp_path)


NAMES = st.one_of(
    st.text(max_size=12).filter(lambda name: "\0" not in name),
    st.lists(st.sampled_from(["..", ".", "", "artefacts", "x", "C:", "labels.json"]), max_size=4).map("/".join),
)


@settings(max_examples=60, deadline=None)
@given(extras=st.lists(st.tuples(NAMES, st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR])), max_size=3))
def test_whatever_else_is_in_an_archive_no_other_file_appears(packed: Path, extras: list[tuple[str, int]]) -> None:
    known = {info.filename for info, _ in members(packed)}
    with tempfile.TemporaryDirectory() as place:
        parts = [member(name, b"", kind) if name else member("x") for name, kind in extras]
        try:
            archive = written(Path(place, "b.edgefw"), [*members(packed), *parts])
        except (ValueError, UnicodeError):
            return  # no zip has such a name
        out = Path(place, "within", "out")
        out.mkdir(parents=True)
        try:
            extract(archive, out)
        except BundleError:
            assert not any(out.iterdir())
        else:
            assert {p.relative_to(out).as_posix() for p in out.rglob("*") if not p.is_dir()} == known
        assert sorted(os.listdir(place)) == ["b.edgefw", "within"] and os.listdir(out.parent) == ["out"]
