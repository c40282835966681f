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
    assert not +STATE(tmp_path / "never made", set())
    store, moments = FrameStore(tmp_path), [datetime(2026, 5, 1, 12, 0, second, tzinfo=UTC) for second in range(3)]
    for moment in moments[:2]:
        store.add(jpeg(), "jpg", moment, {})
    told = {moment.isoformat() for moment in moments[:2]}
    assert not +STATE(tmp_path, told) and not +STATE(tmp_path, set())
    assert +STATE(tmp_path, {moments[2].isoformat()}) == {"lost": 1}  # though more lie there than were told
    first, second = (tmp_path / line["file"] for line in read_lines(tmp_path))
    (tmp_path / f"{first.name}.part").write_bytes(b"half")
    (tmp_path / "in-flight.jpg").write_bytes(jpeg())
    assert +STATE(tmp_path, told) == {"temporary files": 1, "without a line": 1}
    (tmp_path / "another.jpg").write_bytes(jpeg()[:-700])
    first.write_bytes(b"other bytes")
    second.unlink()
    assert +STATE(tmp_path, told) == {
        "broken": 3,
        "temporary files": 1,
        "without a line": 2,
        "more than the frame in flight": 1,
    }
