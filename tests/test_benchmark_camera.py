"""What benchmarks/camera looks for after a kill is found when it is there."""

from __future__ import annotations

import io
import runpy
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from edgefw.camera.store import FrameStore, read_lines

STATE = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "camera" / "kills.py"))["_state"]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, format="JPEG")
    return buffer.getvalue()


def test_each_fault_of_a_store_is_counted(tmp_path: Path):
    assert not +STATE(tmp_path / "never made", 0)
    store = FrameStore(tmp_path)
    for _ in range(2):
        store.add(jpeg(), "jpg", datetime.now(UTC), {})
    assert not +STATE(tmp_path, 2)
    assert +STATE(tmp_path, 3) == {"lost": 1}
    first, second = (tmp_path / line["file"] for line in read_lines(tmp_path))
    (tmp_path / f"{first.name}.part").write_bytes(b"half")
    (tmp_path / "in-flight.jpg").write_bytes(jpeg())
    assert +STATE(tmp_path, 2) == {"temporary files": 1, "without a line": 1}
    (tmp_path / "another.jpg").write_bytes(jpeg()[:-700])
    first.write_bytes(b"other bytes")
    second.unlink()
    assert +STATE(tmp_path, 2) == {
        "broken": 3,
        "temporary files": 1,
        "without a line": 2,
        "more than the frame in flight": 1,
    }
