"""The store on disks that are really full: a file system of 300 kB, and a limit on the size of files."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgefw.camera.store import LINES, FrameStore, read_lines

STORES = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from edgefw.camera.store import FrameStore, read_lines
folder, sizes, room = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
store = FrameStore(folder)
if room:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
told = [store.add(bytes([number]) * size, "jpg", datetime.now(UTC), {"number": number}) for number, size in enumerate(sizes)]
first = folder / read_lines(folder)[0]["file"]
first.unlink()  # what an uploader does
again = [] if room else [store.add(b"again" * 2000, "jpg", datetime.now(UTC), {})]
state = [[line["file"], line["bytes"], line["sha256"]] for line in read_lines(folder)]
files = {path.name: path.read_bytes().hex() for path in folder.iterdir()}
print(json.dumps({"told": told, "again": again, "lines": state, "files": files, "gone": first.name}))
"""


def stored(*before: str, folder: Path, sizes: list[int], room: int = 0) -> dict:
    """What the store said and what lies there, of a process of its own that adds pictures and takes the first away."""
    pytest.importorskip("resource")  # systems without it have none of these limits
    arguments = [str(folder), json.dumps(sizes), str(room)]
    command = [*before, sys.executable, "-c", STORES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def holds_whole_pictures_only(found: dict) -> None:
    files = {name: bytes.fromhex(text) for name, text in found["files"].items()}
    lines = {name: (size, digest) for name, size, digest in found["lines"] if name != found["gone"]}
    assert set(files) == {LINES, *lines}
    for name, (size, digest) in lines.items():
        assert (len(files[name]), hashlib.sha256(files[name]).hexdigest()) == (size, digest)
    assert files[LINES].count(b"\n") == len(found["lines"]) and files[LINES].endswith(b"\n")


def test_a_full_file_system_drops_frames_and_takes_them_again_when_there_is_room(tmp_path: Path):
    mount = f'mount -t tmpfs -o size=300k tmpfs "{tmp_path}" && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    found = stored(*alone, folder=tmp_path / "kept", sizes=[90_000, 90_000, 150_000, 20_000, 150_000])
    assert found["told"] == ["stored", "stored", "disk full", "stored", "disk full"]
    assert found["again"] == ["stored"]
    holds_whole_pictures_only(found)


def test_a_picture_that_is_cut_off_by_a_limit_leaves_nothing(tmp_path: Path):
    found = stored(folder=tmp_path, sizes=[1_000, 9_000, 2_000], room=4_096)
    assert found["told"] == ["stored", "disk full", "stored"]
    holds_whole_pictures_only(found)


def test_a_line_that_is_cut_off_by_a_limit_takes_its_picture_with_it(tmp_path: Path):
    found = stored(folder=tmp_path, sizes=[10] * 12, room=1_000)
    count = found["told"].count("stored")
    assert 1 < count < 12 and found["told"] == ["stored"] * count + ["disk full"] * (12 - count)
    holds_whole_pictures_only(found)
    FrameStore(tmp_path)
    assert len(read_lines(tmp_path)) == count
