"""Reference answers of a bundle: what is written is read, and what is no such document is refused in one message."""

import json

import numpy as np
import pytest

from edgefw.errors import BundleError
from edgefw.runtime.probes import ProbeSpec
from edgefw.runtime.reference import Reference, encoded, read_reference, write_reference

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


def reference() -> Reference:
    spec = ProbeSpec(shape=[4, 5, 3], dtype="uint8", low=0.0, high=255.0)
    return Reference(width=2, probes={"rgb": spec}, answers={"fp32": {"rgb": encoded(ROWS)}}, student={})


def test_what_is_written_is_read(tmp_path):
    write_reference(reference(), tmp_path / "r.json")
    read = read_reference(tmp_path / "r.json")
    assert read == reference()
    np.testing.assert_array_equal(read.rows(read.answers["fp32"]["rgb"]), ROWS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format"),
        ({"width": 0}, "width"),
        ({"surprise": 1}, "surprise"),
        ({"probes": {"rgb": {"shape": [4], "dtype": "uint8", "low": 0.0, "high": 1.0}}}, "probes.rgb.shape"),
    ],
)
def test_another_document_is_refused(tmp_path, change, message):
    file = tmp_path / "r.json"
    file.write_text(json.dumps({**reference().model_dump(mode="json"), **change}))
    with pytest.raises(BundleError, match=message):
        read_reference(file)


def test_a_damaged_file_and_a_damaged_table_are_told(tmp_path):
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        read_reference(tmp_path / "r.json")
    for text in ("no base64!", "AAAA"):
        with pytest.raises(BundleError, match="no table of width 2"):
            reference().rows(text)
